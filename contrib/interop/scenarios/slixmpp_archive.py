"""The archive (XEP-0313, XEP-0359, XEP-0441): paging through hundreds of messages, filters, ids, preferences."""

import asyncio
import dataclasses
import datetime

from slixmpp.exceptions import IqError
from slixmpp.xmlstream.stanzabase import StanzaBase

from lib.client import Client
from lib.stage import Stage
from lib.steps import Failure, expect

MAM, RSM, STANZA_ID = "urn:xmpp:mam:2", "http://jabber.org/protocol/rsm", "{urn:xmpp:sid:0}stanza-id"
PLUGINS = ("xep_0313", "xep_0441")
COUNT = 240


@dataclasses.dataclass
class Page:
    """What one query brought: ids and bodies in the order they came, and the attributes of `<fin/>`."""

    messages: list[StanzaBase]
    fin: StanzaBase

    @property
    def ids(self) -> list[str]:
        return [message["mam_result"]["id"] for message in self.messages]

    @property
    def bodies(self) -> list[str]:
        return [body_of(message) for message in self.messages]

    @property
    def is_complete(self) -> bool:
        return self.fin.xml.find(f"{{{MAM}}}fin").get("complete") == "true"

    def rsm(self, name: str) -> str | None:
        return self.fin.xml.findtext(f".//{{{RSM}}}{name}")


def body_of(message: StanzaBase) -> str:
    return message["mam_result"]["forwarded"]["stanza"]["body"]


async def run(stage: Stage) -> None:
    romeo = await stage.login(stage.add_account("romeo"), plugins=PLUGINS)
    juliet = await stage.login(stage.add_account("juliet"), plugins=PLUGINS)
    nurse = await stage.login(stage.add_account("nurse"), plugins=PLUGINS)
    with stage.step("the account offers an archive, extended, with stable ids", needed=True):
        info = await romeo["xep_0030"].get_info(jid=romeo.boundjid.bare, timeout=10)
        for feature in (MAM, f"{MAM}#extended", "urn:xmpp:sid:0"):
            expect(feature in info["disco_info"]["features"], f"no {feature}")
    with stage.step("hundreds of messages go both ways", needed=True):
        bodies, of_nurse, middle = await conversation(romeo, juliet, nurse)
    await paging(stage, romeo, juliet, bodies)
    await filters(stage, romeo, nurse, bodies, of_nurse, middle)
    await by_ids(stage, romeo, bodies)
    await refusals(stage, romeo, juliet)
    await stable_ids(stage, romeo, juliet)
    await kept_or_not(stage, romeo, juliet)
    with stage.step("the archive is the same after a restart of the server"):
        before = await pages(romeo)
        await stage.server.restart()
        romeo, juliet, nurse = [await stage.login(c.boundjid.bare, plugins=PLUGINS) for c in (romeo, juliet, nurse)]
        expect(await pages(romeo) == before, "it differs")
    await preferences(stage, romeo, juliet, nurse)


async def conversation(romeo: Client, juliet: Client, nurse: Client) -> tuple[list[str], list[str], datetime.datetime]:
    """Bodies in the order romeo's server saw them, those to the nurse, and a moment halfway."""
    bodies, of_nurse, middle = [], [], None
    for number in range(COUNT):
        sender, receiver = (romeo, juliet) if number % 3 else (juliet, romeo)
        bodies.append(f"{number}: <{sender.boundjid.user}> & 月")
        sender.send_message(mto=receiver.boundjid.bare, mbody=bodies[-1], mtype="chat")
        if number % 20 == 10:
            of_nurse.append(f"{number}: to the nurse")
            bodies.append(of_nurse[-1])
            romeo.send_message(mto=nurse.boundjid.bare, mbody=of_nurse[-1], mtype="chat")
        for client in (romeo, juliet):    # The order is ours: each waits for the other.
            if (number % 3 == 0) or (number % 3 == 2 and client is romeo):
                await client["xep_0199"].send_ping(client.domain, timeout=10)
        if number == COUNT // 2:
            await asyncio.sleep(1.1)
            middle = datetime.datetime.now(datetime.timezone.utc)
            await asyncio.sleep(1.1)
    for client in (romeo, juliet, nurse):
        await client["xep_0199"].send_ping(client.domain, timeout=10)
    return bodies, of_nurse, middle


async def pages(client: Client, size: int = 30, **query) -> list[tuple[str, str]]:
    """Id and body of everything, page by page, by slixmpp's own iterator."""
    return [(message["mam_result"]["id"], body_of(message))
            async for message in client["xep_0313"].iterate(rsm={"max": size}, **query)]


async def page(client: Client, fields: dict[str, str | list[str]] | None = None, rsm: str = "", extra: str = "",
               to: str | None = None) -> Page:
    """One query by hand."""
    form = "<x xmlns='jabber:x:data' type='submit'>"
    fields = {"FORM_TYPE": MAM, **(fields or {})}
    for name, values in fields.items():
        values = [values] if isinstance(values, str) else values
        form += f"<field var='{name}'>" + "".join(f"<value>{value}</value>" for value in values) + "</field>"
    client.queries = getattr(client, "queries", 0) + 1
    name = f"q{client.queries}"
    fin = await client.ask("set", f"<query xmlns='{MAM}' queryid='{name}'>{form}</x>"
                           f"<set xmlns='{RSM}'>{rsm}</set>{extra}</query>", to=to)
    return Page(client.saw(lambda s: s.name == "message" and s["mam_result"]["queryid"] == name), fin)


async def paging(stage: Stage, romeo: Client, juliet: Client, bodies: list[str]) -> None:
    with stage.step("paged forwards, the sender's archive has everything once and in order", needed=True):
        kept = await pages(romeo)
        same([body for _, body in kept], bodies)
        expect(len({identity for identity, _ in kept}) == len(kept), "ids come twice")
    with stage.step("paged forwards, the recipient's archive too"):
        same([body for _, body in await pages(juliet)], [body for body in bodies if "nurse" not in body])
    with stage.step("paged backwards, it is the same in reverse"):
        expect(await pages(romeo, reverse=True) == kept[::-1], "it is not")
    with stage.step("pages of one and of all give the same"):
        expect(await pages(romeo, size=1, with_jid=f"nurse3@{stage.domain}")
               == [entry for entry in kept if "nurse" in entry[1]], "pages of one do not")
        expect(await pages(romeo, size=1000) == kept, "pages of a thousand do not")
    with stage.step("an empty <before/> asks for the last page; <after/> its end for nothing more (XEP-0059 §2.5)"):
        last = await page(romeo, rsm="<max>10</max><before/>")
        same(last.bodies, bodies[-10:])
        expect(not last.is_complete, "complete='true' although there is more")
        expect((last.rsm("first"), last.rsm("last")) == (last.ids[0], last.ids[-1]), "first and last are wrong")
        before = await page(romeo, rsm=f"<max>10</max><before>{last.ids[0]}</before>")
        same(before.bodies, bodies[-20:-10])
        after = await page(romeo, rsm=f"<max>10</max><after>{before.ids[-1]}</after>")
        same(after.bodies, bodies[-10:])
        nothing = await page(romeo, rsm=f"<max>10</max><after>{last.ids[-1]}</after>")
        expect(not nothing.messages and nothing.is_complete, f"{nothing.bodies}")
        first = await page(romeo, rsm="<max>5</max>")
        nothing = await page(romeo, rsm=f"<max>10</max><before>{first.ids[0]}</before>")
        expect(not nothing.messages and nothing.is_complete, f"{nothing.bodies}")
    with stage.step("<max>0</max> counts (XEP-0059 §2.7)"):
        count = await page(romeo, rsm="<max>0</max>")
        expect(not count.messages and count.rsm("count") == str(len(bodies)), f"count {count.rsm('count')}")
    with stage.step("each result has a stamp, and stamps never go backwards"):
        everything = await page(romeo, rsm="<max>50</max>")
        stamps = [message["mam_result"]["forwarded"]["delay"]["stamp"] for message in everything.messages]
        expect(all(stamps) and stamps == sorted(stamps), str(stamps[:5]))
    with stage.step("results come from the account and to this resource only"):
        expect(all(message["from"] in ("", romeo.boundjid.bare) and message["to"] == romeo.boundjid.full
                   for message in everything.messages), str(everything.messages[0])[:200])


async def filters(stage: Stage, romeo: Client, nurse: Client, bodies, of_nurse, middle) -> None:
    cut = bodies.index(next(body for body in bodies if body.startswith(f"{COUNT // 2}:"))) + 1
    with stage.step("with: one peer's messages only, both ways"):
        same([body for _, body in await pages(romeo, with_jid=nurse.boundjid.bare)], of_nurse)
        mixed = [body for _, body in await pages(romeo, with_jid=f"juliet2@{stage.domain}")]
        same(mixed, [body for body in bodies if body not in of_nurse])
    with stage.step("start and end: the halves of the conversation"):
        same([body for _, body in await pages(romeo, start=middle)], bodies[cut:])
        same([body for _, body in await pages(romeo, end=middle)], bodies[:cut])
    with stage.step("with, start and end together"):
        late = await pages(romeo, start=middle, with_jid=nurse.boundjid.bare)
        same([body for _, body in late], [body for body in bodies[cut:] if body in of_nurse])
        expect(not await pages(romeo, start=middle, end=middle), "there is something in no time")
    with stage.step("the form names its fields"):
        form = await romeo["xep_0313"].get_fields(timeout=10)
        missing = {"with", "start", "end", "before-id", "after-id", "ids"} - set(form.get_fields())
        expect(not missing, f"missing {sorted(missing)}")
    with stage.step("metadata tells the first and the last message"):
        metadata = (await romeo["xep_0313"].get_archive_metadata(timeout=10)).xml
        kept = await pages(romeo)
        for name, entry in (("start", kept[0]), ("end", kept[-1])):
            element = metadata.find(f".//{{{MAM}}}{name}")
            expect(element is not None and element.get("id") == entry[0] and element.get("timestamp"),
                   f"{name} is wrong")


async def by_ids(stage: Stage, romeo: Client, bodies: list[str]) -> None:
    kept = await pages(romeo)
    with stage.step("before-id and after-id bound a query (#extended)"):
        inner = await page(romeo, {"after-id": kept[9][0], "before-id": kept[20][0]})
        same(inner.bodies, bodies[10:20])
    with stage.step("ids fetches these messages (#extended)"):
        some = await page(romeo, {"ids": [kept[i][0] for i in (200, 7, 100)]})
        same(sorted(some.bodies), sorted(bodies[i] for i in (200, 7, 100)))
    with stage.step("flip-page turns a page around and nothing else (#extended)"):
        flipped = await page(romeo, rsm="<max>10</max><before/>", extra="<flip-page/>")
        same(flipped.bodies, bodies[-10:][::-1])


async def refusals(stage: Stage, romeo: Client, juliet: Client) -> None:
    cases = {
        "another account's archive": dict(to=romeo.boundjid.bare),
        "an id nobody knows, for the page": dict(rsm="<max>5</max><after>unheard-of</after>"),
        "an id nobody knows, in after-id": dict(fields={"after-id": "unheard-of"}),
        "a start that is no time": dict(fields={"start": "yesterday"}),
        "a with that is no JID": dict(fields={"with": "@@"}),
        "a page size that is no number": dict(rsm="<max>ten</max>"),
    }
    for title, query in cases.items():
        with stage.step(f"refused: {title}"):
            try:
                await page(juliet, **query)
            except IqError:
                continue
            raise Failure("was answered with a result")
    with stage.step("a page size beyond all bounds is bounded by the server, not by memory"):
        await page(juliet, rsm="<max>2000000000</max>")


async def stable_ids(stage: Stage, romeo: Client, juliet: Client) -> None:
    with stage.step("a message arrives with the id it has in the archive, the origin's id kept (XEP-0359)"):
        message = romeo.make_message(mto=juliet.boundjid.bare, mbody="labelled", mtype="chat")
        message.append(element("<origin-id xmlns='urn:xmpp:sid:0' id='mine'/>"))
        message.send()
        seen = await juliet.sees_message("labelled")
        ids = [e.get("id") for e in seen.xml.findall(STANZA_ID) if e.get("by") == juliet.boundjid.bare]
        last = await page(juliet, rsm="<max>1</max><before/>")
        expect(last.bodies == ["labelled"] and ids == last.ids, f"{ids}, archived as {last.ids}")
        expect(seen.xml.find("{urn:xmpp:sid:0}origin-id").get("id") == "mine", "the origin-id is gone")
    with stage.step("forged ids are stripped, other people's are not (XEP-0359 §3)"):
        message = romeo.make_message(mto=juliet.boundjid.bare, mbody="forged", mtype="chat")
        for by in (juliet.boundjid.bare, juliet.boundjid.bare.upper(), "elsewhere.test"):
            message.append(element(f"<stanza-id xmlns='urn:xmpp:sid:0' by='{by}' id='forged'/>"))
        message.send()
        seen = await juliet.sees_message("forged")
        forged = [e.get("by") for e in seen.xml.findall(STANZA_ID) if e.get("id") == "forged"]
        expect(forged == ["elsewhere.test"], f"forged ids by {forged} came through")


async def kept_or_not(stage: Stage, romeo: Client, juliet: Client) -> None:
    hints = "urn:xmpp:hints"
    cases = {
        "an OMEMO message without a body": (True, "<encrypted xmlns='eu.siacs.conversations.axolotl'><header sid='1'/>"
                                                  f"</encrypted><store xmlns='{hints}'/>"),
        "a displayed marker": (True, "<displayed xmlns='urn:xmpp:chat-markers:0' id='x'/>"
                                     f"<store xmlns='{hints}'/>"),
        "a reaction": (True, "<reactions xmlns='urn:xmpp:reactions:0' id='x'><reaction>👋</reaction></reactions>"
                             f"<store xmlns='{hints}'/>"),
        "a body with <no-store/>": (False, f"<body>secret</body><no-store xmlns='{hints}'/>"),
        "a chat state": (False, "<composing xmlns='http://jabber.org/protocol/chatstates'/>"),
    }
    for title, (is_kept, payload) in cases.items():
        with stage.step(f"{title} is {'kept' if is_kept else 'not kept'} (XEP-0313 §6, XEP-0334)"):
            message = romeo.make_message(mto=juliet.boundjid.bare, mtype="chat")
            identity = message["id"] = romeo.new_id()
            for child in element(f"<x>{payload}</x>"):
                message.append(child)
            message.send()
            await juliet.sees(lambda s: s.name == "message" and s["id"] == identity, "message")
            for client in (romeo, juliet):
                last = await page(client, rsm="<max>3</max><before/>")
                found = any(m["mam_result"]["forwarded"]["stanza"]["id"] == identity for m in last.messages)
                expect(found == is_kept, f"{client.boundjid.user}'s archive {'has' if found else 'lacks'} it")


async def preferences(stage: Stage, romeo: Client, juliet: Client, nurse: Client) -> None:
    async def writes(sender: Client, body: str) -> None:
        sender.send_message(mto=juliet.boundjid.bare, mbody=body, mtype="chat")
        await juliet.sees_message(body)

    with stage.step("preferences are kept and told (XEP-0441)", needed=True):
        prefs = juliet["xep_0441"]
        await prefs.get_preferences(timeout=10)
        await prefs.set_preferences("never", always=[romeo.boundjid.bare], never=[], timeout=10)
        default, always, _ = await prefs.get_preferences(timeout=10)
        expect(default == "never" and romeo.boundjid.bare in {str(jid) for jid in always}, f"{default} {always}")
    with stage.step("default never, always one: only that one's messages are kept"):
        await writes(romeo, "for the record")
        await writes(nurse, "off the record")
        bodies = [body for _, body in await pages(juliet)]
        expect("for the record" in bodies and "off the record" not in bodies, str(bodies[-3:]))
    with stage.step("default always, never one: that one's messages are not kept"):
        await prefs.set_preferences("always", always=[], never=[romeo.boundjid.bare], timeout=10)
        await writes(romeo, "not this")
        await writes(nurse, "but this")
        bodies = [body for _, body in await pages(juliet)]
        expect("but this" in bodies and "not this" not in bodies, str(bodies[-3:]))
    with stage.step("one account's preferences are nobody else's"):
        bodies = [body for _, body in await pages(romeo)]
        expect("not this" in bodies, str(bodies[-3:]))


def element(xml: str):
    from slixmpp.xmlstream import ET
    return ET.fromstring(xml)


def same(seen: list[str], wanted: list[str]) -> None:
    """Fails with the first difference."""
    for place, pair in enumerate(zip(seen + [None] * len(wanted), wanted + [None] * len(seen))):
        if pair[0] != pair[1]:
            raise Failure(f"{len(seen)} messages, {len(wanted)} expected; "
                          f"number {place} is “{pair[0]}”, not “{pair[1]}”")
