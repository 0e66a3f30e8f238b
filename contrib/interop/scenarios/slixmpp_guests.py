"""Guests: people without an account, whom an invitation binds to one conversation."""

import json

from slixmpp.util.sasl import sasl_mech
from slixmpp.util.sasl.client import Mech

from lib.raw import PATIENCE, RawStream, failure_of
from lib.stage import Stage
from lib.steps import expect

MUC = "http://jabber.org/protocol/muc"


@sasl_mech(0)
class Invitation(Mech):
    """slixmpp's ANONYMOUS always says the same; this one has the client's password for its trace information."""

    name = "ANONYMOUS"
    required_credentials = {"password"}

    def process(self, challenge=b""):
        return self.credentials["password"]


async def run(stage: Stage) -> None:
    juliet, nurse = [await stage.login(stage.add_account(name)) for name in ("juliet", "nurse")]
    room = f"guests{juliet.boundjid.user}@{stage.rooms}"
    invitation = None
    with stage.step("the administrator invites a guest to a user and a room"):
        invitation = invite(stage, juliet.boundjid.bare, room)
    if invitation:
        await conversation(stage, invitation, juliet, nurse)
        await in_a_room(stage, invitation, room, juliet)
        hostile(stage)
        await end(stage, invitation, juliet)


def invite(stage: Stage, *peers: str) -> dict:
    return json.loads(stage.server.guests("invite", *peers, "--host", stage.guests, "--name", "Friar John", "--json"))


async def enter(stage: Stage, invitation: dict):
    guest = stage.client(stage.guests, password=invitation["token"], mechanism="ANONYMOUS")
    await guest.login()
    guest.send_presence()
    return guest


async def conversation(stage: Stage, invitation: dict, juliet, nurse) -> None:
    with stage.step("the guest is let in by ANONYMOUS, and has an address without the invitation in it", needed=True):
        guest = await enter(stage, invitation)
        address = guest.boundjid.bare
        expect(guest.boundjid.domain == stage.guests and invitation["token"] not in address, address)
    with stage.step("guest and user talk"):
        guest.send_message(mto=juliet.boundjid.bare, mbody="Who is there?", mtype="chat")
        await juliet.sees_message("Who is there?")
        juliet.send_message(mto=guest.boundjid, mbody="It is I", mtype="chat")
        await guest.sees_message("It is I")
        await guest["xep_0199"].send_ping(stage.guests, timeout=10)
    with stage.step("nobody else is reached, and says so; nor does anybody else reach the guest"):
        for one, other, condition in ((guest, nurse, "not-allowed"), (nurse, guest, "service-unavailable")):
            one.send_message(mto=other.boundjid, mbody="Psst", mtype="chat")
            error = await one.sees(lambda s: s.name == "message" and s["type"] == "error", "error")
            expect(error["error"]["condition"] == condition, error["error"]["condition"])
            expect(not other.saw(lambda s: s.name == "message"), "it came")
    with stage.step("whoever comes back with it has the same address, and takes the place of who was there"):
        again = await enter(stage, invitation)
        expect(again.boundjid.bare == address, f"{again.boundjid}")
        juliet.send_message(mto=address, mbody="Welcome back", mtype="chat")
        await again.sees_message("Welcome back")
        listed = json.loads(stage.server.guests("list", "--json"))
        expect([one["guests"] for one in listed if one["id"] == invitation["invitation"]["id"]] == [[address]], f"{listed}")
        await again.logout()


async def in_a_room(stage: Stage, invitation: dict, room: str, juliet) -> None:
    with stage.step("the guest enters the room, talks, and can enter no other"):
        juliet.send_raw(f"<presence to='{room}/Juliet'><x xmlns='{MUC}'/></presence>")
        await juliet.sees(lambda s: s.name == "presence" and s["from"] == f"{room}/Juliet", "own presence")
        await juliet.ask("set", f"<query xmlns='{MUC}#owner'><x xmlns='jabber:x:data' type='submit'/></query>", to=room)
        guest = await enter(stage, invitation)
        guest.send_raw(f"<presence to='{room}/Guest'><x xmlns='{MUC}'/></presence>")
        await juliet.sees(lambda s: s.name == "presence" and s["from"] == f"{room}/Guest", "the guest")
        guest.send_message(mto=room, mbody="May I come in?", mtype="groupchat")
        await juliet.sees_message("May I come in?")
        guest.send_raw(f"<presence to='other-{room}/Guest'><x xmlns='{MUC}'/></presence>")
        await guest.sees(lambda s: s.name == "presence" and s["type"] == "error", "error")
        await guest.logout()
        await juliet.sees(lambda s: s["from"] == f"{room}/Guest" and s["type"] == "unavailable", "farewell")


def hostile(stage: Stage) -> None:
    for what, trace, condition in (
            ("nothing", "=", "not-authorized"), ("a guess", b"0" * 40, "not-authorized"),
            ("an address", f"juliet@{stage.domain}".encode(), "not-authorized"),
            ("256 characters", b"a" * 256, "malformed-request"), ("no text", b"\xff\xfe", "malformed-request")):
        with stage.step(f"refused as an invitation: {what}"), RawStream(stage.guests, stage.authority, direct=True) as stream:
            stream.open()
            found = failure_of(stream.auth("ANONYMOUS", trace))
            expect(found == condition, found)
    with stage.step("64 KiB are cut off"), RawStream(stage.guests, stage.authority, direct=True) as stream:
        stream.open()
        stream.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='ANONYMOUS'>" + "YWFh" * 21_846 + "</auth>")
        expect(stream.is_disconnected(), f"still connected after {PATIENCE} s")


async def end(stage: Stage, invitation: dict, juliet) -> None:
    with stage.step("a restart keeps it"):
        await stage.server.restart()
        await juliet.login()
        guest = await enter(stage, invitation)
        guest.send_message(mto=juliet.boundjid.bare, mbody="Still here", mtype="chat")
        juliet.send_presence()
        await juliet.sees_message("Still here")
    with stage.step("taken back, it sends the guest away and lets nobody in"):
        stage.server.guests("revoke", invitation["invitation"]["id"])
        with RawStream(stage.guests, stage.authority, direct=True) as stream:
            stream.open()
            found = failure_of(stream.auth("ANONYMOUS", invitation["token"].encode()))
            expect(found == "not-authorized", found)
        juliet.send_message(mto=guest.boundjid, mbody="Are you there?", mtype="chat")
        error = await juliet.sees(lambda s: s.name == "message" and s["type"] == "error", "error")
        expect(error["error"]["condition"] == "service-unavailable", error["error"]["condition"])
