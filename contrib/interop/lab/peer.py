"""A server on a machine of the lab: how others find it, how they know it, and what it says of how it knew them."""

import abc
import pathlib
import re

from lib.processes import spawn, until
from lib.servers import ROOMS, Server

from .catalogue import CERTIFICATES, DIALBACK
from .network import Machine
from .names import Names


class Peer(Server):
    """A server of one make. `trust` is `CERTIFICATES` or `DIALBACK`; with the latter nobody has a certificate to show
    and whoever the name leads to is believed."""

    # The make, and the name of its machine; its domain is this below the zone.
    name: str
    zone = "test"
    # Where it listens; the first of each pair is the port for STARTTLS, the second the one for direct TLS.
    s2s_port: int = 5269
    s2s_tls_port: int | None = None
    # `bidi` and `sm`, if it has bidirectional streams (XEP-0288) and stream management (XEP-0198) between servers.
    features: frozenset[str] = frozenset()
    # The seconds of which it may forget everything when it is killed.
    forgets: float = 0
    # What its log says when another server is let in, by how.
    let_in: dict[str, str]
    # What it is known not to do as a peer and as the server under test, by patterns for the titles of steps, and why.
    gaps: dict[str, str] = {}
    # The folder with the Debian that its programs are of, if it is not this one.
    system: pathlib.Path | None = None
    own_gaps: dict[str, str] = {}

    def __init__(self, folder: pathlib.Path, machine: Machine, certificates: pathlib.Path, artefacts: pathlib.Path,
                 trust: str):
        domain = f"{self.name}.{self.zone}"
        super().__init__(folder, domain, certificates, artefacts / f"{self.name}.log")
        self.machine = machine
        self.address = machine.address
        self.trust = trust
        self.rooms = f"{ROOMS}.{domain}"
        self.proxy = f"proxy.{domain}"
        self.chain, self._key = (certificates / domain / name for name in ("fullchain.pem", "privkey.pem"))

    async def start(self) -> None:
        words = self.machine.within(self._command, self.system)
        self._process = spawn(words, self.log, env=self._environment, cwd=self._data)
        await until(self._is_up, f"open ports of {self.name}", timeout=30, pause=0.05)

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def _environment(self) -> dict[str, str]:
        return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": str(self._data)}

    @property
    def public_names(self) -> tuple[str, ...]:
        """The domain and its services."""
        return (self.domain, self.rooms, self.proxy)

    def announce(self, names: Names, address: str | None = None) -> None:
        """Sets the records of the domain and its services."""
        host = f"xmpp.{self.domain}"
        services = [(f"_xmpp-client._tcp.{self.domain}", host, 5222), (f"_xmpps-client._tcp.{self.domain}", host, 5223)]
        for name in self.public_names:
            # Services on the usual port are left to the fallback to the domain's own address (RFC 6120 §3.2.2).
            if name == self.domain or self.s2s_port != 5269:
                services.append((f"_xmpp-server._tcp.{name}", host, self.s2s_port))
                if self.s2s_tls_port:
                    services.append((f"_xmpps-server._tcp.{name}", host, self.s2s_tls_port))
        names.set(self.domain, address or self.address, services, self.public_names)

    def log_since(self, place: int) -> str:
        """What was logged after a place got from `log_place`."""
        with self.log.open("rb") as file:
            file.seek(place)
            return file.read().decode(errors="replace")

    def log_place(self) -> int:
        return self.log.stat().st_size if self.log.exists() else 0

    def let_in_by(self, other: str) -> set[str]:
        """How `other` was let in, as far as the log tells."""
        text = self.log_since(0)
        return {how for how, pattern in self.let_in.items() if re.search(pattern.format(domain=re.escape(other)), text)}

    @abc.abstractmethod
    def add_user(self, jid: str, password: str) -> None:
        ...
