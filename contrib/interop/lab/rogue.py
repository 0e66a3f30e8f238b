"""A server that a scenario plays by itself, with certificates of any kind: it calls others and is called by them."""

import asyncio
import base64
import contextlib
import itertools
import logging
import pathlib
import secrets
import ssl
import xml.etree.ElementTree as ET
from collections.abc import Awaitable, Callable

from lib.client import Client
from lib.steps import Failure, expect

from .catalogue import CERTIFICATES
from .names import Names
from .network import HERE
from .pair import Pair
from .peer import Peer
from .wire import DIALBACK, SASL, STREAM, TLS, Wire, shown

Manner = Callable[["Rogue", Wire], Awaitable[None]]

_streams = itertools.count(1)


class Rogue:
    """One domain of the runner's own, called `domain`, reachable at `port`. `manner` is what it does with a caller;
    `stanzas` are those that callers sent it, `calls` counts them. `trust` is how it knows others, by default as the
    server under test does."""

    def __init__(self, stage: Pair, domain: str, port: int, fault: str | None = None, manner: Manner | None = None,
                 trust: str | None = None):
        self.stage = stage
        self.domain = domain
        self.port = port
        self.manner = manner or serve
        self._trust = trust or stage.here.trust
        self.stanzas: list[ET.Element] = []
        self.calls = 0
        self.failures: list[str] = []
        # Keys that callers offered: domain, stream and key.
        self.keys: list[tuple[str, str, str]] = []
        # What to say when asked whether a key is ours.
        self.vouches = True
        self.folder = stage.folder / "rogues"
        if fault:
            stage.forger.issue(fault, domain, self.folder)
        else:
            stage.forger.authority.issue(domain, self.folder)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task] = set()

    @property
    def chain(self) -> tuple[pathlib.Path, pathlib.Path]:
        return self.folder / self.domain / "fullchain.pem", self.folder / self.domain / "privkey.pem"

    def announce(self, names: Names) -> None:
        names.set(self.domain, HERE, [(f"_xmpp-server._tcp.{self.domain}", f"xmpp.{self.domain}", self.port)])

    def says(self, to: Client, body: str) -> str:
        """A message of one of its users."""
        return f"<message from='juliet@{self.domain}' to='{to.boundjid.bare}'><body>{body}</body></message>"

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._called, HERE, self.port)

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._server:
            self._server.close()

    async def _called(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.calls += 1
        self._tasks.add(asyncio.current_task())
        wire = Wire(reader, writer)
        try:
            await self.manner(self, wire)
        except (Failure, ConnectionError, ET.ParseError, ssl.SSLError) as error:
            self.failures.append(str(error))
        except asyncio.CancelledError:
            pass
        except Exception:
            logging.exception("rogue %s", self.domain)
        finally:
            wire.close()

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.chain)
        context.load_verify_locations(self.stage.forger.authority.certificate)
        context.verify_mode = ssl.CERT_OPTIONAL if self._trust == CERTIFICATES else ssl.CERT_NONE
        return context

    def client_context(self, certificate: bool = True) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.stage.forger.authority.certificate))
        if self._trust != CERTIFICATES:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if certificate:
            context.load_cert_chain(*self.chain)
        return context

    async def knock(self, server: Peer) -> Wire:
        """A connection to `server` on which this one has opened a stream, and heard nothing yet."""
        wire = Wire(*await asyncio.open_connection(server.address, server.s2s_port))
        wire.open(self.domain, server.domain)
        return wire

    async def call(self, server: Peer, sender: str | None = "", certificate: bool = True) -> tuple[Wire, ET.Element]:
        """A stream to `server` with TLS; returns it with its features. `sender` is the domain in the header."""
        sender = self.domain if sender == "" else sender
        wire = Wire(*await asyncio.open_connection(server.address, server.s2s_port))
        wire.open(sender, server.domain)
        features = await wire.next()
        if features is None or features.find(f"{{{TLS}}}starttls") is None:
            raise Failure(f"no STARTTLS but {shown(features)}")
        wire.send(f"<starttls xmlns='{TLS}'/>")
        answer = await wire.next()
        if answer is None or not answer.tag.endswith("}proceed"):
            raise Failure(f"no proceed but {shown(answer)}")
        await wire.starttls(self.client_context(certificate), server.domain)
        wire.open(sender, server.domain)
        features = await wire.next()
        if features is None or features.tag != f"{STREAM}features":
            raise Failure(f"no features but {shown(features)}")
        return wire, features

    async def login(self, server: Peer) -> Wire:
        """A stream that is let in by EXTERNAL."""
        wire, features = await self.call(server)
        expect("EXTERNAL" in mechanisms(features), f"EXTERNAL is not offered: {shown(features)}")
        answer = await external(wire, self.domain)
        expect(answer is not None and answer.tag.endswith("}success"), f"no success but {shown(answer)}")
        wire.restart()
        wire.open(self.domain, server.domain)
        await wire.next()
        return wire

    async def vouched(self, server: Peer) -> Wire:
        """A stream that is let in by dialback."""
        wire, _ = await self.call(server)
        self.vouches = True
        wire.send(f"<db:result from='{self.domain}' to='{server.domain}'>{secrets.token_hex()}</db:result>")
        answer = await wire.next()
        expect(answer is not None and answer.get("type") == "valid", shown(answer))
        return wire


async def external(wire: Wire, name: str) -> ET.Element | None:
    wire.send(f"<auth xmlns='{SASL}' mechanism='EXTERNAL'>{base64.b64encode(name.encode()).decode()}</auth>")
    return await wire.next()


def mechanisms(features: ET.Element) -> set[str]:
    return {element.text for element in features.iter(f"{{{SASL}}}mechanism")}


async def meet(rogue: Rogue, wire: Wire, features: str = "") -> ET.Element | None:
    """As a good server does: TLS, then features; returns the first element after them."""
    for secure in (False, True):
        wire.restart()
        header = await wire.hear_header()
        wire.open(rogue.domain, header.get("from"), f"rogue{next(_streams)}")
        inner = f"<starttls xmlns='{TLS}'><required/></starttls>" if not secure else features or (
            f"<mechanisms xmlns='{SASL}'><mechanism>EXTERNAL</mechanism></mechanisms>" if shows_certificate(wire)
            else "<dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>")
        wire.send(f"<stream:features>{inner}</stream:features>")
        element = await wire.next()
        if element is None or secure:
            return element
        if not element.tag.endswith("}starttls"):
            # Somebody who asks about a key need not secure the stream.
            return element
        wire.send(f"<proceed xmlns='{TLS}'/>")
        await wire.starttls(rogue.server_context())


def shows_certificate(wire: Wire) -> bool:
    return bool(wire.writer.get_extra_info("ssl_object").getpeercert())


async def serve(rogue: Rogue, wire: Wire) -> None:
    """Lets everybody in by EXTERNAL or dialback, vouches for keys as told, and keeps the stanzas."""
    element = await meet(rogue, wire)
    while element is not None:
        peer = wire.header.get("from", "")
        if element.tag == f"{{{SASL}}}auth":
            wire.send(f"<success xmlns='{SASL}'/>")
            wire.restart()
            await wire.hear_header()
            wire.open(rogue.domain, peer, f"rogue{next(_streams)}")
            wire.send("<stream:features/>")
        elif element.tag == f"{{{DIALBACK}}}result":
            rogue.keys.append((element.get("from"), wire.own_id, element.text))
            wire.send(f"<db:result from='{rogue.domain}' to='{element.get('from')}' type='valid'/>")
        elif element.tag == f"{{{DIALBACK}}}verify":
            verdict = "valid" if rogue.vouches else "invalid"
            wire.send(f"<db:verify from='{rogue.domain}' to='{element.get('from')}' id='{element.get('id')}' "
                      f"type='{verdict}'/>")
        elif element.tag.startswith("{jabber:server}"):
            rogue.stanzas.append(element)
        element = await wire.next(600)


@contextlib.asynccontextmanager
async def rogues(stage: Pair, *all: Rogue):
    """Opens them, makes their names known, and takes them down again."""
    for rogue in all:
        rogue.announce(stage.names)
        await rogue.open()
    await stage.names.publish()
    try:
        yield
    finally:
        for rogue in all:
            rogue.close()
