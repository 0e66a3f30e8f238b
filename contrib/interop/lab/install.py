"""Installs what a run needs and is not there yet: Debian's packages, and slixmpp in a venv."""

from lib.install import install, is_installed, make_venv

from . import catalogue


def main() -> None:
    missing = [one for one in dict.fromkeys(catalogue.packages(catalogue.arguments())) if not is_installed(one)]
    if missing:
        print("installing", *missing, flush=True)
        install(missing)
    make_venv()


if __name__ == "__main__":
    main()
