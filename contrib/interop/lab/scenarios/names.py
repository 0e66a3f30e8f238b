"""A peer that moves to another address: found there without anybody being restarted but the peer."""

import asyncio
import time

from lib.client import Client
from lib.steps import Failure, expect

from ..network import NETWORK
from ..pair import Pair

PATIENCE = 60


async def run(stage: Pair) -> None:
    there = stage.there
    with stage.step("two users talk", needed=True):
        romeo, juliet = await stage.two()
        for one, other in ((romeo, juliet), (juliet, romeo)):
            one.send_message(mto=other.boundjid.bare, mbody="before the move", mtype="chat")
            await other.sees_message("before the move")
    old, new = there.address, f"{NETWORK}.{int(there.address.split('.')[-1]) + 1}"
    try:
        await moves(stage, old, new)
        await talk_again(stage, romeo, juliet)
        await answers_at_once(stage, romeo)
    finally:
        if there.address != old:
            await moves(stage, new, old)


async def moves(stage: Pair, old: str, new: str) -> None:
    """The old address vanishes without a word to those who are connected to it."""
    there = stage.there
    await asyncio.sleep(there.forgets)
    there.machine.take_address(old)
    there.machine.add_address(new)
    await there.kill9()
    there.address = new
    there.announce(stage.names)
    await stage.names.publish()
    await there.start()


async def talk_again(stage: Pair, romeo: Client, juliet: Client) -> None:
    with stage.step("what is written to it after that arrives", needed=True):
        await juliet.logout()
        again = await stage.login(juliet.boundjid.bare)
        begin = time.monotonic()
        romeo.send_message(mto=juliet.boundjid.bare, mbody="after the move", mtype="chat")
        try:
            await again.sees_message("after the move", PATIENCE)
        except Failure:
            errors = romeo.saw(lambda s: s.name == "message" and s["type"] == "error")
            raise Failure(f"not within {PATIENCE} s; errors {[str(error) for error in errors]}") from None
        stage.tell(f"after {time.monotonic() - begin:.1f} s")
    with stage.step("what it writes arrives"):
        again.send_message(mto=romeo.boundjid.bare, mbody="from the new place", mtype="chat")
        await romeo.sees_message("from the new place", PATIENCE)
    await again.logout()


async def answers_at_once(stage: Pair, romeo: Client) -> None:
    with stage.step("requests to it are answered at once"):
        begin = time.monotonic()
        await romeo["xep_0199"].send_ping(stage.there.domain, timeout=10)
        expect(time.monotonic() - begin < 2, f"{time.monotonic() - begin:.1f} s")
