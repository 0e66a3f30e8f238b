"""Names that DNSSEC vouches for: certificates that only the DNS tells of (RFC 7673), and answers that somebody changed
on their way, which lead nowhere, so that the user is told and the log says why."""

import asyncio
import re

from dns.rdatatype import SRV, TLSA, A

from lib.client import Client
from lib.processes import until
from lib.steps import expect

from ..certificates import digest
from ..dnssec import SIGNED, UNSIGNED, Lie, expired, forged, poisoned, signed_by_another, stripped, suppressed
from ..names import Names
from ..network import NETWORK
from ..pair import Pair, text_of
from ..rogue import Rogue, rogues
from .refused import unheard, writes

PATIENCE = 45
THIEF_PORT = 6300
NOWHERE = f"{NETWORK}.99"
DNSSEC = r"DNSSEC|sign|bogus|validat"


class Signed(Rogue):
    """A rogue below a zone of the signed names; `record` begins its TLSA record, if it has one; `host` is its name if
    it is not below the domain."""

    record: str | None = None
    host: str | None = None

    def announce(self, names: Names) -> None:
        certificate = None
        if self.record:
            usage, selector, _ = self.record.split()
            # An authority is the last of the chain.
            certificate = f"{self.record} {digest(self.chain[0], selector == '1', -1 if usage == '2' else 0)}"
        names.signed.set(self.domain, self.port, self.host, certificate)


async def run(stage: Pair) -> None:
    def peer(name: str, number: int, fault: str | None = None, record: str | None = None,
             host: str | None = None) -> Signed:
        made = Signed(stage, name, THIEF_PORT + number, fault)
        made.record, made.host = record, host
        return made

    vouched = {
        "its own certificate, self-signed": peer(f"dane.{SIGNED}", 1, "self-signed", "3 1 1"),
        "its own certificate, expired": peer(f"old.{SIGNED}", 2, "expired", "3 0 1"),
        "an authority that nobody else trusts": peer(f"anchor.{SIGNED}", 3, "other-ca", "2 0 1"),
    }
    plain = peer(f"dane.{UNSIGNED}", 4, "self-signed", "3 1 1")
    other = peer(f"other.{SIGNED}", 5, None, "3 1 1")
    good = peer(f"good.{SIGNED}", 6)
    mended = peer(f"mended.{SIGNED}", 7)
    intruder = peer(f"intruder.{SIGNED}", 8, "self-signed")
    # With the certificate of the host.
    hosted, led = [peer(f"hosted.{zone}", 14 + number, "wrong-name", host="elsewhere.example")
                   for number, zone in enumerate((SIGNED, UNSIGNED))]
    # Where lies lead to.
    thief = Rogue(stage, "thief.test", THIEF_PORT)
    lied = [peer(f"lied{number}.{SIGNED}", 20 + number, "self-signed", "3 1 1") for number in range(len(LIES))]
    prey = [Rogue(stage, "prey.test", THIEF_PORT + 10), peer(f"prey.{SIGNED}", 11), peer(f"prey.{UNSIGNED}", 12)]
    poisoner = peer(f"poisoner.{UNSIGNED}", 13)
    every = (*vouched.values(), plain, other, good, mended, intruder, hosted, led, thief, *lied, *prey, poisoner)
    async with rogues(stage, *every):
        # The record is of another certificate than that which is shown.
        stage.names.signed.set(other.domain, other.port, certificate=f"3 1 1 {digest(good.chain[0], True)}")
        romeo = await stage.user(stage.here, "romeo")
        with stage.step("a peer in a signed zone with a good certificate is written to: the control", needed=True):
            await writes(romeo, good, "to the good one")
        for what, rogue in vouched.items():
            await believed(stage, romeo, rogue, what)
        with stage.step("a certificate for the host that signed SRV records lead to is good (RFC 7673 §4.1)"):
            await writes(romeo, hosted, "to who is hosted")
        await not_let_in(stage, romeo, plain, intruder)
        await asyncio.gather(
            refused(stage, romeo, plain, "TLSA records in a zone that is not signed vouch for nothing",
                    r"self.?signed", plain),
            refused(stage, romeo, other, "a certificate that is not the one of the TLSA record is refused, though an "
                    "authority vouches for it", "TLSA", other),
            refused(stage, romeo, led, "a certificate for the host that unsigned SRV records lead to is refused",
                    r"not for hosted", led),
            *(lies(stage, romeo, rogue, thief, title, *lie) for rogue, (title, lie) in zip(lied, LIES.items())),
            found_again(stage, romeo, mended), poison(stage, romeo, thief, poisoner, prey))
        with stage.step("nobody was led to where the lies lead"):
            expect(not thief.calls, f"{thief.calls} calls")


# What is changed: name before the domain, type, how, and what it says then.
LEADS_AWAY = f"0 0 {THIEF_PORT} xmpp.thief.test."
LIES: dict[str, tuple[str, int, Lie]] = {
    "an SRV record that was changed": ("_xmpp-server._tcp.", SRV, forged(LEADS_AWAY)),
    "an SRV record without its signature": ("_xmpp-server._tcp.", SRV, stripped(LEADS_AWAY)),
    "an SRV record whose signature has expired": ("_xmpp-server._tcp.", SRV, expired),
    "an SRV record that a stranger has signed": ("_xmpp-server._tcp.", SRV, signed_by_another),
    "SRV records that are kept back": ("_xmpp-server._tcp.", SRV, suppressed),
    "an address that was changed": ("xmpp.", A, forged(NOWHERE)),
    "a TLSA record that was changed": ("_{port}._tcp.xmpp.", TLSA, forged("3 1 1 " + "ab" * 32)),
    "TLSA records that are kept back": ("_{port}._tcp.xmpp.", TLSA, suppressed),
}


async def believed(stage: Pair, romeo: Client, rogue: Signed, what: str) -> None:
    with stage.step(f"a TLSA record of {what}: such a peer is written to"):
        await writes(romeo, rogue, "by DANE")
    with stage.step(f"a TLSA record of {what}: and is heard, by EXTERNAL (RFC 7673 §5)"):
        wire = await rogue.login(stage.here)
        wire.send(rogue.says(romeo, f"of {rogue.domain}"))
        await romeo.sees_message(f"of {rogue.domain}")
        wire.close()


async def not_let_in(stage: Pair, romeo: Client, plain: Signed, intruder: Signed) -> None:
    with stage.step("a caller for whose certificate TLSA records vouch that are not signed is not let in"):
        await unheard(romeo, stage.here, plain)
    with stage.step("a caller for whose certificate a forged TLSA record vouches is not let in"):
        stage.names.signed.set(intruder.domain, intruder.port, certificate="3 1 1 " + "ab" * 32)
        lie = stripped(f"3 1 1 {digest(intruder.chain[0], True)}")
        stage.names.signed.lies[f"_{intruder.port}._tcp.xmpp.{intruder.domain}", TLSA] = lie
        await unheard(romeo, stage.here, intruder)


async def refused(stage: Pair, romeo: Client, rogue: Rogue, title: str, reason: str, target: Rogue) -> None:
    """The user gets an error that says why, and so does the log; the target gets nothing."""
    with stage.step(f"{title}: nothing is sent, and the user is told why"):
        place = stage.here.log_place()
        romeo.send_message(mto=f"juliet@{rogue.domain}", mbody="Is it thou?", mtype="chat")
        error = await romeo.sees(lambda s: s.name == "message" and s["type"] == "error"
                                 and s["from"].domain == rogue.domain, f"error from {rogue.domain}", PATIENCE)
        expect(not target.stanzas, f"but {target.domain} was sent {len(target.stanzas)} stanzas")
        expect(error["error"]["condition"].startswith("remote-server"), text_of(error))
        expect(re.search(reason, error["error"]["text"], re.I), f"the error does not say why: {text_of(error)}")
    with stage.step(f"{title}: s2s test says why"):
        done, text = await stage.here.control("s2s", "test", rogue.domain)
        expect(not done and re.search(reason, text, re.I), text)
    with stage.step(f"{title}: the log says why"):
        lines = [line for line in stage.here.log_since(place).splitlines() if rogue.domain in line]
        expect(any(re.search(reason, line, re.I) for line in lines), f"but {lines[-3:]}")


async def lies(stage: Pair, romeo: Client, rogue: Signed, thief: Rogue, title: str, owner: str, kind, lie: Lie) -> None:
    name = owner.format(port=rogue.port) + rogue.domain
    stage.names.signed.lies[name, kind] = lie
    await refused(stage, romeo, rogue, title, DNSSEC, rogue)
    del stage.names.signed.lies[name, kind]


async def found_again(stage: Pair, romeo: Client, rogue: Signed) -> None:
    with stage.step("once the zone is right again, what waited arrives"):
        name = f"_xmpp-server._tcp.{rogue.domain}", SRV
        stage.names.signed.lies[name] = expired
        romeo.send_message(mto=f"juliet@{rogue.domain}", mbody="after all", mtype="chat")
        await asyncio.sleep(3)
        expect(not rogue.calls, "it was called while the signature was bad")
        del stage.names.signed.lies[name]
        await until(lambda: rogue.stanzas, "message", 20)


async def poison(stage: Pair, romeo: Client, thief: Rogue, poisoner: Signed, prey: list[Rogue]) -> None:
    lines = []
    for rogue in prey:
        lines += [(f"_xmpp-server._tcp.{rogue.domain}", SRV, LEADS_AWAY),
                  (f"_xmpps-server._tcp.{rogue.domain}", SRV, LEADS_AWAY),
                  *((f"{first}{rogue.domain}", A, NOWHERE) for first in ("", "xmpp."))]
    stage.names.signed.lies[f"_xmpp-server._tcp.{poisoner.domain}", SRV] = poisoned(*lines)
    with stage.step("an answer that tells of other domains is taken for what was asked"):
        await writes(romeo, poisoner, "to the poisoner")
    for rogue in prey:
        with stage.step(f"and {rogue.domain}, of which it told, is where it always was"):
            await writes(romeo, rogue, "is it still thou?")
    with stage.step("and the thief, to whom it pointed, was called by nobody"):
        expect(not thief.calls, f"{thief.calls} calls")
