"""What came to rooms after XEP-0045: search (XEP-0433), hats (XEP-0317), versions of affiliations
(XEP-0463), pushes (XEP-0357). Each part ends at once where the server does not offer it."""

import asyncio

from slixmpp.xmlstream import ET

from lib.client import Client, refused
from lib.processes import until
from lib.rooms import USER, administer, codes, create, enter, info, is_from, item, login, submission, values
from lib.stage import Stage
from lib.steps import expect

from .slixmpp_devices import PUSH, app_server

SEARCH, HATS, MAV = "urn:xmpp:channel-search:0:search", "urn:xmpp:hats:0", "urn:xmpp:muc:affiliations:1"
SEARCH_FORM = "urn:xmpp:channel-search:0:search-params"
HAT_COMMANDS = "urn:xmpp:hats:commands"
COMMANDS, RSM = "http://jabber.org/protocol/commands", "http://jabber.org/protocol/rsm"


async def run(stage: Stage) -> None:
    romeo, juliet, nurse = [await login(stage, name, "xep_0050", "xep_0317") for name in ("romeo", "juliet", "nurse")]
    await search(stage, romeo, juliet)
    await hats(stage, romeo, juliet, nurse)
    await versions(stage, romeo, juliet, nurse)
    await push(stage)


async def search(stage: Stage, romeo: Client, juliet: Client) -> None:
    with stage.step("the service offers a search for rooms (XEP-0433 §4.1)"):
        features = (await info(juliet, stage.rooms)).features
        expect(SEARCH in features, f"no {SEARCH}")
    if SEARCH not in features:
        return
    for number in range(5):
        await create(romeo, f"verona{number}@{stage.rooms}", "Romeo", roomname=f"Verona {number}", publicroom="1",
                     persistentroom="1", roomdesc="Where we lay our scene")
    await create(romeo, f"mantua@{stage.rooms}", "Romeo", roomname="Mantua", publicroom="1", persistentroom="1",
                 roomdesc="Exile")
    await create(romeo, f"veronahidden@{stage.rooms}", "Romeo", roomname="Verona hidden", publicroom="0",
                 persistentroom="1")

    async def find(rsm: str = "", **fields: str) -> ET.Element:
        form = submission(SEARCH_FORM, fields)
        answer = await juliet.ask("get", f"<search xmlns='{SEARCH}'>{rsm}{form}</search>", to=stage.rooms)
        return answer.xml

    def addresses(answer: ET.Element) -> list[str]:
        return [element.get("address").split("@")[0] for element in answer.iter(f"{{{SEARCH}}}item")]

    with stage.step("the search has a form (XEP-0433 §4.2.1)"):
        answer = await juliet.ask("get", f"<search xmlns='{SEARCH}'/>", to=stage.rooms)
        form = values(answer.xml)
        expect(form["FORM_TYPE"] == [SEARCH_FORM] and {"q", "key"} <= form.keys(), str(form))
    with stage.step("rooms are found by words in their names and descriptions, hidden ones are not (XEP-0433 §4.2.2)"):
        found = addresses(await find(q="verona", key="{urn:xmpp:channel-search:0:order}address"))
        expect(found == [f"verona{number}" for number in range(5)], str(found))
        found = addresses(await find(q="exile"))
        expect(found == ["mantua"], str(found))
        expect(addresses(await find(q="padua")) == [], "something for nothing")
    with stage.step("a result tells name, description, occupants and whether one may enter (XEP-0433 §6.2)"):
        [element] = (await find(q="mantua")).iter(f"{{{SEARCH}}}item")
        told = {child.tag.split("}")[1]: child.text for child in element}
        expect(told["name"] == "Mantua" and told["description"] == "Exile" and told["nusers"] == "1"
               and "is-open" in told, str(told))
    with stage.step("results come in pages (XEP-0059)"):
        paged, after = [], ""
        for _ in range(4):
            answer = await find(f"<set xmlns='{RSM}'><max>2</max>{after}</set>", q="verona",
                                key="{urn:xmpp:channel-search:0:order}address")
            expect(len(addresses(answer)) <= 2, str(addresses(answer)))
            paged += addresses(answer)
            last = answer.findtext(f".//{{{RSM}}}last")
            if last is None:
                break
            after = f"<after>{last}</after>"
        expect(paged == [f"verona{number}" for number in range(5)], str(paged))
    with stage.step("refused: nothing to search for, words and everything at once, an order unheard of"):
        await refused(find(), "bad-request")
        await refused(find(q="verona", all="true"), "bad-request")
        await refused(find(q="verona", key="beauty"), "feature-not-implemented")


async def hats(stage: Stage, romeo: Client, juliet: Client, nurse: Client) -> None:
    room, uri = f"school@{stage.rooms}", "http://tech.example.edu/hats#TeacherAssistant"
    owner = await create(romeo, room, "Romeo", persistentroom="1")
    pupil = await enter(juliet, room, "Juliet")
    with stage.step("the room has hats (XEP-0317 §2)"):
        features = (await info(juliet, room)).features
        expect(HATS in features, f"no {HATS}")
    if HATS not in features:
        return

    async def command(client: Client, node: str, fields: dict[str, str] | None = None) -> ET.Element:
        """Asks for the form, and submits it if there is something to submit."""
        answer = await client.ask("set", f"<command xmlns='{COMMANDS}' action='execute' node='{node}'/>", to=room)
        element = answer.xml.find(f"{{{COMMANDS}}}command")
        if fields is None:
            return element
        expect(element.get("status") == "executing", ET.tostring(element, encoding="unicode"))
        form = submission(HAT_COMMANDS, fields)
        answer = await client.ask("set", f"<command xmlns='{COMMANDS}' node='{node}' sessionid="
                                  f"'{element.get('sessionid')}'>{form}</command>", to=room)
        element = answer.xml.find(f"{{{COMMANDS}}}command")
        expect(element.get("status") == "completed", ET.tostring(element, encoding="unicode"))
        return element

    def worn(presence) -> dict[str, str]:
        return {hat.get("uri"): hat.get("title") for hat in presence.xml.iter(f"{{{HATS}}}hat")}

    with stage.step("an owner makes a hat, and it is on the list (XEP-0317 §3.2, §3.4)"):
        await command(romeo, f"{HAT_COMMANDS}:create",
                      {"hats#title": "Assistant", "hats#uri": uri, "hats#hue": "327.255249"})
        listed = await command(romeo, f"{HAT_COMMANDS}:list")
        expect(uri in ET.tostring(listed, encoding="unicode"), ET.tostring(listed, encoding="unicode"))
    with stage.step("somebody is given the hat, and all see it (XEP-0317 §3.5)"):
        for occupant in (owner, pupil):
            await occupant.fall_silent()
        await command(romeo, f"{HAT_COMMANDS}:assign", {"hats#jid": juliet.boundjid.bare, "hats#uri": uri})
        for occupant in (owner, pupil):
            seen = await occupant.sees_presence("Juliet")
            expect(worn(seen) == {uri: "Assistant"}, str(seen))
        later = await enter(nurse, room, "Nurse")
        expect(worn(later.others["Juliet"]) == {uri: "Assistant"}, str(later.others["Juliet"]))
    with stage.step("nobody gives hats to herself, by command or by presence"):
        nurse.send_raw(f"<presence to='{later.jid}'><show>away</show><hats xmlns='{HATS}'><hat title='Assistant' "
                       f"uri='{uri}'/></hats></presence>")
        seen = await owner.sees(lambda s: s.name == "presence" and s["show"] == "away", "presence")
        expect(worn(seen) == {}, str(seen))
        await refused(command(nurse, f"{HAT_COMMANDS}:assign",
                              {"hats#jid": nurse.boundjid.bare, "hats#uri": uri}), "forbidden", "not-allowed")
    with stage.step("the hat is taken away, and all see it (XEP-0317 §3.6)"):
        for occupant in (owner, pupil):
            await occupant.fall_silent()
        await command(romeo, f"{HAT_COMMANDS}:unassign", {"hats#jid": juliet.boundjid.bare, "hats#uri": uri})
        seen = await owner.sees_presence("Juliet")
        expect(worn(seen) == {}, str(seen))


def mav_of(stanza) -> ET.Element | None:
    return stanza.xml.find(f"{{{USER}}}x/{{{MAV}}}mav")


async def versions(stage: Stage, romeo: Client, juliet: Client, nurse: Client) -> None:
    room = f"versions@{stage.rooms}"
    # Where JIDs are hidden admins must not read all lists (XEP-0045 §10.5, §10.8).
    await create(romeo, room, "Romeo", persistentroom="1", whois="anyone")
    await administer(romeo, room, {"affiliation": "admin", "jid": juliet.boundjid.bare})
    await administer(romeo, room, {"affiliation": "member", "jid": f"absent@{stage.domain}"})
    with stage.step("the room has versions of its affiliations (XEP-0463 §4)"):
        features = (await info(juliet, room)).features
        expect(MAV in features, f"no {MAV}")
    if MAV not in features:
        return

    async def ask(since: str | None = None) -> tuple[dict[str, str] | None, str | None, str]:
        """Enters asking for changes: what the room tells of them, from which version on, and the version now."""
        known = "" if since is None else f" since='{since}'"
        client = await stage.login(juliet.boundjid.bare, plugins=("xep_0045",))
        client.send_raw(f"<presence to='{room}/Juliet'><x xmlns='http://jabber.org/protocol/muc'>"
                        f"<mav xmlns='{MAV}'{known}/></x></presence>")
        own = await client.sees(lambda s: s.name == "presence" and "110" in codes(s), "own presence")
        until = mav_of(own).get("until")
        came = client.saw(lambda s: is_from(s, room) and (s.name == "presence" or mav_of(s) is not None))
        await client.logout()
        told = [stanza for stanza in came if stanza.name == "message"]
        expect(came[:len(told)] == told, "presence came before the changes")
        if not told:
            return None, None, until
        expect(mav_of(told[-1]).get("until") == until, str(told[-1]))
        changes = {element.get("jid"): element.get("affiliation") for message in told
                   for element in message.xml.iter(f"{{{USER}}}item")}
        return changes, mav_of(told[0]).get("since"), until

    with stage.step("who asks for the first time is told all (XEP-0463 §5.2.1)"):
        everything, since, version = await ask()
        wanted = {romeo.boundjid.bare: "owner", juliet.boundjid.bare: "admin", f"absent@{stage.domain}": "member"}
        expect(everything == wanted and since is None and version, f"{everything}, {since}, {version}")
    with stage.step("who knows the latest version is told nothing but that"):
        expect(await ask(version) == (None, None, version), str(await ask(version)))
    with stage.step("who knows an older one is told what changed since"):
        await administer(romeo, room, {"affiliation": "none", "jid": f"absent@{stage.domain}"})
        await administer(romeo, room, {"affiliation": "member", "jid": nurse.boundjid.bare})
        changes, since, newer = await ask(version)
        expect(changes == {f"absent@{stage.domain}": "none", nurse.boundjid.bare: "member"}, str(changes))
        expect(since == version and newer != version, f"{since}, {newer}")
    with stage.step("who names a version unheard of is told all"):
        everything, since, _ = await ask("unheard-of")
        expect(since is None and set(everything) == {romeo.boundjid.bare, juliet.boundjid.bare, nurse.boundjid.bare},
               f"{everything}, {since}")
    with stage.step("a change that is told to occupants names both versions (XEP-0463 §5.2.2)"):
        owner = await enter(romeo, room, "Romeo")
        # Those are told who asked when they entered.
        romeo.send_raw(f"<presence to='{room}/Romeo'><x xmlns='http://jabber.org/protocol/muc'>"
                       f"<mav xmlns='{MAV}'/></x></presence>")
        await owner.settle()
        await administer(romeo, room, {"affiliation": "none", "jid": nurse.boundjid.bare})
        seen = await owner.sees(lambda s: s.name == "message" and item(s) is not None
                                and item(s).get("affiliation") == "none", "notice")
        mav = mav_of(seen)
        expect(mav is not None and mav.get("since") == newer and mav.get("until") not in (None, newer), str(seen))
    with stage.step("versions outlive a restart of the server"):
        await stage.server.restart()
        expect(await ask(mav.get("until")) == (None, None, mav.get("until")), "another version, or changes")


async def push(stage: Stage) -> None:
    """A member who is away is reached, when all may be for her, or she is named."""
    romeo, juliet = [await login(stage, name) for name in ("escalus", "rosaline")]
    club, square = f"club@{stage.rooms}", f"square@{stage.rooms}"
    hosts = [await create(romeo, club, "Escalus", membersonly="1", persistentroom="1"),
             await create(romeo, square, "Escalus", persistentroom="1")]
    for room in (club, square):
        await administer(romeo, room, {"affiliation": "member", "jid": juliet.boundjid.bare, "nick": "Rosaline"})
    with stage.step("the room wakes phones (XEP-0357)"):
        features = (await info(juliet, club)).features
        expect(PUSH in features, f"no {PUSH}")
    if PUSH not in features:
        return
    app = await stage.login(stage.add_account("appserver"))
    pushes: list = []
    app_server(app, pushes)
    with stage.step("a member registers her phone with rooms, a stranger does not"):
        for number, room in enumerate((club, square)):
            enable = f"<enable xmlns='{PUSH}' jid='{app.boundjid.full}' node='phone-{number}'/>"
            await juliet.ask("set", enable, to=room)
            await refused(app.ask("set", enable, to=room))
    with stage.step("a member who is in the room is not woken"):
        guest = await enter(juliet, club, "Rosaline")
        hosts[0].say("to all who are here")
        await guest.hears("to all who are here")
        await asyncio.sleep(0.5)
        expect(not pushes, f"{len(pushes)} pushes")
        await guest.leave()
    with stage.step("a member who is away is woken by what is said in a room of members"):
        hosts[0].say("to all who are not")
        await until(lambda: pushes, "push")
        expect("phone-0" in ET.tostring(pushes[0], encoding="unicode"), ET.tostring(pushes[0], encoding="unicode"))
        pushes.clear()
    with stage.step("in a room for everybody she is woken when she is named, and not by each word"):
        hosts[1].say("nothing of interest")
        await hosts[1].settle()
        await asyncio.sleep(0.5)
        expect(not pushes, f"{len(pushes)} pushes")
        hosts[1].say("Rosaline: are you there?")
        await until(lambda: pushes, "push")
        expect("phone-1" in ET.tostring(pushes[0], encoding="unicode"), ET.tostring(pushes[0], encoding="unicode"))
