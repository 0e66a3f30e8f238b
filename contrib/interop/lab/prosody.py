"""Debian's Prosody: certificates or dialback, bidirectional streams, stream management between servers."""

from lib.processes import command
from lib.servers import ProsodyProgram

from .peer import CERTIFICATES, Peer


class Prosody(ProsodyProgram, Peer):
    name = "prosody"
    s2s_tls_port = 5270
    features = frozenset({"bidi", "sm"})
    let_in = {
        "EXTERNAL": r"Accepting SASL EXTERNAL identity from {domain}",
        "dialback": r"asking {domain} if key \S+ belongs to them",
    }

    gaps = {
        "262144 bytes through it, prosody to *": "Prosody keeps the end of them back now and then",
    }
    own_gaps = {
        **gaps,
        "cn-only: nothing is sent to a peer that shows it*": "Prosody believes Common Names",
        "cn-only: a peer that shows it is not let in*": "Prosody believes Common Names",
        "no key is no key": "Prosody does not answer",
        **{f"a stanza {title}: *": "Prosody ends it for another reason, or late" for title in (
            "for a domain it did not prove", "for a domain served here", "for a subdomain of its own",
            "without a from", "with a from that is no JID", "without a to", "of client namespace",
            "before the peer has proved anything")},
    }

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._config = self._data.parent / "prosody.cfg.lua"
        secure = self.trust == CERTIFICATES
        self._config.write_text(f"""\
run_as_root = true
pidfile = "{self._data.parent}/prosody.pid"
data_path = "{self._data}"
ssl = {{ certificate = "{self.chain}", key = "{self._key}", capath = "/etc/ssl/certs" }}
interfaces = {{ "0.0.0.0" }}
c2s_direct_tls_ports = {{ 5223 }}
s2s_direct_tls_ports = {{ {self.s2s_tls_port} }}
s2s_require_encryption = true
s2s_secure_auth = {str(secure).lower()}
s2s_timeout = 10
bounce_blocked_messages = true
unbound = {{ resolvconf = true, options = {{ ["local-zone:"] = "test. transparent" }} }}
smacks_s2s_resend = true
authentication = "internal_hashed"
log = {{ debug = "*console" }}
modules_enabled = {{ "roster", "saslauth", "tls", "disco", "vcard_legacy", "pep", "version", "time", "ping", "blocklist",
    "carbons", "smacks", "mam", "s2s_bidi"{'' if secure else ', "dialback"'} }}
component_ports = {{}}
VirtualHost "{self.domain}"
Component "{self.rooms}" "muc"
    modules_enabled = {{ "muc_mam" }}
    muc_log_by_default = true
    restrict_room_creation = false
Component "{self.proxy}" "proxy65"
    proxy65_address = "{self.address}"
    proxy65_acl = {{ "{self.domain}" }}
proxy65_ports = {{ 5000 }}
""")

    def add_user(self, jid: str, password: str) -> None:
        user, host = jid.split("@")
        words = ["prosodyctl", "--config", self._config, "register", user, host, password]
        command(self.machine.within(words, self.system))
