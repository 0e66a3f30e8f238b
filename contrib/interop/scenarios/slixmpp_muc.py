"""Rooms (XEP-0045) as their occupants know them: entering, talking, history, subject, nicks, being away and gone."""

import asyncio
import datetime

from lib.client import Client, refused
from lib.processes import until
from lib.rooms import (MUC, USER, Occupant, codes, enter, info, is_from, is_subject, item, login, stands, stanza_id,
                       write)
from lib.stage import Stage
from lib.steps import expect

COUNT = 20
PING = "{urn:xmpp:ping}ping"


async def run(stage: Stage) -> None:
    romeo, juliet, nurse, mercutio = [await login(stage, name) for name in ("romeo", "juliet", "nurse", "mercutio")]
    with stage.step("the service is found by disco, and says what it is (XEP-0045 §6.1)", needed=True):
        await is_found(stage, romeo)
    room = f"garden@{stage.rooms}"
    with stage.step("a room that is being made lets nobody in yet (XEP-0045 §10.1.1)", needed=True):
        owner = await enter(romeo, room, "Romeo")
        expect({"110", "201"} <= codes(owner.presence), f"codes {codes(owner.presence)}")
        expect(stands(owner.presence) == ("owner", "moderator"), str(owner.presence))
        await refused(enter(juliet, room, "Juliet"), "item-not-found")
    with stage.step("an empty form opens it as an instant room (XEP-0045 §10.1.2)", needed=True):
        await romeo.ask("set", f"<query xmlns='{MUC}#owner'><x xmlns='jabber:x:data' type='submit'/></query>", to=room)
        occupants = [owner, await enter(juliet, room, "Juliet"), await enter(nurse, room, "Nurse")]
    await entering(stage, occupants)
    await talking(stage, occupants, mercutio)
    await history(stage, occupants, mercutio)
    await subject(stage, occupants, mercutio)
    await private(stage, occupants, mercutio)
    await questions(stage, occupants, mercutio)
    await nicks(stage, occupants, mercutio)
    await devices(stage, occupants)
    await leaving(stage, occupants)


async def is_found(stage: Stage, client: Client) -> None:
    answer = await client["xep_0030"].get_items(jid=stage.domain, timeout=10)
    found = {entry[0] for entry in answer["disco_items"]["items"]}
    expect(stage.rooms in found, str(found))
    about = await info(client, stage.rooms)
    expect(("conference", "text") in {identity[:2] for identity in about.identities}, str(about.identities))
    for feature in (MUC, "http://jabber.org/protocol/disco#items"):
        expect(feature in about.features, f"no {feature}")


async def entering(stage: Stage, occupants: list[Occupant]) -> None:
    romeo, juliet, nurse = occupants
    with stage.step("who comes later is told who is there, and then of itself (XEP-0045 §7.2.2)"):
        expect(set(nurse.others) == {"Romeo", "Juliet"}, str(list(nurse.others)))
        expect(stands(nurse.others["Romeo"]) == ("owner", "moderator"), str(nurse.others["Romeo"]))
        expect(stands(nurse.others["Juliet"]) == ("none", "participant"), str(nurse.others["Juliet"]))
        order = [(s.name, s["from"].resource) for s in nurse.arrived]
        expect([name for name, _ in order] == ["presence"] * 3 + ["message"] and order[2][1] == "Nurse", str(order))
        expect("201" not in codes(nurse.presence), "the room is new again")
    with stage.step("those who are there are told of who comes"):
        for nick in ("Juliet", "Nurse"):
            seen = await romeo.sees_presence(nick)
            expect(stands(seen) == ("none", "participant") and "110" not in codes(seen), str(seen))
        await juliet.sees_presence("Nurse")
    with stage.step("moderators see JIDs, others do not, in a semi-anonymous room (XEP-0045 §4.2)"):
        again = await enter(romeo.client, romeo.room, "Romeo")
        expect(item(again.others["Juliet"])["jid"] == juliet.client.boundjid.full, str(again.others["Juliet"]))
        expect("jid" not in item(nurse.others["Romeo"]), str(nurse.others["Romeo"]))
        expect("100" not in codes(nurse.presence), "a semi-anonymous room says code 100")
        for occupant in occupants:
            await occupant.fall_silent()
    with stage.step("a presence without a nick is jid-malformed (XEP-0045 §7.2.1)"):
        client = juliet.client
        for room in (romeo.room, f"nowhere@{stage.rooms}"):
            client.send_raw(f"<presence to='{room}' id='no-nick'><x xmlns='{MUC}'/></presence>")
            seen = await client.sees(lambda s: s.name == "presence" and s["type"] == "error", "error")
            expect(seen["error"]["condition"] == "jid-malformed" and seen["id"] == "no-nick", str(seen))


async def talking(stage: Stage, occupants: list[Occupant], stranger: Client) -> None:
    romeo, juliet, nurse = occupants
    with stage.step("a message reaches all and its sender, with its id and one of the room's (XEP-0045 §7.4)"):
        identity = juliet.say("What's in a name?", "<thread xmlns='jabber:client'>rose</thread>",
                              "<mark xmlns='urn:example:mark'>kept</mark>")
        for occupant in occupants:
            [seen] = await occupant.hears("What's in a name?")
            expect((seen["from"], seen["id"]) == (juliet.jid, identity), str(seen))
            expect(seen["thread"] == "rose" and "kept" in str(seen), str(seen))
            expect(stanza_id(seen), f"no stanza id: {seen}")
    with stage.step("what several say at once comes to all in one order, nothing lost"):
        for number in range(COUNT):
            for occupant in occupants:
                occupant.say(f"{occupant.nick} {number}")
        wanted = [await heard(occupant, COUNT * len(occupants)) for occupant in occupants]
        expect(wanted[0] == wanted[1] == wanted[2], "the orders differ")
        for occupant in occupants:
            own = [body for body in wanted[0] if body.startswith(occupant.nick)]
            expect(own == [f"{occupant.nick} {number}" for number in range(COUNT)], f"{own}")
    with stage.step("a message without a body is passed on, and not kept for the history"):
        juliet.say("", "<composing xmlns='http://jabber.org/protocol/chatstates'/>")
        seen = await nurse.sees(lambda s: s.xml.find("{http://jabber.org/protocol/chatstates}composing") is not None,
                                "composing")
        expect(seen["from"] == juliet.jid, str(seen))
    with stage.step("who is not in the room cannot speak in it (XEP-0045 §7.4)"):
        write(stranger, romeo.room, "from the street", kind="groupchat")
        seen = await stranger.sees(lambda s: s["type"] == "error", "error")
        expect(seen["error"]["condition"] == "not-acceptable", str(seen))
        await romeo.hears()
    with stage.step("availability is passed on to the others (XEP-0045 §7.7)"):
        for occupant in occupants:
            await occupant.fall_silent()
        juliet.client.send_presence(pto=juliet.jid, pshow="away", pstatus="on the balcony")
        for occupant in (romeo, nurse):
            seen = await occupant.sees_presence("Juliet")
            expect((seen["show"], seen["status"]) == ("away", "on the balcony"), str(seen))
        await juliet.sees(lambda s: s.name == "presence" and "110" in codes(s), "own presence")


async def heard(occupant: Occupant, count: int) -> list[str]:
    """The bodies of the next so many messages in the room."""
    bodies: list[str] = []
    is_said = lambda s: s.name == "message" and s["type"] == "groupchat" and s["body"] and is_from(s, occupant.room)
    await until(lambda: bodies.extend(s["body"] for s in occupant.client.saw(is_said)) or len(bodies) >= count,
                f"{count} messages", pause=0.05)
    return bodies


async def history(stage: Stage, occupants: list[Occupant], client: Client) -> None:
    """What a newcomer hears of what was said (XEP-0045 §7.2.13)."""
    romeo, room = occupants[0], occupants[0].room
    with stage.step("a newcomer hears what was said last, with the time and who said it"):
        for number in range(5):
            romeo.say(f"history {number}")
        for occupant in occupants:
            await occupant.hears(*[f"history {number}" for number in range(5)])
        visitor = await enter(client, room, "Mercutio")
        expect(visitor.history[-5:] == [f"history {number}" for number in range(5)], str(visitor.history[-6:]))
        expect(len(visitor.history) > 5, "only five")
        past = [s for s in visitor.arrived if s.name == "message" and s["body"]]
        expect(all(s["delay"]["stamp"] for s in past), f"no stamp: {past[0]}")
        expect(past[-1]["from"] == romeo.jid and stanza_id(past[-1]), str(past[-1]))
        kinds = [s.name if not is_subject(s) else "subject" for s in visitor.arrived]
        expect(kinds == sorted(kinds, key=["presence", "message", "subject"].index), str(kinds))
        await visitor.leave()
    with stage.step("history is as much as the newcomer asks for: maxstanzas, maxchars, seconds, since"):
        await asyncio.sleep(1.1)
        moment = datetime.datetime.now(datetime.timezone.utc)
        await asyncio.sleep(1.1)
        romeo.say("history 5")
        for occupant in occupants:
            await occupant.hears("history 5")
        for options, wanted in (({"maxstanzas": 3}, 3), ({"maxstanzas": 0}, 0), ({"maxchars": 0}, 0),
                                ({"since": moment}, 1), ({"seconds": 1}, 1), ({"seconds": 3600, }, None)):
            visitor = await enter(client, room, "Mercutio", **options)
            said = visitor.history
            expect(said == [f"history {number}" for number in range(6 - wanted, 6)] if wanted is not None
                   else len(said) > 6, f"{options}: {said}")
            await visitor.leave()


async def subject(stage: Stage, occupants: list[Occupant], client: Client) -> None:
    romeo, juliet, nurse = occupants
    for occupant in occupants:
        await occupant.fall_silent()
    with stage.step("a moderator changes the subject and all are told by whom (XEP-0045 §8.1)"):
        romeo.client["xep_0045"].set_subject(romeo.room, "Roses & thorns")
        for occupant in occupants:
            seen = await occupant.sees(is_subject, "subject")
            expect((seen["subject"], seen["from"]) == ("Roses & thorns", romeo.jid), str(seen))
    with stage.step("a participant may not, unless the room lets it (XEP-0045 §8.1)"):
        juliet.client["xep_0045"].set_subject(juliet.room, "Thorns")
        await juliet.sees_error(lambda s: s.name == "message", "forbidden")
        await nurse.sees_nothing(is_subject, "a forbidden subject")
    with stage.step("a newcomer is told the subject last (XEP-0045 §7.2.15)"):
        visitor = await enter(client, romeo.room, "Mercutio", maxstanzas=2)
        expect(visitor.subject == "Roses & thorns" and is_subject(visitor.arrived[-1]), str(visitor.arrived[-1]))
        expect(visitor.arrived[-1]["from"].bare == romeo.room, str(visitor.arrived[-1]))
        await visitor.leave()
    with stage.step("a message with subject and body is a message"):
        juliet.say("with a title", "<subject xmlns='jabber:client'>Title</subject>")
        for occupant in occupants:
            [seen] = await occupant.hears("with a title")
            expect(seen["subject"] == "Title", str(seen))
        visitor = await enter(client, romeo.room, "Mercutio", maxstanzas=0)
        expect(visitor.subject == "Roses & thorns", f"the subject is now {visitor.subject}")
        await visitor.leave()
    with stage.step("the subject can be taken away"):
        romeo.client.send_raw(f"<message to='{romeo.room}' type='groupchat'><subject/></message>")
        for occupant in occupants:
            seen = await occupant.sees(is_subject, "subject")
            expect(not seen["subject"], str(seen))


async def private(stage: Stage, occupants: list[Occupant], stranger: Client) -> None:
    romeo, juliet, nurse = occupants
    with stage.step("a private message reaches one occupant and nobody else (XEP-0045 §7.5)"):
        identity = write(romeo.client, juliet.jid, "Call me but love", f"<x xmlns='{USER}'/>")
        seen = await juliet.sees(lambda s: s.name == "message" and s["body"], "private message")
        expect((seen["from"], seen["type"], seen["id"]) == (romeo.jid, "chat", identity), str(seen))
        expect(seen["body"] == "Call me but love" and seen.xml.find(f"{{{USER}}}x") is not None, str(seen))
        await nurse.sees_nothing(lambda s: s["body"] == "Call me but love", "a private message of others")
    with stage.step("refused: a private message to nobody, of a stranger, of type groupchat"):
        write(romeo.client, f"{romeo.room}/Nobody", "Are you there?")
        await romeo.sees_error(lambda s: s["from"].resource == "Nobody", "item-not-found", "recipient-unavailable")
        write(stranger, juliet.jid, "Psst")
        seen = await stranger.sees(lambda s: s["type"] == "error", "error")
        expect(seen["error"]["condition"] == "not-acceptable", str(seen))
        write(romeo.client, juliet.jid, "Loudly", kind="groupchat")
        await romeo.sees_error(lambda s: s.name == "message", "bad-request")
        await juliet.sees_nothing(lambda s: s["body"] in ("Psst", "Loudly"), "a private message that is none")


async def questions(stage: Stage, occupants: list[Occupant], stranger: Client) -> None:
    """IQs through the room, and to oneself (XEP-0410)."""
    romeo, juliet, nurse = occupants
    with stage.step("an IQ reaches an occupant's client and its answer the asker (XEP-0045 §17.4)"):
        juliet.client["xep_0092"].software_name = "Balcony"
        answer = await romeo.client["xep_0092"].get_version(juliet.jid, timeout=10)
        expect(answer["software_version"]["name"] == "Balcony" and answer["from"] == juliet.jid, str(answer))
        await romeo.client["xep_0199"].send_ping(juliet.jid, timeout=10)
    with stage.step("an IQ error comes back the same way"):
        await refused(romeo.client.ask("get", "<query xmlns='urn:example:unheard-of'/>", to=juliet.jid),
                      "feature-not-implemented", "service-unavailable")
    with stage.step("an occupant's vCard is that of its account"):
        await juliet.client.ask("set", "<vCard xmlns='vcard-temp'><FN>Juliet Capulet</FN></vCard>")
        answer = await romeo.client.ask("get", "<vCard xmlns='vcard-temp'/>", to=juliet.jid)
        expect("Juliet Capulet" in str(answer) and answer["from"] == juliet.jid, str(answer))
    with stage.step("refused: an IQ to nobody, and a stranger's"):
        await refused(romeo.client["xep_0199"].send_ping(f"{romeo.room}/Nobody", timeout=10), "item-not-found")
        await refused(stranger["xep_0199"].send_ping(juliet.jid, timeout=10), "not-acceptable")
    with stage.step("a ping to oneself tells whether one is in (XEP-0410 §3.2)"):
        await romeo.client["xep_0199"].send_ping(romeo.jid, timeout=10)
        await refused(stranger["xep_0199"].send_ping(f"{romeo.room}/Mercutio", timeout=10), "not-acceptable")
    with stage.step("the room answers it in the client's place, and says so (XEP-0410 §3.3)"):
        about = await info(romeo.client, romeo.room)
        expect(f"{MUC}#self-ping-optimization" in about.features, "no feature")
        romeo.client.saw(lambda s: s.name == "iq")
        await romeo.client["xep_0199"].send_ping(romeo.jid, timeout=10)
        expect(not romeo.client.saw(lambda s: s.name == "iq" and s.xml.find(PING) is not None), "it was sent on")


async def nicks(stage: Stage, occupants: list[Occupant], stranger: Client) -> None:
    romeo, juliet, nurse = occupants
    with stage.step("a new nick is told as one who goes and one who comes (XEP-0045 §7.6)"):
        for occupant in occupants:
            await occupant.fall_silent()
        nurse.client.send_presence(pto=f"{nurse.room}/Angelica")
        for occupant in (romeo, juliet):
            gone = await occupant.sees_presence("Nurse", "unavailable")
            expect("303" in codes(gone) and item(gone)["nick"] == "Angelica", str(gone))
            came = await occupant.sees_presence("Angelica")
            expect(stands(came) == ("none", "participant"), str(came))
        own = await nurse.sees_presence("Angelica")
        expect("110" in codes(own), str(own))
        nurse.nick = "Angelica"
    with stage.step("two are not called the same: conflict, when entering and when changing (XEP-0045 §7.2.8)"):
        await refused(enter(stranger, romeo.room, "Juliet"), "conflict")
        nurse.client.send_presence(pto=romeo.jid)
        await nurse.sees_error(lambda s: s.name == "presence", "conflict")
        nurse.say("still Angelica")
        for occupant in occupants:
            [seen] = await occupant.hears("still Angelica")
            expect(seen["from"] == nurse.jid, str(seen))
    with stage.step("nor the same but for case and width (RFC 8266 §2.4)"):
        for nick in ("juliet", "\uff2auliet", "Juliet "):
            await refused(enter(stranger, romeo.room, nick), "conflict")
    with stage.step("a nick that is taken is free again when its owner is gone"):
        await nurse.leave()
        visitor = await enter(stranger, romeo.room, "Angelica")
        await refused(enter(nurse.client, romeo.room, "Angelica"), "conflict")
        await visitor.leave()
        occupants[2] = await enter(nurse.client, romeo.room, "Nurse")


async def devices(stage: Stage, occupants: list[Occupant]) -> None:
    """Two clients of one account under one nick, which the room lets be (XEP-0045 §3, multi-session nicks)."""
    romeo, juliet, nurse = occupants
    with stage.step("a second device of an account comes in under the same nick, unnoticed by others", needed=False):
        for occupant in occupants:
            await occupant.fall_silent()
        client = await stage.login(juliet.client.boundjid.bare, plugins=("xep_0045", "xep_0410"))
        tablet = await enter(client, juliet.room, "Juliet")
        expect(set(tablet.others) >= {"Romeo", "Nurse"}, str(list(tablet.others)))
        await romeo.sees_nothing(lambda s: s.name == "presence" and s["type"] == "unavailable", "that Juliet left")
    with stage.step("both devices hear and speak under the nick, and the own device has its words too"):
        tablet.say("from the tablet")
        for occupant in (*occupants, tablet):
            [seen] = await occupant.hears("from the tablet")
            expect(seen["from"] == juliet.jid, str(seen))
    with stage.step("a private message reaches both devices"):
        write(romeo.client, juliet.jid, "to both of you", f"<x xmlns='{USER}'/>")
        for occupant in (juliet, tablet):
            await occupant.sees(lambda s: s["body"] == "to both of you", "private message")
    with stage.step("when one device leaves the occupant stays for the others"):
        await tablet.leave()
        await romeo.sees_nothing(lambda s: s.name == "presence" and s["type"] == "unavailable", "that Juliet left")
        juliet.say("still here")
        for occupant in occupants:
            await occupant.hears("still here")
        expect(not client.saw(lambda s: s["body"] == "still here"), "the device that left hears")


async def leaving(stage: Stage, occupants: list[Occupant]) -> None:
    romeo, juliet, nurse = occupants
    with stage.step("who leaves is told and the others are, with the words of parting (XEP-0045 §7.14)"):
        seen = await juliet.leave("Parting is such sweet sorrow")
        expect(stands(seen)[1] == "none", str(seen))
        seen = await romeo.sees_presence("Juliet", "unavailable")
        expect(seen["status"] == "Parting is such sweet sorrow" and stands(seen)[1] == "none", str(seen))
        romeo.say("to those who are left")
        await nurse.hears("to those who are left")
        expect(not juliet.client.saw(lambda s: s["body"] == "to those who are left"), "who left hears")
    with stage.step("who goes offline leaves"):
        again = await enter(juliet.client, romeo.room, "Juliet")
        await romeo.sees_presence("Juliet")
        await again.client.logout()
        await romeo.sees_presence("Juliet", "unavailable")
    with stage.step("whose connection is cut leaves"):
        client = await stage.login(juliet.client.boundjid.bare, plugins=("xep_0045", "xep_0410"))
        await enter(client, romeo.room, "Juliet")
        await romeo.sees_presence("Juliet")
        await client.cut()
        await romeo.sees_presence("Juliet", "unavailable")
        await nurse.sees_presence("Juliet", "unavailable")
    with stage.step("an instant room is gone when the last one left, and made anew by the next (XEP-0045 §10.1)"):
        for occupant in (romeo, nurse):
            await occupant.leave()
        await refused(info(romeo.client, romeo.room), "item-not-found")
        anew = await enter(nurse.client, romeo.room, "Nurse")
        expect("201" in codes(anew.presence) and not anew.history, f"{codes(anew.presence)}, {anew.history[:2]}")
