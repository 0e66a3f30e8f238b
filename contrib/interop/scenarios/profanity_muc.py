"""Rooms in Profanity: two instances and a slixmpp peer, from the room's making to its end."""

import re

from lib.client import Client
from lib.rooms import administer, create, enter, info, is_subject, item, listed, login as sign_in, stands
from lib.stage import Stage
from lib.steps import expect
from lib.terminal import Terminal

from .profanity import login, subscribe
from .profanity_omemo import ENCRYPTED

# The occupants are listed at the right.
IN_THE_PANEL = r"(?m)  %s *$"


async def run(stage: Stage) -> None:
    romeo_jid, juliet_jid = stage.add_account("romeo"), stage.add_account("juliet")
    # High enough for the form of a room.
    romeo, juliet = (Terminal(name, stage.folder, stage.artefacts, rows=110) for name in ("romeo", "juliet"))
    peer = await sign_in(stage, "nurse")
    room = f"orchard@{stage.rooms}"
    try:
        with stage.step("two Profanity instances log in and subscribe to each other", needed=True):
            for terminal, jid in ((romeo, romeo_jid), (juliet, juliet_jid)):
                await login(terminal, jid, stage.password)
            await subscribe(romeo, romeo_jid, juliet, juliet_jid)
            await subscribe(juliet, juliet_jid, romeo, romeo_jid)
        with stage.step("Profanity makes a room, which waits for its configuration", needed=True):
            await romeo.type(f"/join {room} nick Romeo")
            await romeo.shows(r"requires configuration")
        with stage.step("it fills in the form and opens the room", needed=True):
            await configure(romeo, name="The Orchard")
            about = await info(peer, room)
            expect("The Orchard" in {title for *_, title in about.identities}, str(about.identities))
        with stage.step("another Profanity and the peer enter, and Profanity shows who is there", needed=True):
            await juliet.type(f"/join {room} nick Juliet")
            await romeo.shows(IN_THE_PANEL % "Juliet")
            nurse = await enter(peer, room, "Nurse")
            expect(set(nurse.others) == {"Romeo", "Juliet"}, str(list(nurse.others)))
            for terminal in (romeo, juliet):
                await terminal.shows(IN_THE_PANEL % "Nurse")
        with stage.step("they talk, and all hear it"):
            await romeo.type("With love's light wings did I o'erperch these walls")
            await juliet.type("If they do see thee they will murder thee & <me>")
            await nurse.hears("With love's light wings did I o'erperch these walls",
                              "If they do see thee they will murder thee & <me>")
            nurse.say("Madam!")
            for terminal in (romeo, juliet):
                await terminal.shows(r"Nurse: Madam!")
            await romeo.shows(r"Juliet: If they do see thee they will murder thee & <me>")
            await juliet.shows(r"Romeo: With love's light wings")
        with stage.step("who comes later has the history on the screen"):
            await juliet.type("/close")
            await nurse.sees_presence("Juliet", "unavailable")
            await juliet.type(f"/join {room} nick Juliet")
            await juliet.shows(r"Romeo: With love's light wings")
            await nurse.sees_presence("Juliet")
        with stage.step("the subject is set, and shown"):
            await romeo.type("/subject set A rose by any other name")
            await juliet.shows(r"subject: .*A rose by any other name|A rose by any other name")
            seen = await nurse.sees(is_subject, "subject")
            expect(seen["subject"] == "A rose by any other name", str(seen))
        with stage.step("a private message goes to one"):
            await romeo.type("/msg Juliet For your ears only")
            await juliet.shows(r"orchard@.*Juliet|Romeo")
            await juliet.type(f"/win {room}/Romeo")
            await juliet.shows(r"For your ears only")
            await juliet.type("And for yours")
            await romeo.shows(r"And for yours")
            await nurse.sees_nothing(lambda s: s["body"] in ("For your ears only", "And for yours"),
                                     "a private message of others")
        for terminal in (romeo, juliet):
            await terminal.type(f"/win {room}")
        with stage.step("a new nick is shown"):
            await juliet.type("/nick Rosaline")
            await romeo.shows(r"Juliet is now known as Rosaline")
            await nurse.sees_presence("Rosaline")
        with stage.step("Profanity kicks, and the other is out"):
            await romeo.type("/kick Rosaline Fie")
            await juliet.shows(r"[Kk]icked.*Fie")
            seen = await nurse.sees_presence("Rosaline", "unavailable")
            expect(item(seen)["reason"] == "Fie" and item(seen)["actor"] == "Romeo", str(seen))
        with stage.step("Profanity makes a member, and a visitor of a participant"):
            await romeo.type(f"/affiliation set member {juliet_jid} Trusted")
            await nurse.settle()
            expect(juliet_jid in await listed_by(stage, romeo_jid, room), "not on the list")
            await romeo.type("/role set visitor Nurse")
            seen = await nurse.sees(lambda s: s.name == "presence" and stands(s) == ("none", "visitor"), "change")
        with stage.step("an invitation is shown, and followed"):
            await romeo.type(f"/invite send {juliet_jid} Come back")
            await juliet.shows(rf"(invite|invitation).*{re.escape(room)}|{re.escape(room)}.*Come back")
            await juliet.type(f"/join {room} nick Juliet")
            seen = await nurse.sees_presence("Juliet")
            expect(stands(seen)[0] == "member", str(seen))
        with stage.step("Profanity bans, and the other does not come in again"):
            await romeo.type(f"/ban {juliet_jid} Exile")
            await nurse.sees_presence("Juliet", "unavailable")
            await juliet.shows(r"[Bb]anned.*Exile")
            await juliet.type(f"/join {room} nick Juliet")
            await juliet.shows(r"(?i)forbidden|banned|not authori[sz]ed")
        with stage.step("Profanity destroys the room, and all learn of it"):
            await romeo.type("/room destroy")
            seen = await nurse.sees_presence("Nurse", "unavailable")
            expect("destroy" in str(seen), str(seen))
            await romeo.shows(r"(?i)room.*destroyed|destroyed")
        await omemo(stage, romeo, romeo_jid, juliet, juliet_jid, peer)
    finally:
        romeo.close()
        juliet.close()


async def configure(terminal: Terminal, name: str) -> None:
    """Opens the form, fills in the room's name and submits it."""
    await terminal.type("/room config")
    await terminal.shows(r"Use '/form submit'")
    found = re.search(r"\[(field\d+)\] [^:]*(?:Title|[Nn]ame)", terminal.screen())
    expect(found, "no field for the room's name")
    await terminal.type(f'/{found[1]} "{name}"')
    await terminal.type("/form submit")
    await terminal.shows(r"(?i)(room|configuration).*success|configuration.*(updated|submitted)")


async def listed_by(stage: Stage, jid: str, room: str) -> set[str]:
    """The members, asked for by an account that may."""
    client = stage.client(jid)
    await client.login()
    members = await listed(client, room, affiliation="member")
    await client.logout()
    return members


async def omemo(stage: Stage, romeo: Terminal, romeo_jid: str, juliet: Terminal, juliet_jid: str, peer: Client) -> None:
    room = f"tomb@{stage.rooms}"
    owner = await create(peer, room, "Nurse", membersonly="1", whois="anyone", persistentroom="1")
    # Profanity's keys are for contacts only.
    for jid in (romeo_jid, juliet_jid):
        await administer(peer, room, {"affiliation": "member", "jid": jid})
    with stage.step("both publish keys and enter a members-only, non-anonymous room", needed=True):
        for terminal, nick in ((romeo, "Romeo"), (juliet, "Juliet")):
            await terminal.type("/win 1")
            await terminal.type("/omemo trustmode blind")
            await terminal.type("/omemo gen")
            await terminal.shows("OMEMO cr[a-z]+ materials generated", 60)
            await terminal.type(f"/join {room} nick {nick}")
            await owner.sees_presence(nick)
    with stage.step("OMEMO starts in the room in both"):
        for terminal in (romeo, juliet):
            await terminal.type("/omemo start")
            await terminal.shows(r"\[OMEMO\]")
    with stage.step("what is said is encrypted for the room and clear on the other's screen, both ways"):
        await romeo.type("Here's to my love")
        await juliet.shows(r"Romeo: Here's to my love")
        await juliet.type("O happy dagger")
        await romeo.shows(r"Juliet: O happy dagger")
        seen = [await owner.sees(lambda s: s.xml.find(ENCRYPTED) is not None, "encrypted message") for _ in range(2)]
        expect(not any("love" in str(stanza) or "dagger" in str(stanza) for stanza in seen), str(seen[0]))
