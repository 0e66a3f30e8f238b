"""The scenarios and servers there are, what they need from Debian, and the command line that chooses among them.

Only the standard library is used here: this file is read before anything is installed.
"""

import argparse
import dataclasses
import os
import pathlib

FOLDER = pathlib.Path(__file__).resolve().parent.parent
REPOSITORY = FOLDER.parent.parent
BUILD = FOLDER / ".build-interop"
ARTEFACTS = FOLDER / "artefacts"

PACKAGES = ("python3-venv", "iproute2", "util-linux", "mount", "dnsmasq-base", "openssl", "ca-certificates")


@dataclasses.dataclass(frozen=True)
class Scenario:
    """A file in `scenarios/`: its bound in seconds and Debian's packages it drives."""

    bound: float
    packages: tuple[str, ...] = ()


DESKTOP = ("xvfb", "dbus", "dbus-x11", "xdotool", "imagemagick", "adduser")

SCENARIOS = {
    "slixmpp_core": Scenario(180),
    "slixmpp_restart": Scenario(120),
    "slixmpp_hostile": Scenario(240),
    "slixmpp_sm": Scenario(240),
    "slixmpp_archive": Scenario(240),
    "slixmpp_devices": Scenario(120),
    "slixmpp_pubsub": Scenario(180),
    "slixmpp_sasl2": Scenario(90),
    "slixmpp_muc": Scenario(120),
    "slixmpp_muc_rights": Scenario(120),
    "slixmpp_muc_archive": Scenario(120),
    "slixmpp_muc_modern": Scenario(90),
    "slixmpp_muc_hostile": Scenario(120),
    "slixmpp_muc_restart": Scenario(180),
    "slixmpp_component": Scenario(120),
    "slixmpp_proxy65": Scenario(120),
    "slixmpp_guests": Scenario(120),
    "compliance": Scenario(90),
    "channel_binding": Scenario(60),
    "coturn": Scenario(90, ("coturn",)),
    "profanity": Scenario(180, ("profanity", "tmux")),
    "profanity_omemo": Scenario(240, ("profanity", "tmux")),
    "profanity_muc": Scenario(180, ("profanity", "tmux")),
    "biboumi": Scenario(120, ("biboumi", "ngircd")),
    "mcabber": Scenario(90, ("mcabber", "tmux")),
    "gajim": Scenario(180, ("gajim", "gir1.2-secret-1", "python3-dbus", *DESKTOP)),
    "gajim_muc": Scenario(180, ("gajim", "gir1.2-secret-1", "python3-dbus", *DESKTOP)),
    "dino": Scenario(120, ("dino-im", *DESKTOP)),
    "dino_muc": Scenario(120, ("dino-im", *DESKTOP)),
}

SERVERS = {"martlet": (), "prosody": ("prosody", "prosody-modules")}


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """The command line, checked. `scenarios` is never empty."""
    parser = argparse.ArgumentParser(prog="run", description="Drives real clients against a server.")
    parser.add_argument("--server", choices=SERVERS, default="martlet")
    parser.add_argument("--martlet", type=_from_caller, default=_built_martlet(), metavar="PATH",
                        help="the executable; default: the newest in .build")
    parser.add_argument("scenarios", nargs="*", metavar="scenario", help=", ".join(SCENARIOS))
    chosen = parser.parse_args(given)
    for name in chosen.scenarios:
        if name not in SCENARIOS:
            parser.error(f"no such scenario: {name}; there are: {', '.join(SCENARIOS)}")
    chosen.scenarios = chosen.scenarios or list(SCENARIOS)
    if chosen.server == "martlet" and not (chosen.martlet and chosen.martlet.is_file()):
        parser.error("no martlet executable: build it first or name it by --martlet")
    return chosen


def _from_caller(path: str) -> pathlib.Path:
    return pathlib.Path(os.environ.get("INTEROP_CALLER_FOLDER", ".")) / path


def _built_martlet() -> pathlib.Path | None:
    built = [path for kind in ("release", "debug") if (path := REPOSITORY / ".build" / kind / "martlet").is_file()]
    return max(built, key=lambda path: path.stat().st_mtime, default=None)
