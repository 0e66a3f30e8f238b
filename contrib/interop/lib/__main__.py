"""Runs the chosen scenarios inside the namespaces that `run` opened, each with a server of its own."""

import asyncio
import importlib
import logging
import pathlib
import shutil
import sys
import tempfile

from . import catalogue
from .certificates import Authority
from .internet import Internet
from .servers import ADDRESS, Martlet, Prosody, Server
from .stage import Stage
from .steps import Record, perform

DOMAIN = "chat.test"


async def main() -> int:
    chosen = catalogue.arguments()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="martlet-interop."))
    folder.chmod(0o755)
    record = Record(Prosody.gaps if chosen.server == "prosody" else {})
    try:
        authority = Authority(folder / "authority")
        authority.issue(DOMAIN, folder / "certificates")
        internet = Internet(folder / "internet", authority, {DOMAIN: ADDRESS})
        await internet.open()
        for name in chosen.scenarios:
            await play(name, chosen, folder, authority.certificate, record)
        internet.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(record.closing_line(), flush=True)
    return 1 if record.failed or not record.passed else 0


async def play(name: str, chosen, folder: pathlib.Path, authority: pathlib.Path, record: Record) -> None:
    """One scenario from an empty server to none, whatever happens in between."""
    artefacts = catalogue.ARTEFACTS / chosen.server / name
    shutil.rmtree(artefacts, ignore_errors=True)
    artefacts.mkdir(parents=True)
    log = log_to(artefacts / "slixmpp.log")
    arguments = (folder / name, DOMAIN, folder / "certificates", artefacts / "server.log")
    server: Server = Prosody(*arguments) if chosen.server == "prosody" else Martlet(
        *arguments, executable=chosen.martlet)
    stage = Stage(name, server, record, folder / name, artefacts, authority)

    async def scenario() -> None:
        with stage.step("the server starts", needed=True):
            await server.start()
        module = importlib.import_module(f"scenarios.{name}")
        async with asyncio.timeout(catalogue.SCENARIOS[name].bound):
            await module.run(stage)

    try:
        await perform(stage, scenario())
    finally:
        await stage.close()
        server.close()
        logging.getLogger().removeHandler(log)
        log.close()


def log_to(path: pathlib.Path) -> logging.Handler:
    """Every stanza slixmpp sends or receives, for reading after a failure."""
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(message)s"))
    logger = logging.getLogger()
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    return handler


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
