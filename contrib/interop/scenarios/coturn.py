"""Calls through coturn: a client learns of it from its server and gets a relay with the credentials it was handed."""

import contextlib
import time

from slixmpp.exceptions import IqError

from lib.client import Client
from lib.processes import command, end, spawn, until
from lib.servers import ADDRESS, TURN_PORT, TURN_SECRET
from lib.stage import Stage
from lib.steps import Failure, expect

EXTDISCO = "urn:xmpp:extdisco:2"


async def run(stage: Stage) -> None:
    bard = await stage.login(stage.add_account("bard"))
    with stage.step("services are announced (XEP-0215 §5)"):
        info = await bard["xep_0030"].get_info(jid=stage.domain, timeout=10)
        expect(EXTDISCO in info["disco_info"]["features"], str(info))
    with stage.step("STUN and TURN are listed, the relay with credentials for a while", needed=True):
        listed = await services(bard, f"<services xmlns='{EXTDISCO}'/>")
        expect({"stun", "turn"} <= {service.get("type") for service in listed}, str(listed))
        relay = next(service for service in listed if service.get("type") == "turn")
        expect(relay.get("host") == f"turn.{stage.domain}" and relay.get("port") == str(TURN_PORT), str(relay.attrib))
        expiry, _, user = relay.get("username").partition(":")
        expect(time.time() + 60 < int(expiry) < time.time() + 30 * 86400, relay.get("username"))
        expect(relay.get("password") and relay.get("expires"), str(relay.attrib))
    with coturn(stage, TURN_SECRET) as running:
        await running
        with stage.step("coturn gives a relay for them, and bytes go through"):
            relays(stage, relay.get("username"), relay.get("password"))
        with stage.step("it does for those asked for by themselves (XEP-0215 §3.3)"):
            wanted = f"<service host='turn.{stage.domain}' type='turn'/>"
            found = await services(bard, f"<credentials xmlns='{EXTDISCO}'>{wanted}</credentials>")
            expect(len(found) == 1, str(found))
            relays(stage, found[0].get("username"), found[0].get("password"))
        with stage.step("somebody else's name, a later end or another password are refused"):
            for username, password in ((f"{expiry}:mallory", relay.get("password")),
                                       (f"{int(expiry) + 86400}:{user}", relay.get("password")),
                                       (relay.get("username"), relay.get("password")[::-1])):
                is_refused(stage, username, password)
    with coturn(stage, "another secret") as running:
        await running
        with stage.step("a coturn with another secret refuses them"):
            is_refused(stage, relay.get("username"), relay.get("password"))
    with stage.step("what is not there cannot be had"):
        try:
            await services(bard, f"<credentials xmlns='{EXTDISCO}'><service host='x.test' type='turn'/></credentials>")
        except IqError as error:
            expect(error.condition == "item-not-found", error.condition)
        else:
            raise Failure("was answered with a result")


async def services(client: Client, query: str) -> list:
    answer = await client.ask("get", query, to=client.domain)
    return list(answer.xml.iter(f"{{{EXTDISCO}}}service"))


@contextlib.contextmanager
def coturn(stage: Stage, secret: str):
    """A coturn that trusts whoever knows the secret. What it yields is to be awaited: it answers then."""
    log = stage.artefacts / "coturn.log"
    process = spawn(
        ["turnserver", "-n", "--listening-ip", ADDRESS, "--relay-ip", ADDRESS, "--listening-port", TURN_PORT,
         "--use-auth-secret", "--static-auth-secret", secret, "--realm", stage.domain, "--allow-loopback-peers",
         "--no-tls", "--no-dtls", "--no-cli", "--userdb", stage.folder / "turndb", "--log-file", "stdout",
         "--pidfile", stage.folder / "turnserver.pid"], log)
    try:
        yield until(is_bound, "answer of coturn")
    finally:
        end(process)


def is_bound() -> bool:
    listening = command(["ss", "--no-header", "--listening", "--udp", "--numeric"])
    return f"{ADDRESS}:{TURN_PORT}" in listening


def relays(stage: Stage, username: str, password: str) -> None:
    """Two clients with a relay each send each other five packets."""
    output = uclient(stage, username, password)
    expect("Total lost packets 0" in output, output.strip()[-300:])


def is_refused(stage: Stage, username: str, password: str) -> None:
    try:
        output = uclient(stage, username, password)
    except Failure:
        return
    raise Failure(f"{username} got a relay: {output.strip()[-300:]}")


def uclient(stage: Stage, username: str, password: str) -> str:
    return command(["turnutils_uclient", "-y", "-n", 5, "-m", 1, "-p", TURN_PORT, "-u", username, "-w", password,
                    f"turn.{stage.domain}"], timeout=20)
