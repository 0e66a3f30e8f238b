"""OMEMO between two accounts in Profanity, encrypted in the archive, clear on both screens; and what a second device
sees by carbons and from the archive."""

import re

from slixmpp.xmlstream import ET

from lib.client import Client
from lib.stage import Stage
from lib.steps import expect
from lib.terminal import Terminal

from .profanity import login, subscribe

FINGERPRINT = r"[0-9a-f]{8}(?:-[0-9a-f]{8}){7}"
ENCRYPTED = "{eu.siacs.conversations.axolotl}encrypted"


async def run(stage: Stage) -> None:
    romeo_jid, juliet_jid = stage.add_account("romeo"), stage.add_account("juliet")
    terminals = [Terminal(name, stage.folder, stage.artefacts) for name in ("romeo", "juliet")]
    romeo, juliet = terminals
    try:
        with stage.step("two Profanity instances log in and subscribe to each other", needed=True):
            for terminal, jid in ((romeo, romeo_jid), (juliet, juliet_jid)):
                await login(terminal, jid, stage.password)
            await subscribe(romeo, romeo_jid, juliet, juliet_jid)
            await subscribe(juliet, juliet_jid, romeo, romeo_jid)
        with stage.step("both publish keys, and the other can read them", needed=True):
            for terminal in (romeo, juliet):
                await terminal.type("/omemo gen")
                await terminal.shows("OMEMO cr[a-z]+ materials generated", 60)
            for jid, contact in ((romeo_jid, juliet_jid), (juliet_jid, romeo_jid)):
                reader = stage.client(jid, plugins=("xep_0060",))
                await reader.login()
                await has_keys(reader, contact)
                await reader.logout()
        with stage.step("they trust each other's keys and start a session", needed=True):
            for terminal, jid in ((romeo, juliet_jid), (juliet, romeo_jid)):
                await trust(terminal, jid)
        with stage.step("an encrypted message is clear on the other's screen, both ways"):
            await romeo.type("It is the east")
            await juliet.shows(": It is the east")
            await juliet.type("What man art thou")
            await romeo.shows(": What man art thou")
        with stage.step("both archives have it encrypted, and nowhere in clear"):
            for jid in (romeo_jid, juliet_jid):
                await is_encrypted(stage, jid, 2, ("It is the east", "What man art thou"))
        with stage.step("a message for an absent OMEMO client is clear once it is back"):
            await juliet.type("/win 1")
            await juliet.type("/disconnect")
            await juliet.shows("disconnected|Disconnected|logged out")
            await romeo.type("And Juliet is the sun")
            await romeo.type("/win 1")
            await juliet.type(f"/connect {juliet_jid} tls force")
            await juliet.shows("Enter password")
            await juliet.type(stage.password)
            await juliet.type(f"/msg {romeo_jid}")
            await juliet.shows("And Juliet is the sun")
        await devices(stage, terminals, romeo_jid, juliet_jid)
    finally:
        for terminal in terminals:
            terminal.close()


async def has_keys(client: Client, jid: str) -> None:
    devices = await client["xep_0060"].get_items(jid, "eu.siacs.conversations.axolotl.devicelist", timeout=10)
    identities = re.findall(r"<device id=\"(\d+)\"", str(devices))
    expect(identities, f"no devices of {jid}")
    node = f"eu.siacs.conversations.axolotl.bundles:{identities[0]}"
    bundle = await client["xep_0060"].get_items(jid, node, timeout=10)
    expect("<preKeyPublic " in str(bundle), f"no pre-keys of {jid}")


async def trust(terminal: Terminal, contact: str) -> None:
    """Trusts what the contact publishes, as somebody who compared fingerprints would, and switches OMEMO on."""
    await terminal.type(f"/msg {contact}")
    await terminal.type("/omemo start")
    await terminal.type("/omemo fingerprint")
    await terminal.shows(rf"{re.escape(contact)}.*{FINGERPRINT}|{FINGERPRINT}.*(un)?trusted")
    for fingerprint in dict.fromkeys(re.findall(FINGERPRINT, terminal.screen())):
        await terminal.type(f"/omemo trust {fingerprint}")
    await terminal.type("/omemo start")
    await terminal.shows(r"\[OMEMO\]")


async def archived(client: Client) -> list[ET.Element]:
    return [message["mam_result"]["forwarded"]["stanza"].xml
            async for message in client["xep_0313"].iterate(rsm={"max": 100})]


async def is_encrypted(stage: Stage, jid: str, count: int, secrets: tuple[str, ...]) -> None:
    client = stage.client(jid, plugins=("xep_0313",))
    await client.login()
    kept = await archived(client)
    await client.logout()
    encrypted = [message for message in kept if message.find(ENCRYPTED) is not None]
    expect(len(encrypted) >= count, f"{len(encrypted)} encrypted messages in the archive of {jid}")
    text = "".join(ET.tostring(message, encoding="unicode") for message in kept)
    expect(not any(secret in text for secret in secrets), f"the archive of {jid} has it in clear")


async def devices(stage: Stage, terminals: list[Terminal], romeo_jid: str, juliet_jid: str) -> None:
    """A second device of romeo's, with carbons, and a new one of juliet's, with the archive; without OMEMO."""
    romeo, juliet = terminals
    laptop, tablet = (Terminal(name, stage.folder, stage.artefacts) for name in ("romeo-laptop", "juliet-tablet"))
    terminals += [laptop, tablet]
    with stage.step("a second device logs in with carbons on", needed=True):
        await login(laptop, romeo_jid, stage.password, "/carbons on")
        await romeo.type("/win 1")
        await romeo.type("/carbons on")
        await romeo.type(f"/msg {juliet_jid}")
        await romeo.type("/omemo end")
        await romeo.type("/omemo policy manual")
        await juliet.type("/omemo end")
    with stage.step("it shows what the first one sends"):
        await romeo.type(f"/msg {juliet_jid} By love, that first did prompt me")
        await juliet.shows("By love, that first did prompt me")
        await laptop.type(f"/msg {juliet_jid}")
        await laptop.shows("By love, that first did prompt me")
    with stage.step("it shows what the first one receives"):
        await juliet.type("By whose direction found'st thou out this place?")
        await romeo.shows("By whose direction found'st thou out")
        await laptop.shows("By whose direction found'st thou out")
    with stage.step("a new device shows the history out of the archive"):
        await juliet.type("/quit")
        await login(tablet, juliet_jid, stage.password, "/history on", "/mam on")
        await tablet.type(f"/msg {romeo_jid}")
        await tablet.shows("By love, that first did prompt me")
        await tablet.shows("By whose direction found'st thou out")
    with stage.step("after a restart of the server the devices are back and the archive is the same"):
        await stage.server.restart()
        client = await stage.login(juliet_jid, plugins=("xep_0313",))
        bodies = [message.findtext("{jabber:client}body") for message in await archived(client)]
        expect("By love, that first did prompt me" in bodies, str(bodies[-3:]))
