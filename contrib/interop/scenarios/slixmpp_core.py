"""Two slixmpp accounts: login, roster, subscription, presence, chat, and what a client asks its server for."""

import base64
import hashlib
import re
import ssl

from slixmpp.exceptions import IqError

from lib.client import Client
from lib.stage import Stage
from lib.steps import Failure, expect

CAPS = "{http://jabber.org/protocol/caps}c"
DISCO_INFO = "http://jabber.org/protocol/disco#info"


async def run(stage: Stage) -> None:
    await logins(stage)
    romeo_jid, juliet_jid = stage.add_account("romeo"), stage.add_account("juliet")
    with stage.step("two accounts log in, by STARTTLS and by direct TLS", needed=True):
        romeo = await stage.login(romeo_jid)
        juliet = await stage.login(juliet_jid, direct=True)
    await rosters(stage, romeo, juliet)
    await chat(stage, romeo, juliet)
    await questions(stage, romeo)
    await storage(stage, romeo, juliet)
    await roster_versioning(stage, romeo, juliet)
    await offline(stage, romeo, juliet)
    await account_changes(stage, romeo)


async def logins(stage: Stage) -> None:
    """Every mechanism slixmpp speaks, over both kinds of TLS."""
    jid = stage.add_account("nurse")
    for direct in (False, True):
        transport = "direct TLS" if direct else "STARTTLS"
        for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"):
            with stage.step(f"login by {mechanism} over {transport}"):
                client = stage.client(jid, direct=direct, mechanism=mechanism)
                await client.login()
                await client.logout()
    with stage.step("the best mechanism slixmpp picks by itself is SCRAM"):
        client = stage.client(jid)
        await client.login()
        expect(client["feature_mechanisms"].mech.name.startswith("SCRAM-SHA-"), client["feature_mechanisms"].mech.name)
        await client.logout()
    with stage.step("-PLUS is offered, and a client that cannot bind the channel our way logs in without"):
        # Python's ssl knows tls-unique only, which TLS 1.3 does not have (RFC 9266 §3).
        client = stage.client(jid, tls=ssl.TLSVersion.TLSv1_2)
        await client.login()
        expect(any(name.endswith("-PLUS") for name in client.mechanisms), "no -PLUS mechanism is offered")
        await client.logout()
    with stage.step("a wrong password is refused"):
        await stage.client(jid, password="not it").is_refused()


async def rosters(stage: Stage, romeo: Client, juliet: Client) -> None:
    r, j = romeo.boundjid.bare, juliet.boundjid.bare
    with stage.step("a new account's roster is empty"):
        answer = await romeo.ask("get", "<query xmlns='jabber:iq:roster'/>")
        expect(not answer["roster"]["items"], str(answer))
    with stage.step("both subscribe, approve and see each other's presence", needed=True):
        for one, other in ((romeo, juliet), (juliet, romeo)):
            one.send_presence_subscription(pto=other.boundjid.bare, ptype="subscribe")
            await other.sees_presence(one.boundjid.bare, "subscribe")
            other.send_presence_subscription(pto=one.boundjid.bare, ptype="subscribed")
            await one.sees_presence(other.boundjid.bare, "subscribed")
            await one.sees_presence(other.boundjid.bare, "available")
    for one, other in ((romeo, j), (juliet, r)):
        with stage.step(f"{one.boundjid.user}'s roster says both"):
            subscription = await subscription_of(one, other)
            expect(subscription == "both", subscription)
    with stage.step("a roster item with name and groups is pushed and kept"):
        await romeo.update_roster(j, name="Juliet <3 & co", groups=["Verona", "Capulets"])
        push = await romeo.sees(lambda s: s.name == "iq" and "Juliet &lt;3" in str(s), "roster push")
        items = (await romeo.ask("get", "<query xmlns='jabber:iq:roster'/>"))["roster"]["items"]
        expect(items[j]["name"] == "Juliet <3 & co", str(items))
        expect(set(items[j]["groups"]) == {"Verona", "Capulets"}, str(items))
        expect(items[j]["subscription"] == "both", str(push))
    with stage.step("a change of presence reaches the contact"):
        romeo.send_presence(pshow="dnd", pstatus="at the balcony")
        await juliet.sees(lambda s: s.name == "presence" and s["status"] == "at the balcony", "status")


async def subscription_of(client: Client, contact: str) -> str:
    answer = await client.ask("get", "<query xmlns='jabber:iq:roster'/>")
    item = answer["roster"]["items"].get(contact)
    return item["subscription"] if item else "no item"


async def chat(stage: Stage, romeo: Client, juliet: Client) -> None:
    with stage.step("chat both ways, to the bare and to the full JID"):
        romeo.send_message(mto=juliet.boundjid.bare, mbody="Hark & <list>en, 月", mtype="chat")
        message = await juliet.sees_message("Hark & <list>en, 月")
        expect(message["from"].full == romeo.boundjid.full, str(message))
        juliet.send_message(mto=message["from"], mbody="Ay me", mtype="chat")
        await romeo.sees_message("Ay me")
    with stage.step("a message to nobody here comes back as an error"):
        romeo.send_message(mto=f"nobody@{stage.domain}", mbody="Are you there?", mtype="chat")
        error = await romeo.sees(lambda s: s.name == "message" and s["type"] == "error", "error")
        expect(error["error"]["condition"] == "service-unavailable", str(error))


async def questions(stage: Stage, romeo: Client) -> None:
    domain = stage.domain
    with stage.step("disco#info of the server matches the hash in the stream features"):
        caps = romeo.stream_features.xml.find(CAPS)
        expect(caps is not None, "no <c/> in the stream features (XEP-0115 §6.3)")
        node = f"{caps.get('node')}#{caps.get('ver')}"
        info = await romeo["xep_0030"].get_info(jid=domain, node=node, timeout=10)
        expect(verification_string(info) == caps.get("ver"), f"{verification_string(info)}, not {caps.get('ver')}")
    with stage.step("disco#info and disco#items answer a client that never sent presence"):
        quiet = stage.client(stage.add_account("quiet"))
        await quiet.login()
        for jid in (domain, quiet.boundjid.bare):
            info = await quiet["xep_0030"].get_info(jid=jid, timeout=10)
            expect(info["disco_info"]["identities"], str(info))
            await quiet["xep_0030"].get_items(jid=jid, timeout=10)
    with stage.step("server and account name disco#info among their features (XEP-0030 §3.1)"):
        for jid in (domain, quiet.boundjid.bare):
            info = await quiet["xep_0030"].get_info(jid=jid, timeout=10)
            expect(DISCO_INFO in info["disco_info"]["features"], f"{jid} does not")
        await quiet.logout()
    with stage.step("ping (XEP-0199)"):
        await romeo["xep_0199"].send_ping(domain, timeout=10)
    with stage.step("software version (XEP-0092)"):
        answer = await romeo["xep_0092"].get_version(domain, timeout=10)
        expect(answer["software_version"]["name"], str(answer))
    with stage.step("entity time (XEP-0202)"):
        answer = await romeo.ask("get", "<time xmlns='urn:xmpp:time'/>", to=domain)
        utc = answer.xml.findtext(".//{urn:xmpp:time}utc") or ""
        expect(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", utc), str(answer))
        offset = answer.xml.findtext(".//{urn:xmpp:time}tzo") or ""
        expect(re.fullmatch(r"Z|[+-]\d\d:\d\d", offset), str(answer))
    with stage.step("last activity of the server (XEP-0012)"):
        answer = await romeo.ask("get", "<query xmlns='jabber:iq:last'/>", to=domain)
        seconds = answer.xml.find("{jabber:iq:last}query").get("seconds")
        expect(seconds is not None and seconds.isdigit(), str(answer))
    with stage.step("an unknown request is refused with service-unavailable"):
        try:
            await romeo.ask("get", "<query xmlns='urn:example:unheard-of'/>", to=domain)
        except IqError as error:
            expect(error.condition == "service-unavailable", error.condition)
        else:
            raise Failure("was answered with a result")


def verification_string(info) -> str:
    """The hash of a disco#info result by XEP-0115 §5.1, computed here rather than by the client library."""
    query = info.xml.find(f"{{{DISCO_INFO}}}query")
    language = "{http://www.w3.org/XML/1998/namespace}lang"
    parts = sorted("/".join((i.get("category", ""), i.get("type", ""), i.get(language, ""), i.get("name", "")))
                   for i in query.findall(f"{{{DISCO_INFO}}}identity"))
    parts += sorted(feature.get("var") for feature in query.findall(f"{{{DISCO_INFO}}}feature"))
    forms = {}
    for form in query.findall("{jabber:x:data}x"):
        fields = {f.get("var"): sorted(v.text or "" for v in f.findall("{jabber:x:data}value"))
                  for f in form.findall("{jabber:x:data}field")}
        forms[fields.pop("FORM_TYPE")[0]] = fields
    for form_type, fields in sorted(forms.items()):
        parts.append(form_type)
        for name, values in sorted(fields.items()):
            parts += [name, *values]
    return base64.b64encode(hashlib.sha1("".join(part + "<" for part in parts).encode()).digest()).decode()


async def storage(stage: Stage, romeo: Client, juliet: Client) -> None:
    with stage.step("a vCard is kept and a contact can read it (XEP-0054)"):
        await romeo.ask("set", "<vCard xmlns='vcard-temp'><FN>Romeo Montague</FN><NICKNAME>Ro</NICKNAME></vCard>")
        answer = await juliet["xep_0054"].get_vcard(romeo.boundjid.bare, timeout=10)
        expect(answer["vcard_temp"]["FN"] == "Romeo Montague", str(answer))
    with stage.step("private storage is kept and empty elsewhere (XEP-0049)"):
        private = "<query xmlns='jabber:iq:private'><notes xmlns='urn:example:notes'>{}</notes></query>"
        await romeo.ask("set", private.format("<n>1 &lt; 2</n>"))
        kept = await romeo.ask("get", private.format(""))
        expect(kept.xml.find(".//{urn:example:notes}n").text == "1 < 2", str(kept))
        other = await juliet.ask("get", private.format(""))
        expect(other.xml.find(".//{urn:example:notes}n") is None, str(other))


async def roster_versioning(stage: Stage, romeo: Client, juliet: Client) -> None:
    with stage.step("roster versioning is offered and an unchanged roster is not sent again (RFC 6121 §2.6)"):
        expect("rosterver" in romeo.features, "no <ver/> in the stream features")
        full = await romeo.ask("get", "<query xmlns='jabber:iq:roster' ver=''/>")
        version = full["roster"]["ver"]
        expect(version, str(full))
        again = await romeo.ask("get", f"<query xmlns='jabber:iq:roster' ver='{version}'/>")
        expect(again.xml.find("{jabber:iq:roster}query") is None, str(again))
    with stage.step("a changed roster has another version and is brought up to date"):
        await romeo.update_roster(juliet.boundjid.bare, name="Juliet of the Capulets")
        changed = await romeo.ask("get", f"<query xmlns='jabber:iq:roster' ver='{version}'/>")
        if changed.xml.find("{jabber:iq:roster}query") is not None:
            expect(changed["roster"]["ver"] != version, str(changed))
        else:
            await romeo.sees(lambda s: s.name == "iq" and "Juliet of the Capulets" in str(s), "roster push")


async def offline(stage: Stage, romeo: Client, juliet: Client) -> None:
    juliet_jid = juliet.boundjid.bare
    with stage.step("logging out is seen by the contact"):
        await juliet.logout()
        await romeo.sees_presence(juliet_jid, "unavailable")
    with stage.step("messages to an offline account come once, in order, with delay stamps (XEP-0160, XEP-0203)"):
        bodies = [f"offline {number}" for number in range(1, 6)]
        for body in bodies:
            romeo.send_message(mto=juliet_jid, mbody=body, mtype="chat")
        await romeo["xep_0199"].send_ping(stage.domain, timeout=10)
        again = await stage.login(juliet_jid)
        seen = [await again.sees(lambda s: s.name == "message" and s["body"], "message") for _ in bodies]
        expect([message["body"] for message in seen] == bodies, str([message["body"] for message in seen]))
        expect(all(message["delay"]["stamp"] for message in seen), f"no stamp: {seen[0]}")
        await again.logout()
        third = await stage.login(juliet_jid)
        await third.sees_nothing(lambda s: s.name == "message" and s["body"], "the offline messages again")


async def account_changes(stage: Stage, romeo: Client) -> None:
    old, new = stage.password, "Deny thy father & refuse thy name"
    jid = stage.add_account("paris")
    with stage.step("a changed password is good at once and the old one no more (XEP-0077)"):
        client = stage.client(jid)
        await client.login()
        await client["xep_0077"].change_password(new, jid=stage.domain, timeout=10)
        await client.logout()
        await stage.client(jid, password=old).is_refused()
    with stage.step("a removed account is gone, and its contact is told (XEP-0077 §3.2)"):
        client = await stage.login(jid, password=new)
        for one, other in ((client, romeo), (romeo, client)):
            one.send_presence_subscription(pto=other.boundjid.bare, ptype="subscribe")
            await other.sees_presence(one.boundjid.bare, "subscribe")
            other.send_presence_subscription(pto=one.boundjid.bare, ptype="subscribed")
            await one.sees_presence(other.boundjid.bare, "available")
        await client["xep_0077"].cancel_registration(jid=stage.domain, timeout=10)
        await romeo.sees_presence(jid, "unavailable")
        await romeo.sees(lambda s: s.name == "presence" and s["from"].bare == jid
                         and s["type"] in ("unsubscribe", "unsubscribed"), "end of the subscription")
        await stage.client(jid, password=new).is_refused()
