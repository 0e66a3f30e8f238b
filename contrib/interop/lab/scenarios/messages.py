"""Messages both ways: who sees what, in which order, and who learns what could not be delivered."""

import asyncio

from lib.client import Client
from lib.steps import expect

from ..network import HERE
from ..pair import Pair, text_of

COUNT = 200


async def run(stage: Pair) -> None:
    with stage.step("a user of each server logs in", needed=True):
        romeo, juliet = await stage.two()
    knocking = asyncio.create_task(closed(stage))
    for one, other in ((romeo, juliet), (juliet, romeo)):
        with stage.step(f"the first message, {way(one, other)}", needed=True):
            one.send_message(mto=other.boundjid.bare, mbody="Hark & <list>en, 月", mtype="chat")
            message = await other.sees_message("Hark & <list>en, 月")
            expect(message["from"].full == one.boundjid.full, str(message))
            expect(message["to"].bare == other.boundjid.bare, str(message))
    with stage.step("the servers let each other in as they should"):
        how = "EXTERNAL" if stage.there.trust == "certificates" else "dialback"
        found = stage.here.let_in_by(stage.there.domain)
        # Over a stream for both ways the peer need not have come by itself.
        back = stage.there.let_in_by(stage.here.domain)
        expect(found | back, "no log tells")
        expect(how in found | back, f"{stage.here.name} {found}, {stage.there.name} {back}")
    for one, other in ((romeo, juliet), (juliet, romeo)):
        with stage.step(f"{COUNT} messages in order, {way(one, other)}"):
            one.bodies.clear(), other.bodies.clear()
            bodies = [f"{number} of {COUNT}" for number in range(COUNT)]
            for body in bodies:
                one.send_message(mto=other.boundjid.full, mbody=body, mtype="chat")
            await other.sees_bodies(bodies, 30)
    with stage.step("both at once, in order"):
        there = [f"there {number}" for number in range(COUNT)]
        back = [f"back {number}" for number in range(COUNT)]
        for one, other in zip(there, back):
            romeo.send_message(mto=juliet.boundjid.bare, mbody=one, mtype="chat")
            juliet.send_message(mto=romeo.boundjid.bare, mbody=other, mtype="chat")
        await juliet.sees_bodies(there, 30)
        await romeo.sees_bodies(back, 30)
    await undeliverable(stage, romeo, juliet)
    await offline(stage, romeo, juliet)
    with stage.step("a server that refuses connections: an error that says so"):
        await knocking


def way(one: Client, other: Client) -> str:
    return f"{one.boundjid.domain.split('.')[0]} to {other.boundjid.domain.split('.')[0]}"


async def undeliverable(stage: Pair, romeo: Client, juliet: Client) -> None:
    for one, other in ((romeo, juliet), (juliet, romeo)):
        with stage.step(f"a message to nobody comes back with an error, {way(one, other)}"):
            nobody = f"nobody@{other.boundjid.domain}"
            one.send_message(mto=nobody, mbody="Are you there?", mtype="chat")
            error = await one.sees(lambda s: s.name == "message" and s["type"] == "error", "error")
            expect(error["from"].bare == nobody, str(error))
            # ejabberd of Debian 12 says item-not-found, RFC 6121 §8.5.1 says service-unavailable.
            expect(error["error"]["condition"] in ("service-unavailable", "item-not-found"), text_of(error))
    with stage.step("a domain that does not exist is not found: remote-server-not-found, with a text"):
        romeo.send_message(mto="juliet@nowhere.test", mbody="Where art thou?", mtype="chat")
        error = await romeo.sees(lambda s: s.name == "message" and s["type"] == "error", "error", 20)
        expect(error["error"]["condition"] == "remote-server-not-found", text_of(error))
        expect(error["error"]["text"], text_of(error))


async def closed(stage: Pair) -> None:
    """Takes as long as a server that cannot be reached just now is given."""
    stage.names.set("closed.test", HERE, [("_xmpp-server._tcp.closed.test", "xmpp.closed.test", 9)])
    await stage.names.publish()
    nurse = await stage.user(stage.here, "nurse")
    nurse.send_message(mto="juliet@closed.test", mbody="Knock, knock", mtype="chat")
    error = await nurse.sees(lambda s: s.name == "message" and s["type"] == "error", "error", 40)
    expect(error["error"]["condition"] in ("remote-server-timeout", "remote-server-not-found"), text_of(error))
    expect(error["error"]["text"], text_of(error))


async def offline(stage: Pair, romeo: Client, juliet: Client) -> None:
    for one, other in ((romeo, juliet), (juliet, romeo)):
        with stage.step(f"messages wait for who is offline, with the delay told, {way(one, other)}"):
            await other.logout()
            bodies = [f"later {number}" for number in range(5)]
            for body in bodies:
                one.send_message(mto=other.boundjid.bare, mbody=body, mtype="chat")
            # An IQ follows the messages, so that they are there when it is answered.
            await one["xep_0199"].send_ping(other.boundjid.domain, timeout=10)
            again = await stage.login(other.boundjid.bare)
            seen = [await again.sees(lambda s: s.name == "message" and s["body"], "message") for _ in bodies]
            expect([message["body"] for message in seen] == bodies, str([message["body"] for message in seen]))
            expect(all(message["delay"]["stamp"] for message in seen), f"no stamp: {seen[0]}")
            await again.logout()
            await other.login()
