"""The scenarios there are, in the order they run, and the command line that chooses among them.

Only the standard library is used here: this file is read before anything is installed.
"""

import argparse
import dataclasses

from lib.catalogue import ARTEFACTS, PACKAGES, _built_martlet, _from_caller

CERTIFICATES, DIALBACK = "certificates", "dialback"
PEERS = ("prosody", "ejabberd")
DEBIAN = {"prosody": ("prosody",), "ejabberd": ("ejabberd",)}
# Where servers look for what they believe of DNSSEC.
ROOT_KEY = "dns-root-data"
FOLDER = ARTEFACTS / "federation"


@dataclasses.dataclass(frozen=True)
class Scenario:
    """A file in `scenarios/`. `worlds` are the ways to trust it is tried with; a scenario that is not `paired` looks
    at the server under test alone, once in each world; one that is not `quick` is left out by --quick."""

    bound: float
    worlds: tuple[str, ...] = (CERTIFICATES,)
    paired: bool = True
    quick: bool = True
    # Whether the peers may be tried at the same time: it does not kill the server under test.
    together: bool = True
    # Whether it is about what only Martlet has: its configuration, its commands, its DNSSEC.
    own: bool = False


SCENARIOS = {
    "messages": Scenario(60, (CERTIFICATES, DIALBACK)),
    "presence": Scenario(60, (CERTIFICATES, DIALBACK)),
    "requests": Scenario(60),
    "eventing": Scenario(60),
    "rooms": Scenario(90, (CERTIFICATES, DIALBACK)),
    "archive": Scenario(60),
    "blocking": Scenario(60),
    "bytestreams": Scenario(60),
    "streams": Scenario(90, quick=False),
    "names": Scenario(150, quick=False),
    "refused": Scenario(120, (CERTIFICATES, DIALBACK), paired=False),
    "commands": Scenario(60, (CERTIFICATES, DIALBACK), paired=False, own=True),
    "hostile": Scenario(120, (CERTIFICATES, DIALBACK), paired=False, quick=False),
    "unruly_names": Scenario(90, paired=False, quick=False),
    "dnssec": Scenario(90, paired=False, quick=False, own=True),
    "policies": Scenario(90, paired=False, quick=False, own=True),
    "killed": Scenario(150, quick=False, together=False),
}


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """The command line, checked. `scenarios` and `peers` are never empty."""
    parser = argparse.ArgumentParser(prog="federation", description="Servers of different makes, and their users.")
    parser.add_argument("--server", choices=("martlet", *PEERS), default="martlet", help="the server under test")
    parser.add_argument("--martlet", type=_from_caller, default=_built_martlet(), metavar="PATH",
                        help="the executable; default: the newest in .build")
    parser.add_argument("--peer", choices=PEERS, action="append", help="only this one; default: all")
    parser.add_argument("--trust", choices=(CERTIFICATES, DIALBACK), action="append",
                        help="only this way for servers to know each other; default: both")
    parser.add_argument("--peers-from", type=_from_caller, metavar="FOLDER",
                        help="the folder with a Debian that the peers are taken from (README.md)")
    parser.add_argument("--quick", action="store_true", help="what takes no patience")
    parser.add_argument("--seed", type=int, help="for what happens at random; it is printed")
    parser.add_argument("--without-root", action="store_true", help="it is no failure if there can be no lab")
    parser.add_argument("scenarios", nargs="*", metavar="scenario", help=", ".join(SCENARIOS))
    chosen = parser.parse_args(given)
    for name in chosen.scenarios:
        if name not in SCENARIOS:
            parser.error(f"no such scenario: {name}; there are: {', '.join(SCENARIOS)}")
        if SCENARIOS[name].own and chosen.server != "martlet":
            parser.error(f"{name} is about what only Martlet has")
    chosen.scenarios = chosen.scenarios or [
        name for name, one in SCENARIOS.items()
        if (one.quick or not chosen.quick) and (chosen.server == "martlet" or not one.own)]
    chosen.peers = [peer for peer in chosen.peer or PEERS if peer != chosen.server]
    chosen.worlds = chosen.trust or [CERTIFICATES, DIALBACK]
    if not chosen.peers:
        parser.error("the server under test is no peer of itself")
    if chosen.server == "martlet" and not (chosen.martlet and chosen.martlet.is_file()):
        parser.error("no martlet executable: build it first or name it by --martlet")
    return chosen


def packages(chosen: argparse.Namespace) -> list[str]:
    """Debian's packages that a run needs."""
    found = [*PACKAGES, ROOT_KEY]
    for name in (chosen.server, *(() if chosen.peers_from else chosen.peers)):
        found += DEBIAN.get(name, ())
    return found
