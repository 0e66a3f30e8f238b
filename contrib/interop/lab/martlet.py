"""Martlet, as an administrator would set it up, but for the zone `test`, which the DNS says does not exist."""

import asyncio
import json
import pathlib

from lib.servers import PORTS, MartletProgram

from .network import RESOLVERS
from .peer import CERTIFICATES, Peer

# The policy for domains whose certificate is bad on purpose.
POLICIES = {CERTIFICATES: "secure", "dialback": "dialback"}


class Martlet(MartletProgram, Peer):
    name = "martlet"
    s2s_tls_port = 5270
    features = frozenset({"bidi", "sm"})
    let_in = {
        "EXTERNAL": r"(?i)(?=[^\n]*EXTERNAL)(?=[^\n]*\b{domain}\b)(?=[^\n]*authenticated)",
        "dialback": r"(?i)(?=[^\n]*dialback)(?=[^\n]*\b{domain}\b)(?=[^\n]*authenticated)",
    }
    executable: pathlib.Path
    # What the module for other servers is told beyond what the lab needs.
    federation: dict[str, object] = {}

    def __init__(self, *arguments):
        super().__init__(*arguments)
        federation = {
            "policy": POLICIES[self.trust], "resolver": list(RESOLVERS), "local_zones": ["test"],
            # Sooner than outside, where nobody waits for the end of a test.
            "patience": "20 s", "connect_time": "10 s", "authentication_time": "20 s", **self.federation}
        self._config = self._data.parent / "martlet.yaml"
        self._config.write_text(f"""\
data_directory: {self._data}
certificates: {self._certificates}
log: {{ level: debug }}
hosts:
  {self.domain}: {{}}
components:
  {self.rooms}: {{ module: muc, grace: 10 s }}
  {self.proxy}: {{ module: proxy65, host: {self.address} }}
modules:
  s2s: {json.dumps(federation)}
listen: {{ c2s: {PORTS[0]}, c2s_tls: {PORTS[1]}, s2s: {self.s2s_port}, s2s_tls: {self.s2s_tls_port} }}
""")

    @property
    def _environment(self) -> dict[str, str]:
        return {**super()._environment, "SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt"}

    async def control(self, *words: str) -> tuple[bool, str]:
        """Runs a command of the administrator's against the server; returns whether it succeeded, and what it said."""
        process = await asyncio.create_subprocess_exec(
            self.executable, *words, "--config", self._config, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
        output, _ = await process.communicate()
        return process.returncode == 0, output.decode()


class House(Martlet):
    """A Martlet beside the one under test, whose domain has no DNS, and whose certificate nobody vouches for."""

    zone = "mesh"

    def __init__(self, name: str, federation: dict[str, object], *arguments):
        self.name = name
        self.federation = federation
        super().__init__(*arguments)
