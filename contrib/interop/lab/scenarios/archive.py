"""Archives (XEP-0313): of a room on the other server, and of what came from and went to it."""

from lib.client import refused
from lib.rooms import create, enter
from lib.steps import expect

from ..pair import Pair
from .messages import way

COUNT = 45


async def run(stage: Pair) -> None:
    for host, home in ((stage.here, stage.there), (stage.there, stage.here)):
        with stage.step(f"an archive of a room of {host.name} is read page by page from {home.name}"):
            juliet, romeo = await stage.user(host, "juliet"), await stage.user(home, "romeo")
            name = f"archive{stage.chance.randrange(1 << 30)}@{host.rooms}"
            owner = await create(juliet, name, "Juliet", **MAM[host.name])
            guest = await enter(romeo, name, "Romeo")
            bodies = [f"{number} of {COUNT}" for number in range(COUNT)]
            for number, body in enumerate(bodies):
                (owner if number % 2 else guest).say(body)
                # One after the other, so that there is an order to be kept.
                await guest.sees(lambda s: s["body"] == body, body)
            found = [body async for body in read(romeo, name)]
            expect(found == bodies, f"{len(found)} of {COUNT}: {found[:3]} … {found[-3:]}")
    with stage.step("two users talk", needed=True):
        romeo, juliet = await stage.two()
        for number in range(10):
            one, other = (romeo, juliet) if number % 2 else (juliet, romeo)
            one.send_message(mto=other.boundjid.bare, mbody=f"archived {number}", mtype="chat")
            await other.sees_message(f"archived {number}")
    for one, other in ((romeo, juliet), (juliet, romeo)):
        with stage.step(f"the archive of {one.boundjid.domain} has what both said, in order"):
            found = [body async for body in read(one)]
            expect(found == [f"archived {number}" for number in range(10)], str(found))
        with stage.step(f"a stranger's archive cannot be read, {way(other, one)}"):
            await refused(other.ask("set", "<query xmlns='urn:xmpp:mam:2'/>", to=one.boundjid.bare))


# What makes rooms keep an archive.
MAM = {"martlet": {"enablearchiving": "1"}, "prosody": {"enablearchiving": "1"}, "ejabberd": {}}


async def read(client, owner: str | None = None):
    async for message in client["xep_0313"].iterate(jid=owner, rsm={"max": 20}):
        if body := message["mam_result"]["forwarded"]["stanza"]["body"]:
            yield body
