"""kill -9 under load, again and again: no message whose sender was told that it is stored may be lost.

A sender writes to somebody who is offline and, now and then, pings its server: RFC 6120 §10.1 keeps the order, and the
server answers only when everything before is on disk. After the kill the recipient comes online and counts.
"""
import random
import re
import threading
import time

from client import Client, Ended


def load(server, name, round_number, state, stop):
    """Sends numbered messages; what a ping confirmed goes to `state`."""
    try:
        client = Client(server.port, server.domain, name, "pw-" + name)
        number = 0
        while not stop.is_set():
            first = number
            for _ in range(random.randint(1, 20)):
                client.send(
                    f"<message type='chat' to='receiver@{server.domain}' id='{name}-{round_number}-{number}'>"
                    f"<body>{name} {round_number} {number}</body></message>")
                number += 1
            client.ping()
            state[name] = number
            assert number > first
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


def run(server, rounds):
    senders = ["anna", "berta"]
    for name in senders + ["receiver"]:
        server.add_user(name, "pw-" + name)
    confirmed = 0
    for round_number in range(rounds):
        server.start()
        state, stop = {}, threading.Event()
        threads = [threading.Thread(target=load, args=(server, n, round_number, state, stop)) for n in senders]
        for thread in threads:
            thread.start()
        time.sleep(random.uniform(0.15, 0.6))
        server.kill()
        stop.set()
        for thread in threads:
            thread.join(30)
        server.start()
        time.sleep(0.1)
        arrived = [(name, int(number)) for name, r, number in collect(server) if int(r) == round_number]
        server.kill() if round_number % 2 else server.stop()
        for name in senders:
            numbers = [number for sender, number in arrived if sender == name]
            wanted = state.get(name, 0)
            confirmed += wanted
            missing = sorted(set(range(wanted)) - set(numbers))
            if missing:
                raise SystemExit(f"FAILED: round {round_number}: {name} was told {wanted} are stored; lost {missing[:10]}")
            if numbers != sorted(set(numbers)):
                raise SystemExit(f"FAILED: round {round_number}: {name}'s messages arrived twice or out of order")
    if confirmed < rounds:
        raise SystemExit(f"FAILED: only {confirmed} messages were confirmed; nothing was tested")
    print(f"ok: {rounds} kills, {confirmed} messages confirmed, none lost, none twice, all in order")
