"""One XMPP session on a blocking socket, standard library only: what an ordinary client does until it is logged in."""

import base64
import hashlib
import hmac
import os
import random
import socket
import ssl
import struct
import time
import xml.etree.ElementTree as ET

PATIENCE = 10
STREAMS, SASL = "{http://etherx.jabber.org/streams}", "{urn:ietf:params:xml:ns:xmpp-sasl}"
BIND, TLS = "urn:ietf:params:xml:ns:xmpp-bind", "urn:ietf:params:xml:ns:xmpp-tls"
STANZAS = "{urn:ietf:params:xml:ns:xmpp-stanzas}"


class Trouble(Exception):
    """Why something does not work; the text is for the report."""


class Refused(Trouble):
    """An IQ came back as an error; `condition` is its defined condition."""

    def __init__(self, condition: str):
        super().__init__(condition)
        self.condition = condition


class Stream:
    """A stream header and what comes back. `first` is the beginning of all bytes the server sent on this stream."""

    def __init__(self, address: tuple[str, int], domain: str, context: ssl.SSLContext, direct: bool):
        self.domain, self._context = domain, context
        try:
            self.socket = socket.create_connection(address, timeout=PATIENCE)
            if direct:
                self._secure()
        except OSError as error:
            raise Trouble(f"{address[0]}:{address[1]}: {error}") from None
        self.features: ET.Element | None = None

    def _secure(self) -> None:
        self.socket = self._context.wrap_socket(self.socket, server_hostname=self.domain)

    def open(self) -> ET.Element:
        self._parser, self._depth, self.first = ET.XMLPullParser(("start", "end")), 0, b""
        self.send(f"<?xml version='1.0'?><stream:stream to='{self.domain}' version='1.0' xmlns='jabber:client' "
                  "xmlns:stream='http://etherx.jabber.org/streams'>")
        self.features = self.next()
        if self.features.tag != f"{STREAMS}features":
            raise Trouble(f"no stream features but {self.features.tag}")
        return self.features

    def start_tls(self) -> ET.Element:
        self.send(f"<starttls xmlns='{TLS}'/>")
        if not self.next().tag.endswith("}proceed"):
            raise Trouble("STARTTLS was refused")
        self._secure()
        return self.open()

    def send(self, text: str) -> None:
        self.socket.sendall(text.encode())

    def next(self, timeout: float = PATIENCE) -> ET.Element:
        deadline = time.monotonic() + timeout
        while True:
            for event, element in self._parser.read_events():
                self._depth += 1 if event == "start" else -1
                if event == "end" and self._depth == 1:
                    if element.tag == f"{STREAMS}error":
                        raise Trouble(f"stream error {element[0].tag.rpartition('}')[2]}")
                    return element
                if self._depth == 0:
                    raise Trouble("the server closed the stream")
            self.socket.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                data = self.socket.recv(65536)
            except TimeoutError:
                raise Trouble(f"no answer within {timeout:g} s") from None
            except OSError as error:
                raise Trouble(str(error)) from None
            if not data:
                raise Trouble("the server closed the connection")
            if len(self.first) < 64:
                self.first += data
            self._parser.feed(data)

    def close(self) -> None:
        try:
            self.send("</stream:stream>")
        except OSError:
            pass
        self.socket.close()


class Session:
    """A logged-in client that has not sent presence. `jid` is the full JID it was given."""

    def __init__(self, stream: Stream, user: str, password: str, resource: str = "compliance"):
        self.stream, self._count = stream, 0
        self.others: list[ET.Element] = []
        self._authenticate(user, password)
        stream.open()
        answer = self.iq("set", f"<bind xmlns='{BIND}'><resource>{resource}</resource></bind>")
        self.jid = answer.findtext(f".//{{{BIND}}}jid")
        self.bare = self.jid.partition("/")[0]

    def _authenticate(self, user: str, password: str) -> None:
        offered = {element.text for element in self.stream.features.iter(f"{SASL}mechanism")}
        for name, digest in (("SCRAM-SHA-256", "sha256"), ("SCRAM-SHA-1", "sha1")):
            if name in offered:
                return self._scram(name, digest, user, password)
        if "PLAIN" not in offered:
            raise Trouble(f"no mechanism known here among {sorted(offered)}")
        text = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
        self.stream.send(f"<auth xmlns='{SASL[1:-1]}' mechanism='PLAIN'>{text}</auth>")
        self._succeed(self.stream.next())

    def _scram(self, mechanism: str, digest: str, user: str, password: str) -> None:
        """RFC 5802 §3, without channel binding."""
        name = user.replace("=", "=3D").replace(",", "=2C")
        first = f"n={name},r={base64.b64encode(os.urandom(18)).decode()}"
        text = base64.b64encode(f"n,,{first}".encode()).decode()
        self.stream.send(f"<auth xmlns='{SASL[1:-1]}' mechanism='{mechanism}'>{text}</auth>")
        challenge = self.stream.next()
        if challenge.tag != f"{SASL}challenge":
            self._succeed(challenge)
        server = base64.b64decode(challenge.text).decode()
        values = dict(part.split("=", 1) for part in server.split(","))
        salted = hashlib.pbkdf2_hmac(digest, password.encode(), base64.b64decode(values["s"]), int(values["i"]))
        key = hmac.digest(salted, b"Client Key", digest)
        final = f"c=biws,r={values['r']}"
        signature = hmac.digest(hashlib.new(digest, key).digest(), f"{first},{server},{final}".encode(), digest)
        proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signature))).decode()
        text = base64.b64encode(f"{final},p={proof}".encode()).decode()
        self.stream.send(f"<response xmlns='{SASL[1:-1]}'>{text}</response>")
        self._succeed(self.stream.next())

    @staticmethod
    def _succeed(answer: ET.Element) -> None:
        if answer.tag != f"{SASL}success":
            reason = answer[0].tag.removeprefix(SASL) if len(answer) else answer.tag
            raise Trouble(f"login failed: {reason}")

    def iq(self, kind: str, payload: str, to: str | None = None) -> ET.Element:
        """Asks and returns the answer; raises `Refused`. What else comes meanwhile is kept in `others`."""
        self._count += 1
        identity = f"c{self._count}"
        address = f" to='{to}'" if to else ""
        self.stream.send(f"<iq type='{kind}' id='{identity}'{address}>{payload}</iq>")
        while (answer := self.stream.next()).get("id") != identity or answer.tag != "{jabber:client}iq":
            self.others.append(answer)
        if answer.get("type") == "error":
            conditions = [child.tag.removeprefix(STANZAS) for child in answer.iter() if child.tag.startswith(STANZAS)]
            raise Refused(conditions[0] if conditions else "an error without condition")
        return answer

    def wait(self, wanted, what: str, timeout: float = PATIENCE) -> ET.Element:
        """The first element for which `wanted` is true, of those kept and those to come."""
        for element in self.others:
            if wanted(element):
                self.others.remove(element)
                return element
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            element = self.stream.next(max(0.01, deadline - time.monotonic()))
            if wanted(element):
                return element
            self.others.append(element)
        raise Trouble(f"no {what}")


def service_records(name: str) -> list[tuple[str, int]]:
    """SRV records of a name, by a question to the first nameserver (RFC 2782); empty when there are none."""
    try:
        with open("/etc/resolv.conf") as file:
            server = next(line.split()[1] for line in file if line.startswith("nameserver"))
    except (OSError, StopIteration):
        return []
    labels = [bytes([len(label)]) + label.encode() for label in name.split(".")]
    question = b"".join(labels) + b"\0" + struct.pack(">HH", 33, 1)
    identity = random.randrange(65536)
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as link:
        link.settimeout(3)
        try:
            link.sendto(struct.pack(">HHHHHH", identity, 0x0100, 1, 0, 0, 0) + question, (server, 53))
            answer = link.recv(4096)
        except OSError:
            return []
    count, place = struct.unpack(">H", answer[6:8])[0], 12 + len(question)
    found = []
    for _ in range(count):
        _, place = _name(answer, place)
        kind, _, _, length = struct.unpack(">HHIH", answer[place:place + 10])
        place += 10
        if kind == 33:
            priority, weight, port = struct.unpack(">HHH", answer[place:place + 6])
            target, _ = _name(answer, place + 6)
            if target:
                found.append((priority, -weight, target, port))
        place += length
    return [(target, port) for _, _, target, port in sorted(found)]


def _name(message: bytes, place: int) -> tuple[str, int]:
    labels, end, jumps = [], None, 0
    while (length := message[place]) and jumps < 20:
        if length >= 0xc0:
            end, place, jumps = end or place + 2, (length & 0x3f) << 8 | message[place + 1], jumps + 1
        else:
            labels.append(message[place + 1:place + 1 + length].decode("ascii", "replace"))
            place += 1 + length
    return ".".join(labels), end or place + 1
