"""What outlives the server's process: rosters, offline messages, accounts; and how it says goodbye."""

from lib.stage import Stage
from lib.steps import expect

STREAM_ERRORS = "{urn:ietf:params:xml:ns:xmpp-streams}"


async def run(stage: Stage) -> None:
    romeo_jid, juliet_jid = stage.add_account("romeo"), stage.add_account("juliet")
    with stage.step("two accounts know each other and one is offline with messages waiting", needed=True):
        romeo, juliet = await stage.login(romeo_jid), await stage.login(juliet_jid, direct=True)
        for one, other in ((romeo, juliet), (juliet, romeo)):
            one.send_presence_subscription(pto=other.boundjid.bare, ptype="subscribe")
            await other.sees_presence(one.boundjid.bare, "subscribe")
            other.send_presence_subscription(pto=one.boundjid.bare, ptype="subscribed")
            await one.sees_presence(other.boundjid.bare, "available")
        await romeo.update_roster(juliet_jid, name="Juliet", groups=["Verona"])
        await juliet.logout()
        await romeo.sees_presence(juliet_jid, "unavailable")
        for number in range(1, 6):
            romeo.send_message(mto=juliet_jid, mbody=f"before {number}", mtype="chat")
        await romeo["xep_0199"].send_ping(stage.domain, timeout=10)
    with stage.step("SIGTERM ends the stream with system-shutdown (RFC 6120 §4.9.3.19)"):
        status = await stage.server.stop()
        error = await romeo.sees(lambda s: s.name == "error", "stream error")
        expect(error.xml.find(f"{STREAM_ERRORS}system-shutdown") is not None, str(error))
    with stage.step("the server exits with 0 after SIGTERM"):
        expect(status == 0, f"exit status {status}")
    with stage.step("the server starts again on the same data", needed=True):
        await stage.server.start()
    with stage.step("the roster survived"):
        romeo = await stage.login(romeo_jid)
        items = (await romeo.ask("get", "<query xmlns='jabber:iq:roster'/>"))["roster"]["items"]
        item = items.get(juliet_jid)
        expect(item and item["subscription"] == "both" and item["name"] == "Juliet", str(items))
        expect(list(item["groups"]) == ["Verona"], str(items))
    with stage.step("the offline messages survived, in order, with delay stamps"):
        juliet = await stage.login(juliet_jid)
        await waiting(juliet, "before")
    with stage.step("presence flows between them as before"):
        await romeo.sees_presence(juliet_jid, "available")
        await juliet.sees_presence(romeo_jid, "available")
    await killed(stage, romeo_jid, juliet_jid, romeo, juliet)


async def killed(stage, romeo_jid, juliet_jid, romeo, juliet) -> None:
    """What was acknowledged before a crash is there after it; an IQ answered later acknowledges what went before."""
    with stage.step("after SIGKILL what was answered for is still there"):
        await juliet.logout()
        await romeo.sees_presence(juliet_jid, "unavailable")
        for number in range(1, 6):
            romeo.send_message(mto=juliet_jid, mbody=f"crash {number}", mtype="chat")
        await romeo.update_roster(juliet_jid, name="Juliet C.")
        await stage.server.kill9()
        await stage.server.start()
        juliet = await stage.login(juliet_jid)
        await waiting(juliet, "crash")
        romeo = await stage.login(romeo_jid)
        items = (await romeo.ask("get", "<query xmlns='jabber:iq:roster'/>"))["roster"]["items"]
        expect(items[juliet_jid]["name"] == "Juliet C.", str(items))


async def waiting(client, prefix: str) -> None:
    seen = [await client.sees(lambda s: s.name == "message" and s["body"], "message") for _ in range(5)]
    bodies = [message["body"] for message in seen]
    expect(bodies == [f"{prefix} {number}" for number in range(1, 6)], str(bodies))
    expect(all(message["delay"]["stamp"] for message in seen), f"no stamp: {seen[0]}")
