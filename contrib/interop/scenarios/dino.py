"""Dino under Xvfb: login found by SRV, presence at a slixmpp peer, and a message in Dino's database."""

import asyncio
import pathlib
import sqlite3

from lib.desktop import Desktop
from lib.processes import end, until
from lib.stage import Stage


async def run(stage: Stage) -> None:
    jid, peer_jid = stage.add_account("romeo"), stage.add_account("juliet")
    desktop = Desktop(stage.folder, stage.artefacts)
    database = desktop.home / ".local/share/dino/dino.db"
    peer = await stage.login(peer_jid)
    await stage.subscribe(jid, peer)
    said = await stage.converse(jid, peer)
    try:
        with stage.step("Dino makes its database and takes an account in it", needed=True):
            await desktop.start()
            first = desktop.spawn("dino-im")
            await until(lambda: database.is_file() and "account" in tables(database), "database", 30, pause=1)
            end(first)
            add_account(database, jid, stage.password)
        with stage.step("Dino logs in and a peer that subscribed sees its presence", needed=True):
            account = await stage.login(jid)
            peer.send_presence_subscription(pto=jid, ptype="subscribe")
            await account.sees_presence(peer_jid, "subscribe")
            account.send_presence_subscription(pto=peer_jid, ptype="subscribed")
            await peer.sees_presence(jid, "available")
            await account.logout()
            await peer.sees_presence(jid, "unavailable")
            desktop.spawn("dino-im")
            await peer.sees_presence(jid, "available", timeout=40)
        with stage.step("what was said before is in Dino's database, out of the archive"):
            await until(lambda: set(said) <= bodies(database), "rows", 30, pause=0.5)
        with stage.step("a message from the peer is in Dino's database"):
            peer.send_message(mto=jid, mbody="Wilt thou be gone? It is not yet near day", mtype="chat")
            await until(lambda: "Wilt thou be gone? It is not yet near day" in bodies(database), "row", pause=0.5)
        with stage.step("the chat with its history is on the screen"):
            desktop.command("dino-im", f"xmpp:{peer_jid}?message")
            await asyncio.sleep(3)
            desktop.screenshot("history")
    finally:
        try:
            desktop.screenshot("end")
        finally:
            desktop.close()


def query(database: pathlib.Path, statement: str) -> set[str]:
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=5)
    try:
        return {row[0] for row in connection.execute(statement)}
    finally:
        connection.close()


def tables(database: pathlib.Path) -> set[str]:
    return query(database, "SELECT name FROM sqlite_master")


def bodies(database: pathlib.Path) -> set[str]:
    return query(database, "SELECT body FROM message")


def add_account(database: pathlib.Path, jid: str, password: str) -> None:
    connection = sqlite3.connect(database, timeout=5)
    with connection:
        connection.execute("INSERT INTO account (bare_jid, resourcepart, password, enabled) VALUES (?, 'dino', ?, 1)",
                           (jid, password))
    connection.close()
