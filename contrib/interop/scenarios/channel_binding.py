"""SCRAM bound to the TLS channel, with both types the server offers, computed by Python and by the openssl program."""

import base64
import hashlib
import hmac
import os
import re
import select
import subprocess

from lib.raw import PATIENCE, RawStream, failure_of
from lib.servers import ADDRESS, PORTS
from lib.stage import PASSWORD, Stage
from lib.steps import Failure, expect


class OpenSSLClient:
    """`openssl s_client` in the place of a socket: it tells the keying material that Python's ssl keeps to itself."""

    def __init__(self, domain: str):
        self._process = subprocess.Popen(
            ["openssl", "s_client", "-connect", f"{ADDRESS}:{PORTS[1]}", "-servername", domain, "-alpn", "xmpp-client",
             "-ign_eof", "-keymatexport", "EXPORTER-Channel-Binding", "-keymatexportlen", "32"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self._begins = False
        self._seen = b""
        while not (match := re.search(rb"Keying material: ([0-9A-F]{64})", self._seen)):
            self._seen += self._read()
        self.exporter = bytes.fromhex(match[1].decode())

    def _read(self) -> bytes:
        output = self._process.stdout
        if not select.select([output], [], [], PATIENCE)[0]:
            raise TimeoutError
        return os.read(output.fileno(), 65536)

    def sendall(self, data: bytes) -> None:
        self._process.stdin.write(data)
        self._process.stdin.flush()

    def recv(self, _: int) -> bytes:
        data = self._read()
        if self._begins:
            return data
        # The program's own words come first.
        self._seen += data
        while b"<?xml" not in self._seen:
            self._seen += self._read()
        self._begins = True
        return self._seen[self._seen.index(b"<?xml"):]

    def close(self) -> None:
        self._process.kill()
        self._process.wait(PATIENCE)
        self._process.stdin.close()
        self._process.stdout.close()


def scram(stream: RawStream, user: str, binding: tuple[str, bytes], mechanism: str = "SCRAM-SHA-256-PLUS"):
    """Authenticates (RFC 5802 §5, RFC 7677) and returns the server's last word."""
    name = "sha256" if "256" in mechanism else "sha1"
    header = f"p={binding[0]},,"
    first = f"n={user},r={base64.b64encode(os.urandom(18)).decode()}"
    challenge = stream.auth(mechanism, (header + first).encode())
    if challenge is None or not challenge.tag.endswith("}challenge"):
        return challenge
    server = base64.b64decode(challenge.text).decode()
    values = dict(part.split("=", 1) for part in server.split(","))
    salted = hashlib.pbkdf2_hmac(name, PASSWORD.encode(), base64.b64decode(values["s"]), int(values["i"]))
    key = hmac.digest(salted, b"Client Key", name)
    final = f"c={base64.b64encode(header.encode() + binding[1]).decode()},r={values['r']}"
    signed = f"{first},{server},{final}".encode()
    signature = hmac.digest(hashlib.new(name, key).digest(), signed, name)
    proof = bytes(a ^ b for a, b in zip(key, signature))
    text = base64.b64encode(f"{final},p={base64.b64encode(proof).decode()}".encode()).decode()
    stream.send(f"<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{text}</response>")
    answer = stream.next()
    if answer is not None and answer.tag.endswith("}success"):
        verifier = hmac.digest(hmac.digest(salted, b"Server Key", name), signed, name)
        if base64.b64decode(answer.text).decode() != "v=" + base64.b64encode(verifier).decode():
            raise Failure("the server's signature is wrong")
    return answer


def succeeded(answer) -> bool:
    return answer is not None and answer.tag.endswith("}success")


async def run(stage: Stage) -> None:
    user = stage.add_account("balthasar").split("@")[0]
    with stage.step("both types are announced (XEP-0440)"), direct(stage) as stream:
        features = stream.open()
        types = {element.get("type") for element in features.iter("{urn:xmpp:sasl-cb:0}channel-binding")}
        expect(types == {"tls-exporter", "tls-server-end-point"}, str(types))
    for mechanism in ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"):
        with stage.step(f"{mechanism} by tls-server-end-point (RFC 5929 §4)"), direct(stage) as stream:
            stream.open()
            expect(succeeded(scram(stream, user, ("tls-server-end-point", end_point(stream)), mechanism)), "refused")
        with stage.step(f"{mechanism} by tls-exporter (RFC 9266)"), exporting(stage) as (stream, exporter):
            stream.open()
            expect(succeeded(scram(stream, user, ("tls-exporter", exporter), mechanism)), "refused")
    with stage.step("another channel's binding is refused"), direct(stage) as stream:
        stream.open()
        expect(failure_of(scram(stream, user, ("tls-exporter", bytes(32)))) == "not-authorized", "accepted")
    with stage.step("a type that is not announced is refused"), direct(stage) as stream:
        stream.open()
        failure_of(scram(stream, user, ("tls-unique", bytes(12))))


def direct(stage: Stage) -> RawStream:
    return RawStream(stage.domain, stage.authority, direct=True)


def end_point(stream: RawStream) -> bytes:
    return hashlib.sha256(stream.transport.getpeercert(True)).digest()


class exporting:
    """A stream over the openssl program, with the keying material it exported."""

    def __init__(self, stage: Stage):
        self._client = OpenSSLClient(stage.domain)
        self._stream = RawStream(stage.domain, stage.authority, transport=self._client)

    def __enter__(self):
        return self._stream, self._client.exporter

    def __exit__(self, *_) -> None:
        self._client.close()
