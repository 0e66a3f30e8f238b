"""The lab's internet: a bridge with a namespace for each machine on it, names, and a throw-away CA that all trust.

The runner is alone in a network, a mount and a pid namespace of its own (`federation`); the bridge is there, and a
network namespace for each server hangs on it. Nothing outside changes, and everything dies with the namespaces.
"""

import os
import pathlib

from lib.certificates import Authority
from lib.processes import command

BRIDGE = "lab"
NETWORK = "198.18.5"
# Clients, and peers that a scenario plays by itself.
HERE = f"{NETWORK}.1"
# The second is for those who ask while the first starts again.
RESOLVERS = (f"{NETWORK}.53", f"{NETWORK}.54")
RESOLV = "".join(f"nameserver {address}\n" for address in RESOLVERS) + "options timeout:2 attempts:2\n"

# Binds the first argument over resolv.conf, in a mount namespace of its own, and becomes the program in the others.
ENTER = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'
# The same for another system, in the folder that is the first argument: it has its programs, the lab all the rest.
CHANGE = """root=$1; shift
for each in /proc /dev /run /etc/resolv.conf /etc/nsswitch.conf /etc/hosts /etc/ssl/certs; do
    [ -e "$root$each" ] || touch "$root$each"
    mount --rbind "$each" "$root$each" || exit
done
exec chroot "$root" "$@"
"""


class Machine:
    """A network namespace of a name, with an address on the bridge; more can be added and taken away."""

    def __init__(self, name: str, address: str, folder: pathlib.Path):
        self.name = name
        self.address = address
        self._resolv = folder / f"{name}.resolv.conf"
        self._resolv.write_text(RESOLV)
        outside, inside = f"{name[:11]}-o", "eth0"
        command(["ip", "netns", "add", name])
        command(["ip", "link", "add", outside, "type", "veth", "peer", "name", inside, "netns", name])
        command(["ip", "link", "set", outside, "master", BRIDGE, "up"])
        self.ip("link", "set", "lo", "up")
        self.ip("link", "set", inside, "up")
        self.add_address(address)

    def ip(self, *arguments: str) -> str:
        return command(["ip", "-netns", self.name, *arguments])

    def add_address(self, address: str) -> None:
        self.ip("address", "add", f"{address}/24", "dev", "eth0")

    def take_address(self, address: str) -> None:
        self.ip("address", "del", f"{address}/24", "dev", "eth0")

    def within(self, arguments: list, system: pathlib.Path | None = None) -> list:
        """The command line that runs `arguments` on this machine, as the process that is started; `system` is the
        folder with another Debian whose programs they are."""
        if system:
            arguments = ["sh", "-c", CHANGE, "sh", system, *arguments]
        return ["ip", "netns", "exec", self.name, "sh", "-c", ENTER, "sh", self._resolv,
                os.path.realpath("/etc/resolv.conf"), *arguments]

    def connections(self, address: str) -> list[tuple[str, str]]:
        """The established TCP connections with an address, as the pairs of ends that `ss` shows."""
        lines = command(["ip", "netns", "exec", self.name, "ss", "-Htn", "state", "established", "dst", address])
        return [tuple(line.split()[2:4]) for line in lines.splitlines() if line.strip()]


def open_network(folder: pathlib.Path, authority: Authority) -> None:
    """Fills the namespaces that the runner is alone in."""
    if os.getpid() != 1:
        raise RuntimeError("not in a pid namespace of its own; start this through `federation`")
    command(["ip", "link", "set", "lo", "up"])
    command(["ip", "link", "add", BRIDGE, "type", "bridge"])
    command(["ip", "link", "set", BRIDGE, "up"])
    command(["ip", "address", "add", f"{HERE}/24", "dev", BRIDGE])
    replace("/etc/resolv.conf", RESOLV, folder)
    replace("/etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n", folder)
    replace("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n", folder)
    trust(authority, folder)


def replace(path: str, text: str, folder: pathlib.Path) -> None:
    substitute = folder / pathlib.Path(path).name
    substitute.write_text(text)
    target = pathlib.Path(os.path.realpath(path))
    if not target.exists():
        # A link into /run, which is ours and empty.
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    command(["mount", "--bind", substitute, target])


def trust(authority: Authority, folder: pathlib.Path) -> None:
    """Makes the CA the only one that is trusted: a bundle, and a folder with hashed names as OpenSSL wants it."""
    store = folder / "certs"
    store.mkdir()
    certificate = authority.certificate
    digest = command(["openssl", "x509", "-in", certificate, "-noout", "-subject_hash"]).strip()
    for name in ("ca-certificates.crt", "lab.pem", f"{digest}.0"):
        (store / name).write_text(certificate.read_text())
    command(["mount", "--bind", store, "/etc/ssl/certs"])
