"""Names that lead nowhere, in circles, or home: given up in time, with a reason, and nobody else waits for them."""

import asyncio
import time

from lib.client import Client
from lib.steps import expect

from ..names import A, SRV, UNRULY, UnrulyZone, address, alias, service
from ..network import HERE
from ..pair import Pair, text_of
from ..rogue import Rogue, rogues

PATIENCE = 75


async def run(stage: Pair) -> None:
    zone = UnrulyZone()
    await zone.open()
    good, last = Rogue(stage, "prompt.test", 6201), Rogue(stage, f"last.{UNRULY}", 6202)
    lay(zone, stage)
    try:
        async with rogues(stage, good, last):
            # What the zone says holds for it, rather than the records of `announce`.
            del stage.names.records[last.domain]
            await stage.names.publish()
            romeo = await stage.user(stage.here, "romeo")
            await asyncio.gather(prompt(stage, romeo, good), *(
                given_up(stage, romeo, name, title, conditions) for name, (title, *conditions) in NOWHERE.items()),
                last_target(stage, romeo, last))
            with stage.step("a domain that leads back to the server itself is refused, and no loop begins"):
                await itself(stage, romeo)
    finally:
        zone.close()
    with stage.step("the server under test is still the same process"):
        expect(stage.here.is_running, "it ended")


NOWHERE = {
    "circle": ("whose SRV target is an alias of an alias of itself", "remote-server-not-found", "remote-server-timeout"),
    "many": ("with 100 SRV targets that refuse connections", "remote-server-timeout", "remote-server-not-found"),
    "dot": ("that says it has no such service (RFC 2782, target “.”)", "remote-server-not-found"),
    "slow": ("whose DNS answers after 40 s", "remote-server-not-found", "remote-server-timeout"),
    "silent": ("whose DNS answers never", "remote-server-not-found", "remote-server-timeout"),
    "hole": ("whose SRV targets do not exist", "remote-server-not-found", "remote-server-timeout"),
}


def lay(zone: UnrulyZone, stage: Pair) -> None:
    """Fills the zone. A rule is asked at each query."""
    def name(first: str) -> tuple[str, str, str]:
        domain = f"{first}.{UNRULY}"
        return domain, f"_xmpp-server._tcp.{domain}", f"_xmpps-server._tcp.{domain}"

    def serves(first: str, *records) -> None:
        domain, owner, _ = name(first)
        zone.rules[owner, SRV] = lambda: [service(owner, target, port, priority) for target, port, priority in records]

    serves("circle", (f"a.circle.{UNRULY}", 5269, 0))
    for one, other in (("a", "b"), ("b", "a")):
        link = f"{one}.circle.{UNRULY}"
        zone.rules[link, 0] = lambda link=link, other=other: [alias(link, f"{other}.circle.{UNRULY}")]
    serves("many", *((f"t{number}.many.{UNRULY}", 1, number) for number in range(100)))
    for number in range(100):
        target = f"t{number}.many.{UNRULY}"
        zone.rules[target, A] = lambda target=target: [address(target, HERE)]
    serves("dot", (".", 0, 0))
    dot = f"dot.{UNRULY}"
    zone.rules[dot, A] = lambda: [address(dot, HERE)]
    for kind, late in (("slow", 40.0), ("silent", 86400.0)):
        for each in name(kind):
            zone.rules[each, 0] = lambda late=late: late
    serves("hole", *((f"t{number}.hole.{UNRULY}", 5269, number) for number in range(3)))
    serves("last", (f"t0.hole.{UNRULY}", 5269, 0), (f"refuses.{UNRULY}", 1, 1), (f"xmpp.last.{UNRULY}", 6202, 2))
    for target in (f"refuses.{UNRULY}", f"xmpp.last.{UNRULY}"):
        zone.rules[target, A] = lambda target=target: [address(target, HERE)]
    serves("home", (f"xmpp.home.{UNRULY}", stage.here.s2s_port, 0))
    home = f"xmpp.home.{UNRULY}"
    zone.rules[home, A] = lambda: [address(home, stage.here.address)]


async def given_up(stage: Pair, romeo: Client, name: str, title: str, conditions: list[str]) -> None:
    domain = f"{name}.{UNRULY}"
    with stage.step(f"a domain {title}: the user is told, in time"):
        romeo.send_message(mto=f"juliet@{domain}", mbody="Wherefore?", mtype="chat")
        error = await romeo.sees(lambda s: s.name == "message" and s["type"] == "error"
                                 and s["from"].domain == domain, f"error from {domain}", PATIENCE)
        expect(error["error"]["condition"] in conditions, text_of(error))
        expect(error["error"]["text"], text_of(error))


async def prompt(stage: Pair, romeo: Client, good: Rogue) -> None:
    with stage.step("meanwhile another domain is found as if nothing was"):
        await asyncio.sleep(0.5)
        begin = time.monotonic()
        romeo.send_message(mto=f"juliet@{good.domain}", mbody="There you are", mtype="chat")
        while not good.stanzas:
            await asyncio.sleep(0.02)
            expect(time.monotonic() < begin + 10, f"not within 10 s; {good.calls} calls, {good.failures}")
        expect(time.monotonic() < begin + 4, f"{time.monotonic() - begin:.1f} s")


async def last_target(stage: Pair, romeo: Client, last: Rogue) -> None:
    with stage.step("of three SRV targets the last one works, and is found"):
        romeo.send_message(mto=f"juliet@{last.domain}", mbody="At last", mtype="chat")
        begin = time.monotonic()
        while not last.stanzas:
            await asyncio.sleep(0.05)
            expect(time.monotonic() < begin + 40, f"not within 40 s; {last.calls} calls, {last.failures}")


async def itself(stage: Pair, romeo: Client) -> None:
    domain = f"home.{UNRULY}"
    romeo.send_message(mto=f"juliet@{domain}", mbody="Is anybody home?", mtype="chat")
    error = await romeo.sees(lambda s: s.name == "message" and s["type"] == "error"
                             and s["from"].domain == domain, f"error from {domain}", PATIENCE)
    expect(error["error"]["text"], text_of(error))
