"""Rooms over the end of the server's process: a clean one, which nobody should notice, and a crash."""

import asyncio

from slixmpp import JID
from slixmpp.exceptions import IqError

from lib.client import Client, refused
from lib.processes import until
from lib.rooms import (PLUGINS, Occupant, administer, codes, configuration, create, enter, info, is_from, listed, login,
                       occupant_id, stands, write)
from lib.stage import Stage
from lib.steps import expect

from .slixmpp_archive import pages

SM = "xep_0198"
COUNT = 20


async def run(stage: Stage) -> None:
    romeo, juliet, nurse = [await login(stage, name, SM) for name in ("romeo", "juliet", "nurse")]
    room = f"keep@{stage.rooms}"
    with stage.step("a room with a configuration, affiliations, a subject and three occupants", needed=True):
        owner = await create(romeo, room, "Romeo", persistentroom="1", roomname="The Keep", roomdesc="Stands for ever",
                             publicroom="0", changesubject="0")
        await administer(romeo, room, {"affiliation": "admin", "jid": juliet.boundjid.bare})
        await administer(romeo, room, {"affiliation": "member", "jid": f"absent@{stage.domain}"})
        await administer(romeo, room, {"affiliation": "outcast", "jid": f"banned@{stage.domain}"})
        occupants = [owner, await enter(juliet, room, "Juliet"), await enter(nurse, room, "Nurse")]
        romeo["xep_0045"].set_subject(JID(room), "Walls & towers")
        await occupants[2].sees(lambda s: s["subject"], "subject")
        temporary = await create(nurse, f"tent@{stage.rooms}", "Nurse", persistentroom="0")
        before = await state(owner)
    await clean(stage, occupants, temporary)
    with stage.step("configuration, affiliations and subject are as they were"):
        client = await again(stage, romeo)
        owner = await enter(client, room, "Romeo", maxstanzas=0)
        expect(await state(owner) == before, f"{await state(owner)}, before {before}")
        expect(owner.subject == "Walls & towers", str(owner.subject))
    await crash(stage)


async def state(occupant: Occupant) -> dict:
    """What of a room must outlive everything."""
    client, room = occupant.client, occupant.room
    lists = {affiliation: await listed(client, room, affiliation=affiliation)
             for affiliation in ("owner", "admin", "member", "outcast")}
    return {"configuration": await configuration(client, room), **lists}


async def clean(stage: Stage, occupants: list[Occupant], temporary: Occupant) -> None:
    romeo, juliet, nurse = occupants
    there = [f"before the stop {number}" for number in range(COUNT)]
    are_back = False
    with stage.step("SIGTERM and a start: sessions are resumed, and nobody has to enter again"):
        for occupant in occupants:
            await occupant.fall_silent()
        nurse.client.data_received = lambda data: None    # What comes now stays unacknowledged.
        for body in there:
            juliet.say(body)
        await romeo.hears(*there)
        await juliet.hears(*there)
        await romeo.client.cut()    # One is away over the restart; the others lose their connections with it.
        juliet.say("while one is away")
        await juliet.hears("while one is away")
        await stage.server.stop()
        del nurse.client.data_received
        for occupant in (juliet, nurse):
            await occupant.client.cut()
        await stage.server.start()
        for occupant in (juliet, nurse, romeo):
            await occupant.client.resume()
        for occupant in occupants:
            await occupant.client["xep_0199"].send_ping(JID(occupant.jid), timeout=10)
        are_back = True
    if not are_back:
        return
    with stage.step("nothing of what was said is lost, and nothing comes twice"):
        juliet.say("after the start")
        await nurse.hears(*there, "while one is away", "after the start")
        await romeo.hears("while one is away", "after the start")
        await juliet.hears("after the start")
    with stage.step("messages flow both ways, and private ones"):
        for occupant in occupants:
            occupant.say(f"{occupant.nick} is here")
            for other in occupants:
                await other.hears(f"{occupant.nick} is here")
        write(romeo.client, nurse.jid, "in private", "<x xmlns='http://jabber.org/protocol/muc#user'/>")
        await nurse.sees(lambda s: s["body"] == "in private", "private message")
    with stage.step("occupants see no flicker of presence over the restart"):
        for occupant in occupants:
            await occupant.sees_nothing(lambda s: s.name == "presence" and s["type"] == "unavailable",
                                        "an occupant leave")
            await occupant.sees_nothing(lambda s: s.name == "presence" and s["type"] == "error", "an error")
    with stage.step("the room knows who is in, with their roles and ids"):
        newcomer = await enter(await login(stage, "mercutio"), romeo.room, "Mercutio", maxstanzas=5)
        stand = {nick: stands(presence) for nick, presence in newcomer.others.items()}
        expect(stand == {"Romeo": ("owner", "moderator"), "Juliet": ("admin", "moderator"),
                         "Nurse": ("none", "participant")}, str(stand))
        expect(occupant_id(newcomer.others["Nurse"]) == occupant_id(nurse.presence), str(newcomer.others["Nurse"]))
        expect("Nurse is here" in newcomer.history, str(newcomer.history))
        await newcomer.client.logout()
        for occupant in occupants:
            await occupant.sees_presence("Mercutio", "unavailable")
    with stage.step("who leaves after the restart has left"):
        await nurse.leave()
        await juliet.sees_presence("Nurse", "unavailable")
    with stage.step("a temporary room is there as long as its occupant is"):
        temporary.say("still in the tent")
        await temporary.hears("still in the tent")
        await temporary.leave()
        await refused(info(romeo.client, temporary.room), "item-not-found")


async def crash(stage: Stage) -> None:
    """SIGKILL: what the room said to all is kept, and the rest sorts itself out."""
    romeo, juliet, nurse = [await login(stage, name, SM) for name in ("escalus", "rosaline", "peter")]
    room, tent = f"ruin@{stage.rooms}", f"camp@{stage.rooms}"
    owner = await create(romeo, room, "Escalus", persistentroom="1", roomname="The Ruin", changesubject="1")
    await administer(romeo, room, {"affiliation": "member", "jid": juliet.boundjid.bare})
    await create(nurse, tent, "Peter", persistentroom="0")
    guest, ghost = await enter(juliet, room, "Rosaline"), await enter(nurse, room, "Peter")
    phone = f"{stage.add_account('benvolio')}/phone"
    loyal = await enter(await stage.login(phone, plugins=PLUGINS), room, "Benvolio")
    before = await state(owner)
    echoed: list[str] = []
    with stage.step("after SIGKILL every message that was echoed is in the archive, once, in order", needed=True):
        def remember() -> bool:
            echoed.extend(s["body"] for s in juliet.saw(lambda s: is_from(s, room) and s["type"] == "groupchat"
                                                        and s["body"]))
            return len(echoed) > 60
        for number in range(250):
            guest.say(f"doomed {number}")
            if number % 10 == 9:
                await asyncio.sleep(0.002)
        await until(remember, "echoes", pause=0.005)
        await stage.server.kill9()
        for client in (romeo, juliet, nurse, loyal.client):
            await client.cut()
        remember()
        await stage.server.start()
        loyal.client = await stage.login(phone, plugins=PLUGINS)
        romeo, juliet = [await again(stage, client) for client in (romeo, juliet)]
        kept = [body for _, body in await pages(juliet, size=100, jid=JID(room))]
        missing = [body for body in echoed if body not in kept]
        expect(not missing, f"misses {missing[:5]}, {len(missing)} of {len(echoed)}")
        expect(kept == [f"doomed {number}" for number in range(len(kept))], f"not in order, or twice: {kept[:5]}")
    with stage.step("who signs in again as the same resource is in the room still, without entering"):
        await loyal.client["xep_0199"].send_ping(JID(loyal.jid), timeout=10)
        loyal.say("I never left")
        await loyal.hears("I never left")
        kept.append("I never left")
    with stage.step("clients that sign in again enter again under their nicks"):
        owner = await enter(romeo, room, "Escalus", maxstanzas=3)
        guest = await enter(juliet, room, "Rosaline", maxstanzas=3)
        expect("201" not in codes(owner.presence), "the room is new")
        expect(stands(owner.presence) == ("owner", "moderator"), str(owner.presence))
        expect(stands(guest.presence) == ("member", "participant"), str(guest.presence))
        guest.say("risen")
        await owner.hears("risen")
        await guest.hears("risen")
    with stage.step("the room has the history of before the crash"):
        expect(owner.history == kept[-3:], f"{owner.history}, archived {kept[-3:]}")
    with stage.step("configuration and affiliations are as they were before the crash"):
        expect(await state(owner) == before, f"{await state(owner)}, before {before}")
    with stage.step("who vanished with the crash is no occupant for long"):
        if "Peter" in owner.others:
            await owner.sees_presence("Peter", "unavailable", timeout=45)
        newcomer = await enter(await again(stage, nurse), room, "Peter", maxstanzas=0)
        expect(occupant_id(newcomer.presence) == occupant_id(ghost.presence), "another id")
    with stage.step("a temporary room without occupants is gone after the crash, a persistent one is not"):
        await until_gone(romeo, tent)
        await info(romeo, room)


async def again(stage: Stage, client: Client) -> Client:
    """The account's client, with a new session."""
    return await stage.login(client.boundjid.bare, plugins=("xep_0045", "xep_0313"))


async def until_gone(client: Client, room: str) -> None:
    """Waits until there is no such room; fails if it stays."""
    for _ in range(45):
        try:
            await info(client, room)
        except IqError:
            break
        await asyncio.sleep(1)
    await refused(info(client, room), "item-not-found")
