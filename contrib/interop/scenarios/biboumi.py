"""Biboumi, an external component (XEP-0114) with an IRC server behind it: channels are rooms, nicks are addresses."""

import asyncio

from lib.processes import end, spawn, until
from lib.rooms import enter, login
from lib.servers import ADDRESS, COMPONENT_PORT, GATEWAY_SECRET
from lib.stage import Stage
from lib.steps import Failure, expect

IRC = "localhost"
CHANNEL = "#balcony"

NGIRCD = """\
[Global]
Name = irc.test
Info = Verona
Listen = 127.0.0.1
Ports = 6667
ServerUID = irc
ServerGID = irc
PidFile =
[Limits]
MaxConnectionsIP = 0
MaxJoins = 100
MaxNickLength = 30
MaxPenaltyTime = 0
[Options]
DNS = no
Ident = no
PAM = no
SyslogFacility = local1
"""


class IRCUser:
    """Somebody on IRC, who has never heard of XMPP."""

    def __init__(self, nick: str):
        self.nick = nick
        self.heard: list[str] = []

    async def login(self) -> None:
        self._reader, self._writer = await asyncio.open_connection(ADDRESS, 6667)
        self._task = asyncio.ensure_future(self._listen())
        self.say(f"NICK {self.nick}")
        self.say(f"USER {self.nick} 0 * :{self.nick}")
        await self.hears(" 001 ")

    def say(self, line: str) -> None:
        self._writer.write(f"{line}\r\n".encode())

    async def hears(self, text: str, timeout: float = 15) -> str:
        """The first line with this text that nobody asked for before."""
        line = await until(lambda: next((line for line in self.heard if text in line), None), f"“{text}” on IRC", timeout)
        self.heard.remove(line)
        return line

    async def _listen(self) -> None:
        while line := await self._reader.readline():
            text = line.decode().rstrip()
            if text.startswith("PING"):
                self.say("PONG" + text[4:])
            else:
                self.heard.append(text)

    def close(self) -> None:
        self._task.cancel()
        self._writer.close()


async def run(stage: Stage) -> None:
    processes = []
    mercutio = IRCUser("mercutio")
    try:
        with stage.step("ngircd and Biboumi start, and Biboumi is let in", needed=True):
            await start(stage, processes)
            await mercutio.login()
            mercutio.say(f"JOIN {CHANNEL}")
            await mercutio.hears(" 366 ")
        await channel(stage, mercutio)
    finally:
        mercutio.close()
        for process in reversed(processes):
            end(process)


async def start(stage: Stage, processes: list) -> None:
    irc = stage.folder / "ngircd.conf"
    irc.write_text(NGIRCD)
    irc.chmod(0o644)
    processes.append(spawn(["ngircd", "--nodaemon", "--config", irc], stage.artefacts / "ngircd.log"))
    gateway = stage.folder / "biboumi.cfg"
    gateway.write_text(f"""\
hostname={stage.gateway}
password={GATEWAY_SECRET}
xmpp_server_ip={ADDRESS}
port={COMPONENT_PORT}
db_name={stage.folder}/biboumi.sqlite
realname_from_jid=true
log_level=0
""")
    processes.append(spawn(["biboumi", gateway], stage.artefacts / "biboumi.log"))
    probe = await login(stage, "probe")

    async def answers() -> bool:
        try:
            await probe["xep_0030"].get_info(jid=stage.gateway, timeout=2)
        except Exception:
            return False
        return True

    for _ in range(20):
        if await answers():
            break
        await asyncio.sleep(0.5)
    else:
        raise Failure("Biboumi does not answer")
    await probe.logout()


async def channel(stage: Stage, mercutio: IRCUser) -> None:
    romeo_client, juliet_client = await login(stage, "romeo"), await login(stage, "juliet")
    room = f"{CHANNEL}%{IRC}@{stage.gateway}"
    with stage.step("users enter a channel as a room, and see who is in it", needed=True):
        romeo = await enter_slowly(romeo_client, room, "romeo")
        expect("mercutio" in romeo.others, f"{sorted(romeo.others)}")
        await mercutio.hears(f":romeo!", 15)
        juliet = await enter_slowly(juliet_client, room, "juliet")
        expect({"mercutio", "romeo"} <= set(juliet.others), f"{sorted(juliet.others)}")
        await romeo.sees_presence("juliet")
        await mercutio.hears(":juliet!")
    with stage.step("what is said on XMPP is heard on IRC, and by all in the room"):
        romeo.say("But soft")
        line = await mercutio.hears("But soft")
        expect(line.startswith(":romeo!") and f"PRIVMSG {CHANNEL}" in line, line)
        for who in (romeo, juliet):
            await who.sees(lambda s: s.name == "message" and s["body"] == "But soft", "message")
    with stage.step("what is said on IRC is heard on XMPP, in order"):
        for number in range(1, 11):
            mercutio.say(f"PRIVMSG {CHANNEL} :Queen Mab {number}")
        for who in (romeo, juliet):
            bodies = []
            for _ in range(10):
                seen = await who.sees(lambda s: s.name == "message" and s["from"].resource == "mercutio" and s["body"], "message")
                bodies.append(seen["body"])
            expect(bodies == [f"Queen Mab {number}" for number in range(1, 11)], f"{bodies}")
    with stage.step("private messages go both ways"):
        mercutio_jid = f"mercutio%{IRC}@{stage.gateway}"
        romeo_client.send_message(mto=mercutio_jid, mbody="Peace", mtype="chat")
        line = await mercutio.hears("PRIVMSG mercutio :Peace")
        expect(line.startswith(":romeo!"), line)
        mercutio.say("PRIVMSG romeo :Thou talkest of nothing")
        seen = await romeo_client.sees_message("Thou talkest of nothing")
        expect(seen["type"] == "chat" and stage.gateway in str(seen["from"]), str(seen))
        romeo_client.send_message(mto=seen["from"], mbody="Well said", mtype="chat")
        await mercutio.hears("PRIVMSG mercutio :Well said")
    with stage.step("a change of nick, and those who leave, are seen on the other side"):
        mercutio.say("NICK ghost")
        await romeo.sees_presence("mercutio", "unavailable")
        await romeo.sees_presence("ghost")
        await juliet.leave()
        await mercutio.hears(f"PART {CHANNEL}")
        mercutio.say(f"PART {CHANNEL} :A plague")
        await romeo.sees_presence("ghost", "unavailable")
    with stage.step("who loses the connection to the server leaves the channel"):
        mercutio.say(f"JOIN {CHANNEL}")
        await romeo.sees_presence("ghost")
        await romeo_client.logout()
        await mercutio.hears(":romeo!")


async def enter_slowly(client, room: str, nick: str):
    """Enters; Biboumi tries several ports before it has a connection."""
    try:
        return await enter(client, room, nick)
    except Failure:
        return await enter(client, room, nick)
