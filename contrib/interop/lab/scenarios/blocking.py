"""Blocking (XEP-0191) of users and of a whole domain on the other server."""

from lib.client import Client, refused
from lib.steps import expect

from ..pair import Pair
from .messages import way


async def run(stage: Pair) -> None:
    with stage.step("a user of each server, subscribed to each other", needed=True):
        romeo, juliet = await stage.two()
        await stage.befriend(romeo, juliet)
    for one, other in ((romeo, juliet), (juliet, romeo)):
        await blocked(stage, one, other, other.boundjid.bare)
    with stage.step("a whole domain is blocked, and no longer"):
        await romeo["xep_0191"].block(juliet.boundjid.domain, timeout=10)
        await unheard(romeo, juliet)
        await romeo["xep_0191"].unblock(juliet.boundjid.domain, timeout=10)
        juliet.send_message(mto=romeo.boundjid.bare, mbody="heard again", mtype="chat")
        await romeo.sees_message("heard again")


async def blocked(stage: Pair, one: Client, other: Client, jid: str) -> None:
    with stage.step(f"who is blocked sees the blocker go, {way(one, other)}"):
        other.saw(lambda s: s.name == "presence")
        await one["xep_0191"].block(jid, timeout=10)
        await other.sees_presence(one.boundjid.bare, "unavailable", 4)
    with stage.step(f"and is not heard: an error each (XEP-0191 §3.3), {way(other, one)}"):
        await unheard(one, other)
        await refused(other.ask("get", "<ping xmlns='urn:xmpp:ping'/>", to=one.boundjid.full), "service-unavailable")
    with stage.step(f"the blocker cannot write to the blocked, {way(one, other)}"):
        one.send_message(mto=jid, mbody="from behind the wall", mtype="chat")
        error = await one.sees(lambda s: s.name == "message" and s["type"] == "error", "error")
        expect(error["error"]["condition"] == "not-acceptable", str(error))
        await one["xep_0199"].send_ping(other.boundjid.domain, timeout=10)
        await other.sees_nothing(lambda s: s["body"] == "from behind the wall", "a message of the blocker")
    with stage.step(f"after the end of it presence and messages are back, {way(one, other)}"):
        await one["xep_0191"].unblock(jid, timeout=10)
        await other.sees_presence(one.boundjid.bare, "available", 4)
        other.send_message(mto=one.boundjid.bare, mbody="heard again", mtype="chat")
        await one.sees_message("heard again")


async def unheard(one: Client, other: Client) -> None:
    other.send_message(mto=one.boundjid.bare, mbody="unheard", mtype="chat")
    error = await other.sees(lambda s: s.name == "message" and s["type"] == "error", "error")
    expect(error["error"]["condition"] == "service-unavailable", str(error))
    await one.sees_nothing(lambda s: s["body"] == "unheard", "a message of the blocked")
