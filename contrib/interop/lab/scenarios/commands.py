"""What the administrator's commands and the log tell of other servers: good ones, and those with which something is
wrong."""

import asyncio
import json
import re

from lib.client import Client
from lib.steps import expect

from ..catalogue import CERTIFICATES
from ..certificates import digest
from ..network import HERE, NETWORK
from ..pair import Pair
from ..rogue import Rogue, rogues
from .refused import writes

FIRST_PORT = 6500
# By what is wrong with the peer's certificate: what is said of it, and of what would mend it.
FAULTS = {
    "expired": (r"expired on 20\d\d-\d\d-\d\d", r"renew"),
    "self-signed": (r"self-signed", r"from an authority.*pinned"),
    "other-ca": (r"authority that is not trusted", r"public authority|added to the trusted"),
    "wrong-name": (r"not for tested-wrong-name\.test but for elsewhere\.example",
                   r"needs one with tested-wrong-name\.test"),
    "cn-only": (r"common name tested-cn-only\.test.*does not count", r"needs one with tested-cn-only\.test"),
}


async def run(stage: Pair) -> None:
    secure = stage.here.trust == CERTIFICATES
    faults = FAULTS if secure else ["self-signed", "expired"]
    every = {fault: Rogue(stage, f"tested-{fault}.test", FIRST_PORT + number, fault)
             for number, fault in enumerate(faults, 1)}
    good = Rogue(stage, "tested-good.test", FIRST_PORT)
    async with rogues(stage, good, *every.values()):
        romeo = await stage.user(stage.here, "romeo")
        if secure:
            await asyncio.gather(tested_good(stage, good), *(tested(stage, rogue, fault)
                                                             for fault, rogue in every.items()), unreachable(stage))
            await asyncio.gather(*(refused(stage, romeo, rogue, fault) for fault, rogue in every.items()))
            await listed(stage, romeo, good, every["expired"])
        else:
            for rogue in every.values():
                await tested_by_dialback(stage, rogue)
    with stage.step("what cannot be tested is told from what does not work"):
        for domain, reason in ((stage.here.domain, "served here"), ("@@@", "not a domain")):
            done, text = await stage.here.control("s2s", "test", domain)
            expect(not done and reason in text, text)


async def tested_good(stage: Pair, rogue: Rogue) -> None:
    with stage.step("s2s test, a good peer: where it is, its certificate, and how it is authenticated"):
        done, text = await stage.here.control("s2s", "test", rogue.domain)
        expect(done, text)
        shows_target(text, rogue)
        shows_chain(text, rogue)
        expect("EXTERNAL" in text, text)
        expect(not rogue.stanzas, "it was sent stanzas")


async def tested(stage: Pair, rogue: Rogue, fault: str) -> None:
    problem, remedy = FAULTS[fault]
    with stage.step(f"s2s test, {fault}: where the peer is, and what is wrong with its certificate"):
        done, text = await stage.here.control("s2s", "test", rogue.domain)
        expect(not done, f"succeeded: {text}")
        shows_target(text, rogue)
        expect(re.search(problem, text, re.S), text)
    with stage.step(f"s2s test, {fault}: what would mend it"):
        expect(re.search(remedy, text, re.S), text)
    with stage.step(f"s2s test, {fault}: the certificates that it showed"):
        shows_chain(text, rogue)


async def refused(stage: Pair, romeo: Client, rogue: Rogue, fault: str) -> None:
    place = stage.here.log_place()
    with stage.step(f"the log of a peer that is refused, {fault}: where it is, what is wrong, and what would mend it"):
        romeo.send_message(mto=f"juliet@{rogue.domain}", mbody="Is it thou?", mtype="chat")
        await romeo.sees(lambda s: s["type"] == "error" and s["from"].domain == rogue.domain, "error")
        lines = [line for line in stage.here.log_since(place).splitlines() if rogue.domain in line]
        said = "\n".join(line for line in lines if " debug " not in line)
        shows_target(said, rogue)
        for reason in FAULTS[fault]:
            expect(re.search(reason, said), f"no {reason}: {said}")
    with stage.step(f"the log of a peer that is refused, {fault}: the certificates that it showed"):
        shows_chain(said, rogue)


async def tested_by_dialback(stage: Pair, rogue: Rogue) -> None:
    with stage.step(f"s2s test, {rogue.domain}, for which dialback is enough: that it is, and its certificate"):
        done, text = await stage.here.control("s2s", "test", rogue.domain)
        expect(done, text)
        shows_target(text, rogue)
        shows_chain(text, rogue)
        expect("dialback" in text, text)


async def unreachable(stage: Pair) -> None:
    closed, gone = "tested-closed.test", "tested-gone.test"
    for domain, address in ((closed, HERE), (gone, f"{NETWORK}.98")):
        stage.names.set(domain, address, [(f"_xmpp-server._tcp.{domain}", f"xmpp.{domain}", 9)])
    await stage.names.publish()

    async def says(domain: str, title: str, *reasons: str) -> None:
        with stage.step(f"s2s test, {title}"):
            done, text = await stage.here.control("s2s", "test", domain)
            expect(not done, f"succeeded: {text}")
            for reason in reasons:
                expect(re.search(reason, text), f"no {reason}: {text}")

    await asyncio.gather(
        says(closed, "a peer that refuses connections: which place, and that", rf"xmpp\.{closed}:9", "refused"),
        says(gone, "a peer whose address leads nowhere: which place, and that", rf"xmpp\.{gone}:9",
             f"{NETWORK}.98: (No route|no answer)"),
        says("tested-nowhere.test", "a domain that does not exist: that", r"tested-nowhere\.test in the DNS|not exist"))


async def listed(stage: Pair, romeo: Client, good: Rogue, bad: Rogue) -> None:
    with stage.step("s2s list: the connections there are, and how they were proved"):
        await writes(romeo, good, "to the good one")
        wire = await good.login(stage.here)
        done, text = await stage.here.control("s2s", "list")
        lines = [line for line in text.splitlines() if line.startswith(good.domain)]
        expect(done and {"us", "them"} <= {word for line in lines for word in line.split()}, text)
        expect(all("EXTERNAL" in line and HERE in line and "TLSv1.3" in line for line in lines), text)
        wire.close()
    with stage.step("s2s list: who cannot be spoken to, and why"):
        done, text = await stage.here.control("s2s", "list")
        expect(any(line.startswith(bad.domain) and "expired" in line for line in text.splitlines()), text)
    with stage.step("s2s list --json says the same to programs"):
        done, text = await stage.here.control("s2s", "list", "--json")
        found = json.loads(text)
        expect(any(one["remote"] == good.domain and one["isOutgoing"] for one in found["connections"]), text)
        expect(any(one["remote"] == bad.domain and "expired" in one["reason"] for one in found["troubles"]), text)


def shows_target(text: str, rogue: Rogue) -> None:
    expect(f"xmpp.{rogue.domain}:{rogue.port}" in text, f"not where it is: {text}")


def shows_chain(text: str, rogue: Rogue) -> None:
    """Its own certificate, by subject and fingerprint."""
    expect(f"CN={rogue.domain}" in text.replace(" ", "") and digest(rogue.chain[0]) in text, f"no chain: {text}")
