"""Both servers killed at random while users talk: what was acknowledged has arrived or come back; presence and rooms
are right again without the users doing anything."""

import asyncio
import time

from lib.client import Client
from lib.processes import until
from lib.rooms import Occupant, create, enter
from lib.steps import Failure, expect

from ..pair import PLUGINS, Pair
from ..talker import Talker, kept

SECONDS = 18
# The longest that a server is away, from the kill to open ports and a new stream.
DOWN = 6


async def run(stage: Pair) -> None:
    await talking(stage)
    for how in ("stopped", "killed"):
        with stage.part():
            await here_ends(stage, how)
    with stage.part():
        await there_killed(stage)


async def talking(stage: Pair) -> None:
    # A peer's stream management holds messages in memory only, and would lose them when it is killed.
    romeo, juliet = Talker(stage, stage.here, "romeo", True), Talker(stage, stage.there, "juliet", False)
    await asyncio.gather(romeo.start(), juliet.start())
    kills: list[tuple[float, str]] = []
    talk = asyncio.create_task(chatter(romeo, juliet))
    try:
        with stage.step(f"both are killed at random for {SECONDS} s, and start again", needed=True):
            await asyncio.sleep(stage.there.forgets)
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                await asyncio.sleep(stage.chance.uniform(0.5, 4))
                victim = stage.chance.choice((stage.here, stage.there))
                kills.append((time.monotonic(), victim.name))
                await victim.kill9()
                await asyncio.sleep(stage.chance.uniform(0, 1.5))
                await victim.start()
    finally:
        talk.cancel()
        await asyncio.gather(talk, return_exceptions=True)
    try:
        await settle(stage, romeo, juliet, kills)
    finally:
        await asyncio.gather(romeo.stop(), juliet.stop())


async def chatter(romeo: Talker, juliet: Talker) -> None:
    number = 0
    while True:
        number += 1
        for one, other in ((romeo, juliet), (juliet, romeo)):
            if one.is_there:
                one.say(other.jid, f"{one.server.name} {number}")
        await asyncio.sleep(0.03)


async def settle(stage: Pair, romeo: Talker, juliet: Talker, kills: list[tuple[float, str]]) -> None:
    with stage.step("both users are back and talk again", needed=True):
        await until(lambda: romeo.is_there and juliet.is_there, "return of both", 30)
        for one, other in ((romeo, juliet), (juliet, romeo)):
            # The first try may meet what was not heard of yet.
            for attempt in range(6):
                one.say(other.jid, body := f"{one.server.name} again {attempt}")
                try:
                    await until(lambda: other.arrived[body], f"“{body}”", 10)
                    break
                except Failure:
                    if attempt == 5:
                        what = "but came back" if body in one.bounced else "and did not come back"
                        raise Failure(f"“{body}” did not arrive, {what}") from None

    def missing() -> list[str]:
        return [body for body in romeo.acknowledged if body not in juliet.arrived and body not in romeo.bounced]

    with stage.step("of what was acknowledged nothing is lost: it arrived or came back"):
        try:
            await until(lambda: not missing(), "all messages", 20)
        except Failure:
            pass    # Counted below.
        archive = await kept(juliet.client)
        lost = [body for body in missing() if body not in archive]
        # What was sent while the peer was down reached it when it was up again, and may be forgotten from then on.
        until_forgotten = stage.there.forgets + DOWN
        forgotten = [body for body in lost if stage.there.forgets and any(
            name == stage.there.name and -1 < when - romeo.sent[body] < until_forgotten for when, name in kills)]
        back = set(juliet.sent) - set(romeo.arrived) - juliet.bounced
        twice = sum(1 for count in juliet.arrived.values() if count > 1)
        stage.tell(f"{len(kills)} kills, {sum(1 for _, name in kills if name == stage.here.name)} of {stage.here.name}; "
                   f"{len(romeo.sent)} sent, {len(romeo.acknowledged)} acknowledged, {len(romeo.bounced)} came back, "
                   f"{twice} arrived twice, {len(lost)} lost, {len(forgotten)} of them with the peer that had them; "
                   f"of {len(juliet.sent)} from {stage.there.name} {len(back)} did not arrive; "
                   f"{romeo.resumed} sessions resumed, {romeo.renewed} anew")
        expect(len(romeo.acknowledged) > 50, "too few messages to tell anything")
        real = [f"{body} ({story(romeo.sent[body], kills)})" for body in lost if body not in forgotten]
        expect(not real, f"{len(real)} lost: {real[:5]}")
    if "sm" in stage.here.features & stage.there.features:
        with stage.step("of what the peer's user sent nothing is lost but what the peer had when it was killed"):
            archive = await kept(romeo.client)
            lost = [body for body in set(juliet.sent) - set(romeo.arrived) - juliet.bounced - archive if not any(
                name == stage.there.name and -1 < when - juliet.sent[body] < DOWN + 2 for when, name in kills)]
            real = [f"{body} ({story(juliet.sent[body], kills)})" for body in lost]
            expect(not real, f"{len(real)} lost: {real[:5]}")
    with stage.step("what comes twice is no more than was on its way when a server was killed"):
        expect(twice <= 150 * len(kills), f"{twice} of {len(romeo.sent)}")


def story(sent: float, kills: list[tuple[float, str]]) -> str:
    later = [(when - sent, name) for when, name in kills if when > sent - 2]
    return f"{later[0][1]} killed {later[0][0]:+.2f} s later" if later else "no kill after it"


async def room_with(stage: Pair, romeo: Client, juliet: Client) -> tuple[Occupant, Occupant]:
    name = f"keep{stage.chance.randrange(1 << 30)}@{stage.here.rooms}"
    owner = await create(romeo, name, "Romeo", persistentroom="1")
    guest = await enter(juliet, name, "Juliet")
    await owner.sees_presence("Juliet")
    return owner, guest


async def here_ends(stage: Pair, how: str) -> None:
    """`how` is `stopped`, which sessions outlive, or `killed`, after which a client signs in again as it was."""
    here = stage.here
    with stage.step(f"two friends, and a room of {here.name} with both", needed=True):
        jid = f"{stage.add_account('romeo')}/phone"
        romeo = await stage.login(jid, plugins=(*PLUGINS, "xep_0198"))
        juliet = await stage.user(stage.there, "juliet")
        await stage.befriend(romeo, juliet)
        owner, guest = await room_with(stage, romeo, juliet)
        await romeo["xep_0199"].send_ping(stage.there.domain, timeout=10)
        juliet.saw(lambda s: s.name == "presence")
    with stage.step(f"{here.name} is {how} and started, and its user is back", needed=True):
        await (here.stop() if how == "stopped" else here.kill9())
        await romeo.cut()
        juliet.send_presence(pshow="away", pstatus="while it was down")
        await asyncio.sleep(1)
        await here.start()
        if how == "stopped":
            await romeo.resume()
        else:
            romeo = owner.client = await stage.login(jid, plugins=(*PLUGINS, "xep_0198"))
    with stage.step(f"{how}: what the contact's presence became meanwhile is learnt, without anybody asking"):
        await romeo.sees(lambda s: s.name == "presence" and s["status"] == "while it was down"
                         and s["from"].bare == juliet.boundjid.bare, "new status", 30)
    with stage.step(f"{how}: both are in the room still, without entering, and hear each other"):
        guest.say("Art thou there?")
        await owner.sees(lambda s: s["body"] == "Art thou there?", "message in the room", 30)
        owner.say("I am")
        await guest.sees(lambda s: s["body"] == "I am", "message in the room", 30)
    with stage.step(f"{how}: the contact sees who is back as available"):
        seen = juliet.saw(lambda s: s.name == "presence" and s["from"] == romeo.boundjid.full)
        expect(not seen or seen[-1]["type"] != "unavailable", str(seen[-1]) if seen else "")


async def there_killed(stage: Pair) -> None:
    with stage.step(f"two friends, and a room of {stage.here.name} with both", needed=True):
        romeo, juliet = await stage.two()
        await stage.befriend(romeo, juliet)
        owner, _ = await room_with(stage, romeo, juliet)
    with stage.step(f"{stage.there.name} is killed and started, and its user signs in again", needed=True):
        await asyncio.sleep(stage.there.forgets)
        await stage.there.kill9()
        await juliet.cut()
        await asyncio.sleep(1)
        await stage.there.start()
        again = stage.client(juliet.boundjid.bare, plugins=PLUGINS)
        await again.login()
        await again.get_roster()
        again.send_presence(pstatus="back again")
    with stage.step("both see each other again"):
        await romeo.sees(lambda s: s.name == "presence" and s["status"] == "back again", "presence of who is back", 30)
        await again.sees_presence(romeo.boundjid.bare, "available", 30)
    with stage.step("who was in the room before is no ghost in it for long"):
        for _ in range(3):
            owner.say("Who is there?")
            try:
                await owner.sees_presence("Juliet", "unavailable", 10)
                break
            except Failure:
                continue
        else:
            raise Failure("Juliet is still in after 30 s and three messages")
    with stage.step("and can enter again under the same nick"):
        await enter(again, owner.room, "Juliet")
        await owner.sees_presence("Juliet")
