"""Peers that mean harm: who speak for others, forge and replay dialback, flood, fall silent. The server under test
refuses them with a reason, delivers nothing of theirs, and everybody else notices nothing."""

import asyncio
import secrets
import time

from lib.client import Client
from lib.steps import Failure, expect

from ..catalogue import CERTIFICATES
from ..pair import Pair, text_of
from ..rogue import Rogue, external, mechanisms, meet, rogues
from ..wire import DIALBACK, Wire, shown

# Until when a server has given up a peer that says nothing.
PATIENCE = 75


async def run(stage: Pair) -> None:
    if stage.here.trust == CERTIFICATES:
        good, victim, loud, mute, deaf = [Rogue(stage, f"{name}.test", 6000 + number, None, manner) for number, (
            name, manner) in enumerate({"good": None, "victim": None, "loud": floods, "mute": says_nothing,
                                        "deaf": says_nothing_secured}.items())]
        async with rogues(stage, good, victim, loud, mute, deaf):
            romeo = await stage.user(stage.here, "romeo")
            await asyncio.gather(unanswering(stage, romeo, loud, mute, deaf), unspeaking(stage),
                                 forgers(stage, romeo, good, victim))
    else:
        evil, victim = Rogue(stage, "evil.test", 6000), Rogue(stage, "victim.test", 6001)
        async with rogues(stage, evil, victim):
            await dialback(stage, await stage.user(stage.here, "romeo"), evil, victim)
    with stage.step("the server under test is still the same process"):
        expect(stage.here.is_running, "it ended")


# Streams that are let in and abused.

async def forgers(stage: Pair, romeo: Client, good: Rogue, victim: Rogue) -> None:
    to = romeo.boundjid.bare

    def message(sender: str | None, body: str = "forged", to: str = to) -> str:
        given = "" if sender is None else f" from='{sender}'"
        return f"<message{given} to='{to}'><body>{body}</body></message>"

    faults = {
        "for a domain it did not prove": (message(f"juliet@{victim.domain}"), "invalid-from"),
        "for a domain served here": (message(f"admin@{stage.here.domain}"), "invalid-from"),
        "for a subdomain of its own": (message(f"juliet@sub.{good.domain}"), "invalid-from"),
        "without a from": (message(None), "improper-addressing"),
        "with a from that is no JID": (message("@@@"), "improper-addressing", "invalid-from"),
        "without a to": (f"<message from='a@{good.domain}'><body>forged</body></message>", "improper-addressing"),
        "that is no stanza": ("<gift xmlns='urn:example:horse'/>", "unsupported-stanza-type"),
        "with a document type": ("<!DOCTYPE a [<!ENTITY b 'c'>]>" + message(f"a@{good.domain}"), "restricted-xml",
                                 "not-well-formed"),
        "that is not well-formed": ("<message></presence>", "not-well-formed"),
        "of client namespace": (f"<message xmlns='jabber:client' from='a@{good.domain}' to='{to}'><body>forged</body></message>", "unsupported-stanza-type",
                                "invalid-namespace"),
    }
    for title, (text, *conditions) in faults.items():
        with stage.step(f"a stanza {title}: the stream ends with {conditions[0]}, and nobody sees it"):
            wire = await good.login(stage.here)
            wire.send(text)
            await wire.ends_with(*conditions)
            wire.close()
            await romeo.sees_nothing(lambda s: s["body"] == "forged", "the forgery")
    with stage.step("a stanza before the peer has proved anything: not-authorized, and nobody sees it"):
        wire, _ = await good.call(stage.here)
        wire.send(message(f"a@{good.domain}"))
        await wire.ends_with("not-authorized")
        await romeo.sees_nothing(lambda s: s["body"] == "forged", "the forgery")
    with stage.step("EXTERNAL for another domain than that of the certificate is refused"):
        wire, _ = await good.call(stage.here)
        answer = await external(wire, victim.domain)
        expect(answer is None or answer.tag.endswith("}failure"), shown(answer))
        wire.close()
    with stage.step("a stream for another domain than that of the certificate gets no EXTERNAL"):
        try:
            wire, features = await good.call(stage.here, sender=victim.domain)
        except Failure as refusal:
            expect("stream" in str(refusal), str(refusal))    # Not even features.
        else:
            expect("EXTERNAL" not in mechanisms(features), shown(features))
            answer = await external(wire, victim.domain)
            expect(answer is None or not answer.tag.endswith("}success"), shown(answer))
            wire.close()
    with stage.step("a message for a domain that is not served here is refused with an error (RFC 6120 §8.1.1.2)"):
        wire = await good.login(stage.here)
        wire.send(message(f"a@{good.domain}", to=f"b@{victim.domain}"))
        try:
            element = await wire.next(5)
        finally:
            expect(not victim.stanzas, "it was relayed")
        expect(element is not None, "the stream ended without a word")
        expect("error" in element.tag or element.get("type") == "error", shown(element))
        wire.close()
    with stage.step("a stanza of 20 MB: policy-violation, and the server lives"):
        wire = await good.login(stage.here)
        wire.send(f"<message from='a@{good.domain}' to='{to}'><body>")
        wire.send(b"x" * 20_000_000)
        await wire.ends_with("policy-violation", "not-well-formed", patience=30)
    with stage.step("a stream that begins again in the middle ends, and the server lives"):
        wire = await good.login(stage.here)
        wire.send("<message from='")
        wire.open(good.domain, stage.here.domain)
        await wire.ends_with("not-well-formed")


# Streams on which nothing sensible comes.

async def floods(rogue: Rogue, wire: Wire) -> None:
    await meet(rogue, wire, "<f xmlns='urn:example:flood'/>" * 1_000_000)


async def says_nothing(rogue: Rogue, wire: Wire) -> None:
    while await wire.reader.read(65536):
        pass


async def says_nothing_secured(rogue: Rogue, wire: Wire) -> None:
    """TLS, and then no header."""
    header = await wire.hear_header()
    wire.open(rogue.domain, header.get("from"), "1")
    wire.send("<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>")
    await wire.next()
    wire.send("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
    await wire.starttls(rogue.server_context())
    await says_nothing(rogue, wire)


async def unanswering(stage: Pair, romeo: Client, *peers: Rogue) -> None:
    """All at once, so that one can hold up the other if anything can."""
    nurse = await stage.user(stage.here, "nurse")
    patient = Rogue(stage, "patient.test", 6100)
    patient.announce(stage.names)
    await patient.open()
    await stage.names.publish()
    for rogue in peers:
        nurse.send_message(mto=f"juliet@{rogue.domain}", mbody="Speak!", mtype="chat")
    try:
        with stage.step("meanwhile another peer is reached as if nothing was"):
            slowest = 0.0
            for number in range(20):
                begin = time.monotonic()
                nurse.send_message(mto=f"juliet@{patient.domain}", mbody=f"{number}", mtype="chat")
                while len(patient.stanzas) <= number:
                    await asyncio.sleep(0.01)
                    expect(time.monotonic() < begin + 10, f"message {number} is not there after 10 s")
                slowest = max(slowest, time.monotonic() - begin)
                await asyncio.sleep(0.1)
            expect(slowest < 4, f"{slowest:.1f} s for a message")
    finally:
        patient.close()
    names = {"loud": "sends 30 MB of features", "mute": "accepts and never answers", "deaf": "is silent after TLS"}
    for rogue in peers:
        with stage.step(f"a peer that {names[rogue.domain.split('.')[0]]}: the user is told"):
            error = await nurse.sees(lambda s: s.name == "message" and s["type"] == "error"
                                     and s["from"].domain == rogue.domain, "error", PATIENCE)
            expect(error["error"]["condition"].startswith("remote-server"), text_of(error))
            expect(error["error"]["text"], text_of(error))


async def unspeaking(stage: Pair) -> None:
    """Connections on which a caller says nothing, or not enough."""
    begin = time.monotonic()
    silent = [Wire(*await asyncio.open_connection(stage.here.address, stage.here.s2s_port)) for _ in range(20)]
    for wire in silent[10:]:
        wire.open("nobody.test", stage.here.domain)
    with stage.step("callers that say nothing are disconnected"):
        for wire in silent:
            await wire.rest(max(1, begin + PATIENCE - time.monotonic()))
    for wire in silent:
        wire.close()


# Dialback.

async def dialback(stage: Pair, romeo: Client, evil: Rogue, victim: Rogue) -> None:
    here = stage.here.domain

    async def asks(wire: Wire, sender: str, to: str, stream: str, key: str) -> str:
        wire.send(f"<db:verify from='{sender}' to='{to}' id='{stream}'>{key}</db:verify>")
        answer = await wire.next()
        if answer is None or answer.tag != f"{{{DIALBACK}}}verify":
            raise Failure(f"no answer but {shown(answer)}")
        expect((answer.get("from"), answer.get("to"), answer.get("id")) == (to, sender, stream), shown(answer))
        return answer.get("type")

    with stage.step("a peer vouches for its key and is heard: the control", needed=True):
        wire = await evil.vouched(stage.here)
        wire.send(f"<message from='a@{evil.domain}' to='{romeo.boundjid.bare}'><body>control</body></message>")
        await romeo.sees_message("control")
    with stage.step("and on this stream no other domain is spoken for"):
        wire.send(f"<message from='a@{victim.domain}' to='{romeo.boundjid.bare}'><body>forged</body></message>")
        await wire.ends_with("invalid-from", "not-authorized")
        await romeo.sees_nothing(lambda s: s["body"] == "forged", "the forgery")
    with stage.step("a key for a domain whose own server denies it is invalid (XEP-0220 §2.3)"):
        victim.vouches = False
        wire, _ = await evil.call(stage.here, sender=victim.domain)
        wire.send(f"<db:result from='{victim.domain}' to='{here}'>{secrets.token_hex()}</db:result>")
        answer = await wire.next()
        expect(answer is None or answer.get("type") in ("invalid", "error"), shown(answer))
        await speaks_in_vain(romeo, wire, victim)
    with stage.step("a further domain on a stream that is let in needs a key of its own"):
        wire = await evil.vouched(stage.here)
        wire.send(f"<db:result from='{victim.domain}' to='{here}'>{secrets.token_hex()}</db:result>")
        answer = await wire.next()
        expect(answer is None or answer.get("type") in ("invalid", "error"), shown(answer))
        await speaks_in_vain(romeo, wire, victim)
    with stage.step("an unasked “valid” is no proof, as a result and as a verification"):
        for word in (f"<db:result from='{evil.domain}' to='{here}' type='valid'/>",
                     f"<db:verify from='{evil.domain}' to='{here}' id='1' type='valid'/>"):
            wire, _ = await evil.call(stage.here)
            wire.send(word)
            await speaks_in_vain(romeo, wire, evil)
    with stage.step("an unasked “valid” for another domain is no proof on a stream that is let in"):
        wire = await evil.vouched(stage.here)
        wire.send(f"<db:verify from='{victim.domain}' to='{here}' id='{wire.header.get('id')}' type='valid'/>")
        await speaks_in_vain(romeo, wire, victim)
    with stage.step("unasked questions by the thousand are answered or cut off, and the server lives"):
        wire, _ = await evil.call(stage.here)
        for number in range(1000):
            wire.send(f"<db:verify from='{evil.domain}' to='{here}' id='{number}'>{number}</db:verify>")
        for _ in range(1000):
            if await wire.next() is None:
                break
        wire.close()
        await romeo["xep_0199"].send_ping(here, timeout=10)
    with stage.step("the server gives a key when it calls", needed=True):
        romeo.send_message(mto=f"a@{evil.domain}", mbody="to the evil one", mtype="chat")
        await until_keys(evil)
        sender, stream, key = evil.keys[-1]
        expect(sender == here, str(evil.keys))
    with stage.step("the key is good for its stream only: for another it is invalid (XEP-0185)"):
        wire, _ = await evil.call(stage.here)
        expect(await asks(wire, evil.domain, here, stream, key) == "valid", "the key is not good at all")
        expect(await asks(wire, evil.domain, here, "another", key) == "invalid", "another stream")
        expect(await asks(wire, victim.domain, here, stream, key) == "invalid", "another domain")
        other = key[:-1] + ("1" if key[-1] == "0" else "0")
        expect(await asks(wire, evil.domain, here, stream, other) == "invalid", "another key")
        wire.close()
    with stage.step("no key is no key"):
        wire, _ = await evil.call(stage.here)
        expect(await asks(wire, evil.domain, here, stream, "") == "invalid", "it is valid")
        wire.close()


async def speaks_in_vain(romeo: Client, wire: Wire, rogue: Rogue) -> None:
    wire.send(f"<message from='a@{rogue.domain}' to='{romeo.boundjid.bare}'><body>in vain</body></message>")
    try:
        await wire.rest(2)
    except Failure:
        pass    # Left open; whether it was heard shows below.
    wire.close()
    await romeo.sees_nothing(lambda s: s["body"] == "in vain", "a message of who proved nothing")


async def until_keys(rogue: Rogue) -> None:
    for _ in range(100):
        if rogue.keys:
            return
        await asyncio.sleep(0.1)
    raise Failure(f"no key came; {rogue.calls} calls, {rogue.failures}")
