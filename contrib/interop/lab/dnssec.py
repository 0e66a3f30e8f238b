"""A root of the DNS with a zone of its own below it, both signed while they are asked, and lies on demand.

All that the lab's resolver does not know by itself is asked here (`names.py`); who validates finds the root's key in
`ANCHOR`, where Debian has that of the real root. What is not there is denied by a proof for this one question
(RFC 4470).
"""

import asyncio
import contextlib
import pathlib
import time
from collections.abc import Callable

import dns.dnssec
import dns.exception
import dns.message
import dns.name
import dns.rdatatype
import dns.rrset
from cryptography.hazmat.primitives.asymmetric import ec
from dns.rdatatype import A, DNSKEY, DS, NS, NSEC, RRSIG, SOA, SRV, TLSA, RdataType

from .network import HERE, replace

PORT = 5354
ANCHOR = "/usr/share/dns/root.key"
SIGNED = "example"
# Delegated without a key: nothing below it is signed.
UNSIGNED = f"plain.{SIGNED}"
TTL = 1
DAY = 86_400

Lie = Callable[["SignedNames", dns.message.Message], None]


class Zone:
    """A zone's name and the one key that signs it and itself."""

    def __init__(self, name: str):
        self.name = dns.name.from_text(name)
        self._private = ec.generate_private_key(ec.SECP256R1())
        self.key = dns.dnssec.make_dnskey(self._private.public_key(), dns.dnssec.Algorithm.ECDSAP256SHA256, flags=257)

    def signature(self, records: dns.rrset.RRset, until: float = DAY) -> dns.rrset.RRset:
        """Good for `until` seconds from now, be they negative."""
        now = int(time.time())
        data = dns.dnssec.sign(records, self._private, self.name, self.key, inception=now - 10 * DAY,
                               expiration=int(now + until))
        return dns.rrset.from_rdata(records.name, TTL, data)


class SignedNames(asyncio.DatagramProtocol):
    """`set` makes a domain known; `lies` change a finished answer, by its question."""

    def __init__(self, folder: pathlib.Path):
        self.root, self.zone = Zone("."), Zone(SIGNED)
        self.lies: dict[tuple[str, RdataType], Lie] = {}
        self._records: dict[tuple[dns.name.Name, RdataType], dns.rrset.RRset] = {}
        self._put(".", DNSKEY, self.root.key)
        self._put(SIGNED, DNSKEY, self.zone.key)
        self._put(SIGNED, DS, dns.dnssec.make_ds(self.zone.name, self.zone.key, "SHA256"))
        self._unsigned = dns.name.from_text(UNSIGNED)
        anchor = dns.rrset.from_rdata(dns.name.root, DAY, self.root.key)
        replace(ANCHOR, f"{anchor}\n", folder)
        self._transport = None

    async def open(self) -> None:
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, local_addr=(HERE, PORT))

    def close(self) -> None:
        if self._transport:
            self._transport.close()

    def set(self, domain: str, port: int, host: str | None = None, certificate: str | None = None) -> None:
        """A domain with one server, of the runner's; `certificate` is what its TLSA record says (RFC 6698 §2.2)."""
        host = host or f"xmpp.{domain}"
        self._put(f"_xmpp-server._tcp.{domain}", SRV, f"0 0 {port} {host}.")
        self._put(host, A, HERE)
        if certificate:
            self._put(f"_{port}._tcp.{host}", TLSA, certificate)

    def _put(self, name: str, kind: RdataType, data) -> None:
        made = (dns.rrset.from_text(name_of(name), TTL, "IN", kind, data) if isinstance(data, str)
                else dns.rrset.from_rdata(name_of(name), TTL, data))
        self._records[made.name, kind] = made

    def connection_made(self, transport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, source) -> None:
        with contextlib.suppress(dns.exception.DNSException):
            query = dns.message.from_wire(data)
            self._transport.sendto(self.answer(query).to_wire(max_size=4096), source)

    def answer(self, query: dns.message.Message) -> dns.message.Message:
        question = query.question[0]
        name, kind = question.name.canonicalize(), question.rdtype
        reply = dns.message.make_response(query, recursion_available=True)
        zone = self._zone(name, kind)
        if found := self._records.get((name, kind)):
            self._add(reply.answer, found, zone)
        elif zone is None:
            self._add(reply.authority, soa(self._unsigned), None)
        else:
            types = {kind for owner, kind in self._records if owner == name and kind != DS} | {RRSIG, NSEC}
            if name == self._unsigned:
                types.add(NS)
            # The next name there could be, so that this denies no other.
            proof = " ".join([f"\\000.{name}", *map(dns.rdatatype.to_text, sorted(types))])
            self._add(reply.authority, soa(zone.name), zone)
            self._add(reply.authority, dns.rrset.from_text(name, TTL, "IN", NSEC, proof), zone)
        if lie := self.lies.get((name.to_text(omit_final_dot=True), kind)):
            lie(self, reply)
        return reply

    def _zone(self, name: dns.name.Name, kind: RdataType) -> Zone | None:
        """The zone that answers; nil below the one that is not signed."""
        if name.is_subdomain(self._unsigned) and not (name == self._unsigned and kind == DS):
            return None
        inside = name.is_subdomain(self.zone.name) and not (name == self.zone.name and kind == DS)
        return self.zone if inside else self.root

    @staticmethod
    def _add(section: list, records: dns.rrset.RRset, zone: Zone | None) -> None:
        section.append(records)
        if zone:
            section.append(zone.signature(records))


def name_of(text: str) -> dns.name.Name:
    return dns.name.from_text(text)


def soa(zone: dns.name.Name) -> dns.rrset.RRset:
    return dns.rrset.from_text(zone, TTL, "IN", SOA, f"names.{SIGNED}. admin.{SIGNED}. 1 3600 600 86400 {TTL}")


# Lies about what is in the answer.

def forged(data: str) -> Lie:
    """Says something else, with the true signature."""
    def lie(_, reply: dns.message.Message) -> None:
        true = reply.answer[0]
        reply.answer[0] = dns.rrset.from_text(true.name, TTL, "IN", true.rdtype, data)
    return lie


def stripped(data: str) -> Lie:
    """Says something else, without any signature."""
    def lie(names: SignedNames, reply: dns.message.Message) -> None:
        forged(data)(names, reply)
        del reply.answer[1:]
    return lie


def suppressed(_, reply: dns.message.Message) -> None:
    """Says that there is nothing, and proves it by nothing."""
    reply.answer.clear()
    reply.authority.append(soa(name_of(SIGNED)))


def expired(names: SignedNames, reply: dns.message.Message) -> None:
    """Has signed it until some time ago: who validates allows for clocks that are a day wrong."""
    reply.answer[1] = names.zone.signature(reply.answer[0], until=-3 * DAY)


def signed_by_another(_, reply: dns.message.Message) -> None:
    """Has signed it with a key that the zone does not have."""
    reply.answer[1] = Zone(SIGNED).signature(reply.answer[0])


def poisoned(*lines: tuple[str, RdataType, str]) -> Lie:
    """Tells what nobody asked for, of other domains."""
    def lie(_, reply: dns.message.Message) -> None:
        for name, kind, data in lines:
            for section in (reply.answer, reply.authority, reply.additional):
                section.append(dns.rrset.from_text(name_of(name), TTL, "IN", kind, data))
    return lie
