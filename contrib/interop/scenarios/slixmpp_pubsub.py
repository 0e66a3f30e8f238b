"""Personal eventing (XEP-0060, XEP-0163) by slixmpp's plugins: nodes, access models, notifications, and what clients
keep there: OMEMO keys, bookmarks, avatars, displayed marks."""

import asyncio
import base64
import hashlib

from slixmpp.exceptions import IqError
from slixmpp.xmlstream import ET

from lib.client import Client, refused
from lib.raw import RawStream
from lib.stage import Stage
from lib.steps import Failure, expect

PUBSUB = "http://jabber.org/protocol/pubsub"
EVENT = f"{{{PUBSUB}#event}}"
MOOD, SECRET, PLAN = "urn:example:mood", "urn:example:secret", "urn:example:plan"
AXOLOTL, OMEMO = "eu.siacs.conversations.axolotl", "urn:xmpp:omemo:2"
BOOKMARKS, AVATAR = "urn:xmpp:bookmarks:1", "urn:xmpp:avatar"
PLUGINS = ("xep_0163", "xep_0223", "xep_0084", "xep_0048", "xep_0402", "xep_0490")
PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
                       "gg==")


async def run(stage: Stage) -> None:
    juliet, romeo, nurse = [await enter(stage, stage.add_account(name), MOOD) for name in ("juliet", "romeo", "nurse")]
    await stage.befriend(juliet, romeo)
    own = juliet.boundjid.bare
    with stage.step("the account is a pubsub service of the PEP kind", needed=True):
        info = (await romeo["xep_0030"].get_info(jid=own, timeout=10))["disco_info"]
        expect(any(identity[:2] == ("pubsub", "pep") for identity in info["identities"]), str(info["identities"]))
        for feature in ("publish", "publish-options"):
            expect(f"{PUBSUB}#{feature}" in info["features"], f"no {PUBSUB}#{feature}")
    with stage.step("what XEP-0163 §6 requires, and more, is in disco#info"):
        for feature in ("auto-create", "auto-subscribe", "filtered-notifications", "access-open",
                        "access-presence", "access-whitelist", "persistent-items", "retrieve-items", "config-node",
                        "delete-items", "item-ids", "last-published"):
            expect(f"{PUBSUB}#{feature}" in info["features"], f"no {PUBSUB}#{feature}")
    await events(stage, juliet, romeo, nurse)
    await access(stage, juliet, romeo, nurse)
    await options(stage, juliet, romeo, nurse)
    with stage.part():
        await omemo(stage, juliet, nurse)
    await bookmarks(stage, juliet)
    await avatars(stage, juliet, romeo)
    await displayed(stage, juliet)
    await persistence(stage, juliet, nurse)


async def enter(stage: Stage, jid: str, *interests: str) -> Client:
    """A login with interests in these nodes announced by caps (XEP-0163 §4.3.1)."""
    client = stage.client(jid, plugins=PLUGINS)
    await client.login()
    await client.get_roster()
    client["xep_0163"].add_interest(list(interests))
    await client["xep_0115"].update_caps(broadcast=False)
    client.send_presence()
    await client["xep_0199"].send_ping(stage.domain, timeout=10)
    if interests:
        await asyncio.sleep(0.3)    # The server asks back what the hash stands for.
    return client


def form(kind: str, **fields: str) -> str:
    """A submitted form with `pubsub#` fields; `kind` is node_config or publish-options."""
    fields = {"FORM_TYPE": f"{PUBSUB}#{kind}", **{f"pubsub#{name}": value for name, value in fields.items()}}
    text = "<x xmlns='jabber:x:data' type='submit'>"
    for name, value in fields.items():
        text += f"<field var='{name}'><value>{value}</value></field>"
    return text + "</x>"


async def publish(client: Client, node: str, payload: str, identity: str = "current", to: str | None = None,
                  **fields: str) -> None:
    extra = f"<publish-options>{form('publish-options', **fields)}</publish-options>" if fields else ""
    await client.ask("set", f"<pubsub xmlns='{PUBSUB}'><publish node='{node}'><item id='{identity}'>{payload}</item>"
                     f"</publish>{extra}</pubsub>", to=to)


async def items(client: Client, owner: str | None, node: str, *identities: str) -> list[ET.Element]:
    wanted = "".join(f"<item id='{identity}'/>" for identity in identities)
    question = f"<pubsub xmlns='{PUBSUB}'><items node='{node}'>{wanted}</items></pubsub>"
    answer = await client.ask("get", question, to=owner)
    return answer.xml.findall(f".//{{{PUBSUB}}}item")


async def ids(client: Client, owner: str | None, node: str) -> list[str]:
    return [item.get("id") for item in await items(client, owner, node)]


async def configuration(client: Client, node: str) -> dict[str, str]:
    answer = await client.ask("get", f"<pubsub xmlns='{PUBSUB}#owner'><configure node='{node}'/></pubsub>")
    return {field.get("var"): field.findtext("{jabber:x:data}value")
            for field in answer.xml.iter("{jabber:x:data}field")}


async def configure(client: Client, node: str, **fields: str) -> None:
    await client.ask("set", f"<pubsub xmlns='{PUBSUB}#owner'><configure node='{node}'>{form('node_config', **fields)}"
                     "</configure></pubsub>")


def event(node: str, kind: str = "items", child: str | None = None, identity: str | None = None):
    """Whether a stanza is an event of this kind from the node, with this item or retraction in it."""
    def is_wanted(stanza) -> bool:
        element = stanza.xml.find(f"{EVENT}event/{EVENT}{kind}")
        if stanza.name != "message" or element is None or element.get("node") != node:
            return False
        return child is None or any(e.get("id") == identity for e in element.findall(f"{EVENT}{child}"))
    return is_wanted


async def events(stage: Stage, juliet: Client, romeo: Client, nurse: Client) -> None:
    own = juliet.boundjid.bare
    with stage.step("an item reaches a contact that is interested, and the own devices"):
        await publish(juliet, MOOD, f"<mood xmlns='{MOOD}'>in love</mood>")
        seen = await romeo.sees(event(MOOD, child="item", identity="current"), "event")
        expect(seen["from"] == own, str(seen))
        await juliet.sees(event(MOOD, child="item", identity="current"), "event")
    with stage.step("it does not reach a stranger, nor a contact without interest"):
        await publish(juliet, PLAN, f"<plan xmlns='{PLAN}'/>")
        await romeo.sees_nothing(event(PLAN), "an event without interest")
        await nurse.sees_nothing(event(MOOD), "an event of a stranger")
    with stage.step("a contact that comes online gets the last item (XEP-0163 §4.3.4)"):
        await romeo.logout()
        await publish(juliet, MOOD, f"<mood xmlns='{MOOD}'>waiting</mood>")
        again = await enter(stage, romeo.boundjid.bare, MOOD)
        seen = await again.sees(event(MOOD), "last item")
        expect("waiting" in str(seen), str(seen))
        await again.logout()
    with stage.step("a retraction is told (XEP-0060 §7.2)"):
        romeo = await enter(stage, romeo.boundjid.bare, MOOD)
        await romeo.sees(event(MOOD), "last item")
        await juliet["xep_0060"].retract(None, MOOD, "current", notify=True, timeout=10)
        await romeo.sees(event(MOOD, child="retract", identity="current"), "retraction")
        expect(await ids(romeo, own, MOOD) == [], "the item is still there")
        await refused(juliet["xep_0060"].retract(None, MOOD, "current", timeout=10), "item-not-found")
    with stage.step("several items are kept, the newest so many, and read in order or by id"):
        await configure(juliet, PLAN, max_items="3")
        for number in range(5):
            await publish(juliet, PLAN, f"<plan xmlns='{PLAN}'>{number}</plan>", f"p{number}")
        expect(await ids(juliet, None, PLAN) == ["p2", "p3", "p4"], str(await ids(juliet, None, PLAN)))
        some = await items(juliet, None, PLAN, "p3")
        expect([item[0].text for item in some] == ["3"], str(len(some)))
    with stage.step("an item published again replaces the one with its id"):
        await publish(juliet, PLAN, f"<plan xmlns='{PLAN}'>three</plan>", "p3")
        expect([item[0].text for item in await items(juliet, None, PLAN, "p3")] == ["three"], "it does not")
        expect(sorted(await ids(juliet, None, PLAN)) == ["p2", "p3", "p4"], str(await ids(juliet, None, PLAN)))
    with stage.step("a node is purged and deleted, and both are told (XEP-0060 §8.4, §8.5)"):
        await publish(juliet, MOOD, f"<mood xmlns='{MOOD}'>gone soon</mood>")
        await romeo.sees(event(MOOD, child="item", identity="current"), "event")
        await juliet["xep_0060"].purge(None, MOOD, timeout=10)
        await romeo.sees(event(MOOD, "purge"), "purge")
        await juliet["xep_0060"].delete_node(None, MOOD, timeout=10)
        await romeo.sees(event(MOOD, "delete"), "deletion")
        await refused(items(juliet, None, MOOD), "item-not-found")
    with stage.step("what is not there has the legacy code too (XEP-0086)"):
        try:
            await items(juliet, None, "urn:example:unheard-of")
        except IqError as error:
            expect(error.iq.xml.find("{jabber:client}error").get("code") == "404", str(error.iq))
    await romeo.logout()


async def access(stage: Stage, juliet: Client, romeo: Client, nurse: Client) -> None:
    """Who may read which node: the owner always, a contact, a stranger."""
    own = juliet.boundjid.bare
    romeo = await enter(stage, romeo.boundjid.bare)
    await juliet.update_roster(romeo.boundjid.bare, groups=["Lovers"])
    cases = {"open": (True, True), "presence": (True, False), "whitelist": (False, False)}
    for model, (contact_may, stranger_may) in cases.items():
        with stage.step(f"access model {model}: the contact may{'' if contact_may else ' not'} read, "
                        f"the stranger may{'' if stranger_may else ' not'}"):
            node = f"{SECRET}:{model}"
            await publish(juliet, node, f"<s xmlns='{SECRET}'/>", access_model=model, persist_items="true")
            expect(await ids(juliet, None, node) == ["current"], "the owner may not")
            for client, may in ((romeo, contact_may), (nurse, stranger_may)):
                if may:
                    expect(await ids(client, own, node) == ["current"], f"{client.boundjid.user} sees nothing")
                else:
                    await refused(items(client, own, node),
                                  "not-authorized", "not-allowed", "forbidden", "item-not-found")
    with stage.step("access model roster: a group may read, others may not"):
        node = f"{SECRET}:roster"
        await publish(juliet, node, f"<s xmlns='{SECRET}'/>", access_model="roster", roster_groups_allowed="Lovers")
        expect(await ids(romeo, own, node) == ["current"], "the group may not")
        await juliet.update_roster(romeo.boundjid.bare, groups=["Enemies"])
        await refused(items(romeo, own, node))
        await refused(items(nurse, own, node))
    with stage.step("nobody else may publish, retract, configure or delete"):
        node = f"{SECRET}:open"
        await refused(publish(nurse, node, f"<s xmlns='{SECRET}'/>", to=own), "forbidden")
        await refused(romeo["xep_0060"].retract(own, node, "current", timeout=10), "forbidden")
        await refused(romeo["xep_0060"].purge(own, node, timeout=10), "forbidden")
        await refused(romeo["xep_0060"].delete_node(own, node, timeout=10), "forbidden")
        await refused(romeo["xep_0060"].get_node_config(own, node, timeout=10), "forbidden")
        await refused(publish(nurse, "urn:example:planted", f"<s xmlns='{SECRET}'/>", to=own),
                      "forbidden", "item-not-found")
    with stage.step("a changed access model counts at once"):
        await configure(juliet, node, access_model="whitelist")
        await refused(items(nurse, own, node))
        await configure(juliet, node, access_model="open")
        expect(await ids(nurse, own, node) == ["current"], "open again, but not readable")
    await romeo.logout()


async def options(stage: Stage, juliet: Client, romeo: Client, nurse: Client) -> None:
    node = "urn:example:options"
    with stage.step("publish-options configure a node that is created by them (XEP-0060 §7.1.5)"):
        await publish(juliet, node, f"<s xmlns='{SECRET}'/>", access_model="open", max_items="5", persist_items="true")
        kept = await configuration(juliet, node)
        expect((kept["pubsub#access_model"], kept["pubsub#max_items"]) == ("open", "5"), str(kept))
    with stage.step("publish-options that do not hold are a conflict, and nothing is published"):
        try:
            await publish(juliet, node, f"<s xmlns='{SECRET}'/>", "second", access_model="whitelist")
        except IqError as error:
            expect(error.condition == "conflict", error.condition)
            expect(error.iq.xml.find(f".//{{{PUBSUB}#errors}}precondition-not-met") is not None, str(error.iq))
        else:
            raise Failure("was published")
        expect(await ids(juliet, None, node) == ["current"], "it was published all the same")
    with stage.step("nonsense in a configuration is refused and changes nothing"):
        for field in ({"access_model": "telepathy"}, {"max_items": "many"}, {"max_items": "-1"}):
            await refused(configure(juliet, node, **field))
        kept = await configuration(juliet, node)
        expect((kept["pubsub#access_model"], kept["pubsub#max_items"]) == ("open", "5"), str(kept))
    with stage.step("max_items=max is taken (XEP-0060 §8.2)"):
        await configure(juliet, node, max_items="max")
        for number in range(30):
            await publish(juliet, node, f"<s xmlns='{SECRET}'/>", f"i{number}")
        expect(len(await ids(juliet, None, node)) == 31, f"{len(await ids(juliet, None, node))} items")
    with stage.step("disco#items lists the nodes to a contact that may read them"):
        romeo = await enter(stage, romeo.boundjid.bare)
        answer = await romeo["xep_0030"].get_items(jid=juliet.boundjid.bare, timeout=10)
        nodes = {item[1] for item in answer["disco_items"]["items"]}
        expect(node in nodes, str(nodes))
        await romeo.logout()
    with stage.step("disco#items names no node one may not read"):
        expect(f"{SECRET}:whitelist" not in nodes, str(nodes))


async def omemo(stage: Stage, juliet: Client, nurse: Client) -> None:
    """As Conversations and Dino do: nodes created by publishing with access model open, read by a stranger."""
    own = juliet.boundjid.bare
    devices = f"<list xmlns='{AXOLOTL}'><device id='4711'/></list>"
    bundle = (f"<bundle xmlns='{AXOLOTL}'><signedPreKeyPublic signedPreKeyId='1'>QUJD</signedPreKeyPublic>"
              "<signedPreKeySignature>QUJD</signedPreKeySignature><identityKey>QUJD</identityKey><prekeys>"
              + "".join(f"<preKeyPublic preKeyId='{n}'>{'QUJD' * 11}</preKeyPublic>" for n in range(1, 101))
              + "</prekeys></bundle>")
    with stage.step("a device list and a bundle are published with publish-options (XEP-0384, legacy)", needed=True):
        await publish(juliet, f"{AXOLOTL}.devicelist", devices, access_model="open", persist_items="true")
        await publish(juliet, f"{AXOLOTL}.bundles:4711", bundle, access_model="open", persist_items="true")
        kept = await configuration(juliet, f"{AXOLOTL}.bundles:4711")
        expect(kept["pubsub#access_model"] == "open", str(kept))
    with stage.step("a stranger reads both"):
        listed = (await items(nurse, own, f"{AXOLOTL}.devicelist"))[0]
        expect(listed.find(f".//{{{AXOLOTL}}}device").get("id") == "4711", ET.tostring(listed, encoding="unicode"))
        keys = (await items(nurse, own, f"{AXOLOTL}.bundles:4711"))[0].findall(f".//{{{AXOLOTL}}}preKeyPublic")
        expect(len(keys) == 100, f"{len(keys)} pre-keys")
    with stage.step("a node made private before is opened by its configuration, as clients retry"):
        await publish(juliet, f"{AXOLOTL}.bundles:4712", bundle)
        await configure(juliet, f"{AXOLOTL}.bundles:4712", access_model="open")
        await publish(juliet, f"{AXOLOTL}.bundles:4712", bundle, access_model="open")
        expect(await ids(nurse, own, f"{AXOLOTL}.bundles:4712") == ["current"], "a stranger cannot read it")
    with stage.step("bundles of several devices in one node (XEP-0384, urn:xmpp:omemo:2)"):
        for device in ("1", "2", "3"):
            await publish(juliet, f"{OMEMO}:bundles", f"<bundle xmlns='{OMEMO}'><spk id='1'>QUJD</spk></bundle>", device,
                          access_model="open", max_items="max")
        await publish(juliet, f"{OMEMO}:devices", f"<devices xmlns='{OMEMO}'><device id='1'/><device id='2'/></devices>",
                      access_model="open")
        expect([item.get("id") for item in await items(nurse, own, f"{OMEMO}:bundles", "2")] == ["2"], "not by its id")
        expect(sorted(await ids(nurse, own, f"{OMEMO}:bundles")) == ["1", "2", "3"], "not all")


async def bookmarks(stage: Stage, juliet: Client) -> None:
    room = f"party@rooms.{stage.domain}"
    private = dict(access_model="whitelist", max_items="max", persist_items="true", send_last_published_item="never")
    other = await enter(stage, juliet.boundjid.bare, BOOKMARKS)
    with stage.step("the account offers the conversion of bookmarks both ways"):
        info = (await juliet["xep_0030"].get_info(jid=juliet.boundjid.bare, timeout=10))["disco_info"]["features"]
        for feature in (f"{BOOKMARKS}#compat", "urn:xmpp:bookmarks-conversion:0"):
            expect(feature in info, f"no {feature}")
    with stage.step("a bookmark is published and the other device told (XEP-0402)"):
        await publish(juliet, BOOKMARKS, f"<conference xmlns='{BOOKMARKS}' name='Party' autojoin='true'><nick>J</nick>"
                      "</conference>", room, **private)
        await other.sees(event(BOOKMARKS, child="item", identity=room), "event")
    with stage.step("it is in private XML storage for older clients (XEP-0048)"):
        kept = (await juliet["xep_0048"].get_bookmarks(method="xep_0049", timeout=10))["private"]["bookmarks"]
        rooms = {c["jid"]: c for c in kept["conferences"]}
        expect(room in rooms and rooms[room]["autojoin"], str(kept))
        expect((rooms[room]["name"], rooms[room]["nick"]) == ("Party", "J"), str(kept))
    with stage.step("what an older client stores is a bookmark of its own item, and the device told"):
        added = f"dance@rooms.{stage.domain}"
        await juliet.ask("set", "<query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'>"
                         f"<conference jid='{room}' name='Party' autojoin='true'><nick>J</nick></conference>"
                         f"<conference jid='{added}' name='Dance'/></storage></query>")
        await other.sees(event(BOOKMARKS, child="item", identity=added), "event")
        expect(set(await ids(other, None, BOOKMARKS)) == {room, added}, str(await ids(other, None, BOOKMARKS)))
    with stage.step("what an older client drops is retracted"):
        await juliet.ask("set", "<query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'>"
                         f"<conference jid='{added}' name='Dance'/></storage></query>")
        expect(await ids(other, None, BOOKMARKS) == [added], str(await ids(other, None, BOOKMARKS)))
    with stage.step("a retracted bookmark is gone from private storage"):
        await juliet["xep_0060"].retract(None, BOOKMARKS, added, notify=True, timeout=10)
        await other.sees(event(BOOKMARKS, child="retract", identity=added), "retraction")
        kept = await juliet["xep_0048"].get_bookmarks(method="xep_0049", timeout=10)
        expect(not kept["private"]["bookmarks"]["conferences"], str(kept))
    await other.logout()


async def avatars(stage: Stage, juliet: Client, romeo: Client) -> None:
    digest, own = hashlib.sha1(PNG).hexdigest(), juliet.boundjid.bare
    romeo = await enter(stage, romeo.boundjid.bare, f"{AVATAR}:metadata")

    def has_hash(wanted: str):
        return lambda s: s.name == "presence" and s["from"].bare == own \
            and s.xml.findtext(".//{vcard-temp:x:update}photo") == wanted

    with stage.step("an avatar is published, a contact told and reads it (XEP-0084)"):
        for_everybody = juliet["xep_0004"].make_form("submit")
        for_everybody.add_field("FORM_TYPE", "hidden", value=f"{PUBSUB}#publish-options")
        for_everybody.add_field("pubsub#access_model", value="open")    # A card is for everybody, XEP-0398 §7.
        await juliet["xep_0084"].publish_avatar(PNG, options=for_everybody, timeout=10)
        await juliet["xep_0084"].publish_avatar_metadata(
            {"id": digest, "type": "image/png", "bytes": str(len(PNG)), "width": "1", "height": "1"},
            options=for_everybody, timeout=10)
        await romeo.sees(event(f"{AVATAR}:metadata", child="item", identity=digest), "event")
        data = (await items(romeo, own, f"{AVATAR}:data", digest))[0]
        expect(base64.b64decode(data[0].text) == PNG, "not the image")
    with stage.step("it is the vCard's photo for older clients (XEP-0398 §3)"):
        vcard = await romeo["xep_0054"].get_vcard(own, timeout=10)
        expect(vcard["vcard_temp"]["PHOTO"]["BINVAL"] == PNG, "it is not")
    with stage.step("presence carries its hash (XEP-0153, XEP-0398)"):
        juliet.send_presence(pstatus="with a face")
        await romeo.sees(has_hash(digest), "hash")
    with stage.step("a photo in the vCard becomes the avatar, and contacts are told"):
        other = PNG + b"\0"
        vcard = ("<vCard xmlns='vcard-temp'><FN>Juliet</FN><PHOTO><TYPE>image/png</TYPE>"
                 f"<BINVAL>{base64.b64encode(other).decode()}</BINVAL></PHOTO></vCard>")
        await juliet.ask("set", vcard)
        digest = hashlib.sha1(other).hexdigest()
        await romeo.sees(event(f"{AVATAR}:metadata", child="item", identity=digest), "event")
        data = (await items(romeo, own, f"{AVATAR}:data", digest))[0]
        expect(base64.b64decode("".join(data[0].text.split())) == other, "not the image")
    await romeo.logout()


async def displayed(stage: Stage, juliet: Client) -> None:
    with stage.step("how far a chat was read is synchronised (XEP-0490)"):
        other = await enter(stage, juliet.boundjid.bare, "urn:xmpp:mds:displayed:0")
        await juliet["xep_0490"].flag_chat(f"romeo@{stage.domain}", "id-1", timeout=10)
        await juliet["xep_0490"].flag_chat(f"nurse@{stage.domain}", "id-2", timeout=10)
        await juliet["xep_0490"].flag_chat(f"romeo@{stage.domain}", "id-3", timeout=10)
        await other.sees(lambda s: event("urn:xmpp:mds:displayed:0")(s) and "id-3" in str(s), "event")
        caught_up = (await other["xep_0490"].catch_up(timeout=10))["pubsub"]["items"]
        marks = {item["id"]: item["displayed"]["stanza_id"]["id"] for item in caught_up}
        expect(marks == {f"romeo@{stage.domain}": "id-3", f"nurse@{stage.domain}": "id-2"}, str(marks))
        await other.logout()


async def persistence(stage: Stage, juliet: Client, nurse: Client) -> None:
    own, node = juliet.boundjid.bare, "urn:example:options"
    with stage.step("nodes, items and configuration outlive a restart of the server"):
        before = await ids(juliet, None, node), await configuration(juliet, node)
        await stage.server.restart()
        juliet, nurse = await enter(stage, own), await enter(stage, nurse.boundjid.bare)
        expect((await ids(juliet, None, node), await configuration(juliet, node)) == before, "they differ")
        expect(await ids(nurse, own, f"{AXOLOTL}.devicelist") == ["current"], "the device list is gone")
        await refused(items(nurse, own, f"{SECRET}:whitelist"))
    with stage.step("a node with a name of 10 kB is refused, and the server goes on"):
        await refused(publish(juliet, "n" * 10_000, f"<s xmlns='{SECRET}'/>"))
    with stage.step("nodes without end come to an end"):
        with RawStream(stage.domain, stage.authority, direct=True) as stream:
            stream.open()
            stream.login(juliet.boundjid.user, stage.password)
            for number in range(1200):
                stream.send(f"<iq type='set' id='{number}'><pubsub xmlns='{PUBSUB}'><publish node='flood:{number}'>"
                            f"<item><s xmlns='{SECRET}'/></item></publish></pubsub></iq>")
                while (answer := stream.next()) is not None and answer.get("id") != str(number):
                    pass
                if answer is None or answer.get("type") == "error":
                    return
        raise Failure("1,200 nodes were created")
