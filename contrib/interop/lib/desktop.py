"""A desktop nobody looks at: Xvfb, a session bus and an unprivileged user, for clients with windows."""

import asyncio
import os
import pathlib
import re
import shutil
import subprocess

from .processes import command, end, spawn, until

# Gajim refuses to run as root.
USER, GROUP = "nobody", "nogroup"


class Desktop:
    """Programs get a home in `folder`; their logs and the screenshots go to `artefacts`."""

    def __init__(self, folder: pathlib.Path, artefacts: pathlib.Path):
        self.home = folder / "home"
        self.home.mkdir(parents=True)
        self._artefacts = artefacts
        self._processes: list[subprocess.Popen] = []
        bus = f"unix:path={self.home}/bus"
        # GLib's own idea of the network is that there is none where no route leads out.
        self._environment = {"HOME": str(self.home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8", "USER": USER,
                             "XDG_RUNTIME_DIR": str(self.home), "DBUS_SESSION_BUS_ADDRESS": bus, "NO_AT_BRIDGE": "1",
                             "GSETTINGS_BACKEND": "memory", "GIO_USE_NETWORK_MONITOR": "base", "GDK_BACKEND": "x11"}
        self._bus = bus

    async def start(self) -> None:
        """Returns when windows can be opened."""
        self.own(self.home)
        log = self._artefacts / "xvfb.log"
        self._processes.append(spawn(["Xvfb", "-displayfd", "1", "-screen", "0", "1280x800x24", "-nolisten", "tcp",
                                      "-ac"], log))
        number = await until(lambda: re.search(r"^\d+$", log.read_text(), re.MULTILINE), "display")
        self._environment["DISPLAY"] = f":{number[0]}"
        self.spawn("dbus-daemon", "--session", "--nofork", f"--address={self._bus}")
        await until((self.home / "bus").exists, "session bus")

    def own(self, folder: pathlib.Path) -> None:
        """Gives a folder and what is in it to the unprivileged user."""
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, USER, GROUP)

    def spawn(self, *arguments: str) -> subprocess.Popen:
        """Starts a program as the unprivileged user; it ends with the desktop."""
        process = spawn(list(arguments), self._artefacts / f"{arguments[0]}.log", **self._options())
        self._processes.append(process)
        return process

    def command(self, *arguments: str, timeout: float = 15) -> str:
        """Runs a short command as the unprivileged user."""
        return command(list(arguments), timeout=timeout, **self._options())

    def screenshot(self, name: str) -> None:
        command(["import", "-window", "root", self._artefacts / f"{name}.png"],
                env={**os.environ, "DISPLAY": self._environment["DISPLAY"]})

    async def type(self, window: str, text: str, above_bottom: int) -> None:
        """Types a line and Enter into a field so many pixels above a window's lower edge, right of the middle."""
        shell = self.command("xdotool", "getwindowgeometry", "--shell", window)
        place = {key: int(value) for key, value in (line.split("=") for line in shell.split())}
        x, y = place["X"] + place["WIDTH"] * 7 // 10, place["Y"] + place["HEIGHT"] - above_bottom
        # Without a window manager nobody hands out the focus.
        self.command("xdotool", "windowfocus", window, "mousemove", str(x), str(y), "click", "1")
        await asyncio.sleep(0.5)
        self.command("xdotool", "type", "--delay", "40", text)
        self.screenshot("typed")
        self.command("xdotool", "key", "Return")

    def close(self) -> None:
        for process in reversed(self._processes):
            end(process)

    def _options(self) -> dict:
        return {"env": self._environment, "user": USER, "group": GROUP, "extra_groups": [], "cwd": self.home}
