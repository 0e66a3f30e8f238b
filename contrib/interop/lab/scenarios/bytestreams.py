"""Files through a proxy (XEP-0065): found at the sender's server, agreed on across servers, and the bytes come through."""

import hashlib

from lib.client import Client, refused
from lib.processes import until
from lib.steps import Failure, expect

from ..pair import Pair
from .messages import way

SIZE = 262_144


async def run(stage: Pair) -> None:
    with stage.step("a user of each server logs in", needed=True):
        romeo, juliet = await stage.two("xep_0065")
    for one, other, server in ((romeo, juliet, stage.here), (juliet, romeo, stage.there)):
        with stage.step(f"{server.name} offers a proxy with an address of its own, {way(one, other)}"):
            found = {str(jid): place for jid, place in (await one["xep_0065"].discover_proxies(timeout=10)).items()}
            expect(server.proxy in found, f"found {found}")
            expect(found[server.proxy][0] == server.address, str(found))
        with stage.step(f"{SIZE} bytes through it, {way(one, other)}"):
            await sends(one, other)
        with stage.step(f"it is for users of its own server only, {way(other, one)}"):
            await refused(other["xep_0065"].get_network_address(server.proxy, timeout=10))


async def sends(one: Client, other: Client) -> None:
    received, stream = bytearray(), f"s5b-{one.new_id()}"
    other["xep_0065"].auto_accept = True
    with other.event_handler("socks5_data", lambda data: received.extend(data)):
        opened = await one["xep_0065"].handshake(other.boundjid.full, sid=stream, timeout=15)
        expect(opened, "no bytestream")
        data = hashlib.shake_128(stream.encode()).digest(SIZE)
        await opened.write(data)
        try:
            await until(lambda: len(received) >= SIZE, "bytes", 15)
        except Failure:
            raise Failure(f"{len(received)} of {SIZE} bytes within 15 s") from None
    expect(bytes(received) == data, "other bytes than were sent")
    opened.transport.close()
