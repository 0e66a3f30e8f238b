"""An external component (XEP-0114) made of slixmpp's class: what it is sent, what it sends, and what it may do beyond."""

import asyncio

import slixmpp
from slixmpp.exceptions import IqError
from slixmpp.xmlstream import ET
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath
from slixmpp.xmlstream.stanzabase import StanzaBase

from lib.processes import until
from lib.servers import ADDRESS, COMPONENT_PORT, GATEWAY_SECRET
from lib.stage import Stage
from lib.steps import Failure, expect

DELEGATION, FORWARD = "{urn:xmpp:delegation:2}", "{urn:xmpp:forward:0}"


class Echo(slixmpp.ComponentXMPP):
    """Answers every chat message with its body, and every subscription with consent."""

    def __init__(self, jid: str, secret: str = GATEWAY_SECRET):
        super().__init__(jid, secret, ADDRESS, COMPONENT_PORT)
        for plugin in ("xep_0030", "xep_0199", "xep_0356"):
            self.register_plugin(plugin)
        self["xep_0030"].add_identity(category="gateway", itype="irc", name="Echo")
        self.came: list[StanzaBase] = []
        self.add_filter("in", self._remember)
        # slixmpp answers with an error what nothing is registered for.
        delegated = MatchXPath(f"{{{self.default_ns}}}iq/{DELEGATION}delegation")
        self.register_handler(Callback("Delegation", delegated, lambda _: None))
        self.add_event_handler("message", self._echo)
        self.add_event_handler("presence_subscribe", self._consent)

    async def login(self) -> None:
        outcome = asyncio.get_running_loop().create_future()

        def settle(reason: str | None) -> None:
            if not outcome.done():
                outcome.set_result(reason)

        with (self.event_handler("session_start", lambda _: settle(None)),
              self.event_handler("stream_error", lambda error: settle(error["condition"])),
              self.event_handler("connection_failed", lambda error: settle(f"connection: {error}"))):
            self.connect()
            reason = await asyncio.wait_for(outcome, 15)
        if reason is not None:
            self.cancel_connection_attempt()
            raise Failure(reason)

    async def logout(self) -> None:
        self.cancel_connection_attempt()
        if self.is_connected():
            await asyncio.wait_for(self.disconnect(), 10)

    async def sees(self, wanted, what: str, timeout: float = 10) -> StanzaBase:
        return await until(lambda: next((s for s in self.came if wanted(s)), None), what, timeout, pause=0.02)

    def _remember(self, stanza: StanzaBase) -> StanzaBase:
        self.came.append(stanza)
        return stanza

    def _echo(self, message: StanzaBase) -> None:
        if message["type"] == "chat" and message["body"]:
            self.send_message(mto=message["from"], mfrom=message["to"], mbody=message["body"], mtype="chat")

    def _consent(self, presence: StanzaBase) -> None:
        for kind in ("subscribed", "subscribe"):
            self.send_presence(pto=presence["from"].bare, pfrom=presence["to"].bare, ptype=kind)
        self.send_presence(pto=presence["from"].bare, pfrom=f"{presence['to'].bare}/echo")


async def run(stage: Stage) -> None:
    romeo, juliet = await stage.login(stage.add_account("romeo")), await stage.login(stage.add_account("juliet"))
    nurse = f"nurse@{stage.gateway}"
    with stage.step("a component with a wrong secret is refused (XEP-0114 §3)"):
        stranger = Echo(stage.gateway, "guessed")
        try:
            await stranger.login()
        except Failure as failure:
            expect("not-authorized" in str(failure), str(failure))
        else:
            raise Failure("it was let in")
        finally:
            await stranger.logout()
    echo = Echo(stage.gateway)
    try:
        with stage.step("a component proves itself and is connected", needed=True):
            await echo.login()
        await conversation(stage, echo, romeo, juliet, nurse)
        await privileges(stage, echo, romeo, juliet)
        await absence(stage, echo, romeo, nurse)
    finally:
        await echo.logout()


async def conversation(stage: Stage, echo: Echo, romeo, juliet, nurse: str) -> None:
    with stage.step("clients find it among the host's services, and ask it what it is"):
        items = await romeo["xep_0030"].get_items(jid=stage.domain, timeout=10)
        expect(stage.gateway in {item[0] for item in items["disco_items"]["items"]}, str(items))
        info = await romeo["xep_0030"].get_info(jid=stage.gateway, timeout=10)
        kinds = {identity[:2] for identity in info["disco_info"]["identities"]}
        expect(("gateway", "irc") in kinds, str(kinds))
    with stage.step("hundreds of messages to it come back, each sender's in order"):
        for number in range(150):
            for client in (romeo, juliet):
                client.send_message(mto=nurse, mbody=f"{client.boundjid.user} {number}", mtype="chat")
        for client in (romeo, juliet):
            await client.sees_bodies([f"{client.boundjid.user} {number}" for number in range(150)])
    with stage.step("users subscribe to those behind it, and they to users"):
        romeo.send_presence_subscription(pto=nurse, ptype="subscribe")
        await romeo.sees_presence(nurse, "subscribe")
        romeo.send_presence_subscription(pto=nurse, ptype="subscribed")
        await romeo.sees_presence(nurse, "available")
        await echo.sees(lambda s: s.name == "presence" and s["from"] == romeo.boundjid
                        and s.xml.get("type") is None and s["to"].bare == nurse, "presence of the user")
    with stage.step("it asks, and is answered"):
        await echo["xep_0199"].send_ping(stage.domain, ifrom=echo.boundjid, timeout=10)


async def privileges(stage: Stage, echo: Echo, romeo, juliet) -> None:
    privileged = echo["xep_0356"]
    with stage.step("the component is told of its privileges (XEP-0356 §4.2)"):
        granted = privileged.granted_privileges[stage.domain]
        expect(str(granted.roster.value if hasattr(granted.roster, "value") else granted.roster) == "both", str(granted))
    with stage.step("it reads and changes a user's roster (XEP-0356 §4.3)"):
        await privileged.set_roster(romeo.boundjid.bare, {
            f"cook@{stage.gateway}": {"name": "Cook", "subscription": "none", "groups": ["Kitchen"]}})
        roster = await privileged.get_roster(romeo.boundjid.bare)
        expect(f"cook@{stage.gateway}" in {str(jid) for jid in roster["roster"]["items"]}, str(roster))
    with stage.step("it sends a message in a user's name (XEP-0356 §5.3)"):
        message = echo.make_message(mto=juliet.boundjid.bare, mfrom=romeo.boundjid.bare, mbody="In his name",
                                    mtype="chat")
        privileged.send_privileged_message(message)
        seen = await juliet.sees_message("In his name")
        expect(seen["from"] == romeo.boundjid.bare, str(seen))
    with stage.step("it sends a request in a user's name (XEP-0356 §6.3)"):
        inner = echo.make_iq_get(ito=juliet.boundjid.bare, ifrom=romeo.boundjid.bare)
        inner.append(ET.fromstring("<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='urn:nothing'/></pubsub>"))
        try:
            await privileged.send_privileged_iq(inner)
        except IqError as error:
            nested = error.nested_error() if hasattr(error, "nested_error") else None
            expect(nested is not None, f"refused itself: {error}")
    with stage.step("it is shown who comes and goes (XEP-0356 §7.1)"):
        echo.came.clear()
        mercutio = await stage.login(stage.add_account("mercutio"))
        jid = mercutio.boundjid
        await echo.sees(lambda s: s.name == "presence" and s["from"] == jid, "presence")
        await mercutio.logout()
        await echo.sees(lambda s: s.name == "presence" and s["from"] == jid and s["type"] == "unavailable", "farewell")
    with stage.step("a request of a delegated namespace is its to answer (XEP-0355 §4.3)"):
        echo.came.clear()
        question = asyncio.ensure_future(romeo.ask("get", "<mood xmlns='urn:example:delegated'/>"))
        request = await echo.sees(lambda s: s.name == "iq" and s.xml.find(f"{DELEGATION}delegation") is not None, "request")
        inner = request.xml.find(f"{DELEGATION}delegation/{FORWARD}forwarded/{{jabber:client}}iq")
        reply = ET.fromstring(
            f"<delegation xmlns='urn:xmpp:delegation:2'><forwarded xmlns='urn:xmpp:forward:0'>"
            f"<iq xmlns='jabber:client' type='result' id='{inner.get('id')}' to='{inner.get('from')}'>"
            f"<mood xmlns='urn:example:delegated'>merry</mood></iq></forwarded></delegation>")
        answer = echo.make_iq_result(id=request["id"], ito=request["from"], ifrom=stage.gateway)
        answer.append(reply)
        answer.send()
        mood = (await question).xml.find("{urn:example:delegated}mood")
        expect(mood is not None and mood.text == "merry", "another answer")


async def absence(stage: Stage, echo: Echo, romeo, nurse: str) -> None:
    with stage.step("messages wait while the component is away, and come in order when it is back"):
        await echo.logout()
        bodies = [f"away {number}" for number in range(10)]
        for body in bodies:
            romeo.send_message(mto=nurse, mbody=body, mtype="chat")
        await romeo["xep_0199"].send_ping(stage.domain, timeout=10)
        await echo.login()
        await romeo.sees_bodies(bodies)
    with stage.step("what waited outlives SIGKILL"):
        await echo.logout()
        romeo.send_message(mto=nurse, mbody="before the end", mtype="chat")
        await romeo["xep_0199"].send_ping(stage.domain, timeout=10)
        await stage.server.kill9()
        await stage.server.start()
        await romeo.logout()
        romeo = await stage.login(romeo.boundjid.bare)
        await echo.login()
        await romeo.sees_message("before the end")
    with stage.step("SIGTERM of the server, and the component is back"):
        await stage.server.restart()
        await echo.logout()
        await echo.login()
        romeo = await stage.login(romeo.boundjid.bare)
        romeo.send_message(mto=nurse, mbody="again", mtype="chat")
        await romeo.sees_message("again")
