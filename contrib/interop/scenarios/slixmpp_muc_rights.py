"""Rooms (XEP-0045) as those who run them know them: configuration, passwords, members, roles, affiliations, lists,
registration, invitations, the end of a room; and what clients need for OMEMO in a room."""

import asyncio

from slixmpp import JID

from lib.client import Client, refused
from lib.rooms import (ADMIN, DATA, MUC, OWNER, USER, administer, codes, configuration, configure, create,
                       enter, info, is_from, item, listed, login, settle, stands, submission, values, write)
from lib.stage import Stage
from lib.steps import expect

REGISTER, CONFERENCE = "jabber:iq:register", "jabber:x:conference"
RSM = "http://jabber.org/protocol/rsm"


async def run(stage: Stage) -> None:
    cast = [await login(stage, name) for name in ("romeo", "juliet", "nurse", "mercutio")]
    await making(stage, *cast)
    await password(stage, *cast)
    await members(stage, *cast)
    await omemo(stage, *cast)
    await roles(stage, *cast)
    await moderated(stage, *cast)
    await bans(stage, *cast)
    await affiliations(stage, *cast)
    await registration(stage, *cast)
    await invitations(stage, *cast)
    await listing(stage, *cast)
    await destruction(stage, *cast)


async def making(stage: Stage, romeo: Client, juliet: Client, nurse: Client, mercutio: Client) -> None:
    room = f"reserved@{stage.rooms}"
    with stage.step("a reserved room is made by its form (XEP-0045 §10.1.3)"):
        owner = await enter(romeo, room, "Romeo")
        fields = await configuration(romeo, room)
        expect(fields["FORM_TYPE"] == [f"{MUC}#roomconfig"], str(fields.keys()))
        await configure(romeo, room, roomname="The Reserve", roomdesc="Of lords & ladies", persistentroom="1",
                        publicroom="0", changesubject="1")
        kept = await configuration(romeo, room)
        expect((kept["roomname"], kept["roomdesc"], kept["changesubject"]) ==
               (["The Reserve"], ["Of lords & ladies"], ["1"]), str(kept))
    with stage.step("the form has what XEP-0045 §16.5.3 defines"):
        for name in ("roomname", "roomdesc", "lang", "persistentroom", "publicroom", "membersonly", "moderatedroom",
                     "whois", "passwordprotectedroom", "roomsecret", "changesubject", "allowinvites", "allowpm",
                     "maxusers", "presencebroadcast", "getmemberlist", "enablelogging"):
            expect(name in fields, f"no muc#roomconfig_{name}")
    with stage.step("disco#info tells name, kind and description of a room (XEP-0045 §6.4)"):
        about = await info(juliet, room)
        expect(("conference", "text", "The Reserve") in about.identities, str(about.identities))
        wanted = {MUC, "muc_persistent", "muc_hidden", "muc_unmoderated", "muc_open", "muc_unsecured",
                  "muc_semianonymous"}
        expect(wanted <= about.features, f"lacks {wanted - about.features}")
        expect(about.fields["description"] == ["Of lords & ladies"], str(about.fields))
        expect(about.fields["FORM_TYPE"] == [f"{MUC}#roominfo"], str(about.fields))
        about = await info(romeo, room)
        expect(about.fields["occupants"] == ["1"], str(about.fields))
    with stage.step("a changed configuration is told to all, with code 104 (XEP-0045 §10.2.1)"):
        guest = await enter(juliet, room, "Juliet")
        await configure(romeo, room, roomdesc="Of lovers", publicroom="1")
        for occupant in (owner, guest):
            seen = await occupant.sees(lambda s: s.name == "message" and codes(s), "notice")
            expect("104" in codes(seen) and seen["type"] == "groupchat" and not seen["from"].resource, str(seen))
        about = await info(juliet, room)
        expect("muc_public" in about.features and about.fields["description"] == ["Of lovers"], str(about))
        kept = await configuration(romeo, room)
        expect(kept["roomname"] == ["The Reserve"] and kept["changesubject"] == ["1"], f"more was changed: {kept}")
    with stage.step("only an owner has the form (XEP-0045 §10.2)"):
        await refused(configuration(juliet, room), "forbidden")
        await refused(configure(juliet, room, roomname="Mine"), "forbidden")
    with stage.step("participants may change the subject where the room lets them (XEP-0045 §8.1)"):
        juliet["xep_0045"].set_subject(JID(room), "Changed by a guest")
        seen = await owner.sees(lambda s: s["subject"], "subject")
        expect((seen["subject"], seen["from"]) == ("Changed by a guest", guest.jid), str(seen))
    with stage.step("nonsense in the configuration form is refused and changes nothing"):
        before = await configuration(romeo, room)
        await refused(configure(romeo, room, whois="the neighbours"), "not-acceptable", "bad-request")
        await refused(configure(romeo, room, passwordprotectedroom="1", roomsecret=""), "not-acceptable")
        expect(await configuration(romeo, room) == before, "it changed")
    with stage.step("slow mode: a participant waits between two messages, and is told so"):
        expect("slow_mode_duration" in await configuration(romeo, room), "no field for it")
        await configure(romeo, room, slow_mode_duration="2")
        guest.say("first")
        guest.say("at once")
        await guest.sees_error(lambda s: s.name == "message", "policy-violation", "resource-constraint")
        await owner.hears("first")
        await asyncio.sleep(2.1)
        guest.say("after a while")
        await owner.hears("after a while")
        await configure(romeo, room, slow_mode_duration="0")
    with stage.step("a cancelled first form leaves no room (XEP-0045 §10.1.3)"):
        vain = f"vain@{stage.rooms}"
        await enter(romeo, vain, "Romeo")
        await romeo.ask("set", f"<query xmlns='{OWNER}'><x xmlns='jabber:x:data' type='cancel'/></query>", to=vain)
        await refused(info(romeo, vain), "item-not-found")
    with stage.step("a persistent room stays when all have left, and is not made anew"):
        for occupant in (owner, guest):
            await occupant.leave()
        again = await enter(juliet, room, "Juliet")
        expect("201" not in codes(again.presence) and stands(again.presence)[0] == "none", str(again.presence))
        expect(again.subject == "Changed by a guest", str(again.subject))
        await again.leave()


async def password(stage: Stage, romeo: Client, juliet: Client, nurse: Client, mercutio: Client) -> None:
    room = f"secret@{stage.rooms}"
    with stage.step("a room with a password lets in who has it (XEP-0045 §7.2.5)"):
        await create(romeo, room, "Romeo", passwordprotectedroom="1", roomsecret="cauldron & <burn>")
        await refused(enter(juliet, room, "Juliet"), "not-authorized")
        await refused(enter(juliet, room, "Juliet", password="cauldron"), "not-authorized")
        guest = await enter(juliet, room, "Juliet", password="cauldron & <burn>")
        expect(stands(guest.presence) == ("none", "participant"), str(guest.presence))
        expect("muc_passwordprotected" in (await info(nurse, room)).features, "no muc_passwordprotected")


async def members(stage: Stage, romeo: Client, juliet: Client, nurse: Client, mercutio: Client) -> None:
    """XEP-0045 §7.2.6, §9.3 to §9.5."""
    room = f"members@{stage.rooms}"
    owner = await create(romeo, room, "Romeo", membersonly="1", persistentroom="1")
    with stage.step("a members-only room lets in members only"):
        await refused(enter(juliet, room, "Juliet"), "registration-required")
        await romeo["xep_0045"].set_affiliation(JID(room), "member", jid=JID(juliet.boundjid.bare), reason="A Capulet",
                                                timeout=10)
        member = await enter(juliet, room, "Juliet")
        expect(stands(member.presence) == ("member", "participant"), str(member.presence))
        expect(juliet.boundjid.bare in await listed(romeo, room, affiliation="member"), "not on the list")
    with stage.step("who is no longer a member has to leave, with code 321 (XEP-0045 §9.4)"):
        await administer(romeo, room, {"affiliation": "none", "jid": juliet.boundjid.bare, "reason": "Banished"})
        for occupant in (owner, member):
            seen = await occupant.sees_presence("Juliet", "unavailable")
            expect("321" in codes(seen) and stands(seen) == ("none", "none"), str(seen))
        await refused(enter(juliet, room, "Juliet"), "registration-required")
    with stage.step("a room that becomes members-only sends others away, with code 322"):
        await configure(romeo, room, membersonly="0")
        guests = [await enter(client, room, nick) for client, nick in ((juliet, "Juliet"), (nurse, "Nurse"))]
        await administer(romeo, room, {"affiliation": "member", "jid": nurse.boundjid.bare})
        await configure(romeo, room, membersonly="1")
        seen = await guests[0].sees_presence("Juliet", "unavailable")
        expect({"322", "110"} <= codes(seen), str(seen))
        await guests[1].sees_presence("Juliet", "unavailable")
        await guests[1].sees_nothing(lambda s: s.name == "presence" and s["from"].resource == "Nurse"
                                     and s["type"] == "unavailable", "that a member was sent away")


async def omemo(stage: Stage, romeo: Client, juliet: Client, nurse: Client, mercutio: Client) -> None:
    """What Conversations, Gajim and Dino ask for before they encrypt in a room."""
    room = f"omemo@{stage.rooms}"
    owner = await create(romeo, room, "Romeo", membersonly="1", whois="anyone", persistentroom="1")
    for client in (juliet, nurse):
        await administer(romeo, room, {"affiliation": "member", "jid": client.boundjid.bare})
    with stage.step("a private room shows that it is members-only and non-anonymous (OMEMO)"):
        about = await info(juliet, room)
        wanted = {"muc_membersonly", "muc_nonanonymous"}
        expect(wanted <= about.features, f"lacks {wanted - about.features}")
        expect(not {"muc_open", "muc_semianonymous"} & about.features, str(about.features))
    with stage.step("entering it is told that JIDs are shown, with code 100 (XEP-0045 §7.2.3)"):
        member = await enter(juliet, room, "Juliet")
        expect("100" in codes(member.presence), str(codes(member.presence)))
    with stage.step("JIDs are shown to all, of those there and of those who come (OMEMO)"):
        expect(item(member.others["Romeo"]).get("jid") == romeo.boundjid.full, str(member.others["Romeo"]))
        other = await enter(nurse, room, "Nurse")
        expect(item(other.others["Juliet"]).get("jid") == juliet.boundjid.full, str(other.others["Juliet"]))
        for occupant in (owner, member):
            seen = await occupant.sees_presence("Nurse")
            expect(item(seen).get("jid") == nurse.boundjid.full, str(seen))
    with stage.step("a member has the lists of members, admins and owners, for keys of absent ones (OMEMO)"):
        members = await listed(juliet, room, affiliation="member")
        expect(members >= {juliet.boundjid.bare, nurse.boundjid.bare}, str(members))
        expect(await listed(juliet, room, affiliation="owner") == {romeo.boundjid.bare}, "not the owners")
        await listed(juliet, room, affiliation="admin")
    with stage.step("a message reaches all with what is encrypted in it as it was (OMEMO)"):
        secret = ("<encrypted xmlns='eu.siacs.conversations.axolotl'><header sid='27183'><key rid='31415'>QUJD</key>"
                  "<iv>QUJD</iv></header><payload>QUJD</payload></encrypted>")
        member.say("I sent you an OMEMO encrypted message", secret, "<store xmlns='urn:xmpp:hints'/>",
                   "<encryption xmlns='urn:xmpp:eme:0' namespace='eu.siacs.conversations.axolotl' name='OMEMO'/>")
        for occupant in (owner, member, other):
            [seen] = await occupant.hears("I sent you an OMEMO encrypted message")
            found = seen.xml.find("{eu.siacs.conversations.axolotl}encrypted")
            expect(found is not None and found[0].get("sid") == "27183" and len(found) == 2, str(seen))
    with stage.step("who is outside of a members-only room does not have its lists"):
        await refused(listed(mercutio, room, affiliation="member"), "forbidden")
    with stage.step("a room that hides JIDs again says so, with code 173, and one that shows them with 172"):
        owner.forget()
        for whois, code in (("moderators", "173"), ("anyone", "172")):
            await configure(romeo, room, whois=whois)
            seen = await owner.sees(lambda s: s.name == "message" and codes(s), "notice")
            expect(code in codes(seen), str(codes(seen)))


async def roles(stage: Stage, romeo: Client, juliet: Client, nurse: Client, mercutio: Client) -> None:
    room = f"roles@{stage.rooms}"
    owner = await create(romeo, room, "Romeo")
    juliets, nurses = await enter(juliet, room, "Juliet"), await enter(nurse, room, "Nurse")
    with stage.step("a moderator kicks: code 307, the reason and by whom, and all see it (XEP-0045 §8.2)"):
        await administer(romeo, room, {"nick": "Nurse", "role": "none", "reason": "Avaunt, you cullion!"})
        for occupant in (owner, juliets, nurses):
            seen = await occupant.sees_presence("Nurse", "unavailable")
            expect("307" in codes(seen) and stands(seen) == ("none", "none"), str(seen))
            expect(item(seen)["reason"] == "Avaunt, you cullion!" and item(seen)["actor"] == "Romeo", str(seen))
        expect("110" in codes(seen), str(seen))
    with stage.step("who was kicked is out, and may come back"):
        write(nurse, room, "I am not gone", kind="groupchat")
        await nurses.sees_error(lambda s: s.name == "message", "not-acceptable")
        nurses = await enter(nurse, room, "Nurse")
    with stage.step("refused: a participant kicks, a moderator kicks the owner, nobody is kicked"):
        await refused(administer(juliet, room, {"nick": "Nurse", "role": "none"}), "forbidden", "not-allowed")
        await administer(romeo, room, {"nick": "Juliet", "role": "moderator"})
        await refused(administer(juliet, room, {"nick": "Romeo", "role": "none"}), "not-allowed")
        await refused(administer(romeo, room, {"nick": "Tybalt", "role": "none"}), "item-not-found", "not-acceptable")
    with stage.step("a moderator is made and unmade by an admin, and all see it (XEP-0045 §9.6, §9.7)"):
        seen = await nurses.sees_presence("Juliet")
        expect(stands(seen) == ("none", "moderator"), str(seen))
        expect(await listed(romeo, room, role="moderator") == {"Romeo", "Juliet"}, "not on the list")
        await administer(juliet, room, {"nick": "Nurse", "role": "none"})
        await nurses.sees_presence("Nurse", "unavailable")
        nurses = await enter(nurse, room, "Nurse")
        await refused(administer(juliet, room, {"nick": "Nurse", "role": "moderator"}), "forbidden", "not-allowed")
        await administer(romeo, room, {"nick": "Juliet", "role": "participant"})
        seen = await nurses.sees_presence("Juliet")
        expect(stands(seen) == ("none", "participant"), str(seen))
    with stage.step("refused: an owner's role taken (XEP-0045 §9.7)"):
        await refused(administer(romeo, room, {"nick": "Romeo", "role": "participant"}), "not-allowed", "forbidden")
    with stage.step("refused: a role that there is not, a participant's view of the lists"):
        await refused(administer(romeo, room, {"nick": "Juliet", "role": "jester"}), "bad-request", "not-acceptable")
        await refused(listed(juliet, room, role="moderator"), "forbidden")


async def moderated(stage: Stage, romeo: Client, juliet: Client, nurse: Client, mercutio: Client) -> None:
    room = f"moderated@{stage.rooms}"
    owner = await create(romeo, room, "Romeo", moderatedroom="1")
    visitor, other = await enter(juliet, room, "Juliet"), await enter(nurse, room, "Nurse")
    with stage.step("a visitor of a moderated room hears and cannot speak (XEP-0045 §7.4)"):
        expect(stands(visitor.presence) == ("none", "visitor"), str(visitor.presence))
        visitor.say("Hear me")
        await visitor.sees_error(lambda s: s.name == "message", "forbidden")
        owner.say("Silence")
        for occupant in (owner, visitor, other):
            await occupant.hears("Silence")
    with stage.step("it is given voice and speaks (XEP-0045 §8.3)"):
        for occupant in (owner, visitor, other):
            occupant.forget()
        await administer(romeo, room, {"nick": "Juliet", "role": "participant", "reason": "A worthy witch"})
        for occupant in (visitor, other):
            seen = await occupant.sees_presence("Juliet")
            expect(stands(seen) == ("none", "participant") and item(seen)["reason"] == "A worthy witch", str(seen))
        visitor.say("Hear me now")
        for occupant in (owner, visitor, other):
            await occupant.hears("Hear me now")
    with stage.step("voice is taken again (XEP-0045 §8.4)"):
        await administer(romeo, room, {"nick": "Juliet", "role": "visitor"})
        seen = await visitor.sees_presence("Juliet")
        expect(stands(seen) == ("none", "visitor") and "110" in codes(seen), str(seen))
        visitor.say("Once more")
        await visitor.sees_error(lambda s: s.name == "message", "forbidden")
        await other.hears()
    with stage.step("a visitor asks for voice, a moderator is shown a form and approves (XEP-0045 §7.13, §8.6)"):
        juliet["xep_0045"].request_voice(JID(room), "participant")
        seen = await owner.sees(lambda s: s.name == "message" and s.xml.find(f"{DATA}x") is not None, "form")
        asked = values(seen.xml)
        expect(asked["FORM_TYPE"] == [f"{MUC}#request"] and asked["muc#roomnick"] == ["Juliet"], str(asked))
        asked = {name: value for name, value in asked.items() if name != "FORM_TYPE"}
        write(romeo, room, None, submission(f"{MUC}#request", {**asked, "muc#request_allow": "true"}), kind="normal")
        seen = await visitor.sees_presence("Juliet")
        expect(stands(seen) == ("none", "participant"), str(seen))
        await other.sees_nothing(lambda s: s.name == "message" and s.xml.find(f"{DATA}x") is not None,
                                 "a form for moderators")


async def bans(stage: Stage, romeo: Client, juliet: Client, nurse: Client, mercutio: Client) -> None:
    room, banned = f"bans@{stage.rooms}", juliet.boundjid.bare
    owner = await create(romeo, room, "Romeo")
    guest, other = await enter(juliet, room, "Juliet"), await enter(nurse, room, "Nurse")
    with stage.step("an admin bans: code 301, the reason and by whom, and all see it (XEP-0045 §9.1)"):
        await romeo["xep_0045"].set_affiliation(JID(room), "outcast", jid=JID(banned), reason="Treason", timeout=10)
        for occupant in (owner, other, guest):
            seen = await occupant.sees_presence("Juliet", "unavailable")
            expect("301" in codes(seen) and stands(seen) == ("outcast", "none"), str(seen))
            expect(item(seen)["reason"] == "Treason" and item(seen)["actor"] == "Romeo", str(seen))
    with stage.step("who is banned cannot enter, not by another nick either (XEP-0045 §7.2.7)"):
        await refused(enter(juliet, room, "Juliet"), "forbidden")
        await refused(enter(juliet, room, "Rosaline"), "forbidden")
    with stage.step("the list of the banned is the admins' (XEP-0045 §9.2)"):
        answer = await romeo.ask("get", f"<query xmlns='{ADMIN}'><item affiliation='outcast'/></query>", to=room)
        [entry] = answer.xml.iter(f"{{{ADMIN}}}item")
        expect(entry.get("jid") == banned and entry.get("affiliation") == "outcast", str(answer))
        await refused(listed(nurse, room, affiliation="outcast"), "forbidden")
    with stage.step("the reason of a ban is on the list"):
        expect(entry.findtext(f"{{{ADMIN}}}reason") == "Treason", str(answer))
    with stage.step("refused: a participant bans, the owner is banned"):
        await refused(administer(nurse, room, {"affiliation": "outcast", "jid": mercutio.boundjid.bare}),
                      "forbidden", "not-allowed")
        await administer(romeo, room, {"affiliation": "admin", "jid": nurse.boundjid.bare})
        await refused(administer(nurse, room, {"affiliation": "outcast", "jid": romeo.boundjid.bare}), "not-allowed")
        await refused(administer(romeo, room, {"affiliation": "outcast", "jid": romeo.boundjid.bare}),
                      "conflict", "not-allowed")
    with stage.step("who is no longer banned is let in again"):
        await administer(romeo, room, {"affiliation": "none", "jid": banned})
        await enter(juliet, room, "Juliet")
    with stage.step("several are banned at once (XEP-0045 §9.2)"):
        await administer(romeo, room, {"affiliation": "outcast", "jid": mercutio.boundjid.bare},
                         {"affiliation": "outcast", "jid": "tybalt@elsewhere.test"})
        expect(await listed(romeo, room, affiliation="outcast") ==
               {mercutio.boundjid.bare, "tybalt@elsewhere.test"}, "not the list")
        await refused(enter(mercutio, room, "Mercutio"), "forbidden")


async def affiliations(stage: Stage, romeo: Client, juliet: Client, nurse: Client, mercutio: Client) -> None:
    room = f"affiliations@{stage.rooms}"
    owner = await create(romeo, room, "Romeo", persistentroom="1")
    guest = await enter(juliet, room, "Juliet")
    with stage.step("an admin is made, sees it, and has a moderator's role (XEP-0045 §10.6)"):
        await administer(romeo, room, {"affiliation": "admin", "jid": juliet.boundjid.bare, "reason": "Trusted"})
        seen = await guest.sees_presence("Juliet")
        expect(stands(seen) == ("admin", "moderator") and "110" in codes(seen), str(seen))
        expect(await listed(romeo, room, affiliation="admin") == {juliet.boundjid.bare}, "not on the list")
    with stage.step("a change for somebody absent is told by the room (XEP-0045 §10.6)"):
        for occupant in (owner, guest):
            await occupant.fall_silent()
        await administer(romeo, room, {"affiliation": "member", "jid": nurse.boundjid.bare})
        for occupant in (owner, guest):
            seen = await occupant.sees(lambda s: s.name == "message" and item(s), "notice")
            expect(not seen["from"].resource and item(seen)["affiliation"] == "member", str(seen))
            expect(item(seen)["jid"] == nurse.boundjid.bare, str(seen))
    with stage.step("an admin does members and bans, and no owners and admins (XEP-0045 §5.2.1)"):
        await administer(juliet, room, {"affiliation": "member", "jid": mercutio.boundjid.bare})
        for affiliation in ("owner", "admin"):
            await refused(administer(juliet, room, {"affiliation": affiliation, "jid": nurse.boundjid.bare}),
                          "forbidden", "not-allowed")
        await refused(administer(juliet, room, {"affiliation": "none", "jid": romeo.boundjid.bare}),
                      "forbidden", "not-allowed")
        await refused(destroy(juliet, room), "forbidden")
    with stage.step("a second owner is made, and the first one resigns (XEP-0045 §10.3, §10.4)"):
        await administer(romeo, room, {"affiliation": "owner", "jid": juliet.boundjid.bare})
        expect(await listed(juliet, room, affiliation="owner") ==
               {romeo.boundjid.bare, juliet.boundjid.bare}, "not the list")
        await administer(romeo, room, {"affiliation": "admin", "jid": romeo.boundjid.bare})
        await refused(configuration(romeo, room), "forbidden")
        await configuration(juliet, room)
    with stage.step("the last owner cannot resign: conflict (XEP-0045 §10.4)"):
        await refused(administer(juliet, room, {"affiliation": "member", "jid": juliet.boundjid.bare}), "conflict")
        await refused(administer(juliet, room, {"affiliation": "none", "jid": juliet.boundjid.bare}), "conflict")
        expect(await listed(juliet, room, affiliation="owner") == {juliet.boundjid.bare}, "not the list")
    with stage.step("refused: nonsense for a JID and for an affiliation"):
        await refused(administer(juliet, room, {"affiliation": "member", "jid": "@@"}), "jid-malformed", "bad-request")
        await refused(administer(juliet, room, {"affiliation": "king", "jid": nurse.boundjid.bare}), "bad-request",
                      "not-acceptable")
        await refused(juliet.ask("set", f"<query xmlns='{ADMIN}'><item affiliation='member'/></query>", to=room),
                      "bad-request", "not-acceptable", "jid-malformed")
    with stage.step("a room may be written to by its members without being in it, or not: the error is not silent"):
        write(nurse, room, "from outside", kind="groupchat")
        await settle(nurse, stage.rooms)
        heard = guest.client.saw(lambda s: is_from(s, room) and s["body"] == "from outside")
        errors = nurse.saw(lambda s: s.name == "message" and s["type"] == "error")
        expect(bool(heard) != bool(errors), f"{len(heard)} messages and {len(errors)} errors")


async def destroy(client: Client, room: str) -> None:
    await client.ask("set", f"<query xmlns='{OWNER}'><destroy/></query>", to=room)


async def registration(stage: Stage, romeo: Client, juliet: Client, nurse: Client, mercutio: Client) -> None:
    """XEP-0045 §7.10 and §7.12."""
    room = f"registration@{stage.rooms}"
    await create(romeo, room, "Romeo", persistentroom="1")

    async def register(client: Client, nick: str) -> None:
        form = submission(f"{MUC}#register", {"muc#register_roomnick": nick})
        await client.ask("set", f"<query xmlns='{REGISTER}'>{form}</query>", to=room)

    async def reserved(client: Client) -> str | None:
        answer = await client["xep_0030"].get_info(jid=room, node="x-roomuser-item", timeout=10)
        names = [identity[3] for identity in answer["disco_info"]["identities"]]
        return names[0] if names else None

    with stage.step("a user registers a nick with the room and becomes a member (XEP-0045 §7.10)"):
        guest = await enter(juliet, room, "Juliet")
        answer = await juliet.ask("get", f"<query xmlns='{REGISTER}'/>", to=room)
        expect("muc#register_roomnick" in values(answer.xml), str(answer))
        await register(juliet, "Juliet")
        seen = await guest.sees_presence("Juliet")
        expect(stands(seen)[0] == "member", str(seen))
        answer = await juliet.ask("get", f"<query xmlns='{REGISTER}'/>", to=room)
        expect(answer.xml.find(f".//{{{REGISTER}}}registered") is not None, str(answer))
        expect(answer.xml.findtext(f".//{{{REGISTER}}}username") == "Juliet", str(answer))
    with stage.step("a client asks for its reserved nick (XEP-0045 §7.12)"):
        expect(await reserved(juliet) == "Juliet", str(await reserved(juliet)))
        expect(await reserved(nurse) is None, str(await reserved(nurse)))
    with stage.step("nobody else has a reserved nick: by registration, by entering, by changing"):
        await guest.leave()
        await refused(register(nurse, "Juliet"), "conflict")
        await refused(enter(nurse, room, "Juliet"), "conflict")
        other = await enter(nurse, room, "Nurse")
        nurse.send_presence(pto=f"{room}/Juliet")
        await other.sees_error(lambda s: s.name == "presence", "conflict")
        await enter(juliet, room, "Juliet")
    with stage.step("a registration is taken back, and the nick is free"):
        await juliet.ask("set", f"<query xmlns='{REGISTER}'><remove/></query>", to=room)
        expect(await reserved(juliet) is None, str(await reserved(juliet)))
        await register(nurse, "Angelica")
        expect(await reserved(nurse) == "Angelica", str(await reserved(nurse)))


async def invitations(stage: Stage, romeo: Client, juliet: Client, nurse: Client, mercutio: Client) -> None:
    room = f"invitations@{stage.rooms}"
    owner = await create(romeo, room, "Romeo", membersonly="1", passwordprotectedroom="1", roomsecret="open sesame")

    def is_invitation(stanza) -> bool:
        return stanza.name == "message" and stanza.xml.find(f"{{{USER}}}x/{{{USER}}}invite") is not None

    with stage.step("a mediated invitation reaches the invited, from the room (XEP-0045 §7.8.2)"):
        romeo["xep_0045"].invite(JID(room), JID(juliet.boundjid.bare), reason="Come, gentle night")
        seen = await juliet.sees(is_invitation, "invitation")
        invite = seen["muc"]["invite"]
        expect(seen["from"] == room, str(seen))
        expect(invite["from"].bare in (romeo.boundjid.bare, room), str(seen))
        expect(invite["reason"] == "Come, gentle night", str(seen))
        secret = seen.xml.findtext(f"{{{USER}}}x/{{{USER}}}password")
        expect(secret == "open sesame", f"password {secret}")
    with stage.step("the invited is a member of a members-only room, and enters (XEP-0045 §7.8.2)"):
        guest = await enter(juliet, room, "Juliet", password=secret)
        expect(stands(guest.presence)[0] == "member", str(guest.presence))
    with stage.step("an invitation is declined, and who invited hears of it (XEP-0045 §7.8.2)"):
        romeo["xep_0045"].invite(JID(room), JID(nurse.boundjid.bare))
        seen = await nurse.sees(is_invitation, "invitation")
        nurse["xep_0045"].decline(JID(room), seen["muc"]["invite"]["from"], reason="Too old for balls")
        seen = await owner.sees(lambda s: s.xml.find(f"{{{USER}}}x/{{{USER}}}decline") is not None, "refusal")
        expect(seen["muc"]["decline"]["from"].bare == nurse.boundjid.bare, str(seen))
        expect(seen["muc"]["decline"]["reason"] == "Too old for balls" and not seen["from"].resource, str(seen))
    with stage.step("refused: an invitation by a stranger, and by a member who may not invite"):
        write(mercutio, room, None, f"<x xmlns='{USER}'><invite to='{nurse.boundjid.bare}'/></x>", kind="normal")
        seen = await mercutio.sees(lambda s: s["type"] == "error", "error")
        expect(seen["error"]["condition"] in ("not-acceptable", "forbidden"), str(seen))
        write(juliet, room, None, f"<x xmlns='{USER}'><invite to='{mercutio.boundjid.bare}'/></x>", kind="normal")
        await guest.sees_error(lambda s: s.name == "message", "forbidden")
        await nurse.sees_nothing(is_invitation, "an invitation of a stranger")
    with stage.step("a direct invitation passes between clients, with all it says (XEP-0249)"):
        romeo["xep_0249"].send_invitation(JID(mercutio.boundjid.bare), JID(room), password="open sesame",
                                          reason="Without the room")
        seen = await mercutio.sees(lambda s: s.xml.find(f"{{{CONFERENCE}}}x") is not None, "invitation")
        given = seen.xml.find(f"{{{CONFERENCE}}}x").attrib
        expect((given["jid"], given["password"], given["reason"]) == (room, "open sesame", "Without the room"),
               str(seen))


async def listing(stage: Stage, romeo: Client, juliet: Client, nurse: Client, mercutio: Client) -> None:
    """XEP-0045 §6.3."""
    public = {f"public{number}@{stage.rooms}" for number in range(5)}
    hidden = f"hidden@{stage.rooms}"
    for number, room in enumerate(sorted(public)):
        await create(romeo, room, "Romeo", roomname=f"Public {number}", publicroom="1")
    await create(romeo, hidden, "Romeo", publicroom="0")
    with stage.step("disco#items of the service names the public rooms and no hidden one (XEP-0045 §6.3)"):
        answer = await juliet["xep_0030"].get_items(jid=stage.rooms, timeout=10)
        rooms = {entry[0]: entry[2] for entry in answer["disco_items"]["items"]}
        expect(public <= rooms.keys() and rooms[f"public3@{stage.rooms}"] == "Public 3", str(rooms))
        expect(hidden not in rooms, "the hidden room is named")
    with stage.step("a hidden room is there for who knows its name"):
        expect("muc_hidden" in (await info(juliet, hidden)).features, "no muc_hidden")
    with stage.step("the list comes in pages when asked for so (XEP-0059)"):
        found, after = [], ""
        for _ in range(10):
            answer = await juliet.ask("get", "<query xmlns='http://jabber.org/protocol/disco#items'>"
                                      f"<set xmlns='{RSM}'><max>2</max>{after}</set></query>", to=stage.rooms)
            page = [element.get("jid") for element in
                    answer.xml.iter("{http://jabber.org/protocol/disco#items}item")]
            expect(len(page) <= 2, f"{len(page)} in a page of 2")
            found += page
            last = answer.xml.findtext(f".//{{{RSM}}}last")
            if not page or last is None:
                break
            after = f"<after>{last}</after>"
        expect(public <= set(found) and len(found) == len(set(found)), str(found))


async def destruction(stage: Stage, romeo: Client, juliet: Client, nurse: Client, mercutio: Client) -> None:
    room, venue = f"doomed@{stage.rooms}", f"public0@{stage.rooms}"
    owner = await create(romeo, room, "Romeo", persistentroom="1")
    occupants = [owner, await enter(juliet, room, "Juliet"), await enter(nurse, room, "Nurse")]
    for occupant in occupants:
        await occupant.fall_silent()
    with stage.step("the owner destroys a room: all learn why, and where to go (XEP-0045 §10.9)"):
        await refused(destroy(juliet, room), "forbidden")
        await romeo["xep_0045"].destroy(JID(room), reason="Macbeth doth come.", altroom=JID(venue), timeout=10)
        for occupant in occupants:
            seen = await occupant.sees_presence(occupant.nick, "unavailable")
            element = seen.xml.find(f"{{{USER}}}x/{{{USER}}}destroy")
            expect(element is not None and element.get("jid") == venue, str(seen))
            expect(element.findtext(f"{{{USER}}}reason") == "Macbeth doth come.", str(seen))
            expect(stands(seen)[1] == "none", str(seen))
    with stage.step("a destroyed room is gone, and its owner may make it anew"):
        await refused(info(juliet, room), "item-not-found", "gone")
        anew = await enter(romeo, room, "Romeo")
        expect("201" in codes(anew.presence) and stands(anew.presence)[0] == "owner", str(anew.presence))
    with stage.step("nobody else gets the room that was destroyed: gone (XEP-0045 §10.9)"):
        # One that was never opened to others was never there.
        await configure(romeo, room)
        await destroy(romeo, room)
        await refused(enter(juliet, room, "Juliet"), "gone")
