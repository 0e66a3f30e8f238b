"""What a server can do, asked and tried as an ordinary client would. Each question is asked once and remembered."""

import base64
import functools
import json
import re
import secrets
import socket
import ssl
import urllib.error
import urllib.request
import xml.etree.ElementTree as ET

from session import PATIENCE, Refused, Session, Stream, Trouble, service_records

INFO, ITEMS = "http://jabber.org/protocol/disco#info", "http://jabber.org/protocol/disco#items"
PUBSUB, MUC, DATA = "http://jabber.org/protocol/pubsub", "http://jabber.org/protocol/muc", "jabber:x:data"
SM, CSI, CARBONS, BLOCKING = "urn:xmpp:sm:3", "urn:xmpp:csi:0", "urn:xmpp:carbons:2", "urn:xmpp:blocking"
MAM, PUSH, UPLOAD, EXTDISCO = "urn:xmpp:mam:2", "urn:xmpp:push:0", "urn:xmpp:http:upload:0", "urn:xmpp:extdisco:2"
ORIGIN = "https://client.example"
AXOLOTL = "eu.siacs.conversations.axolotl"


def needs(condition: object, reason: str) -> None:
    if not condition:
        raise Trouble(reason)


def _is_for_all(headers, address: str) -> None:
    """A page from anywhere may read the answer: `*`, or our origin said back."""
    allowed = headers.get("Access-Control-Allow-Origin")
    needs(allowed in ("*", ORIGIN), f"{address} without Access-Control-Allow-Origin: *")


class Info:
    """A disco#info answer: identities, features, and the fields of its forms."""

    def __init__(self, answer: ET.Element):
        self.identities = {(e.get("category"), e.get("type")) for e in answer.iter(f"{{{INFO}}}identity")}
        self.features = {e.get("var") for e in answer.iter(f"{{{INFO}}}feature")}
        self.fields = {field.get("var"): [value.text for value in field.findall(f"{{{DATA}}}value")]
                       for field in answer.iter(f"{{{DATA}}}field")}


class Probe:
    """`connect` overrides the service records, `component` and `web` where components and the web server are."""

    def __init__(self, jid: str, password: str, context: ssl.SSLContext, connect: tuple[str, int] | None = None,
                 component: tuple[str, int] | None = None):
        self.user, _, self.domain = jid.rpartition("@")
        self.bare, self.context, self._password = jid, context, password
        self._connect = connect
        self._component = component or (self.starttls_address[0], 5347)
        self.context.set_alpn_protocols(["xmpp-client"])
        self.clear = self.secured = None    # Stream features without TLS, and with it before login.
        self.session = self._log_in()
        self.features = self.session.stream.features

    # Streams

    @functools.cached_property
    def starttls_address(self) -> tuple[str, int]:
        return self._connect or next(iter(service_records(f"_xmpp-client._tcp.{self.domain}")), (self.domain, 5222))

    @functools.cached_property
    def direct_address(self) -> tuple[str, int] | None:
        return next(iter(service_records(f"_xmpps-client._tcp.{self.domain}")), None)

    def _log_in(self) -> Session:
        stream = Stream(self.starttls_address, self.domain, self.context, direct=False)
        self.clear = stream.open()
        self.secured = stream.start_tls()
        self.tls = stream.socket.version()
        return Session(stream, self.user, self._password)

    def another_session(self) -> Session:
        stream = Stream(self.starttls_address, self.domain, self.context, direct=False)
        stream.open()
        stream.start_tls()
        return Session(stream, self.user, self._password, f"other-{secrets.token_hex(3)}")

    def stream_feature(self, name: str) -> None:
        """Fails unless the features after login have this element."""
        needs(self.features.find(name) is not None, f"no {name.rpartition('}')[2]} in the stream features after login")

    # Discovery

    @functools.cache
    def info(self, jid: str, node: str | None = None) -> Info:
        attribute = f" node='{node}'" if node else ""
        return Info(self.session.iq("get", f"<query xmlns='{INFO}'{attribute}/>", to=jid))

    @property
    def server(self) -> Info:
        return self.info(self.domain)

    @property
    def account(self) -> Info:
        return self.info(self.bare)

    @functools.cached_property
    def services(self) -> dict[str, Info]:
        """The server itself and the services it lists; those that do not answer are left out."""
        answer = self.session.iq("get", f"<query xmlns='{ITEMS}'/>", to=self.domain)
        found = {self.domain: self.server}
        for item in answer.iter(f"{{{ITEMS}}}item"):
            try:
                found[item.get("jid")] = self.info(item.get("jid"))
            except Trouble:
                continue
        return found

    def server_has(self, feature: str) -> None:
        needs(feature in self.server.features, f"{self.domain} does not advertise {feature}")

    def account_has(self, *features: str) -> None:
        needs(set(features) & self.account.features, f"the account does not advertise {features[-1]}")

    def service_with(self, feature: str) -> str:
        found = [jid for jid, info in self.services.items() if feature in info.features]
        needs(found, f"no service with {feature} among {', '.join(self.services)}")
        return found[0]

    # Trying things

    def pep(self) -> None:
        needs(("pubsub", "pep") in self.account.identities, "the account has no identity pubsub/pep")

    @functools.cache
    def publishes(self, node: str, payload: str, access: str) -> None:
        """Publishes with publish-options, as clients do: on a conflict they configure the node and try again. Reads the
        configuration and the item back, and deletes the node."""
        def form(kind: str) -> str:
            fields = {"FORM_TYPE": f"{PUBSUB}#{kind}", "pubsub#access_model": access, "pubsub#persist_items": "true"}
            return f"<x xmlns='{DATA}' type='submit'>" + "".join(
                f"<field var='{name}'><value>{value}</value></field>" for name, value in fields.items()) + "</x>"

        publish = (f"<pubsub xmlns='{PUBSUB}'><publish node='{node}'><item id='current'>{payload}</item></publish>"
                   f"<publish-options>{form('publish-options')}</publish-options></pubsub>")
        try:
            self.session.iq("set", publish)
        except Refused as error:
            needs(error.condition == "conflict", f"publishing failed: {error}")
            self.session.iq("set", f"<pubsub xmlns='{PUBSUB}#owner'><configure node='{node}'>{form('node_config')}"
                            "</configure></pubsub>")
            self.session.iq("set", publish)
        try:
            answer = self.session.iq("get", f"<pubsub xmlns='{PUBSUB}#owner'><configure node='{node}'/></pubsub>")
            model = next((field.findtext(f"{{{DATA}}}value") for field in answer.iter(f"{{{DATA}}}field")
                          if field.get("var") == "pubsub#access_model"), None)
            needs(model == access, f"the node's access model is {model}, not {access}")
            answer = self.session.iq("get", f"<pubsub xmlns='{PUBSUB}'><items node='{node}'/></pubsub>")
            needs(answer.find(f".//{{{PUBSUB}}}item") is not None, "the item is not there")
        finally:
            self.session.iq("set", f"<pubsub xmlns='{PUBSUB}#owner'><delete node='{node}'/></pubsub>")

    def omemo(self) -> None:
        self.pep()
        if f"{AXOLOTL}.whitelisted" in self.account.features:
            return
        self.account_has(f"{PUBSUB}#publish-options")
        bundle = (f"<bundle xmlns='{AXOLOTL}'><signedPreKeyPublic signedPreKeyId='1'>QUJD</signedPreKeyPublic>"
                  "<signedPreKeySignature>QUJD</signedPreKeySignature><identityKey>QUJD</identityKey>"
                  "<prekeys><preKeyPublic preKeyId='1'>QUJD</preKeyPublic></prekeys></bundle>")
        self.publishes(f"{AXOLOTL}.{secrets.token_hex(8)}", bundle, "open")

    def private_data(self) -> None:
        """XEP-0223."""
        self.pep()
        self.publishes(f"urn:example:{secrets.token_hex(8)}", "<private xmlns='urn:example:private'/>", "whitelist")

    def stream_management(self) -> None:
        """Enables it on a session of its own, has a stanza acknowledged, and resumes the session on a new stream."""
        self.stream_feature(f"{{{SM}}}sm")
        first = self.another_session()
        first.stream.send(f"<enable xmlns='{SM}' resume='true'/>")
        enabled = first.wait(lambda e: e.tag.startswith(f"{{{SM}}}"), "answer to <enable/>")
        needs(enabled.tag == f"{{{SM}}}enabled", "enabling failed")
        first.iq("get", "<ping xmlns='urn:xmpp:ping'/>", to=self.domain)
        first.stream.send(f"<r xmlns='{SM}'/>")
        acknowledgement = first.wait(lambda e: e.tag == f"{{{SM}}}a", "acknowledgement")
        needs(acknowledgement.get("h") == "1", "h is not 1 after one stanza")
        if enabled.get("resume") not in ("true", "1"):
            raise Trouble("acknowledgements only, no resumption")
        first.stream.socket.close()
        stream = Stream(self.starttls_address, self.domain, self.context, direct=False)
        stream.open()
        stream.start_tls()
        resumption = Resumption(stream, self.user, self._password)
        resumption.resume(enabled.get("id"), handled=1)

    def client_state(self) -> None:
        self.stream_feature(f"{{{CSI}}}csi")
        for state in ("inactive", "active"):
            self.session.stream.send(f"<{state} xmlns='{CSI}'/>")
        self.session.iq("get", "<ping xmlns='urn:xmpp:ping'/>", to=self.domain)

    def carbons(self) -> None:
        self.server_has(CARBONS)
        self.session.iq("set", f"<enable xmlns='{CARBONS}'/>")
        self.session.iq("set", f"<disable xmlns='{CARBONS}'/>")

    def blocking(self) -> None:
        self.server_has(BLOCKING)
        self.session.iq("get", f"<blocklist xmlns='{BLOCKING}'/>")

    def archive(self) -> None:
        self.account_has("urn:xmpp:mam:0", "urn:xmpp:mam:1", MAM)
        if MAM in self.account.features:
            page = "<set xmlns='http://jabber.org/protocol/rsm'><max>1</max></set>"
            answer = self.session.iq("set", f"<query xmlns='{MAM}'>{page}</query>")
            needs(answer.find(f"{{{MAM}}}fin") is not None, "no <fin/> in the answer to a query")

    def push(self) -> None:
        """Registers a push service that is nowhere, and takes it back."""
        self.account_has(PUSH)
        self.session.iq("set", f"<enable xmlns='{PUSH}' jid='compliance.invalid' node='compliance'/>")
        self.session.iq("set", f"<disable xmlns='{PUSH}' jid='compliance.invalid' node='compliance'/>")

    def private_storage(self) -> None:
        """XEP-0049, and put back what was there."""
        stored = "<query xmlns='jabber:iq:private'><check xmlns='urn:example:compliance'>{}</check></query>"
        self.session.iq("set", stored.format("x"))
        answer = self.session.iq("get", stored.format(""))
        self.session.iq("set", stored.format(""))
        needs(answer.findtext(".//{urn:example:compliance}check") == "x", "what was stored is not there")

    def vcard(self) -> None:
        self.server_has("vcard-temp")
        try:
            self.session.iq("get", "<vCard xmlns='vcard-temp'/>")
        except Refused as error:
            needs(error.condition == "item-not-found", str(error))

    def roster_and_presence(self) -> None:
        self.session.iq("get", "<query xmlns='jabber:iq:roster'/>")
        self.session.stream.send("<presence><priority>-1</priority></presence>")
        self.session.wait(lambda e: e.tag == "{jabber:client}presence" and e.get("from") == self.session.jid,
                          "own presence")
        self.session.stream.send("<presence type='unavailable'/>")

    # Services

    @functools.cache
    def room(self) -> Info:
        """Creates a room on the first chat service, asks what it can do, also in its configuration form, destroys it."""
        service = next((jid for jid, info in self.services.items()
                        if MUC in info.features and ("conference", "text") in info.identities), None)
        needs(service, f"no chat rooms among {', '.join(self.services)}")
        room = f"compliance-{secrets.token_hex(6)}@{service}"
        self.session.stream.send(f"<presence to='{room}/test'><x xmlns='{MUC}'/></presence>")
        entered = self.session.wait(lambda e: (e.get("from") or "").startswith(room), "answer from the room")
        needs(entered.get("type") != "error", "a room cannot be created")
        owner = f"{MUC}#owner"
        try:
            form = self.session.iq("get", f"<query xmlns='{owner}'/>", to=room)
            self.session.iq("set", f"<query xmlns='{owner}'><x xmlns='{DATA}' type='submit'/></query>", to=room)
            info = Info(self.session.iq("get", f"<query xmlns='{INFO}'/>", to=room))
            info.features |= {f"form:{field.get('var')}" for field in form.iter(f"{{{DATA}}}field")}
        finally:
            self.session.iq("set", f"<query xmlns='{owner}'><destroy/></query>", to=room)
        return info

    def room_archive(self) -> None:
        wanted = {"urn:xmpp:mam:0", "urn:xmpp:mam:1", MAM, "form:mam", "form:muc#roomconfig_mam",
                  "form:muc#roomconfig_enablearchiving"}
        needs(wanted & self.room().features, "rooms have no archive")

    @functools.cache
    def slot(self) -> tuple[str, str]:
        """The addresses to put and to get a file of 1,234 bytes."""
        service = self.service_with(UPLOAD)
        answer = self.session.iq("get", f"<request xmlns='{UPLOAD}' filename='hello.png' size='1234' "
                                 "content-type='image/png'/>", to=service)
        put, get = (answer.find(f".//{{{UPLOAD}}}{name}") for name in ("put", "get"))
        needs(put is not None and get is not None, "no slot in the answer")
        return put.get("url"), get.get("url")

    def upload_headers(self) -> None:
        headers, _ = self._http("OPTIONS", self.slot()[0])
        for name in ("Access-Control-Allow-Origin", "Access-Control-Allow-Methods", "Access-Control-Allow-Headers"):
            needs(headers.get(name), f"no {name} on the address to upload to")

    @functools.cached_property
    def external_services(self) -> list[dict[str, str]]:
        self.server_has(EXTDISCO)
        answer = self.session.iq("get", f"<services xmlns='{EXTDISCO}'/>", to=self.domain)
        return [dict(element.attrib) for element in answer.iter(f"{{{EXTDISCO}}}service")]

    def stun(self) -> None:
        found = [s for s in self.external_services if s.get("type") in ("stun", "stuns")]
        needs(found, "no service of type stun or stuns")
        needs(any(s.get("transport") in ("tcp", "udp") and s.get("host") and s.get("port") for s in found),
              "without transport, host or port")

    def turn(self) -> None:
        found = [s for s in self.external_services if s.get("type") in ("turn", "turns")]
        needs(found, "no service of type turn or turns")
        needs(any(s.get("username") and s.get("password") and s.get("host") and s.get("port") for s in found),
              "without username and password")

    def external_service_discovery(self) -> None:
        needs(self.external_services, "the list is empty")

    # Outside the stream

    def direct_tls(self) -> None:
        """SRV, SNI, ALPN, a valid certificate, and an answer that begins with the XML declaration (XEP-0368)."""
        needs(self.direct_address, f"no SRV record for _xmpps-client._tcp.{self.domain}")
        stream = Stream(self.direct_address, self.domain, self.context, direct=True)
        needs(stream.socket.selected_alpn_protocol() in ("xmpp-client", None), "another protocol by ALPN")
        stream.open()
        first = stream.first[:21]
        stream.close()
        needs(first.startswith(b"<?xml"), f"the stream begins with {first!r}, not with <?xml")

    def registration(self) -> None:
        offer = self.secured.find("{http://jabber.org/features/iq-register}register")
        needs(offer is not None, "not offered before login")

    def component_port(self) -> None:
        """XEP-0114: whether somebody answers a component's stream header."""
        host, port = self._component
        try:
            with socket.create_connection((host, port), timeout=PATIENCE) as link:
                link.sendall(b"<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' "
                             b"xmlns:stream='http://etherx.jabber.org/streams' to='compliance.invalid'>")
                answer = link.recv(4096)
        except OSError as error:
            raise Trouble(f"{host}:{port}: {error}") from None
        needs(b"stream" in answer, f"{host}:{port} does not speak XMPP")

    def transport_security(self) -> None:
        """RFC 7590: a recent TLS, required, and no authentication without."""
        needs(self.tls in ("TLSv1.2", "TLSv1.3"), f"{self.tls} was agreed on")
        mechanisms = self.clear.find("{urn:ietf:params:xml:ns:xmpp-sasl}mechanisms")
        needs(mechanisms is None, "passwords are taken without TLS")
        needs(self.clear.find("{urn:ietf:params:xml:ns:xmpp-tls}starttls/{urn:ietf:params:xml:ns:xmpp-tls}required")
              is not None, "TLS is not required")

    # The web

    @functools.cached_property
    def _web_trust(self) -> ssl.SSLContext:
        """The same trust without XMPP's ALPN."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = self.context.check_hostname, self.context.verify_mode
        for certificate in self.context.get_ca_certs(binary_form=True):
            context.load_verify_locations(cadata=certificate)
        return context

    def _http(self, method: str, address: str) -> tuple:
        request = urllib.request.Request(address, method=method, headers={"Origin": ORIGIN})
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE, context=self._web_trust) as answer:
                return answer.headers, answer.read(1 << 20)
        except (urllib.error.URLError, OSError, ValueError) as error:
            raise Trouble(f"{address}: {error}") from None

    @functools.cached_property
    def links(self) -> dict[str, list[str]]:
        """XEP-0156: what host-meta names, by relation."""
        reasons = []
        for address in (f"{scheme}://{self.domain}/.well-known/host-meta{suffix}"
                        for scheme in ("https", "http") for suffix in ("", ".json")):
            try:
                headers, body = self._http("GET", address)
                _is_for_all(headers, address)
                links = json.loads(body).get("links", []) if address.endswith("json") else [
                    dict(e.attrib) for e in ET.fromstring(body).iter("{http://docs.oasis-open.org/ns/xri/xrd-1.0}Link")]
                found: dict[str, list[str]] = {}
                for link in links:
                    relation = link.get("rel", "").removeprefix("urn:xmpp:alt-connections:")
                    found.setdefault(relation, []).append(link.get("href"))
                return found
            except (Trouble, ET.ParseError, ValueError) as error:
                reasons.append(str(error))
        raise Trouble(reasons[0])

    def bosh(self) -> None:
        needs(self.links.get("xbosh"), "host-meta names no xbosh")
        for address in self.links["xbosh"]:
            headers, _ = self._http("OPTIONS", address)
            _is_for_all(headers, address)

    def websocket(self) -> None:
        needs(self.links.get("websocket"), "host-meta names no websocket")
        for address in self.links["websocket"]:
            match = re.fullmatch(r"(wss?)://([^/:]+)(?::(\d+))?(/.*)?", address)
            needs(match, f"{address} is no address of a websocket")
            scheme, host, port, path = match.groups()
            try:
                link = socket.create_connection((host, int(port or (443 if scheme == "wss" else 80))), timeout=PATIENCE)
                link = self._web_trust.wrap_socket(link, server_hostname=host) if scheme == "wss" else link
            except OSError as error:
                raise Trouble(f"{address}: {error}") from None
            with link:
                key = base64.b64encode(secrets.token_bytes(16)).decode()
                link.sendall("\r\n".join((
                    f"GET {path or '/'} HTTP/1.1", f"Host: {host}", "Upgrade: websocket", "Connection: Upgrade",
                    f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Protocol: xmpp",
                    f"Origin: {ORIGIN}", "", "")).encode())
                answer = link.recv(4096).decode("latin-1").lower()
            needs(" 101 " in answer.partition("\r\n")[0], f"{address} does not upgrade")
            needs("sec-websocket-protocol: xmpp" in answer, f"{address} does not choose the sub-protocol xmpp")

    def web_connections(self) -> None:
        needs(self.links.get("xbosh") or self.links.get("websocket"), "host-meta names neither")
        for kind, check in (("xbosh", self.bosh), ("websocket", self.websocket)):
            if self.links.get(kind):
                check()


class Resumption(Session):
    """A session that is not bound but resumed."""

    def __init__(self, stream: Stream, user: str, password: str):
        self.stream, self._count, self.others = stream, 0, []
        self._authenticate(user, password)
        stream.open()

    def resume(self, previous: str, handled: int) -> None:
        self.stream.send(f"<resume xmlns='{SM}' previd='{previous}' h='{handled}'/>")
        answer = self.wait(lambda e: e.tag.startswith(f"{{{SM}}}"), "answer to <resume/>")
        needs(answer.tag == f"{{{SM}}}resumed", "a session cannot be resumed")
        self.stream.close()
