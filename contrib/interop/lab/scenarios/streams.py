"""The connections under it all: how many there are, whether both ways share one, and what happens when one is lost."""

import asyncio

from lib.client import Client
from lib.processes import command, until
from lib.steps import Failure, expect

from ..pair import Pair
from ..peer import Peer

COUNT = 40


async def run(stage: Pair) -> None:
    here, there = stage.here, stage.there
    with stage.step("two users talk", needed=True):
        romeo, juliet = await stage.two("xep_0198")
        await talk(romeo, juliet, "hello")
    with stage.step("no more than one connection is opened for each pair of domains"):
        for one, server in ((romeo, there), (juliet, here)):
            await asyncio.gather(*(one["xep_0030"].get_info(jid=to, timeout=10) for to in (server.domain, server.rooms)))
        among = links(here, there)
        # User to user, to rooms and to proxy, rooms and proxy to user; fewer where domains share a stream.
        begun = begun_here(here, there)
        expect(len(begun) <= 5, f"{len(begun)}: {begun}")
        stage.tell(f"{len(among)} connections, {len(begun)} of them begun by {here.name}")
    if "bidi" in here.features & there.features:
        with stage.step("who was called answers on the same stream (XEP-0288)"):
            await fresh(here, there)
            await talk(romeo, juliet, "over one stream")
            expect(len(links(here, there)) == len(begun_here(here, there)), str(links(here, there)))
    with stage.step("both call each other at the same moment: nothing is lost, nothing comes twice"):
        for number in range(5):
            await romeo["xep_0199"].send_ping(there.domain, timeout=10)
            await fresh(here, there)
            juliet.bodies.clear()
            romeo.send_message(mto=juliet.boundjid.bare, mbody=f"one {number}", mtype="chat")
            juliet.send_message(mto=romeo.boundjid.bare, mbody=f"other {number}", mtype="chat")
            await romeo.sees_message(f"other {number}", 20)
            await juliet.sees_message(f"one {number}", 20)
            # Without acknowledgements between servers nobody knows what of the round before got through.
            again = [body for body in juliet.bodies if body != f"one {number}"]
            expect(not again or "sm" not in there.features, f"again: {again}")
    await lost(stage, romeo, juliet)


async def talk(one: Client, other: Client, body: str) -> None:
    one.send_message(mto=other.boundjid.bare, mbody=body, mtype="chat")
    await other.sees_message(body)
    other.send_message(mto=one.boundjid.bare, mbody=f"{body}, back", mtype="chat")
    await one.sees_message(f"{body}, back")


def links(here: Peer, there: Peer) -> list[tuple[str, str]]:
    return here.machine.connections(there.address)


def begun_here(here: Peer, there: Peer) -> list[tuple[str, str]]:
    ports = (f":{here.s2s_port}", f":{here.s2s_tls_port}")
    return [ends for ends in links(here, there) if not ends[0].endswith(ports)]


def cut(peer: Peer, other: Peer) -> None:
    """Resets all connections of `peer` with `other`, as a gateway that was restarted does."""
    command(["ip", "netns", "exec", peer.machine.name, "ss", "-K", "dst", other.address])


async def fresh(here: Peer, there: Peer) -> None:
    """Ends all connections, once both had time to acknowledge what was said; there may be new ones at once."""
    await asyncio.sleep(0.7)
    old = set(links(here, there))
    cut(here, there)
    await until(lambda: not old & set(links(here, there)), "end of the connections", 10)


async def lost(stage: Pair, romeo: Client, juliet: Client) -> None:
    here, there = stage.here, stage.there
    with stage.step(f"{COUNT} messages while the connection is reset again and again: all arrive, or an error"):
        await talk(romeo, juliet, "calm")
        juliet.bodies.clear()
        bodies = [f"reset {number}" for number in range(COUNT)]
        for number, body in enumerate(bodies):
            romeo.send_message(mto=juliet.boundjid.bare, mbody=body, mtype="chat")
            if number % 8 == 4:
                await asyncio.sleep(stage.chance.random() / 10)
                cut(here, there)
            await asyncio.sleep(0.02)
        await accounted(romeo, juliet, bodies)
    if "sm" in there.features & here.features:
        with stage.step("what left on a connection that was dead is sent again on the next (XEP-0198)"):
            await talk(romeo, juliet, "calm")
            juliet.bodies.clear()
            bodies = [f"limbo {number}" for number in range(COUNT)]
            # Packets to the peer vanish; meanwhile its end of the connection is gone.
            here.machine.ip("route", "add", "blackhole", f"{there.address}/32")
            try:
                for body in bodies:
                    romeo.send_message(mto=juliet.boundjid.bare, mbody=body, mtype="chat")
                await romeo["xep_0199"].send_ping(here.domain, timeout=10)
                cut(there, here)
            finally:
                here.machine.ip("route", "del", "blackhole", f"{there.address}/32")
            await accounted(romeo, juliet, bodies)
            expect(len(juliet.bodies) >= COUNT, f"{len(juliet.bodies)} of {COUNT} arrived")


async def accounted(romeo: Client, juliet: Client, bodies: list[str]) -> None:
    """Each message arrived or came back."""
    bounced: set[str] = set()

    def missing() -> list[str]:
        for error in romeo.saw(lambda s: s.name == "message" and s["type"] == "error"):
            bounced.add(error["body"] or error["id"])
        return [body for body in bodies if body not in juliet.bodies and body not in bounced]

    try:
        await until(lambda: not missing(), "all messages", 60)
    except Failure:
        raise Failure(f"lost: {missing()}; came back: {sorted(bounced)}") from None
