"""What the configuration says of single domains: two servers in a closed mesh, without DNS and with certificates of
their own making that each has pinned; who may be spoken to at all; and who needs how much proof."""

import asyncio
import contextlib
import re

from lib.client import Client
from lib.rooms import create, enter
from lib.servers import PORTS
from lib.steps import expect

from ..catalogue import DIALBACK
from ..certificates import digest
from ..martlet import House
from ..network import HERE, NETWORK, Machine
from ..pair import Pair, text_of
from ..rogue import Rogue, rogues
from ..wire import Wire
from .refused import unheard, writes

FIRST_PORT = 6400
MONTAGUE, CAPULET = f"{NETWORK}.40", f"{NETWORK}.41"
# The rogues, and what is wrong with the certificate of each.
DOMAINS = {
    # Pinned by Montague, with the pin of another certificate.
    "forger.mesh": "self-signed",
    # On Montague's list; below it one that is denied; and some that only look like it.
    "friend.test": None, "sub.friend.test": None, "foe.friend.test": None, "notfriend.test": None,
    # Of which Capulet thinks this and that.
    "old.test": "self-signed", "sub.old.test": "self-signed", "veryold.test": "self-signed",
    "shut.test": None, "sub.shut.test": None, "foe.test": None, "sub.foe.test": None, "xfoe.test": None,
}


async def run(stage: Pair) -> None:
    every = {domain: Rogue(stage, domain, FIRST_PORT + number, fault, trust=DIALBACK)
             for number, (domain, fault) in enumerate(DOMAINS.items())}
    async with rogues(stage, *every.values()), houses(stage, every["forger.mesh"]) as (montague, capulet):
        with stage.step("a user of each of two servers without DNS logs in", needed=True):
            romeo, juliet = [await inhabitant(stage, house, name)
                             for house, name in ((montague, "romeo"), (capulet, "juliet"))]
        await mesh(stage, romeo, juliet, montague, capulet)
        await mispinned(stage, romeo, montague, every["forger.mesh"])
        for domain in ("friend.test", "sub.friend.test"):
            await spoken_to(stage, romeo, montague, every[domain], "a list of those who are spoken to")
        for domain in ("foe.friend.test", "notfriend.test", "foe.test"):
            await not_spoken_to(stage, romeo, montague, every[domain], "a list of those who are spoken to")
        await spoken_to(stage, juliet, capulet, every["xfoe.test"], "a list of those who are not spoken to")
        for domain in ("foe.test", "sub.foe.test"):
            await not_spoken_to(stage, juliet, capulet, every[domain], "a list of those who are not spoken to")
        for domain in ("shut.test", "sub.shut.test"):
            await not_spoken_to(stage, juliet, capulet, every[domain], "policy refuse for one domain")
        for domain in ("old.test", "sub.old.test"):
            await by_dialback(stage, juliet, capulet, every[domain])
        await unproved(stage, juliet, capulet, every["veryold.test"])


@contextlib.asynccontextmanager
async def houses(stage: Pair, forger: Rogue):
    """Two servers that know of each other from their configurations only; one pins a certificate, the other a key."""
    certificates = {name: stage.folder / name / "certificates" for name in ("montague", "capulet")}
    for name, folder in certificates.items():
        stage.forger.issue("self-signed", f"{name}.{House.zone}", folder)

    def pins(name: str, of_key: bool) -> list[str]:
        return [f"sha256:{digest(certificates[name] / f'{name}.{House.zone}' / 'fullchain.pem', of_key)}"]

    of_capulet = {"addresses": [CAPULET], "pins": pins("capulet", False)}
    of_montague = {"addresses": [f"{MONTAGUE}:{House.s2s_tls_port}"], "pins": pins("montague", True)}
    montague = {"allow": ["friend.test"], "deny": ["foe.friend.test"], "domains": {
        "capulet.mesh": of_capulet, "conference.capulet.mesh": of_capulet,
        forger.domain: {"addresses": [f"{HERE}:{forger.port}"], "pins": pins("capulet", False)}}}
    capulet = {"deny": ["foe.test"], "domains": {
        "montague.mesh": of_montague, "old.test": {"policy": "dialback"}, "shut.test": {"policy": "refuse"}}}
    made = [House(name, {"policy": "secure", **options}, stage.folder / name, Machine(name, address, stage.folder),
                  certificates[name], stage.artefacts, DIALBACK)
            for name, address, options in (("montague", MONTAGUE, montague), ("capulet", CAPULET, capulet))]
    # Not of those who have no DNS.
    del stage.names.records[forger.domain]
    await stage.names.publish()
    try:
        await asyncio.gather(*(house.start() for house in made))
        yield made
    finally:
        for house in made:
            house.close()


async def inhabitant(stage: Pair, house: House, name: str) -> Client:
    return await stage.user(house, name, authority=house.chain, place=(house.address, PORTS[0]))


async def mesh(stage: Pair, romeo: Client, juliet: Client, montague: House, capulet: House) -> None:
    with stage.step("they talk, though nobody vouches for either server but a pin", needed=True):
        for one, other in ((romeo, juliet), (juliet, romeo)):
            one.send_message(mto=other.boundjid.bare, mbody="within the mesh", mtype="chat")
            await other.sees_message("within the mesh")
    with stage.step("the logs say that the pins are what they believed"):
        for house, other in ((montague, capulet), (capulet, montague)):
            lines = [line for line in house.log_since(0).splitlines() if "authent" in line and other.domain in line]
            expect(any("pin" in line for line in lines), f"{house.name}: {lines[:3]}")
    with stage.step("one enters a room of the other"):
        owner = await create(juliet, f"verona@{capulet.rooms}", "Juliet")
        guest = await enter(romeo, f"verona@{capulet.rooms}", "Romeo")
        await owner.sees_presence("Romeo")
        guest.say("among pins")
        await owner.sees(lambda s: s["body"] == "among pins", "message in the room")
    with stage.step("nobody asked the DNS for either"):
        lines = [line for line in stage.names.asked().splitlines() if "query" in line and f".{House.zone} " in line]
        expect(not lines, str(lines[:3]))


async def mispinned(stage: Pair, romeo: Client, house: House, forger: Rogue) -> None:
    with stage.step("a pin that does not match: nothing is sent, and the user is told why"):
        place = house.log_place()
        error = await bounced(romeo, forger)
        expect(forger.calls and not forger.stanzas, f"{forger.calls} calls, {len(forger.stanzas)} stanzas")
        expect(re.search("pin", error["error"]["text"]), text_of(error))
        # What would mend it, if the peer has changed it.
        expect(digest(forger.chain[0]) in error["error"]["text"], text_of(error))
    with stage.step("a pin that does not match: the log says why"):
        logged(house, place, forger, "pin")
    with stage.step("a pin that does not match: such a peer is not let in, and the log says why"):
        place = house.log_place()
        await unheard(romeo, house, forger)
        logged(house, place, forger, "pin")


async def heard(user: Client, rogue: Rogue, wire: Wire) -> None:
    """What it says on a stream that took it in."""
    wire.send(rogue.says(user, f"from {rogue.domain}"))
    await user.sees_message(f"from {rogue.domain}")
    wire.close()


async def spoken_to(stage: Pair, user: Client, house: House, rogue: Rogue, what: str) -> None:
    with stage.step(f"{what}: {rogue.domain} is written to, and heard"):
        await writes(user, rogue, f"to {rogue.domain}")
        await heard(user, rogue, await rogue.login(house))


async def not_spoken_to(stage: Pair, user: Client, house: House, rogue: Rogue, what: str) -> None:
    with stage.step(f"{what}: {rogue.domain} is not even called, and the user is told why"):
        calls = rogue.calls
        error = await bounced(user, rogue)
        expect(error["error"]["condition"] == "not-allowed" and error["error"]["text"], text_of(error))
        expect(rogue.calls == calls, f"{rogue.calls - calls} calls")
    with stage.step(f"{what}: s2s test says so of {rogue.domain}, too"):
        done, text = await house.control("s2s", "test", rogue.domain)
        expect(not done and error["error"]["text"] in text, text)
    with stage.step(f"{what}: {rogue.domain} is refused with policy-violation when it calls"):
        wire = await rogue.knock(house)
        expect(await wire.ends_with("policy-violation"), "no text")
        wire.close()


async def by_dialback(stage: Pair, user: Client, house: House, rogue: Rogue) -> None:
    with stage.step(f"policy dialback for one domain: {rogue.domain}, self-signed, is written to, and heard"):
        await writes(user, rogue, f"to {rogue.domain}")
        await heard(user, rogue, await rogue.vouched(house))


async def unproved(stage: Pair, user: Client, house: House, rogue: Rogue) -> None:
    with stage.step(f"policy dialback for one domain: {rogue.domain}, self-signed, is neither written to nor heard"):
        place = house.log_place()
        error = await bounced(user, rogue)
        expect(re.search("self.signed", error["error"]["text"]) and not rogue.stanzas, text_of(error))
        await unheard(user, house, rogue)
        logged(house, place, rogue, "self.signed")


async def bounced(user: Client, rogue: Rogue):
    """Writes to a user there, and returns the error that comes back."""
    user.send_message(mto=f"juliet@{rogue.domain}", mbody="Is it thou?", mtype="chat")
    return await user.sees(lambda s: s.name == "message" and s["type"] == "error"
                           and s["from"].domain == rogue.domain, f"error from {rogue.domain}", 30)


def logged(house: House, place: int, rogue: Rogue, reason: str) -> None:
    lines = [line for line in house.log_since(place).splitlines() if rogue.domain in line]
    expect(any(re.search(reason, line) for line in lines), f"but {lines[-3:]}")
