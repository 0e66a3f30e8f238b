"""What the lab's names stand for: dnsmasq on a machine of its own, and zones that the runner answers for."""

import asyncio
import pathlib
import subprocess
from collections.abc import Callable

from lib.processes import command, end, spawn, until

from . import catalogue
from .dnssec import PORT as SIGNED_PORT
from .dnssec import SignedNames
from .network import HERE, RESOLVERS, Machine

# Names below it are asked of the runner (`UnrulyZone`).
UNRULY = "unruly.test"
UNRULY_PORT = 5353


class Names:
    """The records, and the servers that answer with them; `publish` makes changes known. `signed` are those that DNSSEC
    vouches for, known at once."""

    def __init__(self, folder: pathlib.Path):
        self._machine = Machine("names", RESOLVERS[0], folder)
        self._machine.add_address(RESOLVERS[1])
        self._folder = folder
        self._log = catalogue.FOLDER / "dnsmasq.log"
        self._log.unlink(missing_ok=True)
        self._processes: dict[str, subprocess.Popen] = {}
        self._publishing = asyncio.Lock()
        self.signed = SignedNames(folder)
        # The lines of each domain, by its name.
        self.records: dict[str, list[str]] = {}

    async def open(self) -> None:
        await self.signed.open()

    def set(self, domain: str, address: str | None, services: list[tuple[str, str, int]] = (),
            aliases: tuple[str, ...] = ()) -> None:
        """`services` are SRV: owner, target, port; their targets, the domain and the aliases have the address."""
        lines = [f"srv-host={owner},{target},{port}" for owner, target, port in services]
        if address:
            hosts = dict.fromkeys((domain, *(target for _, target, _ in services), *aliases))
            lines += [f"host-record={host},{address}" for host in hosts]
        self.records[domain] = lines

    async def publish(self) -> None:
        """One server after the other starts again, so that who asks meanwhile is answered."""
        async with self._publishing:
            for address in RESOLVERS:
                await self._restart(address)

    async def _restart(self, address: str) -> None:
        lines = ["keep-in-foreground", "no-resolv", "no-hosts", "bind-interfaces", "user=root", "pid-file=",
                 f"listen-address={address}", "local=/test/", "local-ttl=1", "neg-ttl=1", "max-ttl=1",
                 f"server=/{UNRULY}/{HERE}#{UNRULY_PORT}", f"server={HERE}#{SIGNED_PORT}", "cache-size=0",
                 "log-queries", "log-facility=-"]
        for records in self.records.values():
            lines += records
        configuration = self._folder / f"dnsmasq-{address}.conf"
        configuration.write_text("\n".join(lines) + "\n")
        end(self._processes.get(address))
        self._processes[address] = spawn(self._machine.within(["dnsmasq", f"--conf-file={configuration}"]), self._log)
        await until(lambda: self._is_up(address), f"dnsmasq ({self._log.read_text()[-200:]})", pause=0.02)

    def _is_up(self, address: str) -> bool:
        listening = command(["ip", "netns", "exec", self._machine.name, "ss", "-Hlun"])
        return f"{address}:53" in listening

    def asked(self) -> str:
        """All that was asked so far, as dnsmasq logs it."""
        return self._log.read_text()

    def close(self) -> None:
        for process in self._processes.values():
            end(process)
        self.signed.close()


class UnrulyZone(asyncio.DatagramProtocol):
    """Answers for `UNRULY`, each name as its rule says: a function of the query that returns the answer, when it may."""

    def __init__(self):
        self.rules: dict[tuple[str, int], Callable[[], list[bytes] | float]] = {}
        self.asked: list[str] = []
        self._transport = None

    async def open(self) -> None:
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, local_addr=(HERE, UNRULY_PORT))

    def close(self) -> None:
        if self._transport:
            self._transport.close()

    def connection_made(self, transport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, source) -> None:
        name, kind, question = _question(data)
        self.asked.append(name)
        rule = self.rules.get((name, kind)) or self.rules.get((name, 0))
        records = rule() if rule else []
        if isinstance(records, float):
            # Slow: an empty answer, so late.
            asyncio.get_running_loop().call_later(records, self._answer, data, question, [], source)
        else:
            self._answer(data, question, records, source)

    def _answer(self, query: bytes, question: bytes, records: list[bytes], source) -> None:
        if self._transport.is_closing():
            return
        header = query[:2] + b"\x84\x00\x00\x01" + len(records).to_bytes(2) + bytes(4)
        self._transport.sendto(header + question + b"".join(records), source)


A, CNAME, SRV = 1, 5, 33


def record(name: str, kind: int, data: bytes) -> bytes:
    return _encoded(name) + kind.to_bytes(2) + b"\x00\x01" + (1).to_bytes(4) + len(data).to_bytes(2) + data


def address(name: str, text: str) -> bytes:
    return record(name, A, bytes(int(part) for part in text.split(".")))


def alias(name: str, target: str) -> bytes:
    return record(name, CNAME, _encoded(target))


def service(name: str, target: str, port: int, priority: int = 0) -> bytes:
    return record(name, SRV, priority.to_bytes(2) + bytes(2) + port.to_bytes(2) + _encoded(target))


def _encoded(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label) + b"\0"


def _question(data: bytes) -> tuple[str, int, bytes]:
    labels, place = [], 12
    while length := data[place]:
        labels.append(data[place + 1:place + 1 + length].decode("latin-1").lower())
        place += 1 + length
    return ".".join(labels), int.from_bytes(data[place + 1:place + 3]), data[12:place + 5]
