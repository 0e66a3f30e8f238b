"""What a person with several devices needs: carbons (XEP-0280), client state (XEP-0352), blocking (XEP-0191) and push
(XEP-0357), with an account of its own in the place of the app server."""

import asyncio

from slixmpp.exceptions import IqError
from slixmpp.xmlstream import ET
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

from lib.client import Client
from lib.processes import until
from lib.stage import Stage
from lib.steps import Failure, expect

FORWARDED = "{urn:xmpp:forward:0}forwarded"
PUSH = "urn:xmpp:push:0"
PUBSUB = "{http://jabber.org/protocol/pubsub}"


async def run(stage: Stage) -> None:
    romeo_jid, juliet_jid = stage.add_account("romeo"), stage.add_account("juliet")
    romeo = await stage.login(romeo_jid)
    phone, laptop = [await stage.login(juliet_jid, plugins=("xep_0280", "xep_0352", "xep_0191")) for _ in range(2)]
    await stage.befriend(romeo, phone)
    with stage.part():
        await carbons(stage, romeo, phone, laptop)
    with stage.part():
        await client_state(stage, romeo, phone)
    with stage.part():
        await blocking(stage, romeo, phone, laptop)
    for client in (phone, laptop):
        await client.logout()
    await push(stage, romeo)


def carbon(client: Client, direction: str, body: str):
    """Whether a stanza is a carbon in this direction with this body, from the own account."""
    def is_wanted(stanza) -> bool:
        copy = stanza.xml.find(f"{{urn:xmpp:carbons:2}}{direction}/{FORWARDED}/{{jabber:client}}message")
        return copy is not None and copy.findtext("{jabber:client}body") == body
    return is_wanted


def is_carbon(stanza) -> bool:
    return any(child.tag.startswith("{urn:xmpp:carbons:2}") for child in stanza.xml)


async def carbons(stage: Stage, romeo: Client, phone: Client, laptop: Client) -> None:
    with stage.step("no copies for who did not ask for them"):
        romeo.send_message(mto=phone.boundjid, mbody="for the phone", mtype="chat")
        await phone.sees_message("for the phone")
        await laptop.sees_nothing(is_carbon, "a carbon")
    with stage.step("both devices enable carbons", needed=True):
        for client in (phone, laptop):
            await client["xep_0280"].enable(timeout=10)
    with stage.step("a message to one device is copied to the other, once, sent by the own account"):
        romeo.send_message(mto=phone.boundjid, mbody="for the phone again", mtype="chat")
        await phone.sees_message("for the phone again")
        copy = await laptop.sees(carbon(laptop, "received", "for the phone again"), "carbon")
        expect(copy["from"] == phone.boundjid.bare and copy["to"] == laptop.boundjid.full, str(copy))
        await laptop.sees_nothing(is_carbon, "a second carbon")
        await phone.sees_nothing(is_carbon, "a carbon of what it has")
    with stage.step("what one device sends is copied to the other, and not to itself"):
        phone.send_message(mto=romeo.boundjid.bare, mbody="from the phone", mtype="chat")
        await laptop.sees(carbon(laptop, "sent", "from the phone"), "carbon")
        await phone.sees_nothing(is_carbon, "a carbon of its own")
        await romeo.sees_message("from the phone")
        await romeo.sees_nothing(is_carbon, "a carbon")
    with stage.step("a message to the bare JID reaches each device once"):
        phone.bodies, laptop.bodies = [], []
        romeo.send_message(mto=phone.boundjid.bare, mbody="for both", mtype="chat")
        await asyncio.sleep(0.5)
        for client in (phone, laptop):
            copies = len(client.saw(carbon(client, "received", "for both")))
            count = client.bodies.count("for both") + copies
            expect(count == 1, f"{client.boundjid.resource} saw it {count} times")
    with stage.step("no copies of what is <private/> (XEP-0280 §9)"):
        message = romeo.make_message(mto=phone.boundjid, mbody="only here", mtype="chat")
        for payload in ("<private xmlns='urn:xmpp:carbons:2'/>", "<no-copy xmlns='urn:xmpp:hints'/>"):
            message.append(ET.fromstring(payload))
        message.send()
        await phone.sees_message("only here")
        await laptop.sees_nothing(is_carbon, "a carbon")
    with stage.step("a forged carbon from a stranger is not from the own account"):
        forged = romeo.make_message(mto=laptop.boundjid, mtype="chat")
        forged.append(ET.fromstring(
            "<received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>"
            f"<message xmlns='jabber:client' from='pope@vatican.test' to='{laptop.boundjid.full}'>"
            "<body>forged</body></message></forwarded></received>"))
        forged.send()
        await romeo["xep_0199"].send_ping(stage.domain, timeout=10)
        await laptop["xep_0199"].send_ping(stage.domain, timeout=10)
        seen = laptop.saw(carbon(laptop, "received", "forged"))
        expect(all(stanza["from"].bare == romeo.boundjid.bare for stanza in seen), "it looks like the server's")
        phone.saw(is_carbon)
    with stage.step("no more copies once disabled"):
        await laptop["xep_0280"].disable(timeout=10)
        romeo.send_message(mto=phone.boundjid, mbody="for the phone alone", mtype="chat")
        await phone.sees_message("for the phone alone")
        await laptop.sees_nothing(is_carbon, "a carbon")


async def client_state(stage: Stage, romeo: Client, phone: Client) -> None:
    def is_presence(stanza) -> bool:
        return stanza.name == "presence" and stanza["from"].bare == romeo.boundjid.bare

    with stage.step("client state is offered after login (XEP-0352 §4.1)", needed=True):
        expect(phone["xep_0352"].enabled, "no <csi/> in the stream features")
    with stage.step("presence is held back from an inactive client"):
        phone.saw(is_presence)
        phone["xep_0352"].send_inactive()
        await asyncio.sleep(0.2)
        for number in range(5):
            romeo.send_presence(pstatus=f"mood {number}")
        await romeo["xep_0199"].send_ping(stage.domain, timeout=10)
        await asyncio.sleep(1)
        expect(not phone.saw(is_presence), "presence came through")
    with stage.step("a message reaches an inactive client at once"):
        romeo.send_message(mto=phone.boundjid, mbody="urgent", mtype="chat")
        await phone.sees_message("urgent", timeout=2)
    with stage.step("an active client has the latest presence, and not all those before"):
        phone["xep_0352"].send_inactive()
        for number in range(5, 10):
            romeo.send_presence(pstatus=f"mood {number}")
        await romeo["xep_0199"].send_ping(stage.domain, timeout=10)
        await asyncio.sleep(0.5)
        phone.saw(is_presence)    # Whatever came with the message was no breach.
        romeo.send_presence(pstatus="mood 10")
        await romeo["xep_0199"].send_ping(stage.domain, timeout=10)
        phone["xep_0352"].send_active()
        await phone.sees(lambda s: is_presence(s) and s["status"] == "mood 10", "latest presence")
        others = [stanza["status"] for stanza in phone.saw(is_presence)]
        expect(len(others) <= 1, f"also {others}")
    with stage.step("an active client sees every change"):
        romeo.send_presence(pstatus="mood 11")
        await phone.sees(lambda s: is_presence(s) and s["status"] == "mood 11", "presence")


async def blocking(stage: Stage, romeo: Client, phone: Client, laptop: Client) -> None:
    jid = romeo.boundjid.bare
    with stage.step("a contact is blocked, and every device that asked is told", needed=True):
        for client in (phone, laptop):
            expect(await client["xep_0191"].get_blocked_jids(timeout=10) == set(), "the list is not empty")
        await phone["xep_0191"].block(jid, timeout=10)
        await laptop.sees(lambda s: s.name == "iq" and s.xml.find("{urn:xmpp:blocking}block") is not None, "push")
        expect(await laptop["xep_0191"].get_blocked_jids(timeout=10) == {jid}, "the list does not have it")
    with stage.step("the blocked one sees them leave"):
        await romeo.sees_presence(phone.boundjid.bare, "unavailable")
    with stage.step("the blocked one's messages come back as service-unavailable (XEP-0191 §4)"):
        romeo.saw(lambda s: s.name == "message")
        romeo.send_message(mto=phone.boundjid.bare, mbody="are you angry?", mtype="chat")
        error = await romeo.sees(lambda s: s.name == "message" and s["type"] == "error", "error")
        expect(error["error"]["condition"] == "service-unavailable", str(error))
        await phone.sees_nothing(lambda s: s.name == "message" and s["body"] == "are you angry?", "the message")
    with stage.step("the blocked one's presence and requests do not arrive"):
        romeo.send_presence(pstatus="contrite")
        try:
            await romeo["xep_0092"].get_version(phone.boundjid.full, timeout=10)
        except IqError as error:
            expect(error.condition == "service-unavailable", error.condition)
        else:
            raise Failure("a request was answered")
        await phone.sees_nothing(lambda s: s.name == "presence" and s["status"] == "contrite", "the presence")
    with stage.step("writing to a blocked contact is refused with not-acceptable and <blocked/> (XEP-0191 §4)"):
        phone.saw(lambda s: s.name == "message")
        phone.send_message(mto=jid, mbody="I am", mtype="chat")
        error = await phone.sees(lambda s: s.name == "message" and s["type"] == "error", "error")
        expect(error["error"]["condition"] == "not-acceptable", str(error))
        expect(error.xml.find(".//{urn:xmpp:blocking:errors}blocked") is not None, str(error))
    with stage.step("a blocked contact is so after a new login too, and unblocked again"):
        again = await stage.login(phone.boundjid.bare, plugins=("xep_0191",))
        expect(await again["xep_0191"].get_blocked_jids(timeout=10) == {jid}, "it was forgotten")
        await again["xep_0191"].unblock(jid, timeout=10)
        await again.logout()
        await romeo.sees_presence(phone.boundjid.bare, "available")
        romeo.saw(lambda s: s.name == "message")
        romeo.send_message(mto=phone.boundjid, mbody="friends again", mtype="chat")
        await phone.sees_message("friends again")


def app_server(client: Client, pushes: list, condition: str | None = None) -> None:
    """Lets a client accept publications as an app server does, or refuse them with this condition."""
    def answer(iq) -> None:
        pushes.append(iq.xml)
        reply = iq.reply()
        if condition:
            reply["type"] = "error"
            reply["error"]["condition"] = condition
            reply["error"]["type"] = "cancel"
        else:
            reply["type"] = "result"
        reply.send()

    client.remove_handler("app server")
    client.register_handler(Callback("app server", MatchXPath(f"{{jabber:client}}iq/{PUBSUB}pubsub"), answer))


async def push(stage: Stage, romeo: Client) -> None:
    app = await stage.login(stage.add_account("appserver"))
    juliet_jid = stage.add_account("juliet")
    pushes: list = []
    app_server(app, pushes)
    options = ("<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>http://jabber.org/protocol/pubsub"
               "#publish-options</value></field><field var='secret'><value>s3cret</value></field></x>")
    enable = f"<enable xmlns='{PUSH}' jid='{app.boundjid.full}' node='device-1'>{options}</enable>"

    def write(body: str) -> None:
        romeo.send_message(mto=juliet_jid, mbody=body, mtype="chat")

    with stage.step("the account offers push and a device enables it", needed=True):
        juliet = await stage.login(juliet_jid, plugins=("xep_0198",))
        info = await juliet["xep_0030"].get_info(jid=juliet_jid, timeout=10)
        expect(PUSH in info["disco_info"]["features"], "no feature")
        await juliet.ask("set", enable)
    with stage.step("no push while the device is there"):
        write("awake?")
        await juliet.sees_message("awake?")
        await asyncio.sleep(0.5)
        expect(not pushes, f"{len(pushes)} pushes")
    with stage.step("a message for a device whose connection was lost is pushed"):
        await juliet.cut()
        write("in the tunnel")
        await until(lambda: pushes, "push", 15)
        await juliet.resume()
        await juliet.sees_message("in the tunnel")
    with stage.step("a message for an offline account is pushed, with node, publish-options and a summary"):
        await juliet.logout()
        juliet["xep_0198"].sm_id = None
        pushes.clear()
        write("come back")
        await until(lambda: pushes, "push", 15)
        publish = pushes[0].find(f".//{PUBSUB}publish")
        expect(publish.get("node") == "device-1", ET.tostring(pushes[0], encoding="unicode"))
        expect(publish.find(f".//{{{PUSH}}}notification") is not None, "no <notification/>")
        values = {f.get("var"): f.findtext("{jabber:x:data}value") for f in pushes[0].iter("{jabber:x:data}field")}
        expect(values.get("secret") == "s3cret", f"no publish-options: {values}")
        expect(values.get("FORM_TYPE") and "message-count" in values, f"no summary (XEP-0357 §5): {values}")
    with stage.step("the registration outlives a restart of the server"):
        await stage.server.restart()
        app, romeo = await stage.login(app.boundjid.full), await stage.login(romeo.boundjid.bare)
        app_server(app, pushes)
        pushes.clear()
        romeo.send_message(mto=juliet_jid, mbody="still there?", mtype="chat")
        await until(lambda: pushes, "push", 15)
    with stage.step("an app server that does not know the node any more is not asked again (XEP-0357 §5)"):
        juliet = await stage.login(juliet_jid)
        await juliet.logout()
        app_server(app, pushes, condition="item-not-found")
        pushes.clear()
        romeo.send_message(mto=juliet_jid, mbody="one", mtype="chat")
        await until(lambda: pushes, "push", 15)
        juliet = await stage.login(juliet_jid)
        await juliet.logout()
        pushes.clear()
        romeo.send_message(mto=juliet_jid, mbody="two", mtype="chat")
        await romeo["xep_0199"].send_ping(stage.domain, timeout=10)
        await asyncio.sleep(1.5)
        expect(not pushes, "it was")
    with stage.step("once disabled there are no pushes"):
        juliet = await stage.login(juliet_jid)
        await juliet.ask("set", enable)
        await juliet.ask("set", f"<disable xmlns='{PUSH}' jid='{app.boundjid.full}' node='device-1'/>")
        await juliet.logout()
        pushes.clear()
        romeo.send_message(mto=juliet_jid, mbody="three", mtype="chat")
        await romeo["xep_0199"].send_ping(stage.domain, timeout=10)
        await asyncio.sleep(1.5)
        expect(not pushes, f"{len(pushes)} pushes")
    with stage.step("a push registration without a JID is refused (XEP-0357 §5)"):
        juliet = await stage.login(juliet_jid)
        try:
            await juliet.ask("set", f"<enable xmlns='{PUSH}' node='x'/>")
        except IqError:
            return
        raise Failure("was accepted")

