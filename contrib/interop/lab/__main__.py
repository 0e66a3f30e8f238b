"""Opens the lab inside the namespaces that `federation` opened, and plays the chosen scenarios in it."""

import asyncio
import logging
import pathlib
import random
import sys
import time

from lib.certificates import Authority
from lib.processes import command
from lib.steps import Record

from . import catalogue
from .martlet import Martlet
from .names import Names
from .network import Machine, open_network
from .world import MAKES, World


async def main() -> int:
    chosen = catalogue.arguments()
    if chosen.seed is None:
        chosen.seed = random.randrange(1 << 32)
    if chosen.server == "martlet":
        Martlet.executable = chosen.martlet.resolve()
    # A log that cannot be written to just now is no reason to tell the reader.
    logging.raiseExceptions = False
    begin = time.monotonic()
    print(f"federation of {chosen.server} with {' and '.join(chosen.peers)}, seed {chosen.seed}", flush=True)
    # /run is the namespaces' own from here on: names of namespaces, data, keys. Nothing of it is left behind.
    command(["mount", "-t", "tmpfs", "-o", "mode=0755", "lab", "/run"])
    folder = pathlib.Path("/run/lab")
    folder.mkdir()
    for name in chosen.peers:
        MAKES[name][0].system = chosen.peers_from and chosen.peers_from.resolve()
    record = Record({})
    authority = Authority(folder / "authority")
    open_network(folder, authority)
    names = Names(folder)
    machines = {name: Machine(name, MAKES[name][1], folder) for name in (chosen.server, *chosen.peers)}
    times: dict[str, float] = {}
    try:
        await names.open()
        for trust in chosen.worlds:
            world = World(trust, chosen, folder, authority, names, machines, record)
            await world.play()
            times |= world.times
    finally:
        names.close()
    slow = sorted(times.items(), key=lambda entry: -entry[1])[:6]
    print("slowest:", "; ".join(f"{title} {seconds:.0f} s" for title, seconds in slow))
    print(f"{time.monotonic() - begin:.0f} s; logs are in {catalogue.FOLDER}")
    print(record.closing_line(), flush=True)
    return 1 if record.failed or not record.passed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
