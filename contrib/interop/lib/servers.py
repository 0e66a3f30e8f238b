"""The servers under test, behind one face: start, stop, restart, kill9, add_user."""

import abc
import pathlib
import socket
import subprocess

from .processes import command, end, spawn, until
from .steps import Failure

ADDRESS = "127.0.0.1"
PORTS = (5222, 5223)

# The name below a server's domain of its service with rooms.
ROOMS = "conference"

# The names of a domain that an external component may serve, and of the proxy for bytestreams; the component's secret.
GATEWAY, PROXY = "gateway", "proxy"
COMPONENT_PORT = 5347
GATEWAY_SECRET = "a secret shared with nobody"

# The name of a host for guests.
GUESTS = "guests"

# What servers tell clients of a TURN server at `turn.` below their domain, whether or not one runs there.
TURN_PORT = 3478
TURN_SECRET = "a secret shared with nobody"


class Server(abc.ABC):
    """One server with a data folder of its own in `folder`, serving `domain` with the files in `certificates`."""

    gaps: dict[str, str] = {}
    address = ADDRESS

    def __init__(self, folder: pathlib.Path, domain: str, certificates: pathlib.Path, log: pathlib.Path):
        self.domain = domain
        self.log = log
        self._certificates = certificates
        self._data = folder / "data"
        self._process: subprocess.Popen | None = None
        self._data.mkdir(parents=True)

    @property
    @abc.abstractmethod
    def _command(self) -> list:
        """The server in the foreground."""

    @abc.abstractmethod
    def add_user(self, jid: str, password: str) -> None:
        """Creates an account; the server may be running or not."""

    def guests(self, *arguments: str) -> str:
        """What the server's tool says about guests."""
        raise Failure("this server has no invitations for guests")

    async def start(self) -> None:
        """Returns when the ports accept connections."""
        self._process = spawn(self._command, self.log)
        await until(self._is_up, "open ports", timeout=30)

    async def stop(self) -> int:
        """Asks by SIGTERM and returns the exit status."""
        self._process.terminate()
        await until(lambda: self._process.poll() is not None, "end of the server after SIGTERM", timeout=20)
        return self._process.returncode

    async def restart(self) -> int:
        status = await self.stop()
        await self.start()
        return status

    async def kill9(self) -> None:
        self._process.kill()
        await until(lambda: self._process.poll() is not None, "end of the server after SIGKILL")

    def close(self) -> None:
        """Ends the server if it runs, without asking how it went."""
        end(self._process)

    def _is_up(self) -> bool:
        if self._process.poll() is not None:
            raise Failure(f"the server ended with {self._process.returncode}: {self.log.read_text()[-300:]}")
        return all(_accepts(self.address, port) for port in PORTS)


class MartletProgram:
    """How Martlet is run, wherever its configuration is from."""

    @property
    def _command(self) -> list:
        return [self.executable, "run", "--config", self._config]

    def add_user(self, jid: str, password: str) -> None:
        command([self.executable, "user", "add", jid, "--password-stdin", "--config", self._config], text=password)


class ProsodyProgram:
    """How Debian's Prosody is run, wherever its configuration is from."""

    @property
    def _command(self) -> list:
        return ["prosody", "-F", "--config", self._config]

    def add_user(self, jid: str, password: str) -> None:
        user, host = jid.split("@")
        command(["prosodyctl", "--config", self._config, "register", user, host, password])


class Martlet(MartletProgram, Server):
    def __init__(self, *arguments, executable: pathlib.Path):
        super().__init__(*arguments)
        self.executable = executable.resolve()
        self._config = self._data.parent / "martlet.yaml"
        self._config.write_text(f"""\
data_directory: {self._data}
certificates: {self._certificates}
hosts:
  {self.domain}: {{}}
  {GUESTS}.{self.domain}: {{ authentication: anonymous }}
components:
  {ROOMS}.{self.domain}: {{ module: muc, grace: 10 s }}
  {PROXY}.{self.domain}: {{ module: proxy65 }}
  {GATEWAY}.{self.domain}:
    module: external
    secret: {GATEWAY_SECRET}
    name: Gateway
    privileges: {{ roster: both, message: outgoing, presence: managed_entity, iq: {{ "http://jabber.org/protocol/pubsub": both }} }}
    delegate: {{ "urn:example:delegated": [] }}
modules:
  contact: {{ abuse: ["mailto:abuse@{self.domain}"] }}
  register: {{}}
  guests: on
  external_services:
    secret: {TURN_SECRET}
    services:
      - {{ type: stun, host: turn.{self.domain}, port: {TURN_PORT} }}
      - {{ type: turn, host: turn.{self.domain}, port: {TURN_PORT} }}
listen: {{ c2s: {PORTS[0]}, c2s_tls: {PORTS[1]}, s2s: off, s2s_tls: off }}
""")

    def guests(self, *arguments: str) -> str:
        return command([self.executable, "guests", *arguments, "--config", self._config])


# XEP-0156, which Debian's Prosody leaves to others.
HOST_META = """\
module:depends("http")
local base = "://" .. module.host
module:provides("http", { default_path = "/.well-known", route = { ["GET /host-meta"] = function (event)
    event.response.headers.access_control_allow_origin = "*"
    return "<XRD xmlns='http://docs.oasis-open.org/ns/xri/xrd-1.0'>"
        .. "<Link rel='urn:xmpp:alt-connections:xbosh' href='https" .. base .. "/http-bind'/>"
        .. "<Link rel='urn:xmpp:alt-connections:websocket' href='wss" .. base .. "/xmpp-websocket'/></XRD>"
end } })
"""

# XEP-0086, without which Profanity publishes no first list of devices.
LEGACY_CODES = """\
module:set_global()
require "util.filters".add_filter_hook(function (session)
    require "util.filters".add_filter(session, "stanzas/out", function (stanza)
        local error = stanza.attr and stanza.attr.type == "error" and stanza:get_child("error")
        if error and error:get_child("item-not-found", "urn:ietf:params:xml:ns:xmpp-stanzas") then
            error.attr.code = "404"
        end
        return stanza
    end)
end)
"""


class Prosody(ProsodyProgram, Server):
    gaps = {
        "the administrator invites a guest to a user and a room": "Prosody lets in anybody or nobody",
        "a guest logs in with an invitation as with an account, and chats": "Prosody lets in anybody or nobody",
        "login by SCRAM-SHA-1 over STARTTLS": "Prosody keeps one hash, SHA-256 here",
        "login by SCRAM-SHA-1 over direct TLS": "Prosody keeps one hash, SHA-256 here",
        "server and account name disco#info among their features (XEP-0030 §3.1)": "Prosody's accounts do not",
        "SIGTERM ends the stream with system-shutdown (RFC 6120 §4.9.3.19)": "Prosody's error is lost now and then",
        "guessing passwords on one stream comes to an end": "Prosody does not count",
        "a message before authentication is not authorized": "Prosody stays silent",
        "a bind request before authentication is not authorized": "Prosody stays silent",
        "plaintext glued to <starttls/> is never processed (RFC 6120 §5.4.2.2)": "Prosody reads on in the same packet",
        **{f"{what}, {when} authentication": "Prosody says not-well-formed"
           for what in ("a comment", "a processing instruction") for when in ("before", "after")},
        "nothing is lost, nothing comes twice: a burst breaks off within a stanza":
            "Prosody reads on in the half stanza",
        **{title: "Prosody 0.12 binds channels of TLS 1.2 only" for title in (
            "both types are announced (XEP-0440)", "another channel's binding is refused",
            *(f"SCRAM-SHA-{size}-PLUS by {kind}" for size in (1, 256)
              for kind in ("tls-server-end-point (RFC 5929 §4)", "tls-exporter (RFC 9266)")))},
        "refused: a page size that is no number": "Prosody takes it for none",
        "forged ids are stripped, other people's are not (XEP-0359 §3)": "Prosody lets them through within a host",
        "an active client has the latest presence, and not all those before": "Prosody keeps all",
        "an app server that does not know the node any more is not asked again (XEP-0357 §5)": "Prosody asks 16 times",
        "what XEP-0163 §6 requires, and more, is in disco#info": "Prosody names some of it",
        "access model roster: a group may read, others may not": "Prosody has no such model",
        "disco#items names no node one may not read": "Prosody names all",
        "nodes without end come to an end": "Prosody has no bound",
        **{title: "Debian's modules for SASL2 are young" for title in (
            "stream management is offered inline, and FAST",
            "a wrong password fails, and the right one on the same stream is good",
            "refused: another's account by its own password",
            "an exchange is aborted, and another succeeds",
            "stream management is on from the start, with an id (XEP-0386)",
            "<bound/> tells where the archive ends (XEP-0313)",
            "a session is resumed within <authenticate/>, and what it missed follows",
            "another account cannot resume it; its own <bind/> in the same request goes through",
            "a token is issued with an expiry, and with it a client is back in one round trip (XEP-0484)",
            "refused: a wrong token, another account's, another client's, one for SASL of old",
            "a new token is good, and its use ends the old one",
            "a count that does not grow is a replay (XEP-0484)",
            "a token is invalidated by its client", "no second <authenticate/> after success")},
        "the old connection ends with <conflict/> (XEP-0198 §5)": "Prosody closes it without a word",
        "a presence without a nick is jid-malformed (XEP-0045 §7.2.1)": "Prosody stays silent",
        "nor the same but for case and width (RFC 8266 §2.4)": "Prosody prepares nicks as resources",
        "the form has what XEP-0045 §16.5.3 defines": "Prosody has some of it",
        "nonsense in the configuration form is refused and changes nothing": "Prosody fails without an answer",
        "a cancelled first form leaves no room (XEP-0045 §10.1.3)": "Prosody keeps it",
        "a room that becomes members-only sends others away, with code 322": "Prosody does not tell those who stay",
        "refused: an owner's role taken (XEP-0045 §9.7)": "Prosody lets owners do it",
        "slow mode: a participant waits between two messages, and is told so": "Prosody has none",
        "nobody else gets the room that was destroyed: gone (XEP-0045 §10.9)":
            "Prosody lets nobody make it anew, or everybody",
        "the reason of a ban is on the list": "Prosody does not keep it",
        "several are banned at once (XEP-0045 §9.2)": "Prosody takes the first",
        "the list comes in pages when asked for so (XEP-0059)": "Prosody sends all",
        "a moderator sees them": "Prosody's archive shows nobody's",
        **{title: "Debian's modules speak an older XEP-0425" for title in (
            "the room says that moderators may retract messages (XEP-0425 §2)",
            "a moderator retracts a message: all learn of it, by whom and why (XEP-0425 §3)",
            "the archive has a tombstone instead, and the retraction itself (XEP-0425 §4)",
            "a newcomer does not hear a message that was retracted",
            "refused: a moderation by a participant, of a message unheard of")},
        "the archive has a tombstone instead of what the author retracted (XEP-0424 §4)": "Prosody keeps the message",
        "its hash is in disco#info (XEP-0486 §3.3)": "Prosody has a field of its own",
        "a nick that is none: an invisible one": "Prosody takes it",
        **{title: "Prosody takes the first of several changes" for title in (
            "5,000 members in one request: all of them or none, and soon",
            "one that may not be among several: none is changed")},
        "contradictions and nothing at all: an error each": "Prosody fails without an answer",
        **{title: "Prosody 0.12 has none" for title in (
            "the service offers a search for rooms (XEP-0433 §4.1)",
            "the room wakes phones (XEP-0357)", "the room has hats (XEP-0317 §2)",
            "the room has versions of its affiliations (XEP-0463 §4)")},
        "SIGTERM and a start: sessions are resumed with their old ids, nothing lost, order kept": "Prosody forgets them",
        "SIGTERM and a start: sessions are resumed, and nobody has to enter again": "Prosody forgets them",
        "who signs in again as the same resource is in the room still, without entering": "Prosody forgets occupants",
        "contacts see no flicker of presence over a restart": "Prosody forgets sessions",
        "presence is known after a restart without being sent again": "Prosody forgets sessions",
        "messages wait while the component is away, and come in order when it is back": "Prosody bounces them",
        "what waited outlives SIGKILL": "Prosody bounces it",
        **{title: "Prosody 0.12 stalls when much comes at once" for title in ("10 MB arrive intact", "and the other way")},
        **{title: "Prosody has a module for it that Debian lacks" for title in (
            "the component is told of its privileges (XEP-0356 §4.2)",
            "it reads and changes a user's roster (XEP-0356 §4.3)",
            "it sends a message in a user's name (XEP-0356 §5.3)",
            "it sends a request in a user's name (XEP-0356 §6.3)",
            "it is shown who comes and goes (XEP-0356 §7.1)",
            "a request of a delegated namespace is its to answer (XEP-0355 §4.3)")},
    }

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._config = self._data.parent / "prosody.cfg.lua"
        plugins = self._data.parent / "plugins"
        plugins.mkdir()
        # Debian's mod_sasl2 asks Debian's Prosody for a method that came later.
        code = pathlib.Path("/usr/lib/prosody/modules/mod_sasl2/mod_sasl2.lua").read_text()
        (plugins / "mod_sasl2.lua").write_text(code.replace("conn:ssl_info()", "conn:socket():info()"))
        (plugins / "mod_host_meta.lua").write_text(HOST_META)
        (plugins / "mod_legacy_codes.lua").write_text(LEGACY_CODES)
        self._config.write_text(f"""\
run_as_root = true
plugin_paths = {{ "{plugins}" }}
pidfile = "{self._data.parent}/prosody.pid"
data_path = "{self._data}"
certificates = "{self._certificates}"
interfaces = {{ "{ADDRESS}" }}
c2s_ports = {{ {PORTS[0]} }}
c2s_direct_tls_ports = {{ {PORTS[1]} }}
s2s_ports = {{}}
c2s_require_encryption = true
authentication = "internal_hashed"
password_hash = "SHA-256"
allow_registration = true
log = {{ debug = "*console" }}
modules_enabled = {{ "roster", "saslauth", "tls", "disco", "private", "vcard_legacy", "pep", "version", "uptime",
    "time", "ping", "lastactivity", "register_ibr", "user_account_management", "blocklist", "carbons", "smacks",
    "mam", "csi_simple", "cloud_notify", "bookmarks", "turn_external", "server_contact_info", "sasl2", "sasl2_bind2",
    "bosh", "websocket", "host_meta", "legacy_codes" }}
http_ports = {{ 80 }}
https_ports = {{ 443 }}
http_interfaces = {{ "{ADDRESS}" }}
https_interfaces = {{ "{ADDRESS}" }}
http_default_host = "{self.domain}"
component_ports = {{ {COMPONENT_PORT} }}
turn_external_host = "turn.{self.domain}"
turn_external_secret = "a secret shared with nobody"
contact_info = {{ abuse = {{ "mailto:abuse@{self.domain}" }} }}
VirtualHost "{self.domain}"
Component "{ROOMS}.{self.domain}" "muc"
    modules_enabled = {{ "muc_mam", "vcard_muc" }}
    allow_unaffiliated_register = true
    muc_tombstones = false
Component "upload.{self.domain}" "http_file_share"
Component "{PROXY}.{self.domain}" "proxy65"
    proxy65_address = "{ADDRESS}"
Component "{GATEWAY}.{self.domain}"
    component_secret = "{GATEWAY_SECRET}"
""")


def _accepts(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=1).close()
    except OSError:
        return False
    return True
