"""Certificates that nobody may take for good, from a peer that calls and from one that is called: refused, and the
reason is in the log and in the error that the user gets. Those who may be trusted by dialback are."""

import asyncio
import re

from lib.client import Client
from lib.steps import Failure, expect

from ..catalogue import CERTIFICATES
from ..certificates import REFUSED
from ..pair import Pair, text_of
from ..peer import Peer
from ..rogue import Rogue, external, mechanisms, rogues
from ..wire import DIALBACK, shown

# What the log and the error say, whoever words it.
REASONS = {
    "expired": r"expire|not valid (any|after)",
    "self-signed": r"self.?signed|trust|issuer|unknown|unable to get",
    "other-ca": r"self.?signed|trust|issuer|unknown|unable to get",
    "wrong-name": r"name|match|for another|not for|identit|hostname",
    "cn-only": r"name|match|for another|not for|identit|hostname",
}


async def run(stage: Pair) -> None:
    faults = [None, *REFUSED] if stage.here.trust == CERTIFICATES else ["self-signed", "expired"]
    every = {fault: Rogue(stage, f"{fault or 'good'}.test", 6000 + number, fault)
             for number, fault in enumerate(faults)}
    async with rogues(stage, *every.values()):
        with stage.step("a user logs in", needed=True):
            romeo = await stage.user(stage.here, "romeo")
        if stage.here.trust != CERTIFICATES:
            for fault, rogue in every.items():
                await by_dialback(stage, romeo, rogue, fault)
            return
        good = every.pop(None)
        await trusted(stage, romeo, good)
        await asyncio.gather(*(called(stage, romeo, rogue, fault) for fault, rogue in every.items()))
        for fault, rogue in every.items():
            await calls(stage, romeo, rogue, fault)


async def trusted(stage: Pair, romeo: Client, rogue: Rogue) -> None:
    with stage.step("a peer played by hand with a good certificate is written to"):
        await writes(romeo, rogue, "to the good one")
    with stage.step("and is heard"):
        wire = await rogue.login(stage.here)
        wire.send(f"<message from='juliet@{rogue.domain}' to='{romeo.boundjid.bare}'><body>good</body></message>")
        await romeo.sees_message("good")
        wire.close()


async def writes(romeo: Client, rogue: Rogue, body: str) -> None:
    romeo.send_message(mto=f"juliet@{rogue.domain}", mbody=body, mtype="chat")
    for _ in range(150):
        if any(element.findtext("{jabber:server}body") == body for element in rogue.stanzas):
            return
        bounced = romeo.saw(lambda s: s.name == "message" and s["type"] == "error" and s["from"].domain == rogue.domain)
        if bounced:
            raise Failure(text_of(bounced[0]))
        await asyncio.sleep(0.1)
    raise Failure(f"nothing arrived; {rogue.calls} calls, {rogue.failures}")


async def unheard(user: Client, server: Peer, rogue: Rogue) -> None:
    """It calls, tries both ways to be let in, and fails; nobody sees what it says all the same."""
    wire, features = await rogue.call(server)
    expect("EXTERNAL" not in mechanisms(features), "EXTERNAL is offered")
    answer = await external(wire, rogue.domain)
    expect(answer is not None and answer.tag.endswith("}failure"), shown(answer))
    wire.send(f"<db:result from='{rogue.domain}' to='{server.domain}'>a key</db:result>")
    answer = await wire.next()
    expect(answer is None or answer.get("type") != "valid", shown(answer))
    wire.send(rogue.says(user, "unheard"))
    await wire.rest(20)
    wire.close()
    await user.sees_nothing(lambda s: s["body"] == "unheard", "its message")


async def called(stage: Pair, romeo: Client, rogue: Rogue, fault: str) -> None:
    """The server under test calls."""
    with stage.step(f"{fault}: nothing is sent to a peer that shows it, and the user is told why"):
        place = stage.here.log_place()
        romeo.send_message(mto=f"juliet@{rogue.domain}", mbody="Is it thou?", mtype="chat")
        error = await romeo.sees(lambda s: s.name == "message" and s["type"] == "error"
                                 and s["from"].domain == rogue.domain, f"error from {rogue.domain}", 30)
        expect(rogue.calls, "the peer was not called at all")
        expect(not rogue.stanzas, f"but it was sent {len(rogue.stanzas)} stanzas")
        expect(error["error"]["condition"].startswith("remote-server"), text_of(error))
        expect(re.search(REASONS[fault], error["error"]["text"], re.I), f"the error does not say why: {text_of(error)}")
    with stage.step(f"{fault}: the log says why"):
        lines = [line for line in stage.here.log_since(place).splitlines() if rogue.domain in line]
        expect(any(re.search(REASONS[fault], line, re.I) for line in lines), f"but {lines[-3:]}")


async def calls(stage: Pair, romeo: Client, rogue: Rogue, fault: str) -> None:
    """The peer calls."""
    with stage.step(f"{fault}: a peer that shows it is not let in, by whatever it tries"):
        place = stage.here.log_place()
        message = f"<message from='juliet@{rogue.domain}' to='{romeo.boundjid.bare}'><body>{fault}</body></message>"
        for attempt in ("EXTERNAL", "dialback", "nothing"):
            try:
                wire, features = await rogue.call(stage.here)
            except Failure:
                continue    # Refused before there were features.
            expect("EXTERNAL" not in mechanisms(features), "EXTERNAL is offered")
            try:
                if attempt == "EXTERNAL":
                    answer = await external(wire, rogue.domain)
                    expect(answer is None or not answer.tag.endswith("}success"), "EXTERNAL succeeds")
                elif attempt == "dialback":
                    wire.send(f"<db:result from='{rogue.domain}' to='{stage.here.domain}'>a key</db:result>")
                    answer = await wire.next()
                    expect(answer is None or answer.tag != f"{{{DIALBACK}}}result" or answer.get("type") != "valid",
                           f"dialback succeeds: {shown(answer)}")
                wire.send(message)
                await wire.rest(3)
            except (Failure, ConnectionError) as error:
                if "succeeds" in str(error):
                    raise
            finally:
                wire.close()
        await romeo.sees_nothing(lambda s: s["body"] == fault, "its message")
    with stage.step(f"{fault}: the log says why the caller was refused"):
        lines = [line for line in stage.here.log_since(place).splitlines() if rogue.domain in line]
        expect(any(re.search(REASONS[fault], line, re.I) for line in lines), f"but {lines[-3:]}")


async def by_dialback(stage: Pair, romeo: Client, rogue: Rogue, fault: str) -> None:
    with stage.step(f"{fault}: where dialback is allowed, such a peer is written to"):
        await writes(romeo, rogue, f"to {fault}")
    with stage.step(f"{fault}: and is heard, once it has vouched for its key"):
        wire, _ = await rogue.call(stage.here)
        wire.send(f"<db:result from='{rogue.domain}' to='{stage.here.domain}'>a key of mine</db:result>")
        answer = await wire.next()
        expect(answer is not None and answer.get("type") == "valid", shown(answer))
        wire.send(f"<message from='juliet@{rogue.domain}' to='{romeo.boundjid.bare}'><body>{fault}</body></message>")
        await romeo.sees_message(fault)
        wire.close()
