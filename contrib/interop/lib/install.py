"""Installs what the chosen scenarios need and is not there yet: Debian's packages, and slixmpp in a venv."""

import os
import subprocess
import sys

from . import catalogue


def main() -> None:
    chosen = catalogue.arguments()
    packages = [*catalogue.PACKAGES, *catalogue.SERVERS[chosen.server]]
    for name in chosen.scenarios:
        packages += catalogue.SCENARIOS[name].packages
    missing = [package for package in dict.fromkeys(packages) if not is_installed(package)]
    if missing:
        print("installing", *missing, flush=True)
        install(missing)
    make_venv()


def is_installed(package: str) -> bool:
    answer = subprocess.run(["dpkg-query", "--show", "--showformat=${db:Status-Status}", package],
                            capture_output=True, text=True)
    return answer.stdout == "installed"


def install(packages: list[str]) -> None:
    # RUNLEVEL=1 keeps a packaged server from being started by its installation.
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    command = ["apt-get", "-qq", "install", "--yes", "--no-install-recommends", *packages]
    quiet = {"env": environment, "stdout": subprocess.DEVNULL, "timeout": 900}
    if subprocess.run(command, stderr=subprocess.DEVNULL, **quiet).returncode != 0:
        # The lists may be absent or old.
        subprocess.run(["apt-get", "-qq", "update"], check=True, **quiet)
        subprocess.run(command, check=True, **quiet)


def make_venv() -> None:
    requirements = (catalogue.FOLDER / "requirements.txt").read_text()
    folder = catalogue.BUILD / "venv"
    mark = folder / "requirements.txt"
    if mark.is_file() and mark.read_text() == requirements and (folder / "bin/python").exists():
        return
    print("making a venv", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True, timeout=120)
    subprocess.run([folder / "bin/pip", "install", "--quiet", "--disable-pip-version-check",
                    "-r", catalogue.FOLDER / "requirements.txt"], check=True, timeout=300)
    mark.write_text(requirements)


if __name__ == "__main__":
    main()
