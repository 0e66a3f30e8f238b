"""A small XMPP client on a plain socket, for tests that cut, stall and flood. Independent of the server's code."""
import base64
import re
import socket
import ssl
import subprocess
import time


class Ended(Exception):
    """The server closed the stream."""


class Client:
    """Speaks direct TLS, PLAIN and whatever XML it is given."""

    def __init__(self, port, domain, user, password, source=None, timeout=20, receive_buffer=None):
        raw = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source:
            raw.bind((source, 0))
        raw.settimeout(timeout)
        raw.connect(("127.0.0.1", port))
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["xmpp-client"])
        self.socket = context.wrap_socket(raw, server_hostname=domain)
        self.domain = domain
        self.buffer = ""
        self.counter = 0
        self.sent = None  # Stanzas since stream management was enabled.
        self._open("</stream:features>")
        token = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
        self.send(f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{token}</auth>")
        self.until("<success")
        self._open("</stream:features>")
        self.ask("set", "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>")

    def _open(self, end):
        self.buffer = ""
        self.send(
            f"<stream:stream to='{self.domain}' version='1.0' xmlns='jabber:client' "
            "xmlns:stream='http://etherx.jabber.org/streams'>")
        self.until(end)

    def send(self, xml):
        """Sends one stanza or anything else."""
        self.socket.sendall(xml.encode())
        if self.sent is not None and xml.startswith(("<message", "<iq", "<presence")):
            self.sent += 1

    def enable(self):
        """Stream management (XEP-0198)."""
        self.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
        self.until("<enabled ")
        self.sent = 0

    def acknowledged(self):
        """Asks for an acknowledgement and returns its h."""
        self.send("<r xmlns='urn:xmpp:sm:3'/>")
        while True:
            match = re.search(r"<a [^>]*\bh='(\d+)'[^>]*/>", self.buffer)
            if match:
                self.buffer = self.buffer[match.end():]
                return int(match[1])
            self.more()

    def archive(self, after="", to=None):
        """Everything in the own archive, or that of a room, after this id (XEP-0313): the last id, and id and body of each message."""
        found = []
        while True:
            page = self.ask(
                "set", "<query xmlns='urn:xmpp:mam:2'><set xmlns='http://jabber.org/protocol/rsm'><max>200</max>"
                + (f"<after>{after}</after>" if after else "") + "</set></query>", to)
            if "type='error'" in page:
                raise SystemExit(f"FAILED: the archive does not answer: {page[-300:]}")
            for result in re.findall(r"<result .*?</result>", page, re.S):
                identity = re.search(r"\bid='([^']*)'", result)[1]
                body = re.search(r"<body>(.*?)</body>", result, re.S)
                found.append((identity, body[1] if body else ""))
                after = identity
            if "complete='true'" in page or not page.count("<result "):
                return after, found

    def more(self):
        data = self.socket.recv(65536)
        if not data:
            raise Ended(self.buffer[-300:])
        self.buffer += data.decode("utf-8", "replace")

    def until(self, text):
        """Reads until `text` has come, and returns everything before and with it."""
        while text not in self.buffer:
            self.more()
        end = self.buffer.index(text) + len(text)
        taken, self.buffer = self.buffer[:end], self.buffer[end:]
        return taken

    def ask(self, kind, payload, to=None):
        """Sends a request and returns everything that came until its answer."""
        self.counter += 1
        identity = f"ask-{self.counter}"
        address = f" to='{to}'" if to else ""
        self.send(f"<iq type='{kind}' id='{identity}'{address}>{payload}</iq>")
        seen = ""
        while True:
            match = re.search(rf"<iq [^>]*id='{identity}'[^>]*(/>|>.*?</iq>)", self.buffer, re.S)
            if match:
                seen += self.buffer[: match.end()]
                self.buffer = self.buffer[match.end():]
                return seen
            self.more()

    def ping(self):
        return self.ask("get", "<ping xmlns='urn:xmpp:ping'/>", self.domain)

    def close(self):
        try:
            self.send("</stream:stream>")
        except OSError:
            pass
        self.socket.close()


class Server:
    """A Martlet in a folder of its own."""

    def __init__(self, program, folder, domain="crash.test", port=15223, extra=""):
        self.program, self.folder, self.domain, self.port = program, folder, domain, port
        certificates = folder / "certificates" / domain
        certificates.mkdir(parents=True)
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
             "-keyout", certificates / "privkey.pem", "-out", certificates / "fullchain.pem",
             "-subj", f"/CN={domain}", "-addext", f"subjectAltName=DNS:{domain}"],
            check=True, capture_output=True)
        self.config = folder / "martlet.yaml"
        self.config.write_text(
            f"data_directory: {folder}/data\ncertificates: {folder}/certificates\nhosts: {{ {domain}: {{}} }}\n"
            f"listen: {{ c2s: off, c2s_tls: \"127.0.0.1:{port}\", s2s: off, s2s_tls: off }}\n{extra}")
        (folder / "data").mkdir()
        self.process = None

    def add_user(self, name, password):
        subprocess.run(
            [self.program, "user", "add", f"{name}@{self.domain}", "--password-stdin", "--config", self.config],
            input=password.encode(), check=True, timeout=30)

    def start(self):
        self.log = open(self.folder / "log", "ab")
        self.process = subprocess.Popen(
            [self.program, "run", "--config", self.config], stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.01)
        raise SystemExit("FAILED: the server does not start:\n" + (self.folder / "log").read_text()[-2000:])

    def kill(self):
        self.process.kill()
        self.process.wait(10)

    def stop(self):
        self.process.terminate()
        return self.process.wait(20)

    def memory(self):
        """Resident memory in KiB."""
        for line in open(f"/proc/{self.process.pid}/status"):
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        return 0
