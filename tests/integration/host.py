# SPDX-License-Identifier: GPL-3.0-or-later
"""A look at a test host from outside of Ansible: by the container engine, as root, with the host's own programs."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.hosts import engine

HERE = Path(__file__).resolve().parent
BOOT_SECONDS = 90


class HostError(Exception):
    """A look at a host failed."""


def wait_for(what: Callable[[], bool], *, seconds: float) -> float:
    """Wait until it is true; how long that took."""
    began = time.monotonic()
    while not what():
        assert time.monotonic() - began < seconds, f"not within {seconds} s"
        time.sleep(0.2)
    return time.monotonic() - began


@dataclass(frozen=True, kw_only=True)
class Live:
    """What visitors get, read from the route, the slot's link and the running process; the three agree."""

    slot: str
    release: str
    config: str


@dataclass(frozen=True, kw_only=True)
class Host:
    """One test host."""

    name: str
    container: str
    address: str

    def try_sh(self, script: str, *, user: str = "root") -> tuple[int, str]:
        """The exit code and the output of a shell script on the host."""
        found = engine.require().containers.get(self.container)
        code, output = found.exec_run(["sh", "-c", script], user=user)
        return int(code), output.decode(errors="replace")

    def sh(self, script: str) -> str:
        """What a shell script on the host prints; it must succeed."""
        code, output = self.try_sh(script)
        if code != 0:
            raise HostError(f"{self.name}: {script}\nended with {code}: {output[-2000:]}")
        return output

    def python(self, file: str, *arguments: str) -> Any:
        """The JSON that one of our small programs prints on the host."""
        program = (HERE / file).read_text()
        words = " ".join(shlex.quote(word) for word in arguments)
        return json.loads(self.sh(f"exec python3 -I -c {shlex.quote(program)} {words}"))

    def look(self, app: str) -> dict[str, Any]:
        """The state of an application; see look_host.py."""
        found: dict[str, Any] = self.python("look_host.py", app)
        return found

    def live(self, app: str) -> Live | None:
        """What visitors get; None when nothing does.

        Route, link and processes must agree: all processes of the live slot run its release, and there is one beat.
        """
        found = self.look(app)
        if not found["route"]:
            return None
        slots = set(found["route"])
        assert len(slots) == 1, f"{self.name}: the traffic is split: {found['route']}"
        slot = slots.pop()
        state = found["slots"][slot]
        processes, others = state["processes"], found["slots"][{"blue": "green", "green": "blue"}[slot]]["processes"]
        running = {process["release"] if process["active"] == "active" else None for process in processes.values()}
        assert running == {state["release"]}, f"{self.name}: {slot} is {state}"
        assert others.get("beat", {}).get("active") != "active", f"{self.name}: beat runs beside the live slot too"
        return Live(slot=slot, release=state["release"], config=state["config"])

    def files(self, app: str) -> dict[str, str]:
        """Every file that a run could have changed, with owner, mode, time and content; see list_host.py."""
        found: dict[str, str] = self.python("list_host.py", app)
        return found

    def invocations(self, since: float) -> list[str]:
        """The modules that ran on the host since then, by its own journal."""
        self.sh("journalctl --sync")
        lines = self.sh(f"journalctl --since=@{since:.3f} --output=short | grep ': Invoked with ' || true").splitlines()
        return [line.split(": Invoked with ")[0].split()[-1].split("[")[0].removeprefix("ansible-") for line in lines]

    def logins(self, since: float) -> int:
        """Sessions that anybody opened by SSH since then."""
        self.sh("journalctl --sync")
        return int(self.sh(f"journalctl --since=@{since:.3f} --output=cat | grep -c 'Accepted publickey' || true"))

    def now(self) -> float:
        """The host's clock."""
        return float(self.sh("date +%s.%N"))

    def restart(self) -> None:
        """Reboot it: /run and /tmp are empty afterwards."""
        engine.require().containers.get(self.container).restart()
        end = time.monotonic() + BOOT_SECONDS
        while self.try_sh("systemctl is-system-running --wait")[1].strip() not in ("running", "degraded"):
            assert time.monotonic() < end, f"{self.name} did not boot in {BOOT_SECONDS} s"
            time.sleep(0.2)

    @contextmanager
    def small_disk(self, path: str, *, size: str, free: int) -> Iterator[None]:
        """A file system of its own for a directory, with its content and so many free bytes; afterwards all as before.

        What runs keeps the files that it has open; the directory's own content is not touched.
        """
        disk = f"/var/tmp/small-disk-{time.monotonic_ns()}"
        left = f"$(($(stat -f -c '%a * %S' {disk}) - {free}))"
        self.sh(f"mkdir {disk}; mount -t tmpfs -o size={size},mode=0755 small {disk}; cp -a {path} {disk}/copy")
        try:
            self.sh(f"mount --bind {disk}/copy {path}; test {left} -gt 0; head -c {left} /dev/zero >{disk}/filler")
            yield
        finally:
            self.sh(f"umount -l {path}; umount -l {disk}; rmdir {disk}")

    @contextmanager
    def read_only(self, path: str) -> Iterator[None]:
        """A directory that nobody can write to, not even root."""
        self.sh(f"mount --bind {path} {path} && mount -o remount,ro,bind {path}")
        try:
            yield
        finally:
            self.sh(f"umount -l {path}")
