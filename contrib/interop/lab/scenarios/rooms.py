"""A room on each server, with a guest from the other one: entering, talking, nicks, moderation, going."""

from slixmpp import JID
from slixmpp.exceptions import PresenceError

from lib.client import Client
from lib.rooms import Occupant, administer, codes, create, enter, stands, write
from lib.steps import expect

from ..pair import Pair
from ..peer import Peer

COUNT = 50


async def run(stage: Pair) -> None:
    for host, home in ((stage.here, stage.there), (stage.there, stage.here)):
        with stage.part():
            await room(stage, host, home)


async def room(stage: Pair, host: Peer, home: Peer) -> None:
    """The room is at `host`, the guest at `home`."""
    where = f"a room of {host.name}"
    with stage.step(f"{where}: its owner and a guest from {home.name} see each other", needed=True):
        juliet, romeo = await stage.user(host, "juliet"), await stage.user(home, "romeo")
        name = f"balcony{stage.chance.randrange(1 << 30)}@{host.rooms}"
        owner = await create(juliet, name, "Juliet", roomname="The Balcony", whois="anyone")
        guest = await enter(romeo, name, "Romeo")
        expect(stands(guest.presence) == ("none", "participant"), str(stands(guest.presence)))
        expect(set(guest.others) == {"Juliet"}, str(set(guest.others)))
        seen = await owner.sees_presence("Romeo")
        expect(JID(seen["muc"]["jid"]).bare == romeo.boundjid.bare, str(seen))
    with stage.step(f"{where}: {COUNT} messages in order, heard by both, from each of them"):
        for one in (owner, guest):
            bodies = [f"{number} of {COUNT} by {one.nick}" for number in range(COUNT)]
            for body in bodies:
                one.say(body)
            await guest.hears(*bodies, timeout=20)
            await owner.hears(*bodies, timeout=20)
    with stage.step(f"{where}: private messages both ways"):
        write(juliet, guest.jid, "Thou knowest the mask of night is on my face")
        await romeo.sees(lambda s: s.name == "message" and s["from"] == owner.jid, "private message")
        write(romeo, owner.jid, "Lady, by yonder blessed moon I swear")
        await juliet.sees(lambda s: s.name == "message" and s["from"] == guest.jid, "private message")
    with stage.step(f"{where}: the guest changes nick (XEP-0045 §7.6)"):
        romeo.send_presence(pto=f"{name}/Montague")
        gone = await owner.sees_presence("Romeo", "unavailable")
        expect("303" in codes(gone), f"codes {codes(gone)}")
        await owner.sees_presence("Montague")
        await guest.sees_presence("Montague")
        guest.nick = "Montague"
    with stage.step(f"{where}: a nick that is taken is refused"):
        romeo.send_presence(pto=owner.jid)
        await guest.sees_error(lambda s: s.name == "presence", "conflict")
    with stage.step(f"{where}: the subject is told"):
        juliet["xep_0045"].set_subject(JID(name), "Moon & stars")
        await guest.sees(lambda s: s["subject"] == "Moon & stars", "subject")
    await goes(stage, where, owner, guest)


async def goes(stage: Pair, where: str, owner: Occupant, guest: Occupant) -> None:
    romeo, name = guest.client, guest.room
    with stage.step(f"{where}: the guest leaves and comes back to a history"):
        await guest.leave("Good night, good night")
        seen = await owner.sees_presence(guest.nick, "unavailable")
        expect(seen["status"] == "Good night, good night", str(seen))
        guest = await enter(romeo, name, "Romeo")
        expect(guest.history and guest.subject == "Moon & stars", f"{guest.history[:3]}, {guest.subject}")
        await owner.sees_presence("Romeo")
    with stage.step(f"{where}: the guest is kicked, and told why (XEP-0045 §8.2)"):
        await administer(owner.client, name, {"nick": "Romeo", "role": "none", "reason": "The lark"})
        seen = await guest.sees_presence("Romeo", "unavailable")
        expect("307" in codes(seen), f"codes {codes(seen)}")
        await owner.sees_presence("Romeo", "unavailable")
    with stage.step(f"{where}: the guest is banned and cannot come back (XEP-0045 §9.1)"):
        await administer(owner.client, name, {"jid": romeo.boundjid.bare, "affiliation": "outcast"})
        try:
            await enter(romeo, name, "Romeo")
        except PresenceError as error:
            expect(error.condition == "forbidden", error.condition)
        else:
            expect(False, "could enter")
        await administer(owner.client, name, {"jid": romeo.boundjid.bare, "affiliation": "none"})
    with stage.step(f"{where}: an invitation reaches the guest's server (XEP-0045 §7.8.2)"):
        write(owner.client, name, None, "<x xmlns='http://jabber.org/protocol/muc#user'>"
              f"<invite to='{romeo.boundjid.bare}'><reason>Come back</reason></invite></x>", kind="normal")
        await romeo.sees(lambda s: s.name == "message" and s["from"].bare == name and "Come back" in str(s), "invitation")
    with stage.step(f"{where}: who loses the connection is out for all"):
        guest = await enter(romeo, name, "Romeo")
        await owner.sees_presence("Romeo")
        await romeo.cut()
        await owner.sees_presence("Romeo", "unavailable", 20)
    with stage.step(f"{where}: it is destroyed, and the guest told (XEP-0045 §10.9)"):
        await romeo.login()
        guest = await enter(romeo, name, "Romeo")
        await owner.client.ask("set", "<query xmlns='http://jabber.org/protocol/muc#owner'><destroy>"
                               "<reason>Dawn</reason></destroy></query>", to=name)
        seen = await guest.sees_presence("Romeo", "unavailable")
        expect("Dawn" in str(seen), str(seen))
