"""slixmpp with a memory: every stanza that came in waits until a scenario asks for it."""

import asyncio
import pathlib
from collections.abc import Awaitable, Callable

import slixmpp
from slixmpp.exceptions import IqError, PresenceError
from slixmpp.stanza import Error
from slixmpp.xmlstream.stanzabase import StanzaBase

from .processes import until
from .steps import Failure, expect

PLUGINS = ("xep_0012", "xep_0030", "xep_0049", "xep_0054", "xep_0077", "xep_0092", "xep_0115", "xep_0199", "xep_0202",
           "xep_0203")

# The one condition of RFC 6120 §8.3.3 that slixmpp does not know; an IQ error with it would be a timeout.
Error.conditions.add("policy-violation")


class Client(slixmpp.ClientXMPP):
    """A client found by SRV, over STARTTLS or over direct TLS, that trusts `authority` only.

    It answers no subscription request by itself. `mechanism` forces a SASL mechanism; `tls` bounds the TLS version;
    `plugins` come on top of `PLUGINS`; `place` is where to connect without asking the DNS. `bodies` are those of all messages sent to it directly, in order of arrival.
    """

    def __init__(self, jid: str, password: str, authority: pathlib.Path, direct: bool = False,
                 mechanism: str | None = None, tls: int | None = None, create_account: bool = False,
                 plugins: tuple[str, ...] = (), place: tuple[str, int] | None = None):
        super().__init__(jid, password, sasl_mech=mechanism)
        for plugin in (*PLUGINS, *plugins):
            self.register_plugin(plugin)
        self["xep_0077"].create_account = create_account
        self.auto_authorize = self.auto_subscribe = None
        self.enable_direct_tls, self.enable_starttls, self.enable_plaintext = direct, not direct, False
        self.ca_certs = authority
        self._place = place or (None, None)
        if tls is not None:
            self.ssl_context.maximum_version = tls
        self.add_filter("in", self._remember)
        self._came: list[StanzaBase] = []
        self._arrival = asyncio.Condition()
        self.bodies: list[str] = []
        self.mechanisms: set[str] = set()
        self.stream_features: StanzaBase | None = None

    async def login(self, timeout: float = 15) -> None:
        """Connects, authenticates and binds; fails with the server's reason."""
        await self._connected("session_start", timeout)
        if "xep_0198" in self.plugin and "sm" in self.stream_features["features"]:
            await until(lambda: "stream_management" in self.features, "stream management (XEP-0198)")

    async def resume(self, timeout: float = 15) -> None:
        """Connects and resumes the session (XEP-0198 §5); fails if it cannot be."""
        await self._connected("session_resumed", timeout)

    async def cut(self) -> None:
        """Loses the connection without a word."""
        if self.transport:
            self.transport.abort()
        await until(lambda: self.transport is None, "end of the connection")

    async def _connected(self, event: str, timeout: float) -> None:
        outcome: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()

        def settle(reason: str | None) -> None:
            if not outcome.done():
                outcome.set_result(reason)

        with (self.event_handler(event, lambda _: settle(None)),
              self.event_handler("sm_failed", lambda stanza: settle(f"stream management: {stanza}")),
              self.event_handler("failed_all_auth", lambda _: settle("no mechanism let the account in")),
              self.event_handler("ssl_invalid_chain", lambda error: settle(f"certificate: {error}")),
              self.event_handler("connection_failed", lambda error: settle(f"connection: {error}")),
              self.event_handler("disconnected", lambda reason: settle(f"disconnected: {reason}"))):
            self.connect(*self._place)
            try:
                reason = await asyncio.wait_for(outcome, timeout)
            except asyncio.TimeoutError:
                reason = f"no session within {timeout:g} s"
        if reason is not None:
            self.cancel_connection_attempt()
            raise Failure(f"login of {self.requested_jid}: {reason}")

    async def is_refused(self) -> None:
        """Fails if the account can log in."""
        try:
            await self.login()
        except Failure:
            return
        raise Failure(f"{self.requested_jid} could log in")

    async def logout(self) -> None:
        """Closes the stream in order; harmless when there is none."""
        self.cancel_connection_attempt()
        if self.is_connected():
            await asyncio.wait_for(self.disconnect(), 10)

    async def sees(self, wanted: Callable[[StanzaBase], object], what: str, timeout: float = 10) -> StanzaBase:
        """The first stanza not asked for before that `wanted` accepts; waits for it."""
        async def search() -> StanzaBase:
            async with self._arrival:
                while True:
                    for index, stanza in enumerate(self._came):
                        if wanted(stanza):
                            return self._came.pop(index)
                    await self._arrival.wait()
        try:
            return await asyncio.wait_for(search(), timeout)
        except asyncio.TimeoutError:
            raise Failure(f"{self.requested_jid.bare} saw no {what} within {timeout:g} s") from None

    async def sees_message(self, body: str, timeout: float = 10) -> StanzaBase:
        return await self.sees(lambda s: s.name == "message" and s["body"] == body, f"message “{body}”", timeout)

    async def sees_bodies(self, wanted: list[str], timeout: float = 15) -> None:
        """Fails unless exactly these messages came since the last call, in this order."""
        try:
            await until(lambda: len(self.bodies) >= len(wanted), "messages", timeout)
        except Failure:
            missing = [body for body in wanted if body not in self.bodies]
            raise Failure(f"{self.requested_jid.bare} saw {len(self.bodies)} of {len(wanted)} messages, not "
                          f"{missing[:5]}") from None
        await self["xep_0199"].send_ping(self.domain, timeout=10)
        bodies, self.bodies = self.bodies, []
        if bodies != wanted:
            twice = sorted({body for body in bodies if bodies.count(body) > 1})
            place = next(i for i, pair in enumerate(zip(bodies + [None], wanted + [None])) if pair[0] != pair[1])
            raise Failure(f"{self.requested_jid.bare} saw {len(bodies)} messages, not {len(wanted)}; twice {twice}; "
                          f"from {place} on {bodies[place:place + 3]} instead of {wanted[place:place + 3]}")

    async def sees_presence(self, sender: str, kind: str, timeout: float = 10) -> StanzaBase:
        """`kind` is the type attribute, or `available` where there is none; `sender` is a bare JID."""
        return await self.sees(
            lambda s: s.name == "presence" and s["from"].bare == sender and s.xml.get("type", "available") == kind,
            f"{kind} presence from {sender}", timeout)

    def saw(self, wanted: Callable[[StanzaBase], object]) -> list[StanzaBase]:
        """The stanzas here by now that `wanted` accepts; they are not asked for again."""
        found, left = [], []
        for stanza in self._came:
            (found if wanted(stanza) else left).append(stanza)
        self._came = left
        return found

    async def sees_nothing(self, unwanted: Callable[[StanzaBase], object], what: str) -> None:
        """Fails if an unwanted stanza is here by the time the server answers a ping: stanzas keep their order."""
        await self["xep_0199"].send_ping(self.domain, timeout=10)
        if any(unwanted(stanza) for stanza in self._came):
            raise Failure(f"{self.requested_jid.bare} saw {what}")

    @property
    def domain(self) -> str:
        return self.requested_jid.domain

    async def ask(self, kind: str, payload: str, to: str | None = None) -> StanzaBase:
        """Sends an IQ with this XML for payload and returns the answer; raises `IqError`."""
        iq = self.make_iq(ito=to, itype=kind)
        iq.append(slixmpp.xmlstream.ET.fromstring(payload))
        return await iq.send(timeout=10)

    def _remember(self, stanza: StanzaBase) -> StanzaBase:
        if stanza.name == "features":
            self.stream_features = stanza
            self.mechanisms |= {element.text for element in stanza.xml.iter() if element.tag.endswith("}mechanism")}
        elif stanza.name != "iq" or stanza["type"] == "set":
            self._came.append(stanza)
            if stanza.name == "message" and stanza["body"] and stanza["type"] != "error":
                self.bodies.append(stanza["body"])
            asyncio.ensure_future(self._announce())
        return stanza

    async def _announce(self) -> None:
        async with self._arrival:
            self._arrival.notify_all()


async def refused(question: Awaitable, *conditions: str) -> None:
    """Fails unless the answer is an error, with one of these conditions if any are named."""
    try:
        await question
    except (IqError, PresenceError) as error:
        expect(not conditions or error.condition in conditions, f"{error.condition}, not {' or '.join(conditions)}")
    else:
        raise Failure("was answered with a result")
