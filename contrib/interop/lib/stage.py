"""What a scenario is handed: a server of its own, accounts, the trust, and the record of its steps."""

import contextlib
import itertools
import pathlib

from .client import Client
from .servers import GATEWAY, GUESTS, PROXY, ROOMS, Server
from .steps import Abandoned, Record

PASSWORD = "Wherefore art thou? 7%"


class Stage:
    """One scenario's surroundings. `folder` is for working files, `artefacts` for what is kept."""

    def __init__(self, name: str, server: Server, record: Record, folder: pathlib.Path, artefacts: pathlib.Path,
                 authority: pathlib.Path):
        self.name = name
        self.server = server
        self.domain = server.domain
        self.rooms = f"{ROOMS}.{server.domain}"
        self.gateway = f"{GATEWAY}.{server.domain}"
        self.proxy = f"{PROXY}.{server.domain}"
        self.guests = f"{GUESTS}.{server.domain}"
        self.folder = folder
        self.artefacts = artefacts
        self.authority = authority
        self.password = PASSWORD
        self._record = record
        self._numbers = itertools.count(1)
        self._clients: list[Client] = []

    def step(self, title: str, needed: bool = False):
        """One recorded step; when a `needed` one fails the scenario ends."""
        return self._record.step(self.name, title, needed)

    @contextlib.contextmanager
    def part(self):
        """A part of a scenario: a `needed` step that fails ends this part only."""
        try:
            yield
        except Abandoned:
            pass

    def add_account(self, name: str) -> str:
        """A fresh account, known to nobody; returns its bare JID."""
        jid = f"{name}{next(self._numbers)}@{self.domain}"
        self.server.add_user(jid, self.password)
        return jid

    def client(self, jid: str, **options) -> Client:
        """A slixmpp client that is not yet connected; closed with the stage."""
        client = Client(jid, options.pop("password", self.password), options.pop("authority", self.authority), **options)
        self._clients.append(client)
        return client

    async def login(self, jid: str, **options) -> Client:
        """A slixmpp client with a session, the roster fetched and presence sent."""
        client = self.client(jid, **options)
        await client.login()
        await client.get_roster()
        client.send_presence()
        return client

    async def subscribe(self, jid: str, peer: Client) -> None:
        """Subscribes an account to the peer while the client under test is not running yet: adding a contact takes a
        wizard in some."""
        account = await self.login(jid)
        account.send_presence_subscription(pto=peer.boundjid.bare, ptype="subscribe")
        await peer.sees_presence(jid, "subscribe")
        peer.send_presence_subscription(pto=jid, ptype="subscribed")
        await account.sees_presence(peer.boundjid.bare, "available")
        await account.logout()

    async def converse(self, jid: str, peer: Client) -> list[str]:
        """An account talks with the peer before the client under test is there; returns what was said."""
        account = await self.login(jid)
        bodies = []
        for number in range(1, 7):
            sender, receiver = (account, peer) if number % 2 else (peer, account)
            bodies.append(f"{number} of 6, said before, by {sender.boundjid.user}")
            sender.send_message(mto=receiver.boundjid.bare, mbody=bodies[-1], mtype="chat")
            await receiver.sees_message(bodies[-1])
        await account.logout()
        return bodies

    async def befriend(self, one: Client, other: Client) -> None:
        """Subscribes both to each other's presence."""
        for asking, asked in ((one, other), (other, one)):
            asking.send_presence_subscription(pto=asked.boundjid.bare, ptype="subscribe")
            await asked.sees_presence(asking.boundjid.bare, "subscribe")
            asked.send_presence_subscription(pto=asking.boundjid.bare, ptype="subscribed")
            await asking.sees_presence(asked.boundjid.bare, "available")

    async def close(self) -> None:
        for client in self._clients:
            await client.logout()
