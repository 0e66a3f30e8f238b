"""Servers that know each other by certificates, or by dialback, and the scenarios between them."""

import asyncio
import importlib
import logging
import pathlib
import random
import shutil
import time

from lib.__main__ import log_to
from lib.certificates import Authority
from lib.steps import Abandoned, Record, perform

from . import catalogue
from .certificates import Forger
from .ejabberd import Ejabberd
from .martlet import Martlet
from .names import Names
from .network import NETWORK, Machine
from .pair import Pair
from .peer import CERTIFICATES, Peer
from .prosody import Prosody

MAKES = {kind.name: (kind, f"{NETWORK}.{place}") for place, kind in ((10, Martlet), (20, Prosody), (30, Ejabberd))}


class World:
    """One way to trust, fresh servers, and a machine for each that outlives them."""

    def __init__(self, trust: str, chosen, folder: pathlib.Path, authority: Authority, names: Names,
                 machines: dict[str, Machine], record: Record):
        self.trust = trust
        self._chosen = chosen
        self._folder = folder / trust
        self._authority = authority
        self._names = names
        self._record = record
        self._forger = Forger(authority, self._folder / "forger")
        self._chance = random.Random(chosen.seed)
        self.times: dict[str, float] = {}
        self._artefacts = catalogue.FOLDER / trust
        shutil.rmtree(self._artefacts, ignore_errors=True)
        self._artefacts.mkdir(parents=True)
        self._servers = {name: self._make(name, machines[name]) for name in (chosen.server, *chosen.peers)}

    def _make(self, name: str, machine: Machine) -> Peer:
        kind, _ = MAKES[name]
        certificates = self._folder / name / "certificates"
        domain = f"{name}.test"
        # With dialback nobody has anything to show; clients trust what they have.
        if self.trust == CERTIFICATES:
            self._authority.issue(domain, certificates)
        else:
            self._forger.issue("self-signed", domain, certificates)
        return kind(self._folder / name, machine, certificates, self._artefacts, self.trust)

    @property
    def _bundle(self) -> pathlib.Path:
        """What clients trust: the CA, and the peers' certificates that nobody vouches for."""
        bundle = self._folder / "clients.pem"
        chains = [server.chain.read_text() for server in self._servers.values()]
        bundle.write_text(self._authority.certificate.read_text() + "".join(chains))
        return bundle

    async def play(self) -> None:
        here = self._servers[self._chosen.server]
        try:
            for server in self._servers.values():
                server.announce(self._names)
            await self._names.publish()
            with self._record.step(self.trust, f"{', '.join(self._servers)} start", needed=True):
                await asyncio.gather(*(server.start() for server in self._servers.values()))
            scenarios = {name: catalogue.SCENARIOS[name] for name in self._chosen.scenarios
                         if self.trust in catalogue.SCENARIOS[name].worlds}
            # Most of what they take is waiting for the server to give up.
            patient = [name for name, scenario in scenarios.items() if not scenario.paired and not scenario.quick]
            for name, scenario in scenarios.items():
                if name in patient:
                    if name == patient[0]:
                        await asyncio.gather(*(self._scene(each, here, None) for each in patient))
                    continue
                peers = [self._servers[peer] for peer in self._chosen.peers] if scenario.paired else [None]
                if scenario.together:
                    await asyncio.gather(*(self._scene(name, here, there) for there in peers))
                else:
                    for there in peers:
                        await self._scene(name, here, there)
        except Abandoned:
            pass
        finally:
            for server in self._servers.values():
                server.close()

    async def _scene(self, name: str, here: Peer, there: Peer | None) -> None:
        title = " ".join(word for word in (name, there and there.name, self.trust != CERTIFICATES and self.trust) if word)
        artefacts = self._artefacts / title.replace(" ", "-")
        artefacts.mkdir()
        log = log_to(artefacts / "slixmpp.log")
        stage = Pair(title, here, there, self._names, self._forger, self._record, self._folder / title, artefacts,
                     self._bundle, self._chance)
        stage.folder.mkdir(parents=True)
        begin = time.monotonic()

        async def scenario() -> None:
            module = importlib.import_module(f".scenarios.{name}", __package__)
            async with asyncio.timeout(catalogue.SCENARIOS[name].bound):
                await module.run(stage)

        try:
            await perform(stage, scenario())
        finally:
            try:
                await stage.close()
            except Exception:
                logging.exception("closing")
            self.times[f"{self.trust}: {title}"] = time.monotonic() - begin
            logging.getLogger().removeHandler(log)
            log.close()
