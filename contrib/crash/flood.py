"""Strangers that stall and clients that never read: the others notice nothing, and memory stays bounded."""
import resource
import socket
import time

from client import Client, Ended

HALF_OPEN = 10_000


def half_open(server):
    """10,000 connections that say nothing; somebody else logs in and chats meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(HALF_OPEN, hard - 500)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, HALF_OPEN + 1_000), hard))
    before = server.memory()
    silent = []
    for number in range(count):
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        connection.bind((f"127.0.1.{1 + number % 200}", 0))
        connection.settimeout(20)
        connection.connect(("127.0.0.1", server.port))
        if number % 3 == 0:
            connection.send(b"\x16\x03\x01\x02\x00\x01")  # The beginning of a ClientHello, and no more.
        silent.append(connection)
    start = time.monotonic()
    client = Client(server.port, server.domain, "anna", "pw-anna")
    client.ping()
    took = time.monotonic() - start
    client.close()
    grown = server.memory() - before
    if took > 3:
        raise SystemExit(f"FAILED: a login took {took:.1f} s beside {count} silent connections")
    if grown > count * 24:
        raise SystemExit(f"FAILED: {count} silent connections took {grown} KiB")
    deadline = time.monotonic() + 40
    for connection in silent[:: max(1, count // 50)]:
        connection.settimeout(max(0.1, deadline - time.monotonic()))
        try:
            while connection.recv(4096):
                pass
        except ConnectionError:
            pass
        except OSError as error:
            raise SystemExit(f"FAILED: a silent connection is still open: {error}")
    for connection in silent:
        connection.close()
    print(f"ok: {count} silent connections took {grown / count:.1f} KiB each, a login beside them {took * 1000:.0f} ms")


def never_reads(server):
    """A client is sent more than it reads, until the server lets go of it."""
    deaf = Client(server.port, server.domain, "receiver", "pw-receiver", receive_buffer=4096)
    deaf.send("<presence/>")
    deaf.ping()
    before = server.memory()
    writer = Client(server.port, server.domain, "anna", "pw-anna")
    body = "x" * 8_000
    sent, top = 0, 0
    for number in range(4_000):
        writer.send(
            f"<message type='chat' to='receiver@{server.domain}' id='{number}'><body>{body}</body></message>")
        sent += 1
        if number % 100 == 99:
            writer.ping()
            top = max(top, server.memory() - before)
    writer.ping()
    writer.close()
    if top > 64 * 1024:
        raise SystemExit(f"FAILED: a client that never reads cost {top} KiB")
    deaf.socket.settimeout(20)
    try:
        while deaf.socket.recv(1 << 20):
            pass
    except (ConnectionError, Ended):
        pass
    except OSError as error:
        raise SystemExit(f"FAILED: the client that never reads was not disconnected: {error}")
    print(f"ok: {sent * 8} KB to a client that never reads took at most {top} KiB, and it was disconnected")


def run(server):
    server.start()
    half_open(server)
    never_reads(server)
    if server.stop() != 0:
        raise SystemExit("FAILED: the server did not stop cleanly")
