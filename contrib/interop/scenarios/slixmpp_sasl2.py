"""SASL2 (XEP-0388), Bind 2 (XEP-0386) and FAST (XEP-0484) on streams by hand: slixmpp does not speak them yet."""

import base64
import contextlib
import hashlib
import hmac
import os
import uuid
import xml.etree.ElementTree as ET

from lib.raw import STREAM, RawStream
from lib.stage import Stage
from lib.steps import Failure, expect

SASL2, BIND, FAST = "urn:xmpp:sasl:2", "urn:xmpp:bind:0", "urn:xmpp:fast:0"
SM, CARBONS = "urn:xmpp:sm:3", "urn:xmpp:carbons:2"
CONDITION = "{urn:ietf:params:xml:ns:xmpp-sasl}"
TOKEN_MECHANISM = "HT-SHA-256-NONE"
USER_AGENT = str(uuid.UUID(int=0x5eed))
BOUND = (f"<bind xmlns='{BIND}'><tag>Interop</tag><enable xmlns='{CARBONS}'/>"
         f"<enable xmlns='{SM}' resume='true'/></bind>")


async def run(stage: Stage) -> None:
    user, other = (stage.add_account(name).split("@")[0] for name in ("romeo", "juliet"))
    offers(stage)
    logins(stage, user)
    refusals(stage, user)
    bound(stage, user, other)
    resumption(stage, user, other)
    tokens(stage, user, other)
    with stage.step("the server goes on", needed=True):
        client = await stage.login(f"{user}@{stage.domain}")
        await client["xep_0199"].send_ping(stage.domain, timeout=10)


@contextlib.contextmanager
def secured(stage: Stage):
    with RawStream(stage.domain, stage.authority, direct=True) as stream:
        yield stream


def authenticate(mechanism: str, initial: bytes, inner: str = "", agent: str = USER_AGENT) -> str:
    return (f"<authenticate xmlns='{SASL2}' mechanism='{mechanism}'>"
            f"<initial-response>{base64.b64encode(initial).decode()}</initial-response>"
            f"<user-agent id='{agent}'><software>interop</software><device>socket</device></user-agent>{inner}"
            "</authenticate>")


def plain(user: str, password: str, inner: str = "", **options) -> str:
    return authenticate("PLAIN", f"\0{user}\0{password}".encode(), inner, **options)


def success(element: ET.Element | None) -> ET.Element:
    if element is None or element.tag != f"{{{SASL2}}}success":
        shown = "the end of the stream" if element is None else ET.tostring(element, encoding="unicode")[:300]
        raise Failure(f"no <success/> but {shown}")
    return element


def failure(element: ET.Element | None) -> str:
    if element is None or element.tag != f"{{{SASL2}}}failure":
        shown = "the end of the stream" if element is None else ET.tostring(element, encoding="unicode")[:300]
        raise Failure(f"no <failure/> but {shown}")
    return next(child.tag.removeprefix(CONDITION) for child in element if child.tag.startswith(CONDITION))


def identifier(element: ET.Element) -> str:
    return element.findtext(f"{{{SASL2}}}authorization-identifier") or ""


def features(stream: RawStream) -> ET.Element:
    element = stream.next()
    expect(element is not None and element.tag == f"{STREAM}features", "no features after <success/> (XEP-0388 §2.6.2)")
    return element


def ping(stream: RawStream) -> list[ET.Element]:
    """Everything that came before the answer to a ping."""
    stream.send("<iq type='get' id='ping'><ping xmlns='urn:xmpp:ping'/></iq>")
    seen = []
    while (element := stream.next()) is not None and element.get("id") != "ping":
        seen.append(element)
    expect(element is not None, "the stream ended")
    return seen


def offers(stage: Stage) -> None:
    with stage.step("SASL2 is offered under TLS only, with its inline features"):
        with RawStream(stage.domain, stage.authority) as stream:
            expect(stream.open().find(f"{{{SASL2}}}authentication") is None, "it is offered in the clear")
        with secured(stage) as stream:
            offer = stream.open().find(f"{{{SASL2}}}authentication")
            expect(offer is not None, "no <authentication/>")
            mechanisms = {element.text for element in offer.findall(f"{{{SASL2}}}mechanism")}
            expect("SCRAM-SHA-256" in mechanisms, str(mechanisms))
            expect(offer.find(f"{{{SASL2}}}inline/{{{BIND}}}bind") is not None, "no Bind 2 inline")
            inline = {element.get("var") for element in offer.iter(f"{{{BIND}}}feature")}
            expect(CARBONS in inline, f"inline in Bind 2: {inline}")
    with stage.step("stream management is offered inline, and FAST"):
        expect(offer.find(f"{{{SASL2}}}inline/{{{SM}}}sm") is not None, "no resumption inline")
        expect(SM in inline, f"inline in Bind 2: {inline}")
        fast = {element.text for element in offer.iter(f"{{{FAST}}}mechanism")}
        expect(TOKEN_MECHANISM in fast, f"FAST with {fast}")


def logins(stage: Stage, user: str) -> None:
    jid = f"{user}@{stage.domain}"
    with stage.step("PLAIN, the stream goes on without a restart, and a resource is bound the old way"), \
            secured(stage) as stream:
        stream.open()
        stream.send(plain(user, stage.password))
        expect(identifier(success(stream.next())) == jid, "the authorization identifier is not the bare JID")
        features(stream)
        stream.send("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
        answer = stream.next()
        expect(answer.get("type") == "result", ET.tostring(answer, encoding="unicode"))
    with stage.step("SCRAM-SHA-256 with the server's signature, and Bind 2"), secured(stage) as stream:
        stream.open()
        answer = scram(stream, user, stage.password, BOUND)
        full = identifier(answer)
        expect(full.startswith(f"{jid}/"), f"bound to {full!r}")
        expect(answer.find(f"{{{BIND}}}bound") is not None, "no <bound/>")
        features(stream)
        ping(stream)
    with stage.step("everything in one flight: header and <authenticate/> together, and the session is there"), \
            secured(stage) as stream:
        stream.open(also=plain(user, stage.password, BOUND))
        expect(identifier(success(stream.next())).startswith(f"{jid}/"), "not bound")


def scram(stream: RawStream, user: str, password: str, inner: str = "") -> ET.Element:
    first = f"n={user},r={base64.b64encode(os.urandom(18)).decode()}"
    stream.send(authenticate("SCRAM-SHA-256", f"n,,{first}".encode(), inner))
    challenge = stream.next()
    expect(challenge is not None and challenge.tag == f"{{{SASL2}}}challenge", "no <challenge/>")
    server = base64.b64decode(challenge.text).decode()
    values = dict(part.split("=", 1) for part in server.split(","))
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(values["s"]), int(values["i"]))
    key = hmac.digest(salted, b"Client Key", "sha256")
    final = f"c=biws,r={values['r']}"
    signed = f"{first},{server},{final}".encode()
    signature = hmac.digest(hashlib.sha256(key).digest(), signed, "sha256")
    proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signature))).decode()
    text = base64.b64encode(f"{final},p={proof}".encode()).decode()
    stream.send(f"<response xmlns='{SASL2}'>{text}</response>")
    answer = success(stream.next())
    data = base64.b64decode(answer.findtext(f"{{{SASL2}}}additional-data")).decode()
    verifier = base64.b64encode(hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), signed, "sha256")).decode()
    expect(data == f"v={verifier}", "the server's signature is wrong")
    return answer


def refusals(stage: Stage, user: str) -> None:
    with stage.step("a wrong password fails, and the right one on the same stream is good"), secured(stage) as stream:
        stream.open()
        stream.send(plain(user, "wrong", BOUND))
        expect(failure(stream.next()) == "not-authorized", "another condition")
        stream.send(plain(user, stage.password, BOUND))
        success(stream.next())
    cases = {
        "an unknown mechanism": (f"<authenticate xmlns='{SASL2}' mechanism='ROT13'/>", {"invalid-mechanism"}),
        "wrong base64": (f"<authenticate xmlns='{SASL2}' mechanism='PLAIN'><initial-response>*</initial-response>"
                         "</authenticate>", {"incorrect-encoding", "malformed-request"}),
        "an account that does not exist": (plain("nobody", "x"), {"not-authorized"}),
        "another's account by its own password": (authenticate(
            "PLAIN", f"juliet@{stage.domain}\0{user}\0{stage.password}".encode()), {"invalid-authzid", "not-authorized"}),
    }
    for title, (request, conditions) in cases.items():
        with stage.step(f"refused: {title}"), secured(stage) as stream:
            stream.open()
            stream.send(request)
            condition = failure(stream.next())
            expect(condition in conditions, condition)
    with stage.step("an exchange is aborted, and another succeeds"), secured(stage) as stream:
        stream.open()
        stream.send(authenticate("SCRAM-SHA-256", f"n,,n={user},r=abcdefgh".encode()))
        stream.next()
        stream.send(f"<abort xmlns='{SASL2}'/>")
        expect(failure(stream.next()) == "aborted", "another condition")
        stream.send(plain(user, stage.password))
        success(stream.next())
    with stage.step("no <authenticate/> in the clear"), RawStream(stage.domain, stage.authority) as stream:
        stream.open()
        stream.send(plain(user, stage.password))
        answer = stream.next()
        expect(answer is None or answer.tag != f"{{{SASL2}}}success", "it succeeded")
    with stage.step("no second <authenticate/> after success"), secured(stage) as stream:
        stream.open()
        stream.send(plain(user, stage.password, BOUND))
        success(stream.next())
        features(stream)
        stream.send(plain(user, stage.password, BOUND))
        answer = stream.next()
        expect(answer is None or answer.tag != f"{{{SASL2}}}success", "it succeeded")


def bound(stage: Stage, user: str, other: str) -> None:
    with stage.step("carbons are on from the start (XEP-0386)"):
        with secured(stage) as phone, secured(stage) as laptop, secured(stage) as peer:
            jids, enabled = [], []
            for stream, name in ((phone, user), (laptop, user), (peer, other)):
                stream.open()
                stream.send(plain(name, stage.password, BOUND, agent=str(uuid.uuid4())))
                answer = success(stream.next())
                jids.append(identifier(answer))
                enabled.append(answer.find(f"{{{BIND}}}bound/{{{SM}}}enabled"))
                features(stream)
                stream.send("<presence/>")
                ping(stream)
            expect(jids[0] != jids[1] and "Interop" in jids[0], f"resources {jids}")
            peer.send(f"<message type='chat' to='{jids[0]}'><body>hark</body></message>")
            ping(peer)
            expect(any(e.findtext("{jabber:client}body") == "hark" for e in ping(phone)), "the message did not arrive")
            expect(any(e.find(f"{{{CARBONS}}}received") is not None for e in ping(laptop)), "no carbon")
    with stage.step("stream management is on from the start, with an id (XEP-0386)"):
        expect(all(element is not None and element.get("id") for element in enabled),
               "no <enabled/> with an id in <bound/>")
    with stage.step("<bound/> tells where the archive ends (XEP-0313)"), secured(stage) as stream:
        stream.open()
        stream.send(plain(user, stage.password, BOUND))
        metadata = success(stream.next()).find(f"{{{BIND}}}bound/{{urn:xmpp:mam:2}}metadata")
        expect(metadata is not None and metadata.find("{urn:xmpp:mam:2}end") is not None, "no metadata")


def resumption(stage: Stage, user: str, other: str) -> None:
    def resume(previous: str, handled: int = 0) -> str:
        return f"<resume xmlns='{SM}' previd='{previous}' h='{handled}'/>"

    with stage.step("a session is resumed within <authenticate/>, and what it missed follows"), secured(stage) as peer:
        peer.open()
        peer.send(plain(other, stage.password, BOUND))
        success(peer.next())
        features(peer)
        with secured(stage) as stream:
            stream.open()
            stream.send(plain(user, stage.password, BOUND))
            answer = success(stream.next())
            previous, full = answer.find(f".//{{{SM}}}enabled").get("id"), identifier(answer)
            features(stream)
            stream.send("<presence/>")
            handled = len([e for e in ping(stream) if e.tag != f"{{{SM}}}r"]) + 1
        peer.send(f"<message type='chat' to='{full}'><body>missed</body></message>")
        ping(peer)
        with secured(stage) as stream:
            stream.open()
            stream.send(plain(user, stage.password, resume(previous, handled)))
            answer = success(stream.next())
            resumed = answer.find(f"{{{SM}}}resumed")
            expect(resumed is not None and resumed.get("h") == "2", ET.tostring(answer, encoding="unicode"))
            expect(identifier(answer) == full, f"identifier {identifier(answer)}, not {full}")
            seen = ping(stream)
            count = len([e for e in seen if e.findtext("{jabber:client}body") == "missed"])
            expect(count == 1, f"the message came {count} times")
    with stage.step("another account cannot resume it; its own <bind/> in the same request goes through"), \
            secured(stage) as stream:
        stream.open()
        stream.send(plain(other, stage.password, resume(previous) + BOUND))
        answer = success(stream.next())
        expect(answer.find(f"{{{SM}}}resumed") is None, "it could")
        expect(answer.find(f"{{{SM}}}failed") is not None, "no <failed/>")
        expect(answer.find(f"{{{BIND}}}bound") is not None, "nothing was bound")


def hashed(token: str, user: str) -> bytes:
    return user.encode() + b"\0" + hmac.digest(token.encode(), b"Initiator", "sha256")


def tokens(stage: Stage, user: str, other: str) -> None:
    request = f"<request-token xmlns='{FAST}' mechanism='{TOKEN_MECHANISM}'/>"

    def by_token(token: str, who: str = user, inner: str = "", attributes: str = "",
                 agent: str = USER_AGENT) -> ET.Element | None:
        with secured(stage) as stream:
            offer = stream.open().find(f".//{{{FAST}}}fast")
            expect(offer is not None, "no <fast/>")
            stream.send(authenticate(TOKEN_MECHANISM, hashed(token, who),
                                     f"<fast xmlns='{FAST}' {attributes}/>{inner}{BOUND}", agent=agent))
            return stream.next()

    token = ""
    with stage.step("a token is issued with an expiry, and with it a client is back in one round trip (XEP-0484)"):
        with secured(stage) as stream:
            stream.open()
            stream.send(plain(user, stage.password, request + BOUND))
            issued = success(stream.next()).find(f"{{{FAST}}}token")
            expect(issued is not None and issued.get("token") and issued.get("expiry"), "no token")
            token = issued.get("token")
        answer = success(by_token(token))
        expect(answer.find(f"{{{BIND}}}bound") is not None, "not bound")
        data = base64.b64decode(answer.findtext(f"{{{SASL2}}}additional-data") or "")
        expect(data == hmac.digest(token.encode(), b"Responder", "sha256"), "the server does not prove itself")
    with stage.step("refused: a wrong token, another account's, another client's, one for SASL of old"):
        for answer in (by_token("wrong"), by_token(token, who=other), by_token(token, agent=str(uuid.uuid4()))):
            expect(failure(answer) in ("not-authorized", "credentials-expired"), "another condition")
        with secured(stage) as stream:
            stream.open()
            answer = stream.auth(TOKEN_MECHANISM, hashed(token, user))
            expect(answer is None or not answer.tag.endswith("}success"), "SASL of RFC 6120 took it")
        success(by_token(token))
    with stage.step("a new token is good, and its use ends the old one"):
        renewed = success(by_token(token, inner=request)).find(f"{{{FAST}}}token")
        expect(renewed is not None and renewed.get("token") != token, "no new token")
        success(by_token(token))    # Perhaps the new one was never received.
        renewed = success(by_token(token, inner=request)).find(f"{{{FAST}}}token")
        success(by_token(renewed.get("token")))
        expect(failure(by_token(token)) in ("not-authorized", "credentials-expired"), "the old one is still good")
        token = renewed.get("token")
    with stage.step("a count that does not grow is a replay (XEP-0484)"):
        success(by_token(token, attributes="count='7'"))
        answer = by_token(token, attributes="count='7'")
        expect(answer is None or answer.tag != f"{{{SASL2}}}success", "it was accepted")
        success(by_token(token, attributes="count='8'"))
    with stage.step("a token is invalidated by its client"):
        success(by_token(token, attributes="invalidate='true'"))
        expect(failure(by_token(token)) in ("not-authorized", "credentials-expired"), "it is still good")
