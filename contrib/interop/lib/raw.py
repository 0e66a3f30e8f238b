"""A stream by hand: a blocking socket, TLS when told, and no manners unless the scenario has some."""

import base64
import pathlib
import select
import socket
import ssl
import time
import xml.etree.ElementTree as ET

from .servers import ADDRESS, PORTS
from .steps import Failure

STREAM = "{http://etherx.jabber.org/streams}"
SASL = "{urn:ietf:params:xml:ns:xmpp-sasl}"
STREAM_ERRORS = "{urn:ietf:params:xml:ns:xmpp-streams}"
PATIENCE = 10


class RawStream:
    """Connected on construction, nothing sent yet. Every read is bounded by `PATIENCE` seconds."""

    def __init__(self, domain: str, authority: pathlib.Path, direct: bool = False, transport=None):
        """`transport` takes the place of a socket that is connected and secured already."""
        self._domain = domain
        self._authority = authority
        self._socket = transport or socket.create_connection(
            (ADDRESS, PORTS[1] if direct else PORTS[0]), timeout=PATIENCE)
        self._restart()
        if direct:
            self.handshake()

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self._socket.close()

    @property
    def transport(self):
        return self._socket

    def handshake(self, context: ssl.SSLContext | None = None) -> None:
        context = context or ssl.create_default_context(cafile=str(self._authority))
        self._socket = context.wrap_socket(self._socket, server_hostname=self._domain)

    def send(self, data: str | bytes) -> None:
        """Sends what the server still takes; it may close in the middle, having said why."""
        view = memoryview(data.encode() if isinstance(data, str) else data)
        try:
            while view:
                self._socket.sendall(view[:16384])
                view = view[16384:]
                if view and select.select([self._socket], [], [], 0)[0]:
                    return
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            return

    def open(self, also: str = "") -> ET.Element:
        """Sends a stream header, and in the same flight what is `also` given, and returns the features."""
        self._restart()
        self.send(f"<?xml version='1.0'?><stream:stream to='{self._domain}' version='1.0' xml:lang='en' "
                  f"xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>{also}")
        features = self.next()
        if features is None or features.tag != f"{STREAM}features":
            raise Failure(f"no features but {_shown(features)}")
        return features

    def secure(self) -> ET.Element:
        """STARTTLS, then a new header; returns the features inside TLS."""
        self.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
        answer = self.next()
        if answer is None or not answer.tag.endswith("}proceed"):
            raise Failure(f"no proceed but {_shown(answer)}")
        self.handshake()
        return self.open()

    def auth(self, mechanism: str, initial: bytes | str) -> ET.Element | None:
        """Sends `<auth/>`, bytes in base64 and text as it is, and returns the answer."""
        text = base64.b64encode(initial).decode() if isinstance(initial, bytes) else initial
        self.send(f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='{mechanism}'>{text}</auth>")
        return self.next()

    def login(self, user: str, password: str) -> None:
        """PLAIN, then a bound resource."""
        answer = self.auth("PLAIN", f"\0{user}\0{password}".encode())
        if answer is None or answer.tag != f"{SASL}success":
            raise Failure(f"no success but {_shown(answer)}")
        self.open()
        self.send("<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
        answer = self.next()
        if answer is None or answer.get("type") != "result":
            raise Failure(f"no bound resource but {_shown(answer)}")

    def next(self) -> ET.Element | None:
        """The next child of the stream; None when the server closed the stream or the connection."""
        deadline = time.monotonic() + PATIENCE
        while True:
            for event, element in self._parser.read_events():
                self._depth += 1 if event == "start" else -1
                if self._depth == 0:
                    self.is_closed_in_order = True
                    return None
                if event == "end" and self._depth == 1:
                    return element
            if time.monotonic() > deadline:
                raise Failure(f"no answer within {PATIENCE} s")
            try:
                data = self._socket.recv(65536)
            except (ConnectionResetError, ssl.SSLEOFError):
                return None
            except TimeoutError:
                raise Failure(f"no answer within {PATIENCE} s") from None
            if not data:
                return None
            self.received += data
            self._parser.feed(data)

    def stream_error(self) -> str:
        """Reads up to the end of the stream and returns the condition of the stream error in it."""
        condition = None
        while (element := self.next()) is not None:
            if element.tag == f"{STREAM}error":
                condition = element[0].tag.removeprefix(STREAM_ERRORS)
        if condition is None:
            raise Failure("the stream ended without a stream error")
        if not self.is_closed_in_order:
            raise Failure(f"{condition}, but no </stream:stream> after it (RFC 6120 §4.9.1.1)")
        return condition

    def is_disconnected(self) -> bool:
        """Whether the server closes the connection too, soon."""
        self._socket.settimeout(PATIENCE)
        try:
            while self._socket.recv(65536):
                pass
        except (ConnectionResetError, ssl.SSLError):
            return True
        except TimeoutError:
            return False
        return True

    def _restart(self) -> None:
        self._parser = ET.XMLPullParser(("start", "end"))
        self._depth = 0
        self.received = b""
        self.is_closed_in_order = False


def failure_of(element: ET.Element | None) -> str:
    """The condition in a SASL failure; fails if it is anything else."""
    if element is None or element.tag != f"{SASL}failure" or not len(element):
        raise Failure(f"no SASL failure but {_shown(element)}")
    return element[0].tag.removeprefix(SASL)


def _shown(element: ET.Element | None) -> str:
    return "the end of the stream" if element is None else ET.tostring(element, encoding="unicode")[:200]
