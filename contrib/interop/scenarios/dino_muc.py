"""A room in Dino under Xvfb: entered by a bookmark, with its history and what is said, and again after a restart."""

from lib.desktop import Desktop
from lib.processes import end, until
from lib.rooms import enter, item, prepare, stands
from lib.stage import Stage
from lib.steps import expect

from .dino import add_account, bodies, tables


async def run(stage: Stage) -> None:
    jid, room = stage.add_account("romeo"), f"balcony@{stage.rooms}"
    desktop = Desktop(stage.folder, stage.artefacts)
    database = desktop.home / ".local/share/dino/dino.db"
    with stage.step("a room with a history, and a bookmark for it in the account", needed=True):
        juliet, said = await prepare(stage, jid, room)
    try:
        with stage.step("Dino logs in and enters the room of its bookmark", needed=True):
            await desktop.start()
            first = desktop.spawn("dino-im")
            await until(lambda: database.is_file() and "account" in tables(database), "database", 30, pause=1)
            end(first)
            add_account(database, jid, stage.password)
            desktop.spawn("dino-im")
            seen = await juliet.sees_presence("Romeo", timeout=45)
            expect(item(seen)["jid"].startswith(jid) and stands(seen)[1] == "participant", str(seen))
        with stage.step("what was said before is in Dino's database"):
            await until(lambda: set(said) <= bodies(database), "rows", 30, pause=0.5)
        with stage.step("what the peer says in the room is in Dino's database"):
            juliet.say("Good night, good night! Parting is such sweet sorrow")
            await until(lambda: "Good night, good night! Parting is such sweet sorrow" in bodies(database), "row",
                        pause=0.5)
        with stage.step("what is typed into Dino's window is heard in the room"):
            window = desktop.command("xdotool", "search", "--onlyvisible", "--class", "dino").split()[-1]
            await desktop.type(window, "Sleep dwell upon thine eyes", above_bottom=38)
            await juliet.sees(lambda s: s["body"] == "Sleep dwell upon thine eyes", "message")
            desktop.screenshot("room")
        with stage.step("Dino is in the room again after a restart of the server"):
            await stage.server.restart()
            peer = await stage.login(juliet.client.boundjid.bare, plugins=("xep_0045",))
            juliet = await enter(peer, room, "Juliet", maxstanzas=0)
            if "Romeo" not in juliet.others:
                await juliet.sees_presence("Romeo", timeout=60)
            juliet.say("O blessed, blessed night!")
            await until(lambda: "O blessed, blessed night!" in bodies(database), "row", pause=0.5)
    finally:
        try:
            desktop.screenshot("end")
        finally:
            desktop.close()
