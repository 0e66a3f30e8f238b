"""Text-mode clients in tmux: keys go in, the screen is read."""

import asyncio
import os
import pathlib
import re
import shutil

from .processes import command, until
from .steps import Failure


class Terminal:
    """One program in a tmux server of its own, with its own home in `folder`; screens are kept in `artefacts`."""

    def __init__(self, name: str, folder: pathlib.Path, artefacts: pathlib.Path, rows: int = 50):
        self.name = name
        self._rows = rows
        self.home = folder / name
        self._socket = folder / f"{name}.tmux"
        self._artefacts = artefacts
        self.home.mkdir(parents=True)

    def start(self, *program: str) -> None:
        environment = {"HOME": self.home, "XDG_CONFIG_HOME": self.home / "config", "XDG_DATA_HOME": self.home / "data",
                       "LANG": "C.UTF-8", "TERM": "screen-256color", "PATH": os.environ["PATH"]}
        settings = [f"{key}={value}" for key, value in environment.items()]
        self._tmux("-f", "/dev/null", "new-session", "-d", "-x", "160", "-y", self._rows, "env", "-i", *settings,
                   *program)

    async def type(self, line: str) -> None:
        """Types a line and Enter, with a breath between them so that it is not taken for a paste."""
        self._tmux("send-keys", "-l", "--", line)
        await asyncio.sleep(0.2)
        self._tmux("send-keys", "Enter")
        await asyncio.sleep(0.2)

    def screen(self) -> str:
        return self._tmux("capture-pane", "-p", "-J")

    async def shows(self, pattern: str, timeout: float = 15) -> None:
        """Waits until the screen matches the regular expression; fails with the screen's last lines."""
        try:
            await until(lambda: re.search(pattern, self.screen()), pattern, timeout, pause=0.2)
        except Failure:
            lines = [line.strip() for line in self.screen().splitlines() if line.strip()]
            raise Failure(f"{self.name} does not show “{pattern}” but … {' | '.join(lines[-8:])}") from None
        finally:
            with (self._artefacts / f"{self.name}.screens.txt").open("a") as file:
                file.write(f"=== {pattern}\n{self.screen()}\n")

    def close(self) -> None:
        for log in self.home.rglob("*.log"):
            shutil.copy(log, self._artefacts / f"{self.name}.{log.name}")
        try:
            self._tmux("kill-server")
        except Failure:
            return    # It ended by itself.

    def _tmux(self, *arguments) -> str:
        return command(["tmux", "-S", self._socket, *arguments], timeout=10)
