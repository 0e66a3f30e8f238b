"""Files through the proxy for SOCKS5 bytestreams (XEP-0065)."""

import asyncio
import hashlib
import os

from slixmpp import JID

from lib.client import refused
from lib.stage import Stage
from lib.steps import expect

BYTESTREAMS = "http://jabber.org/protocol/bytestreams"
SIZE = 10_000_000


async def run(stage: Stage) -> None:
    plugins = ("xep_0065",)
    romeo = await stage.login(stage.add_account("romeo"), plugins=plugins)
    juliet = await stage.login(stage.add_account("juliet"), plugins=plugins)
    for client in (romeo, juliet):
        client["xep_0065"].auto_accept = True
    with stage.step("the proxy is found, and says where it is", needed=True):
        proxies = await romeo["xep_0065"].discover_proxies(timeout=10)
        expect(JID(stage.proxy) in {JID(proxy) for proxy in proxies}, f"{proxies}")
    with stage.step("10 MB arrive intact"):
        await transfer(romeo, juliet)
    with stage.step("and the other way"):
        await transfer(juliet, romeo)
    with stage.step("what nobody is connected for is not activated (XEP-0065 §6.3.5)"):
        query = f"<query xmlns='{BYTESTREAMS}' sid='none'><activate>{juliet.boundjid}</activate></query>"
        await refused(romeo.ask("set", query, to=stage.proxy), "not-authorized", "item-not-found")
    with stage.step("a nonsense request is a bad one"):
        await refused(romeo.ask("set", f"<query xmlns='{BYTESTREAMS}'/>", to=stage.proxy), "bad-request", "not-acceptable")


async def transfer(sender, receiver, size: int = SIZE) -> None:
    """Sends random bytes through a stream of its own; fails unless the receiver has the same ones."""
    data = os.urandom(size)
    arrived = bytearray()
    whole = asyncio.get_running_loop().create_future()

    def take(chunk: bytes) -> None:
        arrived.extend(chunk)
        if len(arrived) >= size and not whole.done():
            whole.set_result(None)

    with receiver.event_handler("socks5_data", take):
        stream = await sender["xep_0065"].handshake(receiver.boundjid, timeout=15)
        expect(stream is not None, "no stream")
        for start in range(0, size, 65_536):
            await stream.write(data[start:start + 65_536])
        await asyncio.wait_for(whole, 40)
        stream.transport.close()
    expect(hashlib.sha256(arrived).digest() == hashlib.sha256(data).digest(), "other bytes than were sent")
