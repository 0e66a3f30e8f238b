"""Two Profanity instances: trust by the system's store, subscription, presence, chat, a guest, and a restart in between."""

import json
import re

from lib.stage import Stage
from lib.terminal import Terminal


async def run(stage: Stage) -> None:
    romeo_jid, juliet_jid = stage.add_account("romeo"), stage.add_account("juliet")
    romeo, juliet = (Terminal(name, stage.folder, stage.artefacts) for name in ("romeo", "juliet"))
    try:
        with stage.step("two Profanity instances log in with TLS, found by SRV", needed=True):
            for terminal, jid in ((romeo, romeo_jid), (juliet, juliet_jid)):
                await login(terminal, jid, stage.password)
        with stage.step("they subscribe to each other", needed=True):
            await subscribe(romeo, romeo_jid, juliet, juliet_jid)
            await subscribe(juliet, juliet_jid, romeo, romeo_jid)
            for terminal, other in ((romeo, juliet_jid), (juliet, romeo_jid)):
                await terminal.type("/roster")
                await terminal.shows(rf"{re.escape(other)}.*(Both|both)")
        with stage.step("a change of presence is seen"):
            await romeo.type("/status set away reading")
            await juliet.type(f"/status get {romeo_jid}")
            await juliet.shows("reading")
        with stage.step("they chat both ways"):
            await romeo.type(f"/msg {juliet_jid} But soft & <light>")
            await juliet.type(f"/msg {romeo_jid} Ay me")
            await juliet.shows(r"But soft & <light>")
            await romeo.shows(r": Ay me")
        with stage.step("a guest logs in with an invitation as with an account, and chats"):
            await chat_with_guest(stage, romeo, romeo_jid)
        with stage.step("one leaves and the other sees it"):
            await romeo.type("/win 1")
            await juliet.type("/quit")
            await romeo.shows(rf"{juliet_jid}.*offline|offline.*{juliet_jid}|is offline")
        with stage.step("a message left for an absent Profanity arrives after a restart of the server"):
            await romeo.type(f"/msg {juliet_jid} Parting is such sweet sorrow")
            await romeo.type("/win 1")
            await romeo.type("/ping")
            await romeo.shows(r"Ping response from server|Pinged server")
            await stage.server.restart()
            juliet.close()
            juliet = Terminal("juliet-again", stage.folder, stage.artefacts)
            await login(juliet, juliet_jid, stage.password)
            await juliet.type(f"/msg {romeo_jid}")
            await juliet.shows("Parting is such sweet sorrow")
    finally:
        romeo.close()
        juliet.close()


async def login(terminal: Terminal, jid: str, password: str, *settings: str) -> None:
    """`settings` are commands typed before the connection is made."""
    terminal.start("profanity", "--log", "DEBUG")
    await terminal.shows("Profanity")
    for command in ("/autoconnect off", *settings):
        await terminal.type(command)
    await terminal.type(f"/connect {jid} tls force")
    await terminal.shows("Enter password")
    await terminal.type(password)
    await terminal.shows(rf"{re.escape(jid)}.* logged in successfully")


async def subscribe(one: Terminal, one_jid: str, other: Terminal, other_jid: str) -> None:
    await one.type(f"/sub request {other_jid}")
    await other.shows(rf"Received authorization request from {re.escape(one_jid)}")
    await other.type("/win 1")
    await other.type(f"/sub allow {one_jid}")
    await one.type("/win 1")


async def chat_with_guest(stage: Stage, host: Terminal, host_jid: str) -> None:
    invitation = json.loads(stage.server.guests("invite", host_jid, "--host", stage.guests, "--json"))
    guest = Terminal("guest", stage.folder, stage.artefacts)
    try:
        await login(guest, invitation["address"], invitation["password"])
        await guest.type(f"/msg {host_jid} A torch for me")
        await host.type(f"/msg {invitation['address']} Be merry")
        await host.shows("A torch for me")
        await guest.shows(": Be merry")
    finally:
        guest.close()
