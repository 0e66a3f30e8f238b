"""Processes with a bound in time, each ended by its own id."""

import asyncio
import os
import pathlib
import signal
import subprocess
import time
from collections.abc import Callable

from .steps import Failure


def spawn(arguments: list, log: pathlib.Path, **options) -> subprocess.Popen:
    """Starts a process in a group of its own, with its output appended to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen([str(argument) for argument in arguments], stdin=subprocess.DEVNULL, stdout=output,
                                stderr=subprocess.STDOUT, start_new_session=True, **options)


def end(process: subprocess.Popen | None, patience: float = 5) -> None:
    """Ends a process and its group: by SIGTERM, and by SIGKILL when it does not listen."""
    if process is None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            continue
    process.poll()


def command(arguments: list, text: str | None = None, timeout: float = 30, **options) -> str:
    """Runs a short command, with `text` for its standard input, and returns its output; fails with what it said."""
    words = [str(argument) for argument in arguments]
    try:
        done = subprocess.run(words, input=text, capture_output=True, text=True, timeout=timeout, errors="replace",
                              **({} if text is not None else {"stdin": subprocess.DEVNULL}), **options)
    except subprocess.TimeoutExpired:
        raise Failure(f"{words[0]} did not end within {timeout:g} s") from None
    if done.returncode != 0:
        raise Failure(f"{' '.join(words)} ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout


async def until(condition: Callable[[], object], what: str, timeout: float = 15, pause: float = 0.1):
    """Waits until `condition` returns something true, and returns that; fails with `what` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise Failure(f"no {what} within {timeout:g} s")
        await asyncio.sleep(pause)
    return value
