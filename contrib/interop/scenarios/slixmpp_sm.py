"""Stream management (XEP-0198): the connection is lost at many points of a dialogue, no message with it."""

import asyncio
import re

from lib.client import Client
from lib.processes import until
from lib.raw import RawStream
from lib.stage import Stage
from lib.steps import Failure, expect

SM = "urn:xmpp:sm:3"
PLUGINS = ("xep_0198", "xep_0313")
BURST = 20


async def run(stage: Stage) -> None:
    with stage.step("stream management is enabled with resumption, and the stanzas sent are counted", needed=True):
        romeo, juliet = await friends(stage)
        expect(romeo["xep_0198"].sm_id, "no id in <enabled/>")
        await is_acknowledged(romeo)
    for title, loss in LOSSES.items():
        with stage.step(f"nothing is lost, nothing comes twice: {title}"):
            await dialogue(*await friends(stage), loss)
    with stage.step("nothing is lost, nothing comes twice: cut again while resuming"):
        await cut_while_resuming(*await friends(stage))
    with stage.step("a session is resumed while its old connection is open", needed=True):
        old, romeo = romeo, await taken_over(stage, romeo, juliet)
    with stage.step("the old connection ends with <conflict/> (XEP-0198 §5)"):
        error = await old.sees(lambda s: s.name == "error", "stream error")
        expect(error["condition"] == "conflict", str(error))
    with stage.step("the old connection is closed"):
        await until(lambda: old.transport is None, "end")
    strangers(stage, romeo)
    with stage.step("the session that others tried to resume is still its owner's"):
        await romeo.cut()
        await romeo.resume()
        romeo.send_message(mto=juliet.boundjid.bare, mbody="still me", mtype="chat")
        await juliet.sees_bodies(["still me"])
    await clean_restart(stage, romeo, juliet)
    await crash(stage)


async def friends(stage: Stage) -> tuple[Client, Client]:
    one, other = [await stage.login(stage.add_account(name), plugins=PLUGINS) for name in ("romeo", "juliet")]
    await stage.befriend(one, other)
    for client in (one, other):
        await client["xep_0199"].send_ping(client.domain, timeout=10)
        client.saw(lambda s: s.name == "presence")
    return one, other


async def sees_no_flicker(client: Client) -> None:
    await client.sees_nothing(lambda s: s.name == "presence" and s["type"] == "unavailable", "unavailable presence")


# Each takes the client whose connection is lost, after a burst was queued and before it has left.

async def nothing_left(client: Client) -> None:
    """What the client sends goes nowhere from the start."""
    client.send_raw = lambda data: None
    await asyncio.sleep(0.1)


async def half_left(client: Client) -> None:
    """The burst breaks off in the middle of a stanza."""
    sends, count = Client.send_raw, 0

    def send_some(data):
        nonlocal count
        count += 1
        if count == BURST // 2:
            sends(client, data[:len(data) // 2])
        elif count < BURST // 2:
            sends(client, data)
    client.send_raw = send_some
    await asyncio.sleep(0.2)


async def all_left(client: Client) -> None:
    """Everything left, and the connection is cut before the server could say much."""
    # Not merely taken from the queue: what slixmpp has on its way when the connection goes, it forgets itself.
    await asyncio.wait_for(client.waiting_queue.join(), 5)


async def all_handled(client: Client) -> None:
    """Everything left and was handled, the answers too."""
    await asyncio.sleep(0.5)


async def deaf(client: Client) -> None:
    """What the server sends does not arrive any more."""
    client.data_received = lambda data: None
    await asyncio.sleep(0.5)


async def half_arrived(client: Client) -> None:
    """What the server sends breaks off after a few bytes, probably within a stanza."""
    left = 700

    def receive_some(data):
        nonlocal left
        some, left = data[:left], max(0, left - len(data))
        if some:
            Client.data_received(client, some)
    client.data_received = receive_some
    await asyncio.sleep(0.5)


LOSSES = {
    "nothing of a burst left": nothing_left,
    "a burst breaks off within a stanza": half_left,
    "cut right after sending": all_left,
    "cut when all is quiet": all_handled,
    "deaf to what the server sent": deaf,
    "deaf from the middle of a stanza on": half_arrived,
}


async def dialogue(one: Client, other: Client, loss) -> None:
    """Both write a burst, `one` loses its connection, the other goes on writing, `one` resumes and goes on."""
    there, back = [], []

    def write(sender: Client, receiver: Client, bodies: list, count: int) -> None:
        for _ in range(count):
            bodies.append(f"{sender.boundjid.user} {len(bodies)}")
            sender.send_message(mto=receiver.boundjid.bare, mbody=bodies[-1], mtype="chat")

    write(one, other, there, 3)
    write(other, one, back, 3)
    await asyncio.sleep(0.1)
    write(one, other, there, BURST)
    write(other, one, back, BURST)
    await loss(one)
    await one.cut()
    for override in ("send_raw", "data_received"):
        one.__dict__.pop(override, None)
    write(other, one, back, 5)
    await other["xep_0199"].send_ping(other.domain, timeout=10)
    await one.resume()
    write(one, other, there, 3)
    write(other, one, back, 3)
    await other.sees_bodies(there)
    await one.sees_bodies(back)
    await is_acknowledged(one)
    await sees_no_flicker(other)


async def cut_while_resuming(one: Client, other: Client) -> None:
    """Three attempts end after <resume/> was sent: before the answer, in it, and in what comes after it."""
    there = [f"resuming {number}" for number in range(BURST)]
    back = [f"resumed {number}" for number in range(BURST)]
    for body in there:
        one.send_message(mto=other.boundjid.bare, mbody=body, mtype="chat")
    await nothing_left(one)
    await one.cut()
    del one.send_raw
    for body in back:
        other.send_message(mto=one.boundjid.bare, mbody=body, mtype="chat")
    for allowed in (0, 30, 900):
        received = b""

        def receive(data):
            nonlocal received
            if not (is_resuming := one["xep_0198"].enabled_out):
                return Client.data_received(one, data)
            some = data[:max(0, allowed - len(received))]
            received += data
            if some and is_resuming:
                Client.data_received(one, some)
        one.data_received = receive
        one.connect()
        await until(lambda: received, "answer to <resume/>")
        await asyncio.sleep(0.1)
        await one.cut()
    del one.data_received
    await one.resume()
    await other.sees_bodies(there)
    await one.sees_bodies(back)
    await sees_no_flicker(other)


async def is_acknowledged(client: Client) -> None:
    sm = client["xep_0198"]
    await client["xep_0199"].send_ping(client.domain, timeout=10)
    await until(lambda: not sm.unacked_queue or sm.request_ack(), "acknowledgement", pause=0.2)
    expect(sm.last_ack == sm.seq, f"h='{sm.last_ack}' after {sm.seq} stanzas")


async def taken_over(stage: Stage, old: Client, peer: Client) -> Client:
    """The device changed from one network to another and its old connection is not known to be dead yet."""
    peer.send_message(mto=old.boundjid.bare, mbody="before", mtype="chat")
    await old.sees_bodies(["before"])
    new = stage.client(old.boundjid.bare, plugins=PLUGINS)
    for state in ("sm_id", "handled", "seq", "last_ack"):
        setattr(new["xep_0198"], state, getattr(old["xep_0198"], state))
    new.boundjid = old.boundjid
    await new.resume()
    peer.send_message(mto=old.boundjid.bare, mbody="after", mtype="chat")
    await new.sees_bodies(["after"])
    new.send_message(mto=peer.boundjid.bare, mbody="moved", mtype="chat")
    await peer.sees_bodies(["moved"])
    await sees_no_flicker(peer)
    old["xep_0198"].sm_id = None
    return new


def strangers(stage: Stage, romeo: Client) -> None:
    """What must not resume romeo's session, on streams by hand."""
    previous = romeo["xep_0198"].sm_id
    mallory = stage.add_account("mallory").split("@")[0]
    cases = {
        "another account cannot resume a session with its id": (mallory, f"previd='{previous}' h='0'"),
        "an unknown id cannot be resumed": (romeo.boundjid.user, "previd='no-such-id' h='0'"),
        "an empty id cannot be resumed": (romeo.boundjid.user, "previd='' h='0'"),
    }
    for title, (user, attributes) in cases.items():
        with stage.step(title), authenticated(stage, user) as stream:
            stream.send(f"<resume xmlns='{SM}' {attributes}/>")
            answer = stream.next()
            expect(answer is not None and answer.tag == f"{{{SM}}}failed", "it is not refused with <failed/>")
            expect(any(child.tag.endswith("}item-not-found") for child in answer), "no item-not-found (XEP-0198 §5)")
            stream.send("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
            expect((answer := stream.next()) is not None and answer.get("type") == "result", "no bind after <failed/>")
    with stage.step("<resume/> before authentication resumes nothing"), direct(stage) as stream:
        stream.open()
        stream.send(f"<resume xmlns='{SM}' previd='{previous}' h='0'/>")
        answer = stream.next()
        expect(answer is None or answer.tag != f"{{{SM}}}resumed", "resumed")
    with stage.step("an acknowledgement of stanzas never sent ends the stream (XEP-0198 §4)"), \
            authenticated(stage, mallory) as stream:
        stream.send("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
        stream.next()
        stream.send(f"<enable xmlns='{SM}' resume='true'/>")
        stream.next()
        stream.send(f"<a xmlns='{SM}' h='4000'/>")
        condition = stream.stream_error()
        expect(condition == "undefined-condition", condition)


def direct(stage: Stage) -> RawStream:
    return RawStream(stage.domain, stage.authority, direct=True)


def authenticated(stage: Stage, user: str) -> RawStream:
    stream = direct(stage)
    stream.open()
    stream.auth("PLAIN", f"\0{user}\0{stage.password}".encode())
    stream.open()
    return stream


async def clean_restart(stage: Stage, romeo: Client, juliet: Client) -> None:
    with stage.step("SIGTERM and a start: sessions are resumed with their old ids, nothing lost, order kept"):
        there = [f"last words {number}" for number in range(BURST)]
        back = [f"unheard {number}" for number in range(BURST)]
        juliet.data_received = lambda data: None    # What comes now stays unacknowledged.
        for body in there:
            romeo.send_message(mto=juliet.boundjid.bare, mbody=body, mtype="chat")
        await is_acknowledged(romeo)
        await romeo.cut()
        for body in back:
            juliet.send_message(mto=romeo.boundjid.bare, mbody=body, mtype="chat")
        await asyncio.sleep(0.5)
        await stage.server.stop()
        del juliet.data_received
        await juliet.cut()
        await stage.server.start()
        await juliet.resume()
        await romeo.resume()
        romeo.send_message(mto=juliet.boundjid.bare, mbody="there again", mtype="chat")
        await juliet.sees_bodies([*there, "there again"])
        await romeo.sees_bodies(back)
    with stage.step("contacts see no flicker of presence over a restart"):
        for client in (romeo, juliet):
            await sees_no_flicker(client)
    with stage.step("presence is known after a restart without being sent again"):
        juliet.saw(lambda s: s.name == "presence")
        later = await stage.login(juliet.boundjid.bare)
        await later.sees_presence(romeo.boundjid.bare, "available")
        await later.logout()


async def crash(stage: Stage) -> None:
    """After kill -9 sessions may be gone; what was acknowledged is in both archives, once."""
    with stage.step("after SIGKILL every acknowledged message is in both archives, once"):
        romeo = await stage.login(stage.add_account("romeo"), plugins=PLUGINS)
        juliet = await stage.login(stage.add_account("juliet"), plugins=PLUGINS)
        acknowledged: list[str] = []
        romeo.add_event_handler(
            "stanza_acked", lambda s: acknowledged.append(s["body"]) if s.name == "message" else None)
        for number in range(300):
            romeo.send_message(mto=juliet.boundjid.bare, mbody=f"doomed {number}", mtype="chat")
            if number % 10 == 9:
                romeo["xep_0198"].request_ack()
                await asyncio.sleep(0.002)
            if len(acknowledged) > 100:
                break
        await until(lambda: len(acknowledged) > 50, "acknowledgements")
        await stage.server.kill9()
        await asyncio.gather(romeo.cut(), juliet.cut())
        await stage.server.start()
        for client in (romeo, juliet):
            again = await stage.login(client.boundjid.bare, plugins=PLUGINS)
            kept = [message["mam_result"]["forwarded"]["stanza"]["body"]
                    async for message in again["xep_0313"].iterate(rsm={"max": 100})]
            missing = [body for body in acknowledged if body not in kept]
            expect(not missing, f"{again.boundjid.user} misses {missing[:5]}, {len(missing)} of {len(acknowledged)}")
            kept = [body for body in kept if body.startswith("doomed")]
            expect(len(kept) == len(set(kept)), f"{again.boundjid.user} has some twice")
            order = [int(re.search(r"\d+", body)[0]) for body in kept]
            expect(order == sorted(order), f"{again.boundjid.user}'s archive is out of order")
