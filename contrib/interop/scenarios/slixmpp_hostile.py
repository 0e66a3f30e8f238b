"""What no decent client sends: each gets the error the standard names and a closed stream, and the server goes on."""

import ssl

from lib.raw import PATIENCE, SASL, RawStream, failure_of
from lib.stage import Stage
from lib.steps import Failure, expect

HEADER = "<stream:stream to='{}' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"

# What is sent, and the stream errors that are right for it (RFC 6120 §4.9.3).
MALFORMED = {
    "garbage": ("\x16\x03 GET / <<>>", {"not-well-formed", "bad-format", "invalid-xml"}),
    "a tag closed by another": ("<message><body>a</message>", {"not-well-formed"}),
    "bytes that are not UTF-8": (b"<message><body>\xff\xfe\xc0</body></message>",
                                 {"not-well-formed", "unsupported-encoding", "bad-format"}),
    "an unbound namespace prefix": ("<message><x:y/></message>", {"bad-namespace-prefix", "not-well-formed"}),
    "a comment": ("<!-- hello -->", {"restricted-xml"}),
    "a processing instruction": ("<?php echo 1 ?>", {"restricted-xml"}),
    "an undefined entity": ("<message><body>&boom;</body></message>", {"restricted-xml", "not-well-formed"}),
    "a DTD inside the stream": ("<!DOCTYPE a [<!ENTITY b 'c'>]>", {"restricted-xml", "not-well-formed"}),
}
BOMB = ("<?xml version='1.0'?><!DOCTYPE lolz [<!ENTITY a 'ha'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;'>"
        "<!ENTITY c '&b;&b;&b;&b;&b;&b;&b;&b;'>]>")


async def run(stage: Stage) -> None:
    user = stage.add_account("tybalt").split("@")[0]
    for title, (data, conditions) in MALFORMED.items():
        with stage.step(f"{title}, before authentication"), plain(stage) as stream:
            stream.open()
            refused(stream, data, conditions)
        with stage.step(f"{title}, after authentication"), authenticated(stage, user) as stream:
            refused(stream, data, conditions)
    headers(stage)
    oversized(stage, user)
    before_authentication(stage)
    negotiation(stage, user)
    tls(stage, user)
    with stage.step("the server goes on", needed=True):
        client = await stage.login(stage.add_account("mercutio"))
        await client["xep_0199"].send_ping(stage.domain, timeout=10)


def plain(stage: Stage) -> RawStream:
    return RawStream(stage.domain, stage.authority)


def secured(stage: Stage) -> RawStream:
    stream = RawStream(stage.domain, stage.authority, direct=True)
    stream.open()
    return stream


def authenticated(stage: Stage, user: str) -> RawStream:
    stream = secured(stage)
    stream.login(user, stage.password)
    return stream


def refused(stream: RawStream, data: str | bytes, conditions: set[str]) -> None:
    """Sends and expects one of these stream errors, the end of the stream and the end of the connection."""
    stream.send(data)
    condition = stream.stream_error()
    expect(condition in conditions, f"{condition}, not {' or '.join(sorted(conditions))}")
    expect(stream.is_disconnected(), "the connection stays open")


def headers(stage: Stage) -> None:
    cases = {
        "a DTD before the stream": (BOMB + HEADER.format(stage.domain), {"restricted-xml", "not-well-formed"}),
        "a stream to a host not served here": (HEADER.format("elsewhere.test"), {"host-unknown"}),
        "a stream in a wrong namespace": (
            f"<stream:stream to='{stage.domain}' version='1.0' xmlns='jabber:client' xmlns:stream='urn:example:x'>",
            {"invalid-namespace"}),
        "a stream that is none": ("<hello xmlns='urn:example:x'>", {"invalid-namespace", "bad-format"}),
    }
    for title, (data, conditions) in cases.items():
        with stage.step(title), plain(stage) as stream:
            refused(stream, data, conditions)
    with stage.step("the server's stream begins with the XML declaration"), plain(stage) as stream:
        stream.open()
        expect(stream.received.startswith(b"<?xml"), repr(stream.received[:60]))


def oversized(stage: Stage, user: str) -> None:
    stanza = f"<message to='{user}@{stage.domain}'><body>{'x' * 20_000_000}</body></message>"
    with stage.step("a stanza of 20 MB, before authentication"), secured(stage) as stream:
        refused(stream, stanza, {"policy-violation"})
    with stage.step("a stanza of 20 MB, after authentication"), authenticated(stage, user) as stream:
        refused(stream, stanza, {"policy-violation"})
    with stage.step("elements nested 100,000 deep"), authenticated(stage, user) as stream:
        refused(stream, "<message>" + "<a>" * 100_000, {"policy-violation", "not-well-formed"})


def before_authentication(stage: Stage) -> None:
    for title, stanza in {
        "a message": f"<message to='anyone@{stage.domain}'><body>hi</body></message>",
        "a bind request": "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>",
    }.items():
        with stage.step(f"{title} before authentication is not authorized"), secured(stage) as stream:
            refused(stream, stanza, {"not-authorized"})
    with stage.step("an element nobody knows is refused"), secured(stage) as stream:
        refused(stream, "<fly xmlns='urn:example:x'/>", {"unsupported-stanza-type", "not-authorized"})


def negotiation(stage: Stage, user: str) -> None:
    login = f"\0{user}\0{stage.password}".encode()
    with stage.step("PLAIN before TLS is neither offered nor accepted"), plain(stage) as stream:
        features = stream.open()
        expect(not any(e.text == "PLAIN" for e in features.iter(f"{SASL}mechanism")), "it is offered")
        condition = failure_of(stream.auth("PLAIN", login))
        expect(condition in {"encryption-required", "invalid-mechanism"}, condition)
    with stage.step("an unknown mechanism"), secured(stage) as stream:
        condition = failure_of(stream.auth("SCRAM-ROT13", b"n,,n=x,r=y"))
        expect(condition == "invalid-mechanism", condition)
    with stage.step("wrong base64"), secured(stage) as stream:
        condition = failure_of(stream.auth("PLAIN", "AGE*!=AA"))
        expect(condition == "incorrect-encoding", condition)
    for title, message in {"PLAIN without separators": b"tybalt", "PLAIN with an empty user": b"\0\0secret",
                           "PLAIN with bytes that are not UTF-8": b"\0\xff\0\xfe"}.items():
        with stage.step(title), secured(stage) as stream:
            condition = failure_of(stream.auth("PLAIN", message))
            expect(condition in {"malformed-request", "not-authorized"}, condition)
    with stage.step("a nonsensical SCRAM message"), secured(stage) as stream:
        condition = failure_of(stream.auth("SCRAM-SHA-256", b"y,,,,====,r=,n="))
        expect(condition in {"malformed-request", "not-authorized"}, condition)
    with stage.step("SASL abort, after which a login succeeds (RFC 6120 §6.4.4)"), secured(stage) as stream:
        challenge = stream.auth("SCRAM-SHA-256", f"n,,n={user},r=abcdefgh".encode())
        expect(challenge is not None and challenge.tag == f"{SASL}challenge", "no challenge")
        stream.send("<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
        condition = failure_of(stream.next())
        expect(condition == "aborted", condition)
        stream.login(user, stage.password)
    with stage.step("an <auth/> in the middle of another does not log in"), secured(stage) as stream:
        stream.auth("SCRAM-SHA-256", f"n,,n={user},r=abcdefgh".encode())
        answer = stream.auth("SCRAM-SHA-256", b"n,,n=other,r=abcdefgh")
        expect(answer is None or answer.tag != f"{SASL}success", "it did")
    with stage.step("a second <auth/> after success does not succeed"), authenticated(stage, user) as stream:
        answer = stream.auth("PLAIN", login)
        expect(answer is None or answer.tag != f"{SASL}success", "it did")
    with stage.step("a <response/> to nothing"), secured(stage) as stream:
        stream.send("<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>AAAA</response>")
        answer = stream.next()
        expect(answer is None or answer.tag != f"{SASL}success", "it did succeed")
    with stage.step("guessing passwords on one stream comes to an end"), secured(stage) as stream:
        for attempt in range(50):
            if (answer := stream.auth("PLAIN", f"\0{user}\0guess {attempt}".encode())) is None \
                    or answer.tag != f"{SASL}failure":
                return
        raise Failure("50 attempts were answered")


def tls(stage: Stage, user: str) -> None:
    with stage.step("plaintext glued to <starttls/> is never processed (RFC 6120 §5.4.2.2)"), plain(stage) as stream:
        stream.open()
        stream.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>" + HEADER.format(stage.domain)
                    + "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='X-INJECTED'/>")
        if (answer := stream.next()) is not None and answer.tag.endswith("}proceed"):
            try:
                stream.handshake()
            except (ssl.SSLError, OSError):
                return    # Taken for a broken handshake: as good as discarding.
            stream.open()
            stream.login(user, stage.password)
    for title, version, is_welcome in (("TLS 1.1 is refused", ssl.TLSVersion.TLSv1_1, False),
                                       ("TLS 1.2 is accepted", ssl.TLSVersion.TLSv1_2, True)):
        with stage.step(title), plain(stage) as stream:
            stream.open()
            stream.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
            stream.next()
            try:
                stream.handshake(only(version, stage))
            except (ssl.SSLError, OSError) as error:
                expect(not is_welcome, str(error))
            else:
                expect(is_welcome, "the handshake succeeded")
    with stage.step("garbage in place of a TLS handshake"), plain(stage) as stream:
        stream.open()
        stream.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
        stream.next()
        stream.send(b"\x00" * 4096)
        expect(stream.is_disconnected(), f"still open after {PATIENCE} s")


def only(version: ssl.TLSVersion, stage: Stage) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(stage.authority))
    context.set_ciphers("ALL:@SECLEVEL=0")    # OpenSSL 3 would not even offer TLS 1.1 otherwise.
    context.minimum_version = context.maximum_version = version
    return context
