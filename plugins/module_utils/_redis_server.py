# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Redis of a host, looked at and changed: by redis-cli, by its files, and by systemd."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.slipway.webapp.plugins.module_utils import _redis
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._files import read_json, read_text, write_atomically
from ansible_collections.slipway.webapp.plugins.module_utils._layout import NAME_PATTERN, Layout
from ansible_collections.slipway.webapp.plugins.module_utils._plan import Step
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Clock, Completed, Runner, Systemd
from ansible_collections.slipway.webapp.plugins.module_utils._redis import Found, Record, Wish

ASKED = ("bind", "requirepass", "protected-mode", "maxmemory-policy", "appendonly", "appendfsync")
# Seconds that an answer, a start and a rewrite of all data may take.
ANSWER = 30.0
START = 900.0
REWRITE = 3600.0


@dataclass(frozen=True)
class Answer:
    """What a running server says of itself; or nothing, and ``silent`` is why. No server at all is not silent."""

    live: Mapping[str, str] | None = None
    info: Mapping[str, str] = dataclasses.field(default_factory=dict)
    silent: str = ""

    @property
    def keys(self) -> int:
        return sum(int(each) for value in self.info.values() for each in re.findall(r"^keys=(\d+)", value))

    @property
    def busy(self) -> bool:
        """Does it still write its append-only file anew, or will it?"""
        return "1" in (self.info.get("aof_rewrite_in_progress"), self.info.get("aof_rewrite_scheduled"))

    @property
    def failures(self) -> int:
        return int(self.info.get("aof_rewrites_consecutive_failures", 0))

    @property
    def whole(self) -> bool:
        """Does its append-only file hold all that it has?"""
        ended = (self.info.get("aof_last_bgrewrite_status"), self.info.get("aof_last_write_status"))
        return self.info.get("aof_enabled") == "1" and not self.busy and ended == ("ok", "ok")


class Server:
    """The server of this host; ``prefix`` stands before every path and is empty on real hosts."""

    def __init__(self, runner: Runner, systemd: Systemd, clock: Clock, *, prefix: str = "") -> None:
        self._runner, self._systemd, self._clock, self._prefix = runner, systemd, clock, prefix

    def _path(self, path: str) -> str:
        return self._prefix + path

    def client(self, *words: str, password: str = "", stdin: str = "") -> Completed:
        """Ask it. The password is in the environment, where no process list shows it."""
        environment = {"REDISCLI_AUTH": password} if password else {}
        last = ["-x"] if stdin else []  # the last word of the command is then read from there
        command = ["redis-cli", "-e", "-p", str(_redis.PORT), *last, *words]
        return self._runner.run(command, environment=environment, stdin=stdin, timeout=ANSWER)

    def ask(self, passwords: Sequence[str]) -> Answer:
        """What the running server says to the first of these passwords that it knows, or to none."""
        said = Completed(1, "", "")
        for password in dict.fromkeys((*passwords, "")):
            said = self.client("config", "get", *ASKED, password=password)
            if said.ok:
                break
        if not said.ok:
            reason = " ".join((said.stdout.strip() or said.stderr.strip() or "no answer").split())
            return Answer() if "Connection refused" in reason else Answer(silent=f"it says: {reason}")
        lines = said.stdout.splitlines()
        live = dict(zip(lines[::2], lines[1::2]))
        if not set(ASKED) <= set(live):
            return Answer(silent="redis-cli config get does not answer what Redis would")
        return self._checked(live)

    def _checked(self, live: Mapping[str, str]) -> Answer:
        """Is it the one that systemd has started? Another program may have the port."""
        said = self.client("info", password=live["requirepass"])
        info = dict(line.split(":", 1) for line in said.stdout.splitlines() if ":" in line)
        process = self._runner.run(["systemctl", "show", "--property=MainPID", "--value", _redis.UNIT]).stdout.strip()
        if not said.ok or info.get("process_id") != process:
            return Answer(silent=f"what answers on port {_redis.PORT} is not {_redis.UNIT}")
        return Answer(live=live, info=info)

    def probe(self, layout: Layout, wish: Wish) -> Found:
        """Everything that decides; changes nothing."""
        records, unrecorded = self._records(layout)
        found = Found(
            config=read_text(self._path(_redis.CONFIG)),
            settings=read_text(self._path(_redis.SETTINGS)),
            dump=os.path.exists(self._path(f"{_redis.DATA}/dump.rdb")),
            appended=os.path.isdir(self._path(f"{_redis.DATA}/appendonlydir")),
            records=records,
            unrecorded=unrecorded,
            new=not os.path.isdir(layout.state),
        )
        if found.config is None:
            return found
        unit = self._systemd.states([_redis.UNIT])[_redis.UNIT]
        answer = self.ask([_redis.password_in(found.settings), wish.password])
        silent = answer.silent
        if unit.running and answer.live is None and not silent:
            silent = f"nothing answers on port {_redis.PORT}, though {_redis.UNIT} runs"
        return dataclasses.replace(
            found,
            installed=True,
            active=unit.running,
            enabled=unit.enabled,
            packaged=found.ours or self._packaged(found.config),
            live=answer.live,
            silent=silent,
            whole=answer.whole,
            keys=answer.keys,
        )

    def _packaged(self, config: str) -> bool:
        """Is the server's own file as the package brought it? dpkg keeps the sum of it."""
        said = self._runner.run(["dpkg-query", "--show", "--showformat=${Conffiles}\\n", "redis-server"])
        sums = re.findall(rf"^ {re.escape(_redis.CONFIG)} ([0-9a-f]{{32}})", said.stdout, re.MULTILINE)
        return sums == [hashlib.md5(config.encode(), usedforsecurity=False).hexdigest()]

    def _records(self, layout: Layout) -> tuple[dict[str, Record], tuple[str, ...]]:
        """What is recorded of the applications of this host, and which of the others have no record."""
        place = os.path.dirname(layout.state)
        names = sorted(os.listdir(place)) if os.path.isdir(place) else []
        apps = [name for name in names if re.fullmatch(NAME_PATTERN, name) and os.path.isdir(os.path.join(place, name))]
        said = {app: read_json(Layout(app, prefix=self._prefix).redis_record) for app in apps}
        records = {app: _redis.record_from(value) for app, value in said.items() if value is not None}
        return records, tuple(app for app in apps if app not in records and app != layout.app)

    def apply(self, step: Step, layout: Layout, wish: Wish) -> None:
        """Do one step of a plan."""
        if step.name == "claim":
            data = _redis.record_text(step.data["record"]).encode()
            write_atomically(layout.redis_record, data, mode=0o640, uid=0, gid=0)
        elif step.name == "start":
            self._systemd.start([_redis.UNIT], timeout=START)
        elif step.name == "append":
            self._append(wish)
        elif step.name == "tell":
            self._tell(step.data["settings"], wish)
        elif step.name == "write":
            self._try_out(step.data["text"])
            self._put(_redis.SETTINGS, step.data["text"])
        elif step.name == "exclude":
            self._put(_redis.CONFIG, _redis.without_include(self._config()))
        elif step.name == "include":
            self._put(_redis.CONFIG, _redis.with_include(self._config()))
        elif step.name == "enable":
            self._systemd.enable([_redis.UNIT])

    def _config(self) -> str:
        return read_text(self._path(_redis.CONFIG)) or ""

    def _passwords(self, wish: Wish) -> list[str]:
        return [_redis.password_in(read_text(self._path(_redis.SETTINGS))), wish.password]

    def _need_answer(self, wish: Wish) -> tuple[Mapping[str, str], Answer]:
        answer = self.ask(self._passwords(wish))
        if answer.live is None:
            raise SlipwayError(
                "Redis does not answer",
                found=answer.silent or f"nothing on port {_redis.PORT}",
                expected="an answer to redis-cli config get",
                next_step=f"systemctl status {_redis.UNIT}, then run this again",
            )
        return answer.live, answer

    def _append(self, wish: Wish) -> None:
        """A whole append-only file, or the server as it was."""
        live, before = self._need_answer(wish)
        self._set(["appendonly", "yes"], live)
        end = self._clock.monotonic() + REWRITE
        answer = self._need_answer(wish)[1]
        while not answer.whole and answer.failures <= before.failures and self._clock.monotonic() < end:
            self._clock.sleep(0.2)
            answer = self._need_answer(wish)[1]
        if answer.whole:
            return
        self._set(["appendonly", live["appendonly"]], live)
        names = ("aof_last_bgrewrite_status", "aof_last_write_status", "aof_rewrite_in_progress")
        raise SlipwayError(
            "Redis could not write all its data into an append-only file; its files are as they were",
            found=", ".join(f"{name}: {answer.info.get(name, '')}" for name in names),
            expected="ok",
            next_step=f"look for the reason in /var/log/redis/ (is there room in {_redis.DATA}?), then run this again",
        )

    def _tell(self, settings: Mapping[str, str], wish: Wish) -> None:
        """Address and password at once: there is no moment at which the network is let in without a password."""
        live, _answer = self._need_answer(wish)
        differing = _redis.differing(live, settings)
        password = differing.pop("requirepass", None)
        words = [word for pair in differing.items() for word in pair]
        if password is not None:
            words += ["requirepass"] if password else ["requirepass", ""]
        if words:
            self._set(words, live, stdin=password or "")

    def _set(self, words: Sequence[str], live: Mapping[str, str], *, stdin: str = "") -> None:
        said = self.client("config", "set", *words, password=live["requirepass"], stdin=stdin)
        if not said.ok:
            raise SlipwayError(
                f"Redis does not take {' '.join(words)}",
                found=said.stdout.strip() or said.stderr.strip(),
                expected="OK",
                next_step="look for the reason in /var/log/redis/, then run this again",
            )

    def _try_out(self, text: str) -> None:
        """Redis has no test of a configuration: it is started without data, and must still run after a second."""
        place = tempfile.mkdtemp()
        try:
            config, settings = os.path.join(place, "redis.conf"), os.path.join(place, "slipway.conf")
            write_atomically(settings, text.encode(), mode=0o600)
            own = _redis.with_include(self._config())
            write_atomically(config, own.replace(_redis.INCLUDE, f"include {settings}").encode(), mode=0o600)
            given = ["--port", "0", "--unixsocket", os.path.join(place, "socket"), "--dir", place, "--save", ""]
            given += ["--appendonly", "no", "--daemonize", "no", "--supervised", "no", "--logfile", "", "--pidfile", ""]
            said = self._runner.run(["redis-server", config, *given], timeout=1)
        finally:
            shutil.rmtree(place)
        if not said.timed_out:
            found = _redis.without_password(said.stderr + said.stdout).strip()[-2000:]
            raise SlipwayError(
                f"Redis would not start with {_redis.SETTINGS}, which is left as it was",
                found=found,
                next_step=f"correct what it complains about, in the settings or in {_redis.CONFIG}, and run this again",
            )

    def _put(self, path: str, text: str) -> None:
        """Replace a file of Redis; whoever may read its own file may read this one."""
        like = os.stat(self._path(_redis.CONFIG))
        write_atomically(self._path(path), text.encode(), mode=0o640, uid=like.st_uid, gid=like.st_gid)


def look_up(runner: Runner, name: str) -> list[str]:
    """The addresses that a name means on this host."""
    said = runner.run(["getent", "ahosts", name], timeout=ANSWER)
    return list(dict.fromkeys(line.split()[0] for line in said.stdout.splitlines() if line.strip()))
