"""Subscriptions and presence between two servers, from the request to the end; probes at login."""

from lib.client import Client
from lib.steps import expect

from ..pair import Pair
from .messages import way


async def run(stage: Pair) -> None:
    with stage.step("a user of each server logs in", needed=True):
        romeo, juliet = await stage.two()
    with stage.step("both subscribe, approve and see each other's presence", needed=True):
        await stage.befriend(romeo, juliet)
    both = ((romeo, juliet), (juliet, romeo))
    for one, other in both:
        with stage.step(f"the roster of {one.boundjid.domain} says both"):
            expect(await subscription(one, other) == "both", await subscription(one, other))
    for one, other in both:
        with stage.step(f"a change of presence is seen, {way(one, other)}"):
            one.send_presence(pshow="dnd", pstatus=f"busy, {one.boundjid.user}")
            await other.sees(lambda s: s.name == "presence" and s["status"] == f"busy, {one.boundjid.user}", "status")
    for one, other in both:
        with stage.step(f"logging out is seen, and at login each sees the other by a probe, {way(one, other)}"):
            await one.logout()
            await other.sees_presence(one.boundjid.bare, "unavailable")
            again = await stage.login(one.boundjid.bare)
            seen = await again.sees_presence(other.boundjid.bare, "available")
            expect(seen["from"].full == other.boundjid.full, str(seen))
            await other.sees_presence(one.boundjid.bare, "available")
            await again.logout()
            await other.sees_presence(one.boundjid.bare, "unavailable")
            await one.login()
            one.send_presence()
            await other.sees_presence(one.boundjid.bare, "available")
    for one, other in both:
        with stage.step(f"a second device is seen beside the first, and its end, {way(one, other)}"):
            second = await stage.login(one.boundjid.bare)
            await other.sees(lambda s: s.name == "presence" and s["from"].full == second.boundjid.full, "device")
            await second.logout()
            await other.sees(lambda s: s.name == "presence" and s["from"].full == second.boundjid.full
                             and s["type"] == "unavailable", "end of the device")
    await strangers(stage)
    await waiting_requests(stage)
    await ends(stage, romeo, juliet)


async def subscription(client: Client, contact: Client) -> str:
    answer = await client.ask("get", "<query xmlns='jabber:iq:roster'/>")
    item = answer["roster"]["items"].get(contact.boundjid.bare)
    return item["subscription"] if item else "no item"


async def strangers(stage: Pair) -> None:
    """Directed presence, and its end without being asked. RFC 6121 §4.6."""
    romeo, juliet = await stage.two()
    for one, other in ((romeo, juliet), (juliet, romeo)):
        with stage.step(f"directed presence reaches a stranger, and the logout does too, {way(one, other)}"):
            one.send_presence(pto=other.boundjid.full, pstatus="only for you")
            await other.sees(lambda s: s.name == "presence" and s["status"] == "only for you", "directed presence")
            if one is romeo:
                await one.logout()
                await other.sees_presence(one.boundjid.bare, "unavailable")
                await one.login()
                one.send_presence()
            else:
                await one.cut()
                await other.sees_presence(one.boundjid.bare, "unavailable", 20)


async def waiting_requests(stage: Pair) -> None:
    """RFC 6121 §3.1.3: a request is kept until it is answered."""
    for asker, asked in ((stage.here, stage.there), (stage.there, stage.here)):
        with stage.step(f"a request waits for who is offline, and can be refused, {asker.name} to {asked.name}"):
            jid = stage.add_account("nurse", asked)
            client = await stage.user(asker, "paris")
            client.send_presence_subscription(pto=jid, ptype="subscribe")
            await client["xep_0199"].send_ping(asked.domain, timeout=10)
            nurse = await stage.login(jid)
            await nurse.sees_presence(client.boundjid.bare, "subscribe")
            nurse.send_presence_subscription(pto=client.boundjid.bare, ptype="unsubscribed")
            await client.sees_presence(jid, "unsubscribed")
            expect(await subscription(client, nurse) in ("none", "no item"), await subscription(client, nurse))


async def ends(stage: Pair, romeo: Client, juliet: Client) -> None:
    for one, other in ((romeo, juliet), (juliet, romeo)):
        with stage.step(f"who takes a permission back is unavailable from then on, {way(one, other)}"):
            one.send_presence_subscription(pto=other.boundjid.bare, ptype="unsubscribed")
            # Prosody tells by the roster push alone when the other way is closed already.
            await other.sees(lambda s: s["type"] == "unsubscribed" and s["from"].bare == one.boundjid.bare
                             or s.name == "iq" and one.boundjid.bare in s["roster"]["items"], "end of the subscription")
            await other.sees_presence(one.boundjid.bare, "unavailable")
            one.send_presence(pstatus="said behind the curtain")
            await one["xep_0199"].send_ping(other.boundjid.domain, timeout=10)
            await other.sees_nothing(lambda s: s.name == "presence" and s["status"] == "said behind the curtain"
                                     and s["from"].bare == one.boundjid.bare, "presence without a subscription")
    with stage.step("both rosters say none"):
        for one, other in ((romeo, juliet), (juliet, romeo)):
            expect(await subscription(one, other) == "none", await subscription(one, other))
