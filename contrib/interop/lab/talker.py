"""A user who keeps talking whatever happens to the servers, and an account of what became of each message."""

import asyncio
import collections
import time

from lib.client import Client
from lib.steps import Failure

from .pair import PLUGINS, Pair
from .peer import Peer


class Talker:
    """Comes back by itself: resumes if `resumes` and the server lets it, signs in anew otherwise."""

    def __init__(self, stage: Pair, server: Peer, name: str, resumes: bool):
        self._stage = stage
        self.server = server
        self.jid = stage.add_account(name, server)
        self._plugins = (*PLUGINS, "xep_0198") if resumes else PLUGINS
        self._resumes = resumes
        self.client: Client | None = None
        # By body: when it was sent, and which of them the server has acknowledged.
        self.sent: dict[str, float] = {}
        # Bodies by the ids that they were sent with: not every error has the body.
        self._bodies: dict[str, str] = {}
        self.acknowledged: set[str] = set()
        self.arrived: collections.Counter[str] = collections.Counter()
        self.bounced: set[str] = set()
        self.resumed = self.renewed = 0
        self._task: asyncio.Task | None = None

    async def start(self) -> None:
        await self._sign_in()
        self._task = asyncio.create_task(self._stay())

    async def stop(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @property
    def is_there(self) -> bool:
        return self.client is not None and self.client.transport is not None and self.client.is_ready

    def say(self, to: str, body: str) -> None:
        self.sent[body] = time.monotonic()
        message = self.client.make_message(mto=to, mbody=body, mtype="chat")
        message["id"] = self.client.new_id()
        self._bodies[message["id"]] = body
        message.send()

    async def _stay(self) -> None:
        while True:
            await asyncio.sleep(0.1)
            if self.client.transport is None:
                self.client.is_ready = False
                try:
                    await self._come_back()
                except (Failure, OSError):
                    await asyncio.sleep(0.3)

    async def _come_back(self) -> None:
        if self._resumes and self.client["xep_0198"].sm_id:
            try:
                await self.client.resume(5)
                self.client.is_ready = True
                self.resumed += 1
                return
            except Failure as failure:
                if "stream management" not in str(failure):
                    raise
                await self.client.cut()
        await self._sign_in()
        self.renewed += 1

    async def _sign_in(self) -> None:
        if self.client is not None:
            self.client.cancel_connection_attempt()
        client = self._stage.client(self.jid, plugins=self._plugins)
        client.is_ready = False
        client.add_event_handler("stanza_acked", self._acked)
        client.add_event_handler("message", self._came)
        client.add_event_handler("message_error", self._came)
        await client.login(5)
        self.client = client
        await client.get_roster(timeout=5)
        client.send_presence()
        client.is_ready = True

    def _acked(self, stanza) -> None:
        if stanza.name == "message" and stanza["body"]:
            self.acknowledged.add(stanza["body"])

    def _came(self, stanza) -> None:
        body = stanza["body"]
        if stanza["type"] == "error":
            self.bounced.add(body or self._bodies.get(stanza["id"], ""))
        elif body:
            self.arrived[body] += 1


async def kept(client: Client) -> set[str]:
    """What the account's archive has, by its server."""
    found = set()
    async for message in client["xep_0313"].iterate(rsm={"max": 200}):
        found.add(message["mam_result"]["forwarded"]["stanza"]["body"])
    return found
