"""Debian's ejabberd, on a port that only SRV reveals. It starts without epmd and is told of accounts over HTTP."""

import json
import pathlib
import urllib.request

from lib.servers import PORTS

from .network import HERE
from .peer import CERTIFICATES, Peer

API_PORT = 5281


class Ejabberd(Peer):
    name = "ejabberd"
    s2s_port = 5299
    # Mnesia writes what it logs every two seconds.
    forgets = 3
    let_in = {
        "EXTERNAL": r"Accepted inbound s2s EXTERNAL authentication {domain} ->",
        "dialback": r"Accepted inbound s2s dialback authentication {domain} ->",
    }

    gaps = {
        "who is blocked sees the blocker go, ejabberd to *": "ejabberd tells contacts of its own only",
        "after the end of it presence and messages are back, ejabberd to *": "ejabberd tells contacts of its own only",
        "who was called answers on the same stream (XEP-0288)": "ejabberd 24 announces it under another namespace",
    }

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._config = self._data.parent / "ejabberd.yml"
        secure = self.trust == CERTIFICATES
        self._config.write_text(f"""\
loglevel: debug
hosts: ["{self.domain}"]
certfiles: ["{self.chain}", "{self._key}"]
ca_file: /etc/ssl/certs/ca-certificates.crt
s2s_use_starttls: required
s2s_max_retry_delay: 1
negotiation_timeout: 15
auth_password_format: scram
disable_sasl_mechanisms: ["digest-md5", "X-OAUTH2"]
listen:
  - {{ port: {PORTS[0]}, ip: "0.0.0.0", module: ejabberd_c2s, starttls_required: true }}
  - {{ port: {PORTS[1]}, ip: "0.0.0.0", module: ejabberd_c2s, tls: true }}
  - {{ port: {self.s2s_port}, ip: "0.0.0.0", module: ejabberd_s2s_in }}
  - {{ port: {API_PORT}, ip: "0.0.0.0", module: ejabberd_http, request_handlers: {{ /api: mod_http_api }} }}
acl: {{ runner: {{ ip: ["{HERE}/32"] }}, local: {{ user_regexp: "" }} }}
access_rules: {{ local: {{ allow: local }} }}
api_permissions: {{ runner: {{ who: [{{ acl: runner }}], what: [register] }} }}
modules:
  mod_admin_extra: {{}}
  mod_adhoc: {{}}
  mod_blocking: {{}}
  mod_privacy: {{}}
  mod_caps: {{}}
  mod_disco: {{}}
  mod_http_api: {{}}
  mod_mam: {{ assume_mam_usage: true, default: always }}
  mod_muc: {{ host: "{self.rooms}", default_room_options: {{ mam: true }} }}
  mod_offline: {{}}
  mod_ping: {{}}
  mod_proxy65: {{ host: "{self.proxy}", ip: "0.0.0.0", hostname: "{self.address}", port: 7777, access: local }}
  mod_pubsub: {{ plugins: [flat, pep], last_item_cache: false }}
  mod_roster: {{ versioning: true }}
  mod_stream_mgmt: {{ resend_on_timeout: if_offline }}
  mod_vcard: {{ search: false }}
  mod_vcard_xupdate: {{}}
  mod_time: {{}}
  mod_version: {{}}
""" + ("" if secure else "  mod_s2s_dialback: {}\n") + ("  mod_s2s_bidi: {}\n" if self._has("mod_s2s_bidi") else ""))
        if self._has("mod_s2s_bidi"):
            self.features = frozenset({"bidi"})

    def _has(self, module: str) -> bool:
        """Whether it comes with a module that not all versions have."""
        return any((self.system or pathlib.Path("/")).glob(f"usr/lib/*/ejabberd-*/ebin/{module}.beam"))

    @property
    def _environment(self) -> dict[str, str]:
        return {**super()._environment, "ERL_LIBS": "/usr/lib/x86_64-linux-gnu", "ERL_CRASH_DUMP_BYTES": "0",
                "EJABBERD_CONFIG_PATH": str(self._config), "EJABBERD_LOG_PATH": f"{self._data}/ejabberd.log",
                "SPOOL_DIR": str(self._data)}

    @property
    def _command(self) -> list:
        return ["erl", "+K", "true", "-noinput", "-mnesia", "dir", f'"{self._data}/mnesia"', "-s", "ejabberd"]

    def add_user(self, jid: str, password: str) -> None:
        user, host = jid.split("@")
        request = urllib.request.Request(
            f"http://{self.address}:{API_PORT}/api/register", headers={"Content-Type": "application/json"},
            data=json.dumps({"user": user, "host": host, "password": password}).encode())
        urllib.request.urlopen(request, timeout=10).close()
