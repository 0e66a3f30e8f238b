"""kill -9 while people talk in a room: what came back to anybody is in the room's archive, and what its owner was told is
stored is.

A groupchat message leaves when it is on disk: whatever an occupant has heard is in the archive exactly once, and in the
order in which it was heard (XEP-0045 §7.4, XEP-0313). The owner gives affiliations and changes the description all the
while; each IQ result is a promise. After the kill both enter anew, with another session.
"""
import re

from client import Client, Ended

OWNER, GUEST = "dora", "emil"
SPEAKERS = (OWNER, GUEST)
ADMIN, CONFIG = "http://jabber.org/protocol/muc#admin", "http://jabber.org/protocol/muc#owner"


class Room:
    def __init__(self, server):
        self.server = server
        self.jid = f"hall@conference.{server.domain}"
        self.archive_end = ""
        self.members = []  # Promised, in all rounds.
        self.descriptions = []  # Sent, with the last one that was promised first.
        self.counts = {"messages": 0, "changes": 0}
        self.refused = None
        for name in SPEAKERS:
            server.add_user(name, "pw-" + name)

    # --- Clients of the room.

    def enter(self, name):
        client = Client(self.server.port, self.server.domain, name, "pw-" + name)
        client.send(
            f"<presence to='{self.jid}/{name}'><x xmlns='http://jabber.org/protocol/muc'>"
            "<history maxstanzas='0'/></x></presence>")
        seen = client.until("</presence>")
        while "code='110'" not in seen:
            if "type='error'" in seen:
                raise SystemExit(f"FAILED: {name} cannot enter the room: {seen[-500:]}")
            seen = client.until("</presence>")
        client.until("<subject")
        return client

    def change(self, client, namespace, payload):
        """A change by the owner; whatever else came, when it is promised."""
        seen = client.ask("set", f"<query xmlns='{namespace}'>{payload}</query>", self.jid)
        if re.search(r"<iq [^>]*type='error'", seen):
            raise SystemExit(f"FAILED: the owner may not change the room: {seen[-500:]}")
        return seen

    def form(self, *fields):
        return "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>" \
            "http://jabber.org/protocol/muc#roomconfig</value></field>" + "".join(
                f"<field var='muc#roomconfig_{name}'><value>{value}</value></field>" for name, value in fields) + "</x>"

    def make(self):
        client = self.enter(OWNER)
        self.change(client, CONFIG, self.form(("persistentroom", 1), ("enablelogging", 1)))
        client.close()

    # --- Load.

    def speak(self, name, round_number, heard, stop):
        """Talks, and notes whatever is heard, by whomever, in `heard`."""
        try:
            client = self.enter(name)
            number = 0
            while not stop.is_set():
                for _ in range(5):
                    client.send(
                        f"<message type='groupchat' to='{self.jid}' id='{name}-{round_number}-{number}'>"
                        f"<body>{name} {round_number} {number}</body></message>")
                    number += 1
                if name == OWNER:
                    self.note(self.rule(client, round_number, number), heard)
                while (name, str(number - 1)) not in heard[-20:]:
                    self.note(client.until("</message>"), heard)
        except (OSError, Ended):
            pass

    def rule(self, client, round_number, number):
        """The owner makes somebody a member, or says what the room is about."""
        if number % 2:
            member = f"member-{round_number}-{number}@{self.server.domain}"
            seen = self.change(client, ADMIN, f"<item affiliation='member' jid='{member}'/>")
            self.members.append(member)
        else:
            self.descriptions.append(f"about {round_number} {number}")
            seen = self.change(client, CONFIG, self.form(("roomdesc", self.descriptions[-1])))
            del self.descriptions[:-1]
        self.counts["changes"] += 1
        return seen

    def note(self, text, heard):
        if "type='error'" in text:
            self.refused = text[-500:]
        heard += [(name, number) for name, _, number in re.findall(r"<body>(\w+) (\d+) (\d+)</body>", text)]

    # --- Afterwards.

    def check(self, round_number, everything_heard):
        if self.refused:
            raise SystemExit(f"FAILED: round {round_number}: a message was refused: {self.refused}")
        owner, guest = self.enter(OWNER), self.enter(GUEST)
        self.archive_end, found = owner.archive(self.archive_end, self.jid)
        bodies = [body.split() for _, body in found]
        kept = [(body[0], body[2]) for body in bodies if len(body) == 3 and body[1] == str(round_number)]
        if len(kept) != len(set(kept)):
            raise SystemExit(f"FAILED: round {round_number}: the room's archive has messages twice")
        for name, heard in everything_heard.items():
            start = kept.index(heard[0]) if heard and heard[0] in kept else 0
            if kept[start:start + len(heard)] != heard:
                raise SystemExit(
                    f"FAILED: round {round_number}: {name} has heard {heard[-10:]}, the room's archive has {kept[-10:]}")
            self.counts["messages"] += len([speaker for speaker, _ in heard if speaker == name])
        members = owner.ask("get", f"<query xmlns='{ADMIN}'><item affiliation='member'/></query>", self.jid)
        lost = [member for member in self.members if members.count(f"'{member}'") != 1]
        if lost:
            raise SystemExit(f"FAILED: round {round_number}: no members any more, or twice: {lost[-10:]}")
        form = owner.ask("get", f"<query xmlns='{CONFIG}'/>", self.jid)
        if self.descriptions and not any(f"<value>{text}</value>" in form for text in self.descriptions):
            raise SystemExit(f"FAILED: round {round_number}: the room is not {self.descriptions}: {form[-1500:]}")
        # Whoever came back is in the room, and heard there.
        guest.send(f"<message type='groupchat' to='{self.jid}'><body>back</body></message>")
        owner.until("<body>back</body>")
        owner.close()
        guest.close()

    def summary(self, rounds):
        if min(self.counts.values()) < rounds:
            raise SystemExit(f"FAILED: only {self.counts} in the room; nothing was tested")
        return (f"{self.counts['messages']} groupchat messages came back and {self.counts['changes']} changes of the room "
                "were confirmed, none lost, none twice")
