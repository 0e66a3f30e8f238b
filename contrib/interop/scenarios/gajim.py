"""Gajim under Xvfb against a slixmpp peer; what it saw is read from its message database and over D-Bus."""

import asyncio
import json
import pathlib
import sqlite3

from lib.desktop import Desktop
from lib.processes import until
from lib.stage import Stage
from lib.steps import Failure

ACCOUNT = "interop"
SETTINGS_VERSION = 5
APP = {"use_keyring": False, "remote_control": True, "check_for_update": False, "autoaway": False, "autoxa": False,
       "show_main_window": "always", "action_on_close": "quit"}


async def run(stage: Stage) -> None:
    jid, peer_jid = stage.add_account("romeo"), stage.add_account("juliet")
    desktop = Desktop(stage.folder, stage.artefacts)
    folder = desktop.home / "gajim"
    configure(folder, jid, stage.password)
    peer = await stage.login(peer_jid)
    await stage.subscribe(jid, peer)
    bodies = await stage.converse(jid, peer)
    try:
        with stage.step("Gajim starts without a wizard and logs in, found by SRV", needed=True):
            await desktop.start()
            desktop.spawn("gajim", "-c", str(folder), "-l", "nbxmpp=DEBUG,gajim=INFO")
            await until(lambda: remote(desktop, "get_status", ACCOUNT) == "online", "status online", 45, pause=1)
        with stage.step("a peer that subscribes is approved and sees Gajim's presence", needed=True):
            peer.send_presence_subscription(pto=jid, ptype="subscribe")
            await peer.sees_presence(jid, "subscribed")
            await peer.sees_presence(jid, "available")
        with stage.step("Gajim's roster shows the peer and its presence"):
            peer.send_presence(pshow="xa", pstatus="asleep")
            await until(lambda: is_shown(remote(desktop, "list_contacts", ACCOUNT), peer_jid, "xa"), "contact",
                        pause=0.5)
        with stage.step("what was said before is in Gajim's history, out of the archive"):
            await until(lambda: set(bodies) <= history(folder), "rows in logs.db")
        with stage.step("a message from the peer is in Gajim's history"):
            peer.send_message(mto=jid, mbody="Gallop apace, you fiery-footed steeds", mtype="chat")
            await until(lambda: "Gallop apace, you fiery-footed steeds" in history(folder), "row in logs.db")
        with stage.step("a message sent through Gajim's remote control reaches the peer"):
            remote(desktop, "send_chat_message", peer_jid, "By a name I know not how", ACCOUNT)
            await peer.sees_message("By a name I know not how")
        with stage.step("the chat with its history is on the screen"):
            window = await open_chat(desktop, folder, peer_jid)
            desktop.command("xdotool", "windowsize", "--sync", window, "1240", "760")
            await asyncio.sleep(1)
            desktop.screenshot("history")
        with stage.step("a message typed into Gajim's window reaches the peer"):
            await type_message(desktop, folder, peer_jid, "I take thee at thy word")
            await peer.sees_message("I take thee at thy word")
        with stage.step("Gajim comes back by itself after a restart of the server"):
            await stage.server.restart()
            peer = await stage.login(peer_jid)
            await peer.sees_presence(jid, "available", timeout=60)
    finally:
        try:
            desktop.screenshot("end")
        finally:
            desktop.close()


def configure(folder: pathlib.Path, jid: str, password: str) -> None:
    """Writes the settings that Gajim's wizard would; `autoauth` stands for the user who approves subscriptions."""
    folder.mkdir(parents=True)
    name, hostname = jid.split("@")
    account = {"name": name, "hostname": hostname, "password": password, "savepass": True, "active": True,
               "autoconnect": True, "autoauth": True, "account_label": ACCOUNT, "resource": "gajim"}
    workspace = {"interop": {"name": "Interop", "color": "rgb(191,64,64)", "avatar_sha": None, "chats": []}}
    with sqlite3.connect(folder / "settings.sqlite") as database:
        database.executescript("""
            CREATE TABLE settings (name TEXT UNIQUE, settings TEXT);
            CREATE TABLE account_settings (account TEXT UNIQUE, settings TEXT);
        """)
        for table, settings in {"app": APP, "soundevents": {}, "status_presets": {}, "proxies": {}, "plugins": {},
                                "workspaces": workspace}.items():
            database.execute("INSERT INTO settings VALUES (?, ?)", (table, json.dumps(settings)))
        database.execute("INSERT INTO account_settings VALUES (?, ?)",
                         (ACCOUNT, json.dumps({"account": account, "contact": {}, "group_chat": {}})))
        database.execute(f"PRAGMA user_version={SETTINGS_VERSION}")
    database.close()


def is_shown(contacts: str, jid: str, show: str) -> bool:
    """Whether the list of contacts names this one with this presence."""
    return jid in contacts and f"'{show}'" in contacts


def remote(desktop: Desktop, *arguments: str) -> str:
    """Asks Gajim over D-Bus; an empty answer while it is not there yet."""
    try:
        return desktop.command("gajim-remote", *arguments).strip()
    except Failure:
        return ""


def history(folder: pathlib.Path) -> set[str]:
    """The bodies of all messages Gajim has stored."""
    path = folder / "logs.db"
    if not path.is_file():
        return set()
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return {row[0] for row in database.execute("SELECT message FROM logs")}
    finally:
        database.close()


async def open_chat(desktop: Desktop, folder: pathlib.Path, peer_jid: str) -> str:
    """Opens the chat by its URI and returns Gajim's window."""
    desktop.command("gajim", "-c", str(folder), f"xmpp:{peer_jid}?message")
    await asyncio.sleep(2)
    return desktop.command("xdotool", "search", "--onlyvisible", "--class", "gajim").split()[-1]


async def type_message(desktop: Desktop, folder: pathlib.Path, peer_jid: str, text: str) -> None:
    """Opens the chat and types where the window has its input line."""
    window = await open_chat(desktop, folder, peer_jid)
    await desktop.type(window, text, above_bottom=24)
