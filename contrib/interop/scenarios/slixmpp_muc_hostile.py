"""What no decent occupant sends to a room: it is refused, or does no harm, and the room goes on."""

import asyncio
import time

from slixmpp.exceptions import IqError

from lib.client import Client, refused
from lib.raw import RawStream
from lib.rooms import ADMIN, MUC, Occupant, create, enter, info, is_from, listed, login, stands, write
from lib.stage import Stage
from lib.steps import expect

# As nicks; a JID with some of them is none, so that the stream or the room refuses it.
NICKS = {"nothing but a space": " ", "an invisible one": "\u200b", "one of 1,024 bytes": "n" * 1024,
         "one that turns directions around": "\u202eteiluJ"}
HISTORIES = ("maxstanzas='-1'", "maxstanzas='many'", "maxstanzas='99999999999999999999'", "maxchars='-5'",
             "seconds='-1'", "seconds='1e400'", "since='yesterday'", "since='9999-99-99T99:99:99Z'",
             "since='0001-01-01T00:00:00Z' maxstanzas='2000000000' maxchars='2000000000'")
FLOOD, LENGTH = 250, 12_000


async def run(stage: Stage) -> None:
    romeo, juliet = [await login(stage, name) for name in ("romeo", "juliet")]
    room = f"feast@{stage.rooms}"
    owner = await create(romeo, room, "Romeo", persistentroom="1")
    guest = await enter(juliet, room, "Juliet")
    tybalt = await login(stage, "tybalt")
    await nicks(stage, tybalt, room)
    await histories(stage, tybalt, room)
    await lists(stage, owner, juliet)
    await stanzas(stage, owner, guest, tybalt)
    await deaf(stage, owner, guest)
    with stage.step("the room goes on", needed=True):
        for occupant in (owner, guest):
            await occupant.fall_silent()
        owner.say("and so we dance")
        for occupant in (owner, guest):
            await occupant.hears("and so we dance")


async def nicks(stage: Stage, tybalt: Client, room: str) -> None:
    for title, nick in NICKS.items():
        with stage.step(f"a nick that is none: {title}"):
            tybalt.send_raw(f"<presence to='{room}/{nick}' id='strange'><x xmlns='{MUC}'/></presence>")
            seen = await tybalt.sees(lambda s: s.name == "presence" and s["id"] == "strange", "answer")
            expect(seen["type"] == "error", str(seen))
            expect(seen["error"]["condition"] in ("jid-malformed", "not-allowed", "not-acceptable"), str(seen))


async def histories(stage: Stage, tybalt: Client, room: str) -> None:
    for history in HISTORIES:
        with stage.step(f"nonsense about the history: {history}"):
            tybalt.send_raw(f"<presence to='{room}/Tybalt' id='strange'><x xmlns='{MUC}'><history {history}/></x>"
                            "</presence>")
            seen = await tybalt.sees(lambda s: s.name == "presence" and s["from"] == f"{room}/Tybalt", "answer")
            if seen["type"] == "error":
                expect(seen["error"]["condition"] == "bad-request", str(seen))
            else:
                tybalt.send_presence(pto=f"{room}/Tybalt", ptype="unavailable")
                await tybalt.sees(lambda s: s["type"] == "unavailable", "leave")


async def lists(stage: Stage, owner: Occupant, juliet: Client) -> None:
    romeo, room = owner.client, owner.room

    async def change(items: str) -> None:
        await romeo.ask("set", f"<query xmlns='{ADMIN}'>{items}</query>", to=room)

    with stage.step("5,000 members in one request: all of them or none, and soon"):
        items = "".join(f"<item affiliation='member' jid='m{number}@a.b'/>" for number in range(5000))
        began = time.monotonic()
        try:
            await change(items)
            count = 5000
        except IqError:
            count = 0
        expect(time.monotonic() - began < 5, f"it took {time.monotonic() - began:.1f} s")
        found = len(await listed(romeo, room, affiliation="member"))
        expect(found == count, f"{found} members after {'a result' if count else 'an error'}")
    with stage.step("one that may not be among several: none is changed"):
        await refused(change("<item affiliation='outcast' jid='paris@elsewhere.test'/>"
                             f"<item affiliation='none' jid='{romeo.boundjid.bare}'/>"))
        expect("paris@elsewhere.test" not in await listed(romeo, room, affiliation="outcast"), "one is banned")
    with stage.step("contradictions and nothing at all: an error each"):
        for items in ("", "<item/>", "<item affiliation='member'/>", "<item role='visitor'/>",
                      "<item nick='Juliet' role='none' affiliation='outcast'/>",
                      "<item jid='' affiliation='member'/>", "<item jid='a b@c' affiliation='member'/>"):
            await refused(change(items))
        await refused(romeo.ask("get", f"<query xmlns='{ADMIN}'/>", to=room))
        await refused(romeo.ask("get", f"<query xmlns='{ADMIN}'><item affiliation='king'/></query>", to=room))
    with stage.step("a domain is banned as a whole, or refused; nobody is shut out by an error"):
        try:
            await change("<item affiliation='outcast' jid='elsewhere.test'/>")
        except IqError:
            pass
        again = await enter(juliet, room, "Juliet", maxstanzas=0)
        expect(stands(again.presence)[1] == "participant", str(again.presence))


async def stanzas(stage: Stage, owner: Occupant, guest: Occupant, tybalt: Client) -> None:
    room = owner.room
    with stage.step("answers nobody asked for, errors and odd types: no answer, and no harm"):
        for text in (f"<iq type='result' id='r' to='{room}'/>", f"<iq type='error' id='e' to='{room}/Romeo'/>",
                     f"<message type='error' to='{room}'><body>x</body><error type='cancel'/></message>",
                     f"<message type='error' to='{room}/Romeo'><error type='cancel'/></message>",
                     f"<presence type='error' to='{room}/Tybalt'><error type='cancel'/></presence>",
                     f"<presence type='subscribe' to='{room}'/>", f"<presence type='probe' to='{room}/Romeo'/>",
                     f"<presence type='unavailable' to='{room}/Romeo'/>",
                     f"<presence type='unavailable' to='{room}'/>"):
            for client in (tybalt, guest.client):
                if "unavailable" not in text or client is tybalt:
                    client.send_raw(text)
        await info(tybalt, room)
        expect(stands((await enter(tybalt, room, "Tybalt", maxstanzas=0)).presence)[1] == "participant", "not in")
        tybalt.send_presence(pto=f"{room}/Tybalt", ptype="unavailable")
        await owner.sees_nothing(lambda s: s["body"] == "x", "an error for a message")
        if await is_out(guest):
            await enter(guest.client, room, "Juliet", maxstanzas=0)
    with stage.step("headlines and normal messages to the room reach nobody as its words"):
        for kind in ("headline", "normal", "chat"):
            write(guest.client, room, f"a {kind} one", kind=kind)
        await owner.sees_nothing(lambda s: s["body"].endswith(" one") and s["type"] == "groupchat", "them")
    with stage.step("a message in the name of the room or of another occupant is not"):
        tybalt.send_raw(f"<message from='{room}/Romeo' to='{guest.client.boundjid.full}' type='groupchat'>"
                        "<body>I am Romeo</body></message>")
        await asyncio.sleep(0.2)
        expect(not guest.client.saw(lambda s: is_from(s, room) and s["body"] == "I am Romeo"), "it came through")
    tybalt = await login(stage, "tybalt")
    with stage.step("a nick changed 40 times at once: all agree on one"):
        flighty = await enter(tybalt, room, "Nick0", maxstanzas=0)
        for number in range(1, 41):
            tybalt.send_presence(pto=f"{room}/Nick{number}")
        for occupant in (flighty, owner, guest):
            await occupant.settle()
        again = await enter(guest.client, room, "Juliet", maxstanzas=0)
        seen = [nick for nick in again.others if nick.startswith("Nick")]
        flighty.nick = seen[0]
        expect(len(seen) == 1, str(seen))
        await flighty.leave()
    with stage.step("entering and leaving 25 times at once leaves nothing behind"):
        for number in range(25):
            tybalt.send_raw(f"<presence to='{room}/Gone{number}'><x xmlns='{MUC}'><history maxstanzas='0'/></x>"
                            f"</presence><presence to='{room}/Gone{number}' type='unavailable'/>")
        for occupant in (flighty, guest):
            await occupant.settle()
        again = await enter(guest.client, room, "Juliet", maxstanzas=0)
        expect(set(again.others) == {"Romeo"}, str(list(again.others)))


async def is_out(occupant: Occupant) -> bool:
    try:
        await occupant.client["xep_0199"].send_ping(occupant.jid, timeout=10)
    except IqError:
        return True
    return False


async def deaf(stage: Stage, owner: Occupant, guest: Occupant) -> None:
    """An occupant that never reads."""
    user = stage.add_account("deaf").split("@")[0]
    stream = RawStream(stage.domain, stage.authority, direct=True)
    stream.open()
    stream.login(user, stage.password)
    stream.send(f"<presence/><presence to='{owner.room}/Deaf'><x xmlns='{MUC}'/></presence>")
    with stage.step(f"an occupant that never reads: {FLOOD:,} long messages reach the others, in order, soon"):
        await owner.sees_presence("Deaf")
        for occupant in (owner, guest):
            await occupant.fall_silent()
        began = time.monotonic()
        bodies = [f"{number} {'x' * LENGTH}" for number in range(FLOOD)]
        for number, body in enumerate(bodies):
            owner.say(body)
            if number % 100 == 99:
                await asyncio.sleep(0.01)
        await guest.hears(*bodies, timeout=30)
        expect(time.monotonic() - began < 30, f"it took {time.monotonic() - began:.1f} s")
    stream.__exit__()
    with stage.step("it has left when its connection is gone"):
        await owner.sees_presence("Deaf", "unavailable", timeout=20)
