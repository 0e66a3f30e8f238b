"""Requests between two servers: of the servers, of accounts, of clients, and those that nobody can answer."""

import asyncio

from slixmpp.exceptions import IqError

from lib.client import Client, refused
from lib.steps import expect

from ..pair import Pair
from .messages import way

COUNT = 50


async def run(stage: Pair) -> None:
    with stage.step("a user of each server logs in", needed=True):
        romeo, juliet = await stage.two()
    for one, other in ((romeo, juliet), (juliet, romeo)):
        await questions(stage, one, other)
    await unanswerable(stage, romeo)


async def questions(stage: Pair, one: Client, other: Client) -> None:
    domain = other.boundjid.domain
    with stage.step(f"ping, version, time and disco#info of the server, {way(one, other)}"):
        await one["xep_0199"].send_ping(domain, timeout=10)
        answer = await one["xep_0092"].get_version(domain, timeout=10)
        expect(answer["software_version"]["name"], str(answer))
        await one.ask("get", "<time xmlns='urn:xmpp:time'/>", to=domain)
        info = (await one["xep_0030"].get_info(jid=domain, timeout=10))["disco_info"]
        expect(any(identity[:2] == ("server", "im") for identity in info["identities"]), str(info["identities"]))
    with stage.step(f"the server's items and what they are, {way(one, other)}"):
        server = stage.here if domain == stage.here.domain else stage.there
        items = (await one["xep_0030"].get_items(jid=domain, timeout=10))["disco_items"]["items"]
        expect(any(item[0] == server.rooms for item in items), str(items))
        info = (await one["xep_0030"].get_info(jid=server.rooms, timeout=10))["disco_info"]
        expect(any(identity[0] == "conference" for identity in info["identities"]), str(info["identities"]))
    with stage.step(f"ping and version of a client, {way(one, other)}"):
        await one["xep_0199"].send_ping(other.boundjid.full, timeout=10)
        answer = await one["xep_0092"].get_version(other.boundjid.full, timeout=10)
        expect(answer["software_version"]["name"], str(answer))
    with stage.step(f"a vCard is read by a stranger, {way(one, other)}"):
        await other.ask("set", f"<vCard xmlns='vcard-temp'><FN>{other.boundjid.user} &amp; co</FN></vCard>")
        answer = await one["xep_0054"].get_vcard(other.boundjid.bare, timeout=10)
        expect(answer["vcard_temp"]["FN"] == f"{other.boundjid.user} & co", str(answer))
    with stage.step(f"{COUNT} requests at once, each with its own answer, {way(one, other)}"):
        answers = await asyncio.gather(*(one["xep_0199"].send_ping(other.boundjid.full, timeout=20)
                                         for _ in range(COUNT)))
        expect(len({answer["id"] for answer in answers}) == COUNT, "answers with the same id")
    with stage.step(f"unknown requests, absent resources and accounts: an error each, {way(one, other)}"):
        unheard_of = "<query xmlns='urn:example:unheard-of'/>"
        await refused(one.ask("get", unheard_of, to=domain), "service-unavailable", "feature-not-implemented")
        await refused(one.ask("get", unheard_of, to=f"{other.boundjid.bare}/elsewhere"), "service-unavailable",
                      "recipient-unavailable")
        await refused(one.ask("get", unheard_of, to=f"nobody@{domain}"), "service-unavailable", "item-not-found")


async def unanswerable(stage: Pair, romeo: Client) -> None:
    with stage.step("a request to a domain that does not exist: remote-server-not-found, with a text"):
        try:
            await romeo.ask("get", "<ping xmlns='urn:xmpp:ping'/>", to="nowhere.test")
        except IqError as error:
            expect(error.condition == "remote-server-not-found", error.condition)
            expect(error.text, "no text")
        else:
            expect(False, "was answered with a result")
    with stage.step("an answer that is an error is not answered with another"):
        iq = romeo.make_iq(ito="nowhere.test", itype="error", id="lonely")
        iq.append(next(iter(romeo.make_iq_get("urn:example:unheard-of").xml)))
        iq.send()
        romeo.send_message(mto="nobody@nowhere.test", mbody="an error", mtype="error")
        await romeo["xep_0199"].send_ping(stage.there.domain, timeout=10)
        await asyncio.sleep(1)
        await romeo.sees_nothing(lambda s: s["type"] == "error", "an error for an error")
