"""Rooms (XEP-0045): a client under a nick in one of them, and what owners, admins and moderators ask for."""

import dataclasses

from slixmpp import JID
from slixmpp.exceptions import PresenceError
from slixmpp.xmlstream import ET
from slixmpp.xmlstream.stanzabase import StanzaBase

from .client import Client
from .processes import until
from .stage import Stage
from .steps import Failure, expect

MUC = "http://jabber.org/protocol/muc"
USER, ADMIN, OWNER = f"{MUC}#user", f"{MUC}#admin", f"{MUC}#owner"
DATA, STANZA_ID, OCCUPANT_ID = "{jabber:x:data}", "{urn:xmpp:sid:0}stanza-id", "{urn:xmpp:occupant-id:0}occupant-id"
PUBSUB, BOOKMARKS = "http://jabber.org/protocol/pubsub", "urn:xmpp:bookmarks:1"
PLUGINS = ("xep_0045", "xep_0059", "xep_0249", "xep_0313", "xep_0410")


@dataclasses.dataclass
class Occupant:
    """A client in a room. `arrived` is what entering brought, in the order it came; the room's own presence, which
    tells of its avatar, is not among it."""

    client: Client
    room: str
    nick: str
    arrived: list[StanzaBase]

    @property
    def jid(self) -> str:
        return f"{self.room}/{self.nick}"

    @property
    def presence(self) -> StanzaBase:
        """The room's word that the client is in (XEP-0045 §7.2.2)."""
        return next(s for s in self.arrived if s.name == "presence" and "110" in codes(s))

    @property
    def others(self) -> dict[str, StanzaBase]:
        """The presence of those who were there before, by nick."""
        return {s["from"].resource: s for s in self.arrived
                if s.name == "presence" and "110" not in codes(s)}

    @property
    def history(self) -> list[str]:
        return [s["body"] for s in self.arrived if s.name == "message" and s["body"]]

    @property
    def subject(self) -> str | None:
        """What the room said the subject is; None if it said nothing."""
        return next((s["subject"] for s in reversed(self.arrived) if is_subject(s)), None)

    def say(self, body: str, *payloads: str) -> str:
        """Sends a message to the room and returns its id."""
        return write(self.client, self.room, body, *payloads, kind="groupchat")

    async def leave(self, status: str | None = None) -> StanzaBase:
        """Leaves and waits until the room says that it is so (XEP-0045 §7.14)."""
        self.client.saw(lambda s: is_from(s, self.room) and s["type"] == "unavailable")
        self.client.send_presence(pto=self.jid, ptype="unavailable", pstatus=status)
        seen = await self.sees_presence(self.nick, "unavailable")
        expect("110" in codes(seen), f"no code 110: {seen}")
        return seen

    async def sees(self, wanted, what: str, timeout: float = 10) -> StanzaBase:
        """The first stanza from this room that `wanted` accepts and nobody asked for before."""
        return await self.client.sees(lambda s: is_from(s, self.room) and wanted(s), what, timeout)

    async def hears(self, *bodies: str, timeout: float = 10) -> list[StanzaBase]:
        """The messages said in the room since the last call; fails unless they are these, in this order."""
        heard: list[StanzaBase] = []

        def is_said(stanza: StanzaBase) -> bool:
            return (stanza.name == "message" and stanza["type"] == "groupchat" and bool(stanza["body"])
                    and is_from(stanza, self.room))

        def are_all() -> bool:
            heard.extend(self.client.saw(is_said))
            return len(heard) >= len(bodies)

        try:
            await until(are_all, "messages", timeout, pause=0.02)
        except Failure:
            pass    # What is missing shows below.
        await self.settle()
        heard += self.client.saw(is_said)
        found = [stanza["body"] for stanza in heard]
        expect(found == list(bodies), f"{self.nick} heard {len(found)} of {len(bodies)}: {found[:6]}, not {bodies[:6]}")
        return heard

    async def sees_presence(self, nick: str, kind: str = "available", timeout: float = 10) -> StanzaBase:
        """The presence of an occupant; `kind` is the type attribute, or `available` where there is none."""
        return await self.sees(lambda s: s.name == "presence" and s["from"].resource == nick
                               and s.xml.get("type", "available") == kind, f"{kind} presence of {nick}", timeout)

    async def sees_nothing(self, unwanted, what: str) -> None:
        """Fails if an unwanted stanza of this room is here by the time the room answers."""
        await self.settle()
        await self.client.sees_nothing(lambda s: is_from(s, self.room) and unwanted(s), what)

    async def sees_error(self, wanted, *conditions: str) -> StanzaBase:
        """The error for what was sent to the room or an occupant; fails unless it is one of these."""
        stanza = await self.sees(lambda s: s["type"] == "error" and wanted(s), "error")
        expect(stanza["error"]["condition"] in conditions, f"{stanza['error']['condition']}, not {conditions}")
        return stanza

    async def settle(self) -> None:
        """Returns when the room answered a question: what it had to say before is here."""
        await settle(self.client, JID(self.room).domain)

    def forget(self) -> None:
        """Drops what came from this room so far."""
        self.client.saw(lambda s: is_from(s, self.room))

    async def fall_silent(self) -> None:
        """Drops what the room had to say so far, what is on its way too."""
        await self.settle()
        self.forget()


async def login(stage: Stage, name: str, *plugins: str) -> Client:
    """A client of a new account, ready for rooms."""
    return await stage.login(stage.add_account(name), plugins=(*PLUGINS, *plugins))


async def enter(client: Client, room: str, nick: str, **options) -> Occupant:
    """Enters and takes what that brought out of the client's memory; raises `PresenceError` when refused. `options`
    are slixmpp's: `password`, and `maxstanzas`, `maxchars`, `seconds` or `since` of the history."""
    client.saw(lambda s: is_from(s, room))
    arrived: list[StanzaBase] = []

    def is_over() -> bool:
        came = client.saw(lambda s: is_from(s, room))
        arrived.extend(s for s in came if s.name == "message" or s["from"].resource or s["type"] == "error")
        if any(s.name == "presence" and s["type"] == "error" for s in arrived):
            return True
        return any("110" in codes(s) for s in arrived) and any(is_subject(s) for s in arrived)

    client["xep_0045"].make_join_stanza(JID(room), nick, **options).send()
    try:
        await until(is_over, "subject", 10, pause=0.02)
    except Failure:
        came = [f"{s.name} {s['type']} {s['from'].resource} {codes(s) or ''}".strip() for s in arrived[-4:]]
        raise Failure(f"entering {room} did not end with presence and subject, but {came}") from None
    for stanza in arrived:
        if stanza["type"] == "error":
            raise PresenceError(stanza)
    return Occupant(client, room, nick, arrived)


async def create(client: Client, room: str, nick: str, **fields) -> Occupant:
    """A new room with this configuration; without, an instant room (XEP-0045 §10.1.2)."""
    owner = await enter(client, room, nick)
    expect({"110", "201"} <= codes(owner.presence), f"codes {codes(owner.presence)} in a new room")
    await configure(client, room, **fields)
    await owner.settle()
    owner.forget()
    return owner


async def bookmark(client: Client, room: str, name: str, nick: str) -> None:
    """Has the account's clients enter a room by themselves (XEP-0402)."""
    conference = f"<conference xmlns='{BOOKMARKS}' name='{name}' autojoin='true'><nick>{nick}</nick></conference>"
    options = submission(f"{PUBSUB}#publish-options", {
        "pubsub#persist_items": "true", "pubsub#max_items": "max", "pubsub#access_model": "whitelist",
        "pubsub#send_last_published_item": "never"})
    await client.ask("set", f"<pubsub xmlns='{PUBSUB}'><publish node='{BOOKMARKS}'><item id='{room}'>{conference}"
                     f"</item></publish><publish-options>{options}</publish-options></pubsub>")


async def prepare(stage: Stage, jid: str, room: str) -> tuple[Occupant, list[str]]:
    """A room with a history for a client that is not running yet, bookmarked in its account under the nick Romeo.
    Returns a peer that is in it, and what was said."""
    juliet = await create(await login(stage, "juliet"), room, "Juliet", roomname="The Balcony", persistentroom="1")
    said = [f"{number} of 5, said before" for number in range(1, 6)]
    for body in said:
        juliet.say(body)
    await juliet.hears(*said)
    account = stage.client(jid)
    await account.login()
    await bookmark(account, room, "The Balcony", "Romeo")
    await account.logout()
    return juliet, said


async def settle(client: Client, service: str) -> None:
    await client["xep_0030"].get_info(jid=service, timeout=10)


def write(client: Client, to: str, body: str | None, *payloads: str, kind: str = "chat") -> str:
    """Sends a message with more in it than a body, and returns its id."""
    message = client.make_message(mto=to, mbody=body, mtype=kind)
    message["id"] = client.new_id()
    for payload in payloads:
        message.append(ET.fromstring(payload))
    message.send()
    return message["id"]


def is_from(stanza: StanzaBase, room: str) -> bool:
    return stanza.name in ("message", "presence") and stanza["from"].bare == room


def is_subject(stanza: StanzaBase) -> bool:
    """A subject without a body changes the subject (XEP-0045 §7.2.15)."""
    return (stanza.name == "message" and stanza["type"] == "groupchat" and not stanza["body"]
            and stanza.xml.find("{jabber:client}subject") is not None)


def codes(stanza: StanzaBase) -> set[str]:
    """The status codes in a stanza (XEP-0045 §16.6)."""
    return {status.get("code") for status in stanza.xml.findall(f"{{{USER}}}x/{{{USER}}}status")}


def item(stanza: StanzaBase) -> dict[str, str]:
    """Affiliation, role and what else a stanza says about an occupant; its reason and its actor too."""
    element = stanza.xml.find(f"{{{USER}}}x/{{{USER}}}item")
    if element is None:
        return {}
    actor = element.find(f"{{{USER}}}actor")
    return {**element.attrib, "reason": element.findtext(f"{{{USER}}}reason") or "",
            "actor": "" if actor is None else actor.get("nick") or actor.get("jid")}


def stands(stanza: StanzaBase) -> tuple[str | None, str | None]:
    """Affiliation and role."""
    return item(stanza).get("affiliation"), item(stanza).get("role")


def stanza_id(stanza: StanzaBase) -> str | None:
    """The id the room gave a message (XEP-0359 §3)."""
    found = [element.get("id") for element in stanza.xml.findall(STANZA_ID)
             if element.get("by") == stanza["from"].bare]
    expect(len(found) <= 1, f"several stanza ids: {stanza}")
    return found[0] if found else None


def occupant_id(stanza: StanzaBase) -> str | None:
    """The id that stays with an occupant (XEP-0421)."""
    found = stanza.xml.findall(OCCUPANT_ID)
    expect(len(found) <= 1, f"several occupant ids: {stanza}")
    return found[0].get("id") if found else None


async def administer(client: Client, room: str, *items: dict[str, str]) -> None:
    """Changes roles and affiliations; `reason` becomes the child it is (XEP-0045 §8, §9)."""
    query = ET.Element(f"{{{ADMIN}}}query")
    for attributes in items:
        element = ET.SubElement(query, f"{{{ADMIN}}}item",
                                {key: value for key, value in attributes.items() if key != "reason"})
        if "reason" in attributes:
            ET.SubElement(element, f"{{{ADMIN}}}reason").text = attributes["reason"]
    await client.ask("set", ET.tostring(query, encoding="unicode"), to=room)


async def listed(client: Client, room: str, **wanted: str) -> set[str]:
    """The JIDs with an affiliation, or the nicks with a role."""
    [(kind, value)] = wanted.items()
    answer = await client.ask("get", f"<query xmlns='{ADMIN}'><item {kind}='{value}'/></query>", to=room)
    return {element.get("jid" if kind == "affiliation" else "nick") for element in answer.xml.iter(f"{{{ADMIN}}}item")}


async def configuration(client: Client, room: str) -> dict[str, list[str]]:
    """The values in the form that owners fill in (XEP-0045 §10.2), without the prefix muc#roomconfig_."""
    answer = await client.ask("get", f"<query xmlns='{OWNER}'/>", to=room)
    return values(answer.xml, "muc#roomconfig_")


async def configure(client: Client, room: str, **fields: str | list[str]) -> None:
    text = submission(f"{MUC}#roomconfig", {f"muc#roomconfig_{name}": value for name, value in fields.items()})
    await client.ask("set", f"<query xmlns='{OWNER}'>{text}</query>", to=room)


def submission(kind: str, fields: dict[str, str | list[str]]) -> str:
    """A submitted form as XML."""
    form = ET.Element(f"{DATA}x", type="submit")
    for name, given in {"FORM_TYPE": kind, **fields}.items():
        field = ET.SubElement(form, f"{DATA}field", var=name)
        for value in [given] if isinstance(given, str) else given:
            ET.SubElement(field, f"{DATA}value").text = value
    return ET.tostring(form, encoding="unicode")


def values(xml: ET.Element, prefix: str = "") -> dict[str, list[str]]:
    """The fields of a form inside `xml`, their values in alphabetical order; `prefix` is taken off their names."""
    return {field.get("var").removeprefix(prefix): sorted(value.text or "" for value in field.findall(f"{DATA}value"))
            for field in xml.iter(f"{DATA}field") if field.get("var")}


@dataclasses.dataclass
class Info:
    """What service discovery tells of a room, or of the service."""

    features: set[str]
    identities: set[tuple[str, str, str]]
    fields: dict[str, list[str]]


async def info(client: Client, jid: str) -> Info:
    answer = await client["xep_0030"].get_info(jid=jid, timeout=10)
    found = answer["disco_info"]
    return Info(set(found["features"]), {(kind, name, title or "") for kind, name, _, title in found["identities"]},
                values(answer.xml, "muc#roominfo_"))
