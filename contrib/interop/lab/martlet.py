"""Martlet, as an administrator would set it up, but for the zone `test`, which the DNS says does not exist."""

import pathlib

from lib.servers import PORTS, MartletProgram

from .network import RESOLVER
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
    own_gaps = {f"{what}, martlet to *": "there is no proxy yet" for what in (
        "martlet offers a proxy with an address of its own", "262144 bytes through it")}
    executable: pathlib.Path

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._config = self._data.parent / "martlet.yaml"
        self._config.write_text(f"""\
data_directory: {self._data}
certificates: {self._certificates}
log: {{ level: debug }}
hosts:
  {self.domain}: {{}}
components:
  {self.rooms}: {{ module: muc, grace: 10 s }}
modules:
  s2s:
    policy: {POLICIES[self.trust]}
    resolver: [{RESOLVER}]
    local_zones: [test]
    # Sooner than outside, where nobody waits for the end of a test.
    patience: 20 s
    connect_time: 10 s
    authentication_time: 20 s
listen: {{ c2s: {PORTS[0]}, c2s_tls: {PORTS[1]}, s2s: {self.s2s_port}, s2s_tls: {self.s2s_tls_port} }}
""")

    @property
    def _environment(self) -> dict[str, str]:
        return {**super()._environment, "SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt"}
