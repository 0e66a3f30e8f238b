"""What a room keeps and stamps: the archive (XEP-0313), occupant ids (XEP-0421), stanza ids (XEP-0359), messages
retracted by their authors and by moderators (XEP-0424, XEP-0425), the avatar (XEP-0054, XEP-0486)."""

import base64
import hashlib

from slixmpp import JID
from slixmpp.xmlstream import ET

from lib.client import Client, refused
from lib.rooms import USER, Occupant, administer, codes, create, enter, info, login, occupant_id, stanza_id, write
from lib.stage import Stage
from lib.steps import expect

from .slixmpp_archive import MAM, page, pages, same
from .slixmpp_pubsub import PNG

MODERATE, RETRACT = "urn:xmpp:message-moderate:1", "urn:xmpp:message-retract:1"
COUNT = 45


async def run(stage: Stage) -> None:
    plugins = ("xep_0054", "xep_0424", "xep_0425")
    romeo, juliet, nurse, mercutio = [await login(stage, name, *plugins)
                                      for name in ("romeo", "juliet", "nurse", "mercutio")]
    room = f"annals@{stage.rooms}"
    owner = await create(romeo, room, "Romeo", persistentroom="1", roomname="Annals")
    occupants = [owner, await enter(juliet, room, "Juliet"), await enter(nurse, room, "Nurse")]
    owner.forget()
    with stage.step("the room says that it has an archive, stable ids, ids of occupants, a vCard"):
        about = await info(juliet, room)
        for feature in (MAM, "urn:xmpp:sid:0", "urn:xmpp:occupant-id:0", "vcard-temp"):
            expect(feature in about.features, f"no {feature}")
    await archive(stage, occupants, mercutio)
    await identities(stage, occupants, mercutio)
    await forged(stage, occupants)
    await moderation(stage, occupants)
    await retraction(stage, occupants)
    await avatar(stage, occupants, mercutio)
    await kept(stage, occupants)


async def archive(stage: Stage, occupants: list[Occupant], stranger: Client) -> None:
    romeo, juliet, nurse = occupants
    room = romeo.room
    bodies, ids = [], []
    with stage.step("what is said in the room is in its archive, once, in order, under the ids the room gave",
                    needed=True):
        for number in range(COUNT):
            bodies.append(f"{number}: <thrice> & 月")
            occupants[number % 3].say(bodies[-1])
            ids.append(stanza_id((await romeo.hears(bodies[-1]))[0]))
        found = await pages(romeo.client, size=20, jid=JID(room))
        same([body for _, body in found], bodies)
        expect([identity for identity, _ in found] == ids, "the ids are not those of the live messages")
    with stage.step("it is paged backwards, by <before/> and <after/>, and counted (XEP-0059)"):
        expect(await pages(juliet.client, size=10, jid=JID(room), reverse=True) == found[::-1], "not the reverse")
        last = await page(juliet.client, rsm="<max>10</max><before/>", to=room)
        same(last.bodies, bodies[-10:])
        after = await page(juliet.client, rsm=f"<max>100</max><after>{ids[-4]}</after>", to=room)
        same(after.bodies, bodies[-3:])
        expect(after.is_complete and not last.is_complete, "complete is wrong")
        count = await page(juliet.client, rsm="<max>0</max>", to=room)
        expect(count.rsm("count") in (None, str(COUNT)), f"count {count.rsm('count')}")
    with stage.step("results come from the room; each has the occupant's JID and no addressee (XEP-0313 §6.1.2)"):
        for message, number in zip(last.messages, range(COUNT - 10, COUNT)):
            inner = message["mam_result"]["forwarded"]["stanza"]
            expect(message["from"] == room, str(message))
            expect(inner["from"] == occupants[number % 3].jid and "to" not in inner.xml.attrib, str(inner))
            expect(inner["type"] == "groupchat", str(inner))
    with stage.step("archived messages have the occupant's id (XEP-0421 §4)"):
        expect(all(occupant_id(message["mam_result"]["forwarded"]["stanza"]) for message in last.messages),
               str(last.messages[0]))
    with stage.step("the archive shows JIDs to those who may see them, and to no others (XEP-0313 §6.1.2)"):
        expect(not [message for message in last.messages if "juliet" in _inner(message) or "nurse" in _inner(message)],
               "a participant sees JIDs in a semi-anonymous room")
    with stage.step("a moderator sees them"):
        last = await page(romeo.client, rsm="<max>3</max><before/>", to=room)
        jids = [element.get("jid", "").split("/")[0] for message in last.messages
                for element in message.xml.iter(f"{{{USER}}}item")]
        expect(jids == [occupant.client.boundjid.bare for occupant in occupants], str(jids))
    with stage.step("private messages, chat states and what <no-store/> asks for are not kept"):
        write(romeo.client, juliet.jid, "in private", f"<x xmlns='{USER}'/>")
        await juliet.sees(lambda s: s["body"] == "in private", "private message")
        juliet.say("", "<composing xmlns='http://jabber.org/protocol/chatstates'/>")
        juliet.say("off the record", "<no-store xmlns='urn:xmpp:hints'/>")
        await romeo.hears("off the record")
        last = await page(romeo.client, rsm="<max>2</max><before/>", to=room)
        same(last.bodies, bodies[-2:])
    with stage.step("a reaction without a body is kept when it asks for it (XEP-0334)"):
        reaction = f"<reactions xmlns='urn:xmpp:reactions:0' id='{ids[-1]}'><reaction>👋</reaction></reactions>"
        juliet.say("", reaction, "<store xmlns='urn:xmpp:hints'/>")
        await romeo.sees(lambda s: "urn:xmpp:reactions:0" in str(s), "reaction")
        last = await page(romeo.client, rsm="<max>1</max><before/>", to=room)
        expect("reactions" in str(last.messages[0]), str(last.messages[0]))
    with stage.step("start and end, and the form with the fields there are"):
        form = await juliet.client["xep_0313"].get_fields(jid=JID(room), timeout=10)
        expect({"start", "end"} <= set(form.get_fields()), str(form.get_fields().keys()))
    with stage.step("who may enter may read, who is banned or no member may not (XEP-0313 §6.1.2)"):
        read = await page(stranger, rsm="<max>5</max>", to=room)
        same(read.bodies, bodies[:5])
        await administer(romeo.client, room, {"affiliation": "outcast", "jid": stranger.boundjid.bare})
        await refused(page(stranger, rsm="<max>5</max>", to=room), "forbidden")
        await administer(romeo.client, room, {"affiliation": "none", "jid": stranger.boundjid.bare})
        private = f"closed@{stage.rooms}"
        await create(romeo.client, private, "Romeo", membersonly="1")
        await refused(page(stranger, rsm="<max>5</max>", to=private), "forbidden", "registration-required")
    for occupant in occupants:
        await occupant.fall_silent()


def _inner(message) -> str:
    return ET.tostring(message["mam_result"]["forwarded"]["stanza"].xml, encoding="unicode")


async def identities(stage: Stage, occupants: list[Occupant], stranger: Client) -> None:
    romeo, juliet, nurse = occupants
    with stage.step("every occupant has an id, and its messages the same (XEP-0421)"):
        known = {occupant.nick: occupant_id(occupant.presence) for occupant in (juliet, nurse)}
        known["Romeo"] = occupant_id(juliet.others["Romeo"])
        expect(all(known.values()) and len(set(known.values())) == 3, str(known))
        expect(not any("@" in value for value in known.values()), str(known))
        for occupant in occupants:
            occupant.say(f"{occupant.nick} speaks")
            [seen] = await romeo.hears(f"{occupant.nick} speaks")
            expect(occupant_id(seen) == known[occupant.nick], str(seen))
    with stage.step("it stays with a new nick, and after leaving and entering again"):
        nurse.client.send_presence(pto=f"{nurse.room}/Angelica")
        seen = await juliet.sees_presence("Angelica")
        expect(occupant_id(seen) == known["Nurse"], str(seen))
        nurse.nick = "Angelica"
        await nurse.leave()
        gone = await juliet.sees_presence("Angelica", "unavailable")
        expect(occupant_id(gone) in (None, known["Nurse"]), str(gone))
        occupants[2] = nurse = await enter(nurse.client, romeo.room, "Nurse")
        expect(occupant_id(nurse.presence) == known["Nurse"], str(nurse.presence))
    with stage.step("somebody else under the same nick is recognised by another id"):
        await nurse.leave()
        impostor = await enter(stranger, romeo.room, "Nurse")
        expect(occupant_id(impostor.presence) not in (None, *known.values()), str(impostor.presence))
        impostor.say("I am the nurse")
        [seen] = await impostor.hears("I am the nurse")
        expect(occupant_id(seen) == occupant_id(impostor.presence), str(seen))
        await impostor.leave()
        occupants[2] = await enter(nurse.client, romeo.room, "Nurse")
    with stage.step("in another room the same user has another id (XEP-0421 §4.1)"):
        elsewhere = await enter(nurse.client, f"elsewhere@{stage.rooms}", "Nurse")
        expect(occupant_id(elsewhere.presence) not in (None, known["Nurse"]), str(elsewhere.presence))
        await elsewhere.leave()
    for occupant in occupants:
        await occupant.fall_silent()


async def forged(stage: Stage, occupants: list[Occupant]) -> None:
    romeo, juliet, _ = occupants
    with stage.step("forged ids of occupants and of stanzas do not come through (XEP-0359 §3, XEP-0421 §4)"):
        juliet.say("truly", f"<stanza-id xmlns='urn:xmpp:sid:0' id='forged' by='{juliet.room}'/>",
                   "<occupant-id xmlns='urn:xmpp:occupant-id:0' id='forged'/>",
                   f"<x xmlns='{USER}'><item affiliation='owner' role='moderator'/></x>",
                   "<delay xmlns='urn:xmpp:delay' from='elsewhere.test' stamp='2002-10-13T23:58:37Z'/>")
        [seen] = await romeo.hears("truly")
        expect("forged" not in str(seen), str(seen))
        expect(occupant_id(seen) == occupant_id(juliet.presence), str(seen))
        last = await page(romeo.client, rsm="<max>1</max><before/>", to=romeo.room)
        expect(last.ids == [stanza_id(seen)] and "forged" not in str(last.messages[0]), str(last.messages[0]))
    with stage.step("a forged id in a presence does not come through either"):
        juliet.client.send_raw(f"<presence to='{juliet.jid}'><show>dnd</show>"
                               "<occupant-id xmlns='urn:xmpp:occupant-id:0' id='forged'/></presence>")
        seen = await romeo.sees(lambda s: s.name == "presence" and s["show"] == "dnd", "presence")
        expect(occupant_id(seen) == occupant_id(juliet.presence), str(seen))
    for occupant in occupants:
        await occupant.fall_silent()


async def said(speaker: Occupant, body: str, listener: Occupant) -> tuple[str, str]:
    """Says something; returns the id of the room's for it, and the speaker's own."""
    identity = speaker.say(body)
    seen = await listener.sees(lambda s: s["body"] == body, f"message “{body}”")
    return stanza_id(seen), identity


async def archived(client: Client, room: str, identity: str) -> ET.Element:
    """The message with this id as it is in the archive now."""
    everything = await page(client, {"ids": identity}, to=room)
    expect(everything.ids == [identity], f"{everything.ids}")
    return everything.messages[0]["mam_result"]["forwarded"]["stanza"].xml


async def moderation(stage: Stage, occupants: list[Occupant]) -> None:
    """XEP-0425 0.3."""
    romeo, juliet, nurse = occupants
    with stage.step("the room says that moderators may retract messages (XEP-0425 §2)"):
        expect(MODERATE in (await info(romeo.client, romeo.room)).features, f"no {MODERATE}")
    with stage.step("a moderator retracts a message: all learn of it, by whom and why (XEP-0425 §3)"):
        identity, _ = await said(juliet, "DM me for free magic potions!", romeo)
        await romeo.client["xep_0425"].moderate(JID(romeo.room), identity, "No potions here", timeout=10)
        for occupant in occupants:
            seen = await occupant.sees(lambda s: s.xml.find(f"{{{RETRACT}}}retract") is not None, "retraction")
            retract = seen.xml.find(f"{{{RETRACT}}}retract")
            moderated = retract.find(f"{{{MODERATE}}}moderated")
            expect((seen["type"], seen["from"]) == ("groupchat", romeo.room), str(seen))
            expect(retract.get("id") == identity and moderated is not None, str(seen))
            expect(moderated.get("by") == romeo.jid, str(seen))
            expect("No potions here" in ET.tostring(retract, encoding="unicode"), str(seen))
    with stage.step("the archive has a tombstone instead, and the retraction itself (XEP-0425 §4)"):
        message = await archived(juliet.client, romeo.room, identity)
        expect("potions" not in "".join(message.itertext()).replace("No potions here", ""),
               ET.tostring(message, encoding="unicode"))
        retracted = message.find(f"{{{RETRACT}}}retracted")
        expect(retracted is not None and retracted.get("stamp"), ET.tostring(message, encoding="unicode"))
        expect(retracted.find(f"{{{MODERATE}}}moderated") is not None, ET.tostring(message, encoding="unicode"))
        last = await page(juliet.client, rsm="<max>1</max><before/>", to=romeo.room)
        expect(f"{RETRACT}" in str(last.messages[0]) and identity in str(last.messages[0]), str(last.messages[0]))
    with stage.step("a newcomer does not hear a message that was retracted"):
        again = await enter(nurse.client, romeo.room, "Nurse")
        expect("DM me for free magic potions!" not in again.history, str(again.history[-3:]))
        occupants[2] = nurse = again
    with stage.step("refused: a moderation by a participant, of a message unheard of"):
        identity, _ = await said(nurse, "innocent", romeo)
        await refused(juliet.client["xep_0425"].moderate(JID(romeo.room), identity, timeout=10), "forbidden")
        await refused(romeo.client["xep_0425"].moderate(JID(romeo.room), "unheard-of", timeout=10), "item-not-found")
        message = await archived(juliet.client, romeo.room, identity)
        expect(message.findtext("{jabber:client}body") == "innocent", ET.tostring(message, encoding="unicode"))


async def retraction(stage: Stage, occupants: list[Occupant]) -> None:
    romeo, juliet, nurse = occupants

    def retract(speaker: Occupant, identity: str) -> str:
        return speaker.say("/me retracted a previous message", f"<retract xmlns='{RETRACT}' id='{identity}'/>",
                           f"<fallback xmlns='urn:xmpp:fallback:0' for='{RETRACT}'/>",
                           "<store xmlns='urn:xmpp:hints'/>")

    with stage.step("an author retracts a message: all learn of it, and it is in the archive (XEP-0424)"):
        identity, _ = await said(juliet, "to the wrong room", romeo)
        own = retract(juliet, identity)
        for occupant in occupants:
            seen = await occupant.sees(lambda s: s.xml.find(f"{{{RETRACT}}}retract") is not None, "retraction")
            expect((seen["from"], seen["id"]) == (juliet.jid, own), str(seen))
        last = await page(nurse.client, rsm="<max>1</max><before/>", to=romeo.room)
        expect(RETRACT in str(last.messages[0]), str(last.messages[0]))
    with stage.step("the archive has a tombstone instead of what the author retracted (XEP-0424 §4)"):
        expect(f"{RETRACT}#tombstone" in (await info(romeo.client, romeo.room)).features, "no #tombstone")
        message = await archived(nurse.client, romeo.room, identity)
        retracted = message.find(f"{{{RETRACT}}}retracted")
        expect(retracted is not None and retracted.get("id") == own, ET.tostring(message, encoding="unicode"))
        expect(message.find("{jabber:client}body") is None, ET.tostring(message, encoding="unicode"))
    with stage.step("nobody retracts what others said (XEP-0424 §5)"):
        identity, _ = await said(juliet, "mine to keep", romeo)
        retract(nurse, identity)
        await nurse.settle()
        message = await archived(romeo.client, romeo.room, identity)
        expect(message.findtext("{jabber:client}body") == "mine to keep", ET.tostring(message, encoding="unicode"))
    for occupant in occupants:
        await occupant.fall_silent()


async def avatar(stage: Stage, occupants: list[Occupant], stranger: Client) -> None:
    romeo, juliet, _ = occupants
    picture = hashlib.sha1(PNG).hexdigest()
    card = ET.Element("{vcard-temp}vCard")
    photo = ET.SubElement(card, "{vcard-temp}PHOTO")
    ET.SubElement(photo, "{vcard-temp}TYPE").text = "image/png"
    ET.SubElement(photo, "{vcard-temp}BINVAL").text = base64.b64encode(PNG).decode()
    card = ET.tostring(card, encoding="unicode")
    with stage.step("the owner gives the room a picture: all are told with code 104 (XEP-0486 §3.2)"):
        await romeo.client.ask("set", card, to=romeo.room)
        for occupant in (romeo, juliet):
            await occupant.sees(lambda s: s.name == "message" and "104" in codes(s), "notice")
    with stage.step("everybody may see it (XEP-0486 §3.4)"):
        for client in (juliet.client, stranger):
            answer = await client["xep_0054"].get_vcard(jid=JID(romeo.room), timeout=10)
            expect(answer["vcard_temp"]["PHOTO"]["BINVAL"] == PNG, "not the picture")
            expect(answer["vcard_temp"]["PHOTO"]["TYPE"] == "image/png", "not its type")
    with stage.step("its hash is in disco#info (XEP-0486 §3.3)"):
        about = await info(stranger, romeo.room)
        expect(about.fields.get("avatarhash") == [picture], str(about.fields))
    with stage.step("nobody but an owner may change it (XEP-0486 §3.2)"):
        await refused(juliet.client.ask("set", "<vCard xmlns='vcard-temp'/>", to=romeo.room), "forbidden")
    with stage.step("it is taken away by an empty vCard"):
        await romeo.client.ask("set", "<vCard xmlns='vcard-temp'/>", to=romeo.room)
        about = await info(juliet.client, romeo.room)
        expect("avatarhash" not in about.fields or not any(about.fields["avatarhash"]), str(about.fields))
        await romeo.client.ask("set", card, to=romeo.room)


async def kept(stage: Stage, occupants: list[Occupant]) -> None:
    with stage.step("archive, ids and picture are the same after a restart of the server"):
        room = occupants[0].room
        before = await pages(occupants[1].client, size=50, jid=JID(room))
        await stage.server.restart()
        juliet = await login_again(stage, occupants[1].client)
        after = await pages(juliet, size=50, jid=JID(room))
        same([body for _, body in after], [body for _, body in before])
        expect(after == before, "the ids differ")
        again = await enter(juliet, room, "Juliet")
        expect(occupant_id(again.presence) == occupant_id(occupants[1].presence), "another id for the occupant")
        answer = await juliet["xep_0054"].get_vcard(jid=JID(room), timeout=10)
        expect(answer["vcard_temp"]["PHOTO"]["BINVAL"] == PNG, "not the picture")


async def login_again(stage: Stage, client: Client) -> Client:
    return await stage.login(client.boundjid.bare, plugins=tuple(client.plugin))
