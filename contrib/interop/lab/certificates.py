"""Certificates for the lab: good ones by `lib.certificates`, and those that nobody may take for good."""

import hashlib
import pathlib

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from lib.certificates import Authority
from lib.processes import command

# What is wrong with each, by its name.
REFUSED = {
    "expired": "valid until a moment ago",
    "self-signed": "vouched for by itself only",
    "other-ca": "vouched for by a CA that nobody trusts",
    "wrong-name": "for another domain",
    "cn-only": "the domain in the Common Name only (RFC 6125 §6.4.4)",
}


class Forger:
    """Makes the files that `Authority.issue` makes, with one fault."""

    def __init__(self, authority: Authority, folder: pathlib.Path):
        self.authority = authority
        self._other = Authority(folder / "other")

    def issue(self, fault: str, domain: str, folder: pathlib.Path) -> None:
        match fault:
            case "other-ca": self._other.issue(domain, folder)
            case "self-signed": self._self_signed(domain, folder / domain)
            case "expired": self._signed(domain, folder / domain, days="-1")
            case "cn-only": self._signed(domain, folder / domain, names=None)
            case "wrong-name": self._signed(domain, folder / domain, names="DNS:elsewhere.example")
            case _: raise ValueError(fault)

    def _signed(self, domain: str, target: pathlib.Path, days: str = "30", names: str | None = "") -> None:
        target.mkdir(parents=True)
        request, extensions = target / "request.pem", target / "extensions.cnf"
        _request(domain, target, "-out", request)
        if names == "":
            names = f"DNS:{domain},DNS:*.{domain}"
        extensions.write_text("basicConstraints=CA:FALSE\nkeyUsage=digitalSignature\n"
                              "extendedKeyUsage=serverAuth,clientAuth\n"
                              + (f"subjectAltName={names}\n" if names else ""))
        command(["openssl", "x509", "-req", "-in", request, "-CA", self.authority.certificate,
                 "-CAkey", self.authority.folder / "ca.key", "-CAcreateserial", "-days", days,
                 "-extfile", extensions, "-out", target / "fullchain.pem"])

    def _self_signed(self, domain: str, target: pathlib.Path) -> None:
        target.mkdir(parents=True)
        _request(domain, target, "-x509", "-days", "30", "-out", target / "fullchain.pem",
                 "-addext", f"subjectAltName=DNS:{domain},DNS:*.{domain}")


def _request(domain: str, target: pathlib.Path, *more) -> None:
    command(["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
             "-keyout", target / "privkey.pem", "-subj", f"/CN={domain}", *more])


def digest(chain: pathlib.Path, of_key: bool = False, place: int = 0) -> str:
    """The SHA-256 of one certificate of a chain or of its public key, as TLSA records and pins have it."""
    certificate = x509.load_pem_x509_certificates(chain.read_bytes())[place]
    data = (certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) if of_key
            else certificate.public_bytes(Encoding.DER))
    return hashlib.sha256(data).hexdigest()
