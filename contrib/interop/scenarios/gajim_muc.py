"""A room in Gajim under Xvfb: entered by a bookmark, with its history, both ways, and again after a restart."""

import asyncio

from lib.desktop import Desktop
from lib.processes import until
from lib.rooms import enter, item, prepare, stands
from lib.stage import Stage
from lib.steps import expect

from .gajim import ACCOUNT, configure, history, open_chat, remote, type_message


async def run(stage: Stage) -> None:
    jid, room = stage.add_account("romeo"), f"balcony@{stage.rooms}"
    desktop = Desktop(stage.folder, stage.artefacts)
    folder = desktop.home / "gajim"
    configure(folder, jid, stage.password)
    with stage.step("a room with a history, and a bookmark for it in the account", needed=True):
        juliet, said = await prepare(stage, jid, room)
    try:
        with stage.step("Gajim logs in and enters the room of its bookmark", needed=True):
            await desktop.start()
            desktop.spawn("gajim", "-c", str(folder), "-l", "nbxmpp=DEBUG,gajim=INFO")
            seen = await juliet.sees_presence("Romeo", timeout=45)
            expect(item(seen)["jid"].startswith(jid) and stands(seen)[1] == "participant", str(seen))
        with stage.step("what was said before is in Gajim's history"):
            await until(lambda: set(said) <= history(folder), "rows in logs.db")
        with stage.step("what the peer says in the room is in Gajim's history"):
            juliet.say("Good night, good night! Parting is such sweet sorrow")
            await until(lambda: "Good night, good night! Parting is such sweet sorrow" in history(folder), "row")
        with stage.step("what is sent through Gajim's remote control is heard in the room"):
            def is_heard() -> bool:
                """Gajim sends nothing until it knows that it is in."""
                heard = juliet.client.saw(lambda s: s["body"] == "I would I were thy bird")
                if not heard:
                    remote(desktop, "send_groupchat_message", room, "I would I were thy bird", ACCOUNT)
                return any(stanza["from"].resource == "Romeo" for stanza in heard)
            await until(is_heard, "message", pause=1)
        with stage.step("what is typed into Gajim's window is heard in the room"):
            window = await open_chat(desktop, folder, room)
            desktop.command("xdotool", "windowsize", "--sync", window, "1240", "760")
            await asyncio.sleep(1)
            await type_message(desktop, folder, room, "Sleep dwell upon thine eyes")
            await juliet.sees(lambda s: s["body"] == "Sleep dwell upon thine eyes", "message")
            desktop.screenshot("room")
        with stage.step("Gajim is in the room again after a restart of the server"):
            await stage.server.restart()
            peer = await stage.login(juliet.client.boundjid.bare, plugins=("xep_0045",))
            juliet = await enter(peer, room, "Juliet", maxstanzas=0)
            if "Romeo" not in juliet.others:
                await juliet.sees_presence("Romeo", timeout=60)
            juliet.say("O blessed, blessed night!")
            await until(lambda: "O blessed, blessed night!" in history(folder), "row")
    finally:
        try:
            desktop.screenshot("end")
        finally:
            desktop.close()
