"""A small internet for one run, inside the network, mount and pid namespaces that `run` opens.

Loopback is up, DNS is answered by a dnsmasq of our own (SRV included), and the machine's trust store holds the
throw-away CA and nothing else. Nothing outside the namespaces changes, and everything dies with them.
"""

import os
import pathlib
import subprocess

from .certificates import Authority
from .processes import command, end, spawn, until

RESOLVER = "127.0.0.53"

# GLib resolves nothing for Gajim and Dino where only loopback addresses exist.
OUTSIDE_ADDRESS = "198.18.0.1"


class Internet:
    """`domains` maps each XMPP domain to the address its server listens on."""

    def __init__(self, folder: pathlib.Path, authority: Authority, domains: dict[str, str]):
        self._folder = folder
        self._authority = authority
        self._domains = domains
        self._dnsmasq: subprocess.Popen | None = None
        folder.mkdir(parents=True)

    async def open(self) -> None:
        """Fills the namespaces. The process must be alone in them already."""
        if os.getpid() != 1:
            raise RuntimeError("not in a pid namespace of its own; start this through `run`")
        command(["ip", "link", "set", "lo", "up"])
        command(["ip", "address", "add", f"{OUTSIDE_ADDRESS}/32", "dev", "lo"])
        self._replace("/etc/resolv.conf", f"nameserver {RESOLVER}\noptions timeout:2 attempts:2\n")
        self._replace("/etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n")
        self._replace("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n")
        self._trust()
        await self._serve_names()

    def close(self) -> None:
        end(self._dnsmasq)

    def _replace(self, path: str, text: str) -> None:
        substitute = self._folder / pathlib.Path(path).name
        substitute.write_text(text)
        command(["mount", "--bind", substitute, os.path.realpath(path)])

    def _trust(self) -> None:
        """GnuTLS reads the bundle, OpenSSL the folder with hashed names."""
        store = self._folder / "certs"
        store.mkdir()
        certificate = self._authority.certificate
        digest = command(["openssl", "x509", "-in", certificate, "-noout", "-subject_hash"]).strip()
        for name in ("ca-certificates.crt", "interop.pem", f"{digest}.0"):
            (store / name).write_text(certificate.read_text())
        command(["mount", "--bind", store, "/etc/ssl/certs"])

    async def _serve_names(self) -> None:
        configuration = self._folder / "dnsmasq.conf"
        lines = ["keep-in-foreground", "no-resolv", "no-hosts", "bind-interfaces", "user=root", "pid-file=",
                 f"listen-address={RESOLVER}", "local=/test/"]
        for domain, address in self._domains.items():
            lines += [f"address=/{domain}/{address}",
                      f"srv-host=_xmpp-client._tcp.{domain},xmpp.{domain},5222",
                      f"srv-host=_xmpps-client._tcp.{domain},xmpp.{domain},5223"]
        configuration.write_text("\n".join(lines) + "\n")
        log = self._folder / "dnsmasq.log"
        self._dnsmasq = spawn(["dnsmasq", f"--conf-file={configuration}"], log)
        await until(lambda: _is_bound(RESOLVER, 53), f"dnsmasq ({log.read_text()[-200:]})")


def _is_bound(address: str, port: int) -> bool:
    listening = command(["ss", "--no-header", "--listening", "--udp", "--numeric"])
    return f"{address}:{port}" in listening
