"""What a scenario is handed: the server under test, a peer, the lab around them, and the record of its steps."""

import fnmatch
import itertools
import pathlib
import random

from slixmpp.xmlstream.stanzabase import StanzaBase

from lib.client import Client
from lib.stage import Stage
from lib.steps import Record

from .names import Names
from .network import Machine
from .certificates import Forger
from .peer import Peer

PLUGINS = ("xep_0045", "xep_0059", "xep_0313", "xep_0191", "xep_0163", "xep_0410")

_numbers = itertools.count(1)


class Pair(Stage):
    """`here` is the server under test, `there` the peer; a scenario that looks at one server has no `there`. The lab
    is shared with the scenarios before and after: whoever changes it puts it back."""

    def __init__(self, name: str, here: Peer, there: Peer | None, names: Names, forger: Forger, record: Record,
                 folder: pathlib.Path, artefacts: pathlib.Path, authority: pathlib.Path, chance: random.Random):
        super().__init__(name, here, record, folder, artefacts, authority)
        self.here = here
        self.there = there
        self.names = names
        self.forger = forger
        self.chance = chance

    def add_account(self, name: str, server: Peer | None = None) -> str:
        server = server or self.here
        jid = f"{name}{next(_numbers)}@{server.domain}"
        server.add_user(jid, self.password)
        return jid

    async def user(self, server: Peer, name: str, *plugins: str, **options) -> Client:
        """A client of a new account of the server, with its roster fetched and presence sent."""
        client = await self.login(self.add_account(name, server), plugins=(*PLUGINS, *plugins), **options)
        # When this is answered the presence has been taken; what came before it would go to offline storage.
        await client["xep_0199"].send_ping(server.domain, timeout=10)
        return client

    async def two(self, *plugins: str) -> tuple[Client, Client]:
        """A user of each server, strangers to each other."""
        return await self.user(self.here, "romeo", *plugins), await self.user(self.there, "juliet", *plugins)

    def step(self, title: str, needed: bool = False):
        """As in a stage; what a server is known not to do is told and skipped."""
        gaps = self.here.own_gaps | (self.there.gaps if self.there else {})
        gap = next((reason for pattern, reason in gaps.items() if fnmatch.fnmatch(title, pattern)), None)
        return self._record.step(self.name, title, needed, gap)

    def tell(self, what: str) -> None:
        """A line for the reader, which counts for nothing."""
        print(f"         {self.name}: {what}", flush=True)


def text_of(error: StanzaBase) -> str:
    """Condition and text of a stanza error, for the record."""
    return f"{error['error']['condition']}: {error['error']['text'] or 'no text'}"
