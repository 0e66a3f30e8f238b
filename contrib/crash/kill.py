"""kill -9 under load, again and again: no message whose sender was told that it is stored may be lost.

Senders write to somebody who is offline and, now and then, ask for a receipt: one by pinging its server, as RFC 6120
§10.1 keeps the order and the server answers only when everything before is on disk; one by stream management's <r/>,
whose h counts what the server took over (XEP-0198 §4); one by both. After the kill the recipient comes online and
counts, and its archive and the senders' have every confirmed message exactly once (XEP-0313). Meanwhile two talk in a room:
see rooms.py.
"""
import bisect
import random
import re
import threading
import time

from client import Client, Ended
from rooms import SPEAKERS, Room

SENDERS = {"anna": ("ping",), "berta": ("ack",), "clara": ("ping", "ack")}


def load(server, name, round_number, state, stop):
    """Sends numbered messages; how many were confirmed goes to `state`, by name and kind of receipt."""
    receipts = SENDERS[name]
    try:
        client = Client(server.port, server.domain, name, "pw-" + name)
        if "ack" in receipts:
            client.enable()
        ordinals = []  # Which stanza each message was.
        while not stop.is_set():
            for _ in range(random.randint(1, 20)):
                number = len(ordinals)
                client.send(
                    f"<message type='chat' to='receiver@{server.domain}' id='{name}-{round_number}-{number}'>"
                    f"<body>{name} {round_number} {number}</body></message>")
                ordinals.append(client.sent)
            receipt = random.choice(receipts)
            if receipt == "ping":
                client.ping()
                confirmed = len(ordinals)
            else:
                h = client.acknowledged()
                if h > client.sent:
                    state["error"] = f"h='{h}' after {client.sent} stanzas"
                confirmed = bisect.bisect_right(ordinals, h)
            if confirmed > state.get(name, 0):
                state[receipt] = state.get(receipt, 0) + confirmed - state.get(name, 0)
                state[name] = confirmed
    except (OSError, Ended):
        pass


def collect(server):
    """Everything that waited for the receiver, in the order of arrival."""
    client = Client(server.port, server.domain, "receiver", "pw-receiver")
    client.send("<presence/>")
    seen, quiet = "", 0
    while quiet < 2:
        count = len(seen)
        seen += client.ping()
        quiet = quiet + 1 if len(seen) - count < 400 else 0
        time.sleep(0.02)
    client.close()
    return re.findall(r"<body>(\w+) (\d+) (\d+)</body>", seen)


def check(where, name, round_number, numbers, wanted):
    """Nothing confirmed is missing, nothing is there twice, and the order is kept."""
    missing = sorted(set(range(wanted)) - set(numbers))
    if missing:
        raise SystemExit(
            f"FAILED: round {round_number}: {name} was told {wanted} are stored; {where} lost {len(missing)}: "
            f"{missing[:10]}")
    if numbers != sorted(set(numbers)):
        raise SystemExit(f"FAILED: round {round_number}: {name}'s messages are twice or out of order in {where}")


def check_archives(server, round_number, state, ends):
    """`ends` has where each archive ended before this round."""
    for owner in [*SENDERS, "receiver"]:
        client = Client(server.port, server.domain, owner, "pw-" + owner)
        ends[owner], found = client.archive(ends.get(owner, ""))
        client.close()
        for name in SENDERS if owner == "receiver" else [owner]:
            bodies = [body.split() for _, body in found]
            numbers = [int(body[2]) for body in bodies if body[:2] == [name, str(round_number)]]
            check(f"the archive of {owner}", name, round_number, numbers, state.get(name, 0))


def run(server, rounds):
    for name in [*SENDERS, "receiver"]:
        server.add_user(name, "pw-" + name)
    room = Room(server)
    confirmed, ends = {"ping": 0, "ack": 0}, {}
    for round_number in range(rounds):
        server.start()
        if round_number == 0:
            room.make()
        state, stop, heard = {}, threading.Event(), {name: [] for name in SPEAKERS}
        threads = [threading.Thread(target=load, args=(server, n, round_number, state, stop)) for n in SENDERS]
        threads += [threading.Thread(target=room.speak, args=(n, round_number, heard[n], stop)) for n in SPEAKERS]
        for thread in threads:
            thread.start()
        time.sleep(random.uniform(0.15, 0.6))
        server.kill()
        stop.set()
        for thread in threads:
            thread.join(30)
        if "error" in state:
            raise SystemExit(f"FAILED: round {round_number}: {state['error']}")
        server.start()
        time.sleep(0.1)
        arrived = [(name, int(number)) for name, r, number in collect(server) if int(r) == round_number]
        check_archives(server, round_number, state, ends)
        room.check(round_number, heard)
        server.kill() if round_number % 2 else server.stop()
        for name in SENDERS:
            numbers = [number for sender, number in arrived if sender == name]
            check("the receiver", name, round_number, numbers, state.get(name, 0))
        for receipt in confirmed:
            confirmed[receipt] += state.get(receipt, 0)
    if min(confirmed.values()) < rounds:
        raise SystemExit(f"FAILED: only {confirmed} messages were confirmed; nothing was tested")
    print(f"ok: {rounds} kills, {confirmed['ping']} messages confirmed by IQs, {confirmed['ack']} by acknowledgements, "
          f"none lost, none twice, all in order, in the archives too; {room.summary(rounds)}")
