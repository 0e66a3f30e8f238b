"""A stream between servers by hand, over asyncio: what it says is up to the scenario, and nobody checks it here."""

import asyncio
import ssl
import xml.etree.ElementTree as ET

from lib.steps import Failure

STREAM = "{http://etherx.jabber.org/streams}"
SASL, TLS = "urn:ietf:params:xml:ns:xmpp-sasl", "urn:ietf:params:xml:ns:xmpp-tls"
STREAM_ERRORS, STANZA_ERRORS = "{urn:ietf:params:xml:ns:xmpp-streams}", "{urn:ietf:params:xml:ns:xmpp-stanzas}"
DIALBACK = "jabber:server:dialback"
PATIENCE = 15


class Wire:
    """One connection. `header` are the attributes of the stream that the other side opened last, `own_id`
    the id that this side gave."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.reader = reader
        self.writer = writer
        self.header: dict[str, str] = {}
        self.own_id: str | None = None
        self.restart()

    def restart(self) -> None:
        self._parser = ET.XMLPullParser(("start", "end"))
        self._depth = 0

    def send(self, text: str | bytes) -> None:
        self.writer.write(text.encode() if isinstance(text, str) else text)

    def open(self, sender: str | None, to: str | None, stream: str | None = None) -> None:
        """Sends a stream header; `stream` is the id that who answers gives."""
        self.own_id = stream
        names = {"from": sender, "to": to, "id": stream}
        given = "".join(f" {key}='{value}'" for key, value in names.items() if value is not None)
        self.send(f"<?xml version='1.0'?><stream:stream{given} version='1.0' xmlns='jabber:server' "
                  f"xmlns:db='{DIALBACK}' xmlns:stream='http://etherx.jabber.org/streams'>")

    async def next(self, patience: float = PATIENCE) -> ET.Element | None:
        """The next child of the stream; None when the stream or the connection is over."""
        while True:
            for event, element in self._parser.read_events():
                self._depth += 1 if event == "start" else -1
                if event == "start" and self._depth == 1:
                    self.header = dict(element.attrib)
                elif self._depth == 0:
                    return None
                elif event == "end" and self._depth == 1:
                    return element
            if not await self._read(patience):
                return None

    async def hear_header(self, patience: float = PATIENCE) -> dict[str, str]:
        """Waits for the other side's stream header and returns its attributes."""
        self.header = {}
        while True:
            # The header is the first event; what follows is left to `next`.
            for event, element in self._parser.read_events():
                self._depth += 1
                self.header = dict(element.attrib)
                return self.header
            if not await self._read(patience):
                raise Failure("the connection ended before a stream began")

    async def _read(self, patience: float) -> bool:
        try:
            data = await asyncio.wait_for(self.reader.read(65536), patience)
        except (ConnectionError, ssl.SSLError):
            return False
        except asyncio.TimeoutError:
            raise Failure(f"nothing more came within {patience:g} s") from None
        if data:
            self._parser.feed(data)
        return bool(data)

    async def rest(self, patience: float = PATIENCE) -> list[ET.Element]:
        """All that comes until the stream is over."""
        found = []
        while (element := await self.next(patience)) is not None:
            found.append(element)
        return found

    async def ends_with(self, *conditions: str, patience: float = PATIENCE) -> str:
        """Reads to the end of the stream; fails unless it ends with one of these stream errors. Returns its text."""
        for element in await self.rest(patience):
            if element.tag == f"{STREAM}error":
                condition = element[0].tag.removeprefix(STREAM_ERRORS)
                if condition not in conditions:
                    raise Failure(f"stream error {condition}, not {' or '.join(conditions)}")
                return element.findtext(f"{STREAM_ERRORS}text") or ""
        raise Failure(f"the stream ended without {' or '.join(conditions)}")

    async def starttls(self, context: ssl.SSLContext, name: str | None = None) -> None:
        """The handshake, on either side."""
        try:
            await asyncio.wait_for(self.writer.start_tls(context, server_hostname=name), PATIENCE)
        except (ssl.SSLError, ConnectionError) as error:
            raise Failure(f"TLS: {error}") from None
        self.restart()

    def close(self) -> None:
        self.writer.close()


def shown(element: ET.Element | None) -> str:
    return "the end of the stream" if element is None else ET.tostring(element, encoding="unicode")[:300]
