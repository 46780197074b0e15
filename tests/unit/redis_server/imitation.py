# SPDX-License-Identifier: GPL-3.0-or-later
"""A Redis that lives in memory and in a directory: its files, its starts, and what it says to redis-cli."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils import _redis
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Completed, UnitState
from ansible_collections.slipway.webapp.plugins.module_utils._redis_server import Server
from tests.unit.fakes import FakeClock, Fuse

PACKAGED = "# as it comes\nbind 127.0.0.1 -::1\nappendonly no\ndir /var/lib/redis\n"
DEFAULTS = {
    "bind": "127.0.0.1 -::1",
    "requirepass": "",
    "protected-mode": "yes",
    "maxmemory-policy": "noeviction",
    "appendonly": "no",
    "appendfsync": "everysec",
}
REFUSED = Completed(1, "", "Could not connect to Redis at 127.0.0.1:6379: Connection refused")


def good(text: str) -> Completed:
    return Completed(0, text, "")


@dataclass
class Machine:
    """A host. ``keys`` are what the running server holds; a call of a program is an event that the fuse counts."""

    root: Path
    running: bool = True
    unit_running: bool = True  # as systemd sees it, while something answers
    enabled: bool = True
    keys: set[str] = field(default_factory=set)
    live: dict[str, str] = field(default_factory=lambda: dict(DEFAULTS))
    process: str = "41"
    answers_as: str = "41"
    renamed: bool = False
    disk_full: bool = False
    refuses: str = ""  # what redis-server says of a candidate
    fuse: Fuse = field(default_factory=Fuse)
    ran: list[tuple[str, ...]] = field(default_factory=list)
    told: list[tuple[str, ...]] = field(default_factory=list)
    failures: int = 0
    rewriting: int = 0
    names: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for path in ("etc/redis", "var/lib/redis", "var/lib/slipway"):
            (self.root / path).mkdir(parents=True)
        self.path(_redis.CONFIG).write_text(PACKAGED)

    def path(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def app(self, name: str) -> Layout:
        layout = Layout(name, prefix=str(self.root))
        Path(layout.state).mkdir(exist_ok=True)
        return layout

    def server(self) -> Server:
        systemd: Any = self  # as far as it is needed
        return Server(self, systemd, FakeClock(tick=0.1), prefix=str(self.root))

    # What it keeps on its disk.

    @property
    def dump(self) -> Path:
        return self.path(f"{_redis.DATA}/dump.rdb")

    @property
    def appended(self) -> Path:
        return self.path(f"{_redis.DATA}/appendonlydir/all")

    def save(self) -> None:
        self.dump.write_text(" ".join(sorted(self.keys)))

    def write_all(self) -> None:
        self.appended.parent.mkdir(exist_ok=True)
        self.appended.write_text(" ".join(sorted(self.keys)))

    def boot(self) -> None:
        """Start with what the files say."""
        text = self.path(_redis.CONFIG).read_text()
        text = text.replace(_redis.INCLUDE, self.read(_redis.SETTINGS))
        said = dict(re.findall(r"^([a-z-]+) (.*)$", text, re.MULTILINE))
        self.live = {name: said.get(name, value).strip('"') for name, value in DEFAULTS.items()}
        source = self.appended if self.live["appendonly"] == "yes" else self.dump
        self.keys = set(source.read_text().split()) if source.exists() else set()
        if self.live["appendonly"] == "yes":
            self.write_all()
        self.running, self.rewriting = True, 0

    def read(self, path: str) -> str:
        return self.path(path).read_text()

    # What programs answer.

    def run(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        stdin: str = "",
        **_options: object,
    ) -> Completed:
        self.fuse.event()
        self.ran.append(tuple(command))
        if command[0] == "redis-cli":
            words = [word for word in command[1:] if word not in ("-e", "-x", "-p", "6379")]
            return self._client(words + ([stdin] if "-x" in command else []), (environment or {}).get("REDISCLI_AUTH"))
        if command[0] == "systemctl":
            return good(f"{self.process if self.running else 0}\n")
        if command[0] == "dpkg-query":
            return good(f" /etc/x 00\n {_redis.CONFIG} {hashlib.md5(PACKAGED.encode()).hexdigest()}\n")
        if command[0] == "redis-server":
            return Completed(1, "", self.refuses) if self.refuses else Completed(124, "", "", timed_out=True)
        assert command[:2] == ["getent", "ahosts"], command
        return good("".join(f"{each} STREAM {command[2]}\n" for each in self.names.get(command[2], [])))

    def _client(self, words: list[str], password: str | None) -> Completed:
        if not self.running:
            return REFUSED
        if self.live["requirepass"] not in ("", password):
            return Completed(1, "NOAUTH Authentication required.\n", "")
        if words[0] == "config" and self.renamed:
            return Completed(1, "ERR unknown command 'config'\n", "")
        if words[:2] == ["config", "get"]:
            return good("".join(f"{name}\n{self.live[name]}\n" for name in words[2:]))
        if words[:2] == ["config", "set"]:
            pairs = dict(zip(words[2::2], words[3::2], strict=True))
            self.told.append(tuple(pairs))
            if pairs.get("appendonly", self.live["appendonly"]) != self.live["appendonly"]:
                self.rewriting = 3 if pairs["appendonly"] == "yes" else 0
            self.live |= pairs
            return good("OK\n")
        assert words == ["info"], words
        return good(self._info())

    def _info(self) -> str:
        if self.rewriting:
            self.rewriting -= 1
            if not self.rewriting and self.disk_full:
                self.failures += 1
            elif not self.rewriting:
                self.write_all()
        facts = {
            "process_id": self.answers_as,
            "aof_enabled": int(self.live["appendonly"] == "yes"),
            "aof_rewrite_in_progress": int(self.rewriting > 0),
            "aof_rewrite_scheduled": 0,
            "aof_last_bgrewrite_status": "err" if self.failures else "ok",
            "aof_rewrites_consecutive_failures": self.failures,
            "aof_last_write_status": "ok",
            **({"db0": f"keys={len(self.keys)},expires=0,avg_ttl=0"} if self.keys else {}),
        }
        return "# All\n" + "".join(f"{name}:{value}\n" for name, value in facts.items())

    # What systemd does.

    def states(self, units: Sequence[str]) -> dict[str, UnitState]:
        active = "active" if self.running and self.unit_running else "inactive"
        return {unit: UnitState(name=unit, active=active, sub="", enabled=self.enabled) for unit in units}

    def start(self, units: Sequence[str], *, timeout: float) -> None:
        self.fuse.event()
        assert (units, timeout > 0) == ([_redis.UNIT], True)
        self.boot()

    def enable(self, units: Sequence[str]) -> None:
        self.fuse.event()
        assert units == [_redis.UNIT]
        self.enabled = True
