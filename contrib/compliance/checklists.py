"""The lists: what Conversations shows in its server details, the tests of the Conversations compliance tester, and the
server's half of XEP-0479. An item is available when its check returns, and missing when it raises `Trouble`."""

import dataclasses
from collections.abc import Callable

from probe import BLOCKING, CARBONS, CSI, EXTDISCO, MAM, PUBSUB, PUSH, SM, UPLOAD, Probe, needs

CAPS, ROSTER_VERSIONING = "{http://jabber.org/protocol/caps}c", "{urn:xmpp:features:rosterver}ver"
SASL2, BIND2 = "{urn:xmpp:sasl:2}authentication", "{urn:xmpp:bind:0}bind"
CONVERSION, COMPAT = "urn:xmpp:bookmarks-conversion:0", "urn:xmpp:bookmarks:1#compat"
AVATARS, SELF_PING = "urn:xmpp:pep-vcard-conversion:0", "http://jabber.org/protocol/muc#self-ping-optimization"
BYTESTREAMS = "http://jabber.org/protocol/bytestreams"


@dataclasses.dataclass(frozen=True)
class Item:
    """One line of one list. Several may stand for the same specification in different lists."""

    group: str
    name: str
    title: str
    check: Callable[[Probe], object]


def both(*checks: Callable[[Probe], object]) -> Callable[[Probe], None]:
    def check(probe: Probe) -> None:
        for part in checks:
            part(probe)
    return check


def room_has(feature: str) -> Callable[[Probe], None]:
    return lambda probe: needs(feature in probe.room().features, f"rooms do not have {feature}")


def sasl2(probe: Probe) -> None:
    needs(probe.secured.find(SASL2) is not None, "not offered before login")


def bind2(probe: Probe) -> None:
    sasl2(probe)
    needs(probe.secured.find(f".//{BIND2}") is not None, "not offered inline")


def bookmarks(probe: Probe) -> None:
    probe.private_storage()
    probe.account_has(CONVERSION, COMPAT)


CONVERSATIONS = [Item("conversations", *entry) for entry in (
    ("carbons", "XEP-0280: Message Carbons", lambda p: p.server_has(CARBONS)),
    ("csi", "XEP-0352: Client State Indication", lambda p: p.stream_feature(f"{{{CSI}}}csi")),
    ("blocking", "XEP-0191: Blocking Command", lambda p: p.server_has(BLOCKING)),
    ("rosterver", "XEP-0237: Roster Versioning", lambda p: p.stream_feature(ROSTER_VERSIONING)),
    ("sm", "XEP-0198: Stream Management", lambda p: p.stream_feature(f"{{{SM}}}sm")),
    ("extdisco", "XEP-0215: External Service Discovery", lambda p: p.server_has(EXTDISCO)),
    ("sasl2", "XEP-0388: Extensible SASL Profile", sasl2),
    ("bind2", "XEP-0386: Bind 2", bind2),
    ("pep", "XEP-0163: PEP (Avatars and OMEMO)", both(Probe.pep, lambda p: p.account_has(f"{PUBSUB}#publish-options"))),
    ("mam", "XEP-0313: Message Archive Management", lambda p: p.account_has(MAM)),
    ("upload", "XEP-0363: HTTP File Upload", lambda p: p.service_with(UPLOAD)),
    ("push", "XEP-0357: Push Notifications", lambda p: p.account_has(PUSH)),
)]

CAAS = [Item("caas", *entry) for entry in (
    ("roster_versioning", "Roster versioning", lambda p: p.stream_feature(ROSTER_VERSIONING)),
    ("xep0115", "Entity capabilities of the server", lambda p: p.stream_feature(CAPS)),
    ("xep0198", "Stream management", lambda p: p.stream_feature(f"{{{SM}}}sm")),
    ("xep0352", "Client state indication", lambda p: p.stream_feature(f"{{{CSI}}}csi")),
    ("xep0160", "Offline messages", lambda p: p.server_has("msgoffline")),
    ("xep0191", "Blocking", lambda p: p.server_has(BLOCKING)),
    ("xep0280", "Carbons", lambda p: p.server_has(CARBONS)),
    ("xep0163", "Personal eventing", Probe.pep),
    ("xep0313", "Archive", lambda p: p.account_has("urn:xmpp:mam:0", "urn:xmpp:mam:1", MAM)),
    ("xep0357", "Push", lambda p: p.account_has(PUSH)),
    ("xep0398", "Avatars converted", lambda p: p.account_has(AVATARS)),
    ("xep0411", "Bookmarks converted", lambda p: p.account_has(CONVERSION)),
    ("xep0384", "OMEMO: a bundle published for everybody", Probe.omemo),
    ("xep0045", "Chat rooms", lambda p: p.service_with("http://jabber.org/protocol/muc")),
    ("xep0313muc", "Chat rooms with an archive", Probe.room_archive),
    ("vcard_muc", "Chat rooms with a vCard", room_has("vcard-temp")),
    ("xep0065", "SOCKS5 bytestreams", lambda p: p.service_with(BYTESTREAMS)),
    ("xep0363", "File upload", lambda p: p.service_with(UPLOAD)),
    ("xep0368", "Direct TLS", Probe.direct_tls),
    ("stun", "STUN named by external services", Probe.stun),
    ("turn", "TURN with credentials named by external services", Probe.turn),
    ("xep0156", "Web connections found by host-meta", Probe.web_connections),
    ("xep0363_cors", "Uploads from web clients", Probe.upload_headers),
    ("xep0077", "Registration offered to everybody", Probe.registration),
    ("abuse-contact", "An address for complaints", lambda p: needs(
        any(p.server.fields.get("abuse-addresses", [])), f"{p.domain} names none")),
)]

SUITES = [Item(*entry) for entry in (
    ("core", "rfc6120", "Core features", lambda p: needs(p.session.jid, "no session")),
    ("core", "rfc7590", "TLS", Probe.transport_security),
    ("core", "xep0030", "Feature discovery", lambda p: p.server_has("http://jabber.org/protocol/disco#info")),
    ("core", "xep0114", "Components", Probe.component_port),
    ("core-advanced", "xep0368", "Direct TLS", Probe.direct_tls),
    ("core-advanced", "xep0115", "Feature broadcasts", lambda p: p.stream_feature(CAPS)),
    ("core-advanced", "xep0163", "Event publishing", Probe.private_data),
    ("web", "rfc7395", "WebSocket", Probe.websocket),
    ("web", "xep0206", "BOSH", Probe.bosh),
    ("im", "rfc6121", "Roster and presence", Probe.roster_and_presence),
    ("im", "xep0054", "vcard-temp", Probe.vcard),
    ("im", "xep0280", "Carbons", Probe.carbons),
    ("im", "xep0045", "Group chat, invitations (XEP-0249) pass through", Probe.room),
    ("im", "xep0363", "File upload", Probe.slot),
    ("im-advanced", "xep0398", "Avatars converted (XEP-0153)", lambda p: p.account_has(AVATARS)),
    ("im-advanced", "xep0191", "Blocking", Probe.blocking),
    ("im-advanced", "xep0048", "Bookmarks", bookmarks),
    ("im-advanced", "xep0402", "Bookmarks in personal eventing, converted", lambda p: p.account_has(COMPAT)),
    ("im-advanced", "xep0313muc", "Archive of group chats", Probe.room_archive),
    ("im-advanced", "xep0410", "Self-ping in group chats", room_has(SELF_PING)),
    ("im-advanced", "xep0223", "Private data in personal eventing", Probe.private_data),
    ("im-advanced", "xep0049", "Private XML storage", Probe.private_storage),
    ("im-advanced", "xep0198", "Stream management, with resumption", Probe.stream_management),
    ("im-advanced", "xep0313", "Archive", Probe.archive),
    ("mobile", "xep0198", "Stream management, with resumption", Probe.stream_management),
    ("mobile", "xep0352", "Client state indication", Probe.client_state),
    ("mobile-advanced", "xep0357", "Push", Probe.push),
    ("av", "xep0215", "STUN and TURN discovery", Probe.external_service_discovery),
)]

LISTS = {"conversations": "Conversations' server details", "caas": "Conversations compliance tester",
         "core": "XEP-0479 core", "core-advanced": "XEP-0479 core, advanced server", "web": "XEP-0479 web",
         "im": "XEP-0479 instant messaging", "im-advanced": "XEP-0479 instant messaging, advanced server",
         "mobile": "XEP-0479 mobile", "mobile-advanced": "XEP-0479 mobile, advanced server",
         "av": "XEP-0479 audio and video"}
ALL = CONVERSATIONS + CAAS + SUITES
