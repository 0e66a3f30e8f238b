"""mcabber, an old client on libloudmouth: STARTTLS on a named host, subscription, chat with a slixmpp peer, a room."""

from lib.rooms import PLUGINS, create, stands
from lib.stage import Stage
from lib.steps import expect
from lib.terminal import Terminal


async def run(stage: Stage) -> None:
    jid, peer_jid = stage.add_account("romeo"), stage.add_account("juliet")
    terminal = Terminal("mcabber", stage.folder, stage.artefacts)
    configuration = terminal.home / "mcabberrc"
    # Its libloudmouth cannot be told which CA to trust.
    configuration.write_text(f"""\
set jid = {jid}
set password = {stage.password}
set server = {stage.domain}
set tls = 1
set ssl_ignore_checks = 1
set resource = mcabber
set log_win_height = 20
""")
    configuration.chmod(0o600)
    peer = await stage.login(peer_jid, plugins=PLUGINS)
    try:
        with stage.step("mcabber logs in over STARTTLS", needed=True):
            terminal.start("mcabber", "-f", str(configuration))
            await terminal.shows("Your status has been set")
        with stage.step("mcabber adds the peer, who sees its presence", needed=True):
            await terminal.type(f"/add {peer_jid}")
            await peer.sees_presence(jid, "subscribe")
            peer.send_presence_subscription(pto=jid, ptype="subscribed")
            peer.send_presence_subscription(pto=jid, ptype="subscribe")
            await terminal.shows("wants to subscribe")
            await terminal.type(f"/authorization allow {peer_jid}")
            await peer.sees_presence(jid, "available")
        with stage.step("they chat both ways"):
            await terminal.type(f"/say_to {peer_jid} What light through yonder window breaks?")
            await peer.sees_message("What light through yonder window breaks?")
            peer.send_message(mto=jid, mbody="Good night, good night", mtype="chat")
            await terminal.type(f"/roster search {peer_jid}")
            await terminal.type("")    # An empty line opens the chat.
            await terminal.shows("Good night, good night")
        with stage.step("mcabber enters a room, and talks in it both ways"):
            room = f"street@{stage.rooms}"
            juliet = await create(peer, room, "Juliet")
            juliet.say("said before")
            await juliet.hears("said before")
            await terminal.type(f"/room join {room} Romeo")
            seen = await juliet.sees_presence("Romeo")
            expect(stands(seen)[1] == "participant", str(seen))
            await terminal.type(f"/roster search {room}")
            await terminal.type("")
            await terminal.shows("said before")
            juliet.say("What's this? What's this?")
            await terminal.shows("What's this")
            await terminal.type("A rhyme I learn'd even now")
            await juliet.sees(lambda s: s["body"] == "A rhyme I learn'd even now", "message")
    finally:
        terminal.close()
