#!/usr/bin/env python3
"""Many other domains for one server: streams from each and to each, and what they cost the server's memory.

A peer that speaks for d0.bench.example, d1.bench.example, … with one wildcard certificate, and a user of the server
under test. Each domain writes to the user, and the user to each domain; every message has to come exactly once,
unchanged and over a stream that was authenticated for its domain. It shares no code with any server. One JSON object
goes to stdout.
"""

import argparse
import asyncio
import base64
import json
import resource
import ssl
import sys
import time
from xml.etree.ElementTree import XMLPullParser
from xml.sax.saxutils import quoteattr

from names import DOMAIN
from servers import memory

SASL, TLS, BIND = (f"{{urn:ietf:params:xml:ns:xmpp-{part}}}" for part in ("sasl", "tls", "bind"))
STREAMS = "{http://etherx.jabber.org/streams}"
BIDI_FEATURE = "{urn:xmpp:features:bidi}bidi"
SOURCES = 200  # addresses that connections come from


class Failed(Exception):
    """Something the server must not do."""


class Stream:
    """One XML stream over one connection: headers, and elements right below the root."""

    def __init__(self, reader, writer, namespace):
        self.reader, self.writer, self.namespace = reader, writer, namespace
        self.restart()

    def restart(self):
        self.parser, self.depth, self.root, self.ready = XMLPullParser(("start", "end")), 0, None, []

    async def read(self):
        data = await self.reader.read(16384)
        if not data:
            raise Failed("the server closed a connection")
        self.parser.feed(data)
        for event, element in self.parser.read_events():
            if event == "start":
                if self.depth == 0:
                    self.root = element
                self.depth += 1
            else:
                self.depth -= 1
                if self.depth == 0:
                    raise Failed("the server closed a stream")
                if self.depth == 1:
                    self.ready.append(element)
                    self.root.remove(element)

    async def header(self):
        while self.root is None:
            await self.read()
        return self.root.attrib

    async def element(self, *names):
        """The next element; it has to be one of these, if any are given."""
        while not self.ready:
            await self.read()
        element = self.ready.pop(0)
        if element.tag == f"{STREAMS}error" or names and element.tag not in names:
            raise Failed(f"{element.tag} with {[child.tag for child in element]} instead of {names}")
        return element

    def send(self, text):
        self.writer.write(text.encode())

    def open(self, to, sender=None):
        self.restart()
        self.send(f"<?xml version='1.0'?><stream:stream to='{to}'{f' from={quoteattr(sender)}' if sender else ''} "
                  f"version='1.0' xmlns='{self.namespace}' xmlns:stream='http://etherx.jabber.org/streams'>")

    async def features(self):
        await self.header()
        return await self.element(f"{STREAMS}features")


class Peer:
    def __init__(self, options):
        self.options = options
        self.client_tls = ssl.create_default_context(cafile=options.ca)
        self.client_tls.load_cert_chain(f"{options.certificate}/fullchain.pem", f"{options.certificate}/privkey.pem")
        self.server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server_tls.load_cert_chain(f"{options.certificate}/fullchain.pem", f"{options.certificate}/privkey.pem")
        self.server_tls.load_verify_locations(options.ca)
        self.server_tls.verify_mode = ssl.CERT_REQUIRED
        for context in (self.client_tls, self.server_tls):
            context.options |= ssl.OP_NO_TICKET
        self.user = None
        self.streams = {}  # domain: the stream that it opened
        self.heard = set()  # domains the user has heard from
        self.reached = set()  # domains the user has reached
        self.backwards = 0  # streams of the server
        self.failure = asyncio.get_running_loop().create_future()
        self.changed = asyncio.Event()
        self.tasks = set()

    def run(self, work):
        """Runs something beside the rest; its failure is the failure of all."""
        async def guarded():
            try:
                await work
            except Exception as error:
                if not self.failure.done():
                    self.failure.set_exception(Failed(f"{type(error).__name__}: {error}"))
        task = asyncio.create_task(guarded())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def until(self, condition, what):
        end = time.monotonic() + self.options.timeout
        while not condition():
            self.changed.clear()
            changed = asyncio.create_task(self.changed.wait())
            done, _ = await asyncio.wait({changed, self.failure}, timeout=end - time.monotonic(),
                                         return_when=asyncio.FIRST_COMPLETED)
            changed.cancel()
            if self.failure.done():
                self.failure.result()
            if not done:
                raise Failed(f"out of time: {what}")

    def domain(self, index):
        return f"d{index}.{DOMAIN}"

    # --- The user of the server under test.

    async def log_in(self):
        host, port = self.options.client
        reader, writer = await asyncio.open_connection(host, port, ssl=self.client_tls, server_hostname=DOMAIN)
        stream = Stream(reader, writer, "jabber:client")
        stream.open(DOMAIN)
        await stream.features()
        secret = base64.b64encode(f"\0u0\0{self.options.password}".encode()).decode()
        stream.send(f"<auth xmlns='{SASL[1:-1]}' mechanism='PLAIN'>{secret}</auth>")
        await stream.element(f"{SASL}success")
        stream.open(DOMAIN)
        await stream.features()
        stream.send(f"<iq type='set' id='bind'><bind xmlns='{BIND[1:-1]}'/></iq><presence/>")
        await stream.element("{jabber:client}iq")
        self.user = stream
        self.run(self.listen_to_user())

    async def listen_to_user(self):
        while True:
            element = await self.user.element()
            if element.tag != "{jabber:client}message":
                continue
            sender = element.get("from", "")
            if element.get("type") == "error":
                raise Failed(f"a message to {sender} bounced: {[child.tag for child in element.iter()]}")
            user, _, domain = sender.partition("@")
            if user == "x":
                self.expect(element, domain, self.heard)

    def expect(self, element, domain, seen):
        """A message between the user and a domain, the only one in its direction."""
        body = element.findtext(f"{element.tag.partition('}')[0]}}}body")
        if element.get("id") != domain or body != f"Grüße & {domain}":
            raise Failed(f"a message of or to {domain} was changed")
        if domain in seen:
            raise Failed(f"a message of or to {domain} came twice")
        seen.add(domain)
        self.changed.set()

    @staticmethod
    def message(sender, to, domain):
        return (f"<message {f'from={quoteattr(sender)} ' if sender else ''}to='{to}' id='{domain}' type='chat'>"
                f"<body>Grüße &amp; {domain}</body></message>")

    # --- Streams that a domain opens.

    async def connect(self, index):
        domain, (host, port) = self.domain(index), self.options.server
        reader, writer = await asyncio.open_connection(
            host, port, local_addr=(f"127.0.1.{1 + index % SOURCES}", 0))
        stream = Stream(reader, writer, "jabber:server")
        stream.open(DOMAIN, domain)
        if (await stream.features()).find(f"{TLS}starttls") is None:
            raise Failed("no STARTTLS")
        stream.send(f"<starttls xmlns='{TLS[1:-1]}'/>")
        await stream.element(f"{TLS}proceed")
        await writer.start_tls(self.client_tls, server_hostname=DOMAIN)
        stream.open(DOMAIN, domain)
        features = await stream.features()
        if "EXTERNAL" not in [mechanism.text for mechanism in features.iter(f"{SASL}mechanism")]:
            raise Failed("no SASL EXTERNAL")
        if self.options.bidi:
            if features.find(BIDI_FEATURE) is None:
                raise Failed("no bidirectional streams")
            stream.send("<bidi xmlns='urn:xmpp:bidi'/>")
        name = base64.b64encode(domain.encode()).decode()
        stream.send(f"<auth xmlns='{SASL[1:-1]}' mechanism='EXTERNAL'>{name}</auth>")
        await stream.element(f"{SASL}success")
        stream.open(DOMAIN, domain)
        await stream.features()
        self.streams[domain] = stream
        stream.send(self.message(f"x@{domain}", f"u0@{DOMAIN}", domain))
        self.run(self.listen(stream, {domain} if self.options.bidi else set()))

    async def listen(self, stream, domains):
        """What comes from the server: messages for these domains, and requests."""
        while True:
            element = await stream.element()
            domain = element.get("to", "").partition("/")[0].rpartition("@")[2]
            kind = element.tag.partition("}")[2]
            if kind not in ("message", "iq", "presence"):
                continue
            if domain not in domains or not element.get("from", "").partition("/")[0].endswith(DOMAIN):
                raise Failed(f"a {kind} to {element.get('to')} on a stream that is for {domains}")
            if kind == "message":
                if element.get("type") == "error":
                    raise Failed(f"a message of {domain} bounced")
                self.expect(element, domain, self.reached)
            elif kind == "iq" and element.get("type") in ("get", "set"):
                # On the domain's own stream: this one may go one way only.
                self.streams[domain].send(
                    f"<iq type='result' id={quoteattr(element.get('id'))} from={quoteattr(element.get('to'))} "
                    f"to={quoteattr(element.get('from'))}/>")

    # --- Streams that the server opens.

    def accepted(self, reader, writer):
        self.run(self.accept(Stream(reader, writer, "jabber:server")))

    async def accept(self, stream):
        async def opened(features):
            header = await stream.header()
            to = header.get("to", "")
            stream.send(f"<?xml version='1.0'?><stream:stream from='{to}' to='{header.get('from', DOMAIN)}' "
                        f"id='s{id(stream)}' version='1.0' xmlns='jabber:server' "
                        "xmlns:stream='http://etherx.jabber.org/streams'>"
                        f"<stream:features>{features}</stream:features>")
            return to

        self.backwards += 1
        await opened(f"<starttls xmlns='{TLS[1:-1]}'><required/></starttls>")
        await stream.element(f"{TLS}starttls")
        stream.send(f"<proceed xmlns='{TLS[1:-1]}'/>")
        stream.restart()
        await stream.writer.start_tls(self.server_tls)
        certificate = stream.writer.get_extra_info("ssl_object").getpeercert()
        if ("DNS", DOMAIN) not in certificate["subjectAltName"]:
            raise Failed(f"the server shows a certificate for {certificate['subjectAltName']}")
        await opened(f"<mechanisms xmlns='{SASL[1:-1]}'><mechanism>EXTERNAL</mechanism></mechanisms>")
        if (await stream.element(f"{SASL}auth")).get("mechanism") != "EXTERNAL":
            raise Failed("the server does not authenticate with its certificate")
        stream.send(f"<success xmlns='{SASL[1:-1]}'/>")
        stream.restart()
        await self.listen(stream, {await opened("")})

    # --- The phases.

    async def all(self, count, done, work):
        """Does something for every domain up to `count` that it was not done for, some at a time."""
        queue = iter(range(done, count))

        async def worker():
            for index in queue:
                await work(index)
        workers = [asyncio.ensure_future(worker()) for _ in range(self.options.concurrency)]
        await asyncio.wait({asyncio.gather(*workers), self.failure}, return_when=asyncio.FIRST_COMPLETED)
        if self.failure.done():
            self.failure.result()
        for one in workers:
            one.result()

    async def write(self, index):
        """The user writes to a domain, no faster than messages arrive."""
        domain = self.domain(index)
        self.user.send(self.message(None, f"x@{domain}", domain))
        await self.until(lambda: domain in self.reached, f"the message to {domain}")

    async def phase(self, work, seen, base):
        steps = []
        for count in self.options.counts:
            before, began, cpu = len(seen), time.monotonic(), cpu_seconds(self.options.pids)
            await self.all(count, before, work)
            await self.until(lambda: len(seen) == count, f"{len(seen)} of {count} messages came")
            seconds, cpu = time.monotonic() - began, cpu_seconds(self.options.pids) - cpu
            await asyncio.sleep(self.options.settle)
            if self.failure.done():
                self.failure.result()
            rss, pss = memory(self.options.pids)
            steps.append({"domains": count, "rss_kib": rss, "pss_kib": pss, "pss_kib_each": (pss - base[1]) / count,
                          "rss_kib_each": (rss - base[0]) / count, "seconds": seconds,
                          "server_cpu_ms_each": cpu * 1e3 / (count - before)})
        return steps

    async def play(self):
        listener = await asyncio.start_server(self.accepted, *self.options.listen, backlog=4096)
        await self.log_in()
        await asyncio.sleep(1)
        base = memory(self.options.pids)
        incoming = await self.phase(self.connect, self.heard, base)
        outgoing = await self.phase(self.write, self.reached, base)
        if self.options.bidi and self.backwards:
            raise Failed(f"{self.backwards} connections beside bidirectional streams")
        used = resource.getrusage(resource.RUSAGE_SELF)
        listener.close()
        return {"rss_before_kib": base[0], "pss_before_kib": base[1], "incoming": incoming, "both_ways": outgoing,
                "server_streams": self.backwards, "generator_cpu_seconds": used.ru_utime + used.ru_stime}


def cpu_seconds(pids):
    return sum(time.clock_gettime(~pid << 3 | 2) for pid in pids)


def endpoint(text):
    host, _, port = text.rpartition(":")
    return host, int(port)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", type=endpoint, required=True, help="where it takes streams of servers")
    parser.add_argument("--client", type=endpoint, required=True, help="where it takes clients, with direct TLS")
    parser.add_argument("--listen", type=endpoint, required=True, help="where DNS says that the domains are")
    parser.add_argument("--ca", required=True)
    parser.add_argument("--certificate", required=True, help="folder with the domains' certificate")
    parser.add_argument("--pids", type=lambda text: [int(pid) for pid in text.split(",")], required=True)
    parser.add_argument("--counts", type=lambda text: [int(count) for count in text.split(",")], default=[200, 2000])
    parser.add_argument("--password", default="secret")
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--settle", type=float, default=2)
    parser.add_argument("--timeout", type=float, default=60)
    parser.add_argument("--bidi", action="store_true", help="each domain has one stream for both ways (XEP-0288)")
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    async def run():
        return await Peer(options).play()
    try:
        print(json.dumps(asyncio.run(run())))
    except (Failed, OSError) as error:
        print(f"domains: FAILED: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
