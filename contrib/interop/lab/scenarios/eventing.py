"""Personal eventing across servers: device lists of OMEMO, avatars, and who is told of them."""

import base64
import hashlib

from slixmpp.xmlstream import ET

from lib.client import Client
from lib.steps import expect

from ..pair import PLUGINS, Pair
from .messages import way

PUBSUB = "http://jabber.org/protocol/pubsub"
EVENT = f"{{{PUBSUB}#event}}"
DEVICES = "eu.siacs.conversations.axolotl.devicelist"
BUNDLES = "eu.siacs.conversations.axolotl.bundles"
AXOLOTL = "eu.siacs.conversations.axolotl"
AVATAR = "urn:xmpp:avatar"
PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkqAcAAIUAgUW0RjgAAAAASUVORK5CYII=")


async def run(stage: Pair) -> None:
    with stage.step("two users who want to know of device lists and avatars subscribe to each other", needed=True):
        romeo = await interested(stage, stage.add_account("romeo", stage.here))
        juliet = await interested(stage, stage.add_account("juliet", stage.there))
        await stage.befriend(romeo, juliet)
    for one, other in ((romeo, juliet), (juliet, romeo)):
        await devices(stage, one, other)
    for one, other in ((romeo, juliet), (juliet, romeo)):
        await avatars(stage, one, other)


async def interested(stage: Pair, jid: str) -> Client:
    client = stage.client(jid, plugins=(*PLUGINS, "xep_0084", "xep_0060"))
    await client.login()
    await client.get_roster()
    client["xep_0163"].add_interest([DEVICES, f"{AVATAR}:metadata"])
    await client["xep_0115"].update_caps(broadcast=False)
    client.send_presence()
    return client


async def devices(stage: Pair, one: Client, other: Client) -> None:
    own = one.boundjid.bare
    with stage.step(f"a new device list is told to the contact, {way(one, other)}"):
        # The other's server asks for what a client wants when it sees its caps; until then nothing may be told.
        await other["xep_0199"].send_ping(one.boundjid.domain, timeout=10)
        await publish(one, DEVICES, f"<list xmlns='{AXOLOTL}'><device id='1'/></list>")
        await told(other, own, DEVICES, "device id='1'")
    with stage.step(f"and each change of it, in order, {way(one, other)}"):
        for number in range(2, 7):
            await publish(one, DEVICES, f"<list xmlns='{AXOLOTL}'><device id='{number}'/></list>")
        for number in range(2, 7):
            await told(other, own, DEVICES, f"device id='{number}'")
    with stage.step(f"who logs in is told the last one, {way(one, other)}"):
        second = await interested(stage, other.boundjid.bare)
        await told(second, own, DEVICES, "device id='6'")
        await second.logout()
    with stage.step(f"a bundle of keys is fetched by the contact, {way(one, other)}"):
        await publish(one, f"{BUNDLES}:6", f"<bundle xmlns='{AXOLOTL}'><identityKey>a2V5</identityKey></bundle>")
        answer = await other.ask("get", f"<pubsub xmlns='{PUBSUB}'><items node='{BUNDLES}:6'/></pubsub>", to=own)
        expect(answer.xml.findtext(f".//{{{AXOLOTL}}}identityKey") == "a2V5", str(answer))


async def avatars(stage: Pair, one: Client, other: Client) -> None:
    with stage.step(f"an avatar is told and fetched, {way(one, other)}"):
        digest = hashlib.sha1(PNG).hexdigest()
        data = base64.b64encode(PNG).decode()
        await publish(one, f"{AVATAR}:data", f"<data xmlns='{AVATAR}:data'>{data}</data>", digest)
        await publish(one, f"{AVATAR}:metadata", f"<metadata xmlns='{AVATAR}:metadata'><info id='{digest}' "
                      f"bytes='{len(PNG)}' type='image/png' height='1' width='1'/></metadata>", digest)
        await told(other, one.boundjid.bare, f"{AVATAR}:metadata", digest)
        answer = await other.ask("get", f"<pubsub xmlns='{PUBSUB}'><items node='{AVATAR}:data'>"
                                 f"<item id='{digest}'/></items></pubsub>", to=one.boundjid.bare)
        expect(answer.xml.findtext(f".//{{{AVATAR}:data}}data") == data, str(answer)[:300])


async def publish(client: Client, node: str, payload: str, name: str = "current") -> None:
    await client.ask("set", f"<pubsub xmlns='{PUBSUB}'><publish node='{node}'><item id='{name}'>{payload}</item>"
                     "</publish></pubsub>")


async def told(client: Client, owner: str, node: str, text: str) -> None:
    def is_it(stanza) -> bool:
        items = stanza.xml.find(f"{EVENT}event/{EVENT}items") if stanza.name == "message" else None
        return (items is not None and items.get("node") == node and stanza["from"].bare == owner
                and text in ET.tostring(items, encoding="unicode").replace('"', "'"))
    await client.sees(is_it, f"notification of {node} with {text}")
