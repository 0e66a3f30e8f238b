"""`contrib/compliance`: what Conversations' server details, its compliance tester and XEP-0479 ask of a server."""

import json
import os
import subprocess
import sys

from lib.catalogue import REPOSITORY
from lib.stage import Stage
from lib.steps import Failure, expect

# What needs uploads, the web or components comes with later modules; registration for everybody is closed here.
NOT_REQUIRED = {"xep0077", "xep0065", "xep0363", "xep0363_cors", "xep0156", "xep0114", "rfc7395", "xep0206", "upload"}


async def run(stage: Stage) -> None:
    jid = stage.add_account("checker")
    program = REPOSITORY / "contrib/compliance/run"
    environment = {**os.environ, "XMPP_PASSWORD": stage.password}

    def check(*options: str) -> subprocess.CompletedProcess:
        return subprocess.run([sys.executable, program, jid, "--ca", stage.authority, *options], env=environment,
                              capture_output=True, text=True, timeout=60)

    with stage.step("the report is made", needed=True):
        done = check("--json")
        expect(done.returncode == 0, done.stderr)
        lines = json.loads(done.stdout)["items"]
        (stage.artefacts / "report.txt").write_text(check().stdout)
    for line in lines:
        name = f"{line['list']}:{line['item']}"
        if line["item"] in NOT_REQUIRED and not line["available"]:
            print(f"missing  {stage.name}: {name}: {line['reason']}", flush=True)
            continue
        with stage.step(f"{name}, {line['title']}"):
            expect(line["available"], line.get("reason", ""))
    with stage.step("the account is as it was, and a second report is the same"):
        again = json.loads(check("--json").stdout)["items"]
        differing = [new["item"] for old, new in zip(lines, again) if old["available"] != new["available"]]
        expect(not differing, f"they differ in {differing}")
    with stage.step("--require decides the exit status"):
        has = next((line for line in lines if line["available"]), None)
        lacks = next((line for line in lines if not line["available"]), None)
        if has is None:
            raise Failure("nothing is available")
        expect(check("--require", f"{has['list']}:{has['item']}").returncode == 0, "not 0 for what is there")
        if lacks:
            expect(check("--require", f"{lacks['list']}:{lacks['item']}").returncode == 1, "not 1 for what is missing")
        expect(check("--require", "no-such-item").returncode == 2, "not 2 for what is unknown")
