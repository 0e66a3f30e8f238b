"""Guests: people without an account, whom an invitation binds to one conversation."""

import json

from lib.raw import PATIENCE, RawStream, failure_of
from lib.stage import Stage
from lib.steps import expect

MUC = "http://jabber.org/protocol/muc"


async def run(stage: Stage) -> None:
    juliet, nurse = [await stage.login(stage.add_account(name)) for name in ("juliet", "nurse")]
    room = f"guests{juliet.boundjid.user}@{stage.rooms}"
    invitation = None
    with stage.step("the administrator invites a guest to a user and a room"):
        invitation = invite(stage, juliet.boundjid.bare, room)
    if invitation:
        await conversation(stage, invitation, juliet, nurse)
        await in_a_room(stage, invitation, room, juliet)
        await several(stage, juliet)
        hostile(stage, invitation)
        await end(stage, invitation, juliet)


def invite(stage: Stage, *peers: str, places: int = 1) -> dict:
    return json.loads(stage.server.guests("invite", *peers, "--host", stage.guests, "--name", "Friar John",
                                          "--places", str(places), "--json"))


async def enter(stage: Stage, invitation: dict, mechanism: str | None = None):
    guest = stage.client(invitation["address"], password=invitation["password"], mechanism=mechanism)
    await guest.login()
    guest.send_presence()
    return guest


async def conversation(stage: Stage, invitation: dict, juliet, nurse) -> None:
    address = invitation["address"]
    with stage.step("the guest logs in with address and password, as with an account", needed=True):
        guest = await enter(stage, invitation)
        expect(guest.boundjid.bare == address, f"{guest.boundjid}")
        expect("ANONYMOUS" not in guest.mechanisms, f"{guest.mechanisms}")
    for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"):
        with stage.step(f"by {mechanism}, too"):
            again = await enter(stage, invitation, mechanism)
            expect(again.boundjid.bare == address, f"{again.boundjid}")
            await guest.logout()
            guest = again
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
        here = [one["guests"] for one in listed if one["id"] == invitation["invitation"]["id"]]
        expect(here == [[address]], f"{listed}")
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


async def several(stage: Stage, juliet) -> None:
    with stage.step("of several guests each is bound to an address of its own, and there are no more than places"):
        invitation = invite(stage, juliet.boundjid.bare, places=2)
        guests = [await enter(stage, invitation) for _ in range(2)]
        addresses = {guest.boundjid.bare for guest in guests}
        expect(len(addresses | {invitation["address"]}) == 3, f"{addresses}")
        for number, guest in enumerate(guests):
            guest.send_message(mto=juliet.boundjid.bare, mbody=f"Number {number}", mtype="chat")
            await juliet.sees_message(f"Number {number}")
            juliet.send_message(mto=guest.boundjid.bare, mbody=f"And you, {number}", mtype="chat")
            await guest.sees_message(f"And you, {number}")
        expect(refusal(stage, invitation) == "temporary-auth-failure", "a third came in")
        for guest in guests:
            await guest.logout()


def refusal(stage: Stage, invitation: dict) -> str:
    """The condition with which an invitation is refused."""
    user = invitation["address"].split("@")[0]
    with RawStream(stage.guests, stage.authority, direct=True) as stream:
        stream.open()
        return failure_of(stream.auth("PLAIN", f"\0{user}\0{invitation['password']}".encode()))


def hostile(stage: Stage, invitation: dict) -> None:
    user, password = invitation["address"].split("@")[0].encode(), invitation["password"].encode()
    for what, mechanism, data, condition in (
            ("nothing", "ANONYMOUS", "", "invalid-mechanism"),
            ("the password as trace information", "ANONYMOUS", password, "invalid-mechanism"),
            ("a guess", "PLAIN", b"\0" + user + b"\0guess", "not-authorized"),
            ("another's address", "PLAIN", b"\0nobody\0" + password, "not-authorized"),
            ("in another's name", "PLAIN", f"juliet@{stage.domain}".encode() + b"\0" + user + b"\0" + password,
             "invalid-authzid"),
            ("no text", "PLAIN", b"\0\xff\xfe\0x", "malformed-request")):
        with (stage.step(f"refused as an invitation: {what}"),
              RawStream(stage.guests, stage.authority, direct=True) as stream):
            stream.open()
            found = failure_of(stream.auth(mechanism, data))
            expect(found == condition, found)
    with stage.step("64 KiB are cut off"), RawStream(stage.guests, stage.authority, direct=True) as stream:
        stream.open()
        stream.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>" + "YWFh" * 21_846 + "</auth>")
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
        found = refusal(stage, invitation)
        expect(found == "not-authorized", found)
        juliet.send_message(mto=guest.boundjid, mbody="Are you there?", mtype="chat")
        error = await juliet.sees(lambda s: s.name == "message" and s["type"] == "error", "error")
        expect(error["error"]["condition"] == "service-unavailable", error["error"]["condition"])
