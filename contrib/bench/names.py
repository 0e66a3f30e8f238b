"""Where the domains of the benchmark are, for modes in which servers speak with each other, and who tells them.

All is below one zone: two domains of servers under test, and any number of others behind one address.
"""

import socket
import struct
import threading

DOMAIN = "bench.example"
OTHER = "other.bench.example"  # the second server's
ADDRESSES = {DOMAIN: "127.0.0.2", OTHER: "127.0.0.3"}
MANY = "127.0.0.4"  # where every other domain is: d0.bench.example, d1.bench.example, …

A, SRV = 1, 33
SERVICE = "_xmpp-server._tcp."


def address(domain):
    """Where a domain is; nil if it is not one of ours."""
    return ADDRESSES.get(domain) or (MANY if domain.endswith(f".{DOMAIN}") else None)


def encoded(name):
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


class NameServer:
    """Answers over UDP on loopback. Every domain has its server on `s2s_port` of its own address.

    With `literal` the target of a domain is its address, for who asks the machine's resolver for addresses of targets.
    """

    def __init__(self, s2s_port, literal):
        self.s2s_port, self.literal = s2s_port, literal
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                query, source = self.socket.recvfrom(4096)
                self.socket.sendto(self.answer(query), source)
            except (IndexError, ValueError, struct.error):
                continue  # not a query
            except OSError:
                return  # closed

    def answer(self, query):
        labels, place = [], 12
        while length := query[place]:
            labels.append(query[place + 1:place + 1 + length].decode().lower())
            place += 1 + length
        name, (kind, _) = ".".join(labels), struct.unpack_from("!HH", query, place + 1)
        data = None
        if kind == SRV and name.startswith(SERVICE) and address(target := name.removeprefix(SERVICE)):
            data = struct.pack("!HHH", 0, 0, self.s2s_port) + encoded(
                address(target) if self.literal else target)
        elif kind == A and address(name) and "_" not in name:
            data = socket.inet_aton(address(name))
        # Authoritative; there is such a name, whether or not it has what was asked for.
        header = query[:2] + struct.pack("!HHHHH", 0x8580, 1, int(data is not None), 0, 0)
        record = b"" if data is None else b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 60, len(data)) + data
        return header + query[12:place + 5] + record

    def close(self):
        self.socket.close()
