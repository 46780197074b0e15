# SPDX-License-Identifier: GPL-3.0-or-later
"""A host under a temporary prefix, whose programs are imitated: installers, compileall, Django's part, sync."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils import _release_states as states
from ansible_collections.slipway.webapp.plugins.module_utils._archive import Limits, pack
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Completed
from ansible_collections.slipway.webapp.plugins.module_utils._release import Wish
from ansible_collections.slipway.webapp.plugins.module_utils._release_build import Owner, Ports
from ansible_collections.slipway.webapp.plugins.module_utils._source import walk

SECRET = "planted-secret-0123456789"
PYTHON = "/fake/python3"


@dataclass
class Clock:
    time: float = 1_000_000_000.0

    def now(self) -> float:
        self.time += 1
        return self.time

    def monotonic(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


Answer = Callable[[Sequence[str], Mapping[str, str]], "Completed | None"]


@dataclass
class Programs:
    """The runner of a fake host. ``fail`` maps a word of a command to what happens instead."""

    static: dict[str, str] = field(default_factory=dict)
    fail: dict[str, Answer] = field(default_factory=dict)
    static_root: str = ""
    seen: list[tuple[list[str], dict[str, str], str]] = field(default_factory=list)

    def run(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        user: str = "",
        cwd: str = "",
        timeout: float = 0.0,
    ) -> Completed:
        del timeout
        given = dict(environment or {})
        self.seen.append((list(command), given, user))
        for word, answer in self.fail.items():
            if any(word in part for part in command):
                done = answer(command, given)
                if done is not None:
                    return done
        if "venv" in command:
            self._write(command[-1], "bin/python", "#!/bin/sh\n", mode=0o755)
        elif "pip" in command:
            self._write(str(Path(command[0]).parents[1]), "lib/installed.txt", Path(cwd, command[-1]).read_text())
        elif "compileall" in command:
            self._write(cwd, "__pycache__/manage.pyc", "compiled")
        elif "-c" in command and "-I" in command:
            return Completed(0, "3 12 x86_64\n", "")
        elif "-c" in command:
            return self._django(command, given)
        return Completed(0, "", "")

    def _django(self, command: Sequence[str], given: Mapping[str, str]) -> Completed:
        if "collectstatic" in command:
            for name, text in self.static.items():
                self._write(given["STATIC_ROOT"], name, text)
        report = json.dumps({"static_root": self.static_root})
        return Completed(0, f"{len(self.static)} static files copied\n\nslipway-report {report}\n", "")

    @staticmethod
    def _write(root: str, name: str, text: str, *, mode: int = 0o644) -> None:
        path = Path(root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)


@dataclass
class Host:
    """One application on one host."""

    root: Path
    programs: Programs = field(default_factory=Programs)
    clock: Clock = field(default_factory=Clock)

    @property
    def layout(self) -> Layout:
        return Layout(app="shop", prefix=str(self.root / "host"))

    @property
    def ports(self) -> Ports:
        return Ports(runner=self.programs, clock=self.clock, owner=Owner("shop", os.getuid(), os.getgid()))

    def wish(self, name: str = "1", *, lock: str = "django==5\n", without: tuple[str, ...] = (), **more: Any) -> Wish:
        """A release of a small project whose code says ``name``."""
        source = self.root / "source" / name
        source.mkdir(parents=True, exist_ok=True)
        files = {"manage.py": f"# {name}\n", "requirements.txt": lock, "shop/settings.py": name * 700}
        for path, text in files.items():
            (source / path).parent.mkdir(exist_ok=True)
            (source / path).write_text(text)
        stream = io.BytesIO()
        pack(walk(str(source), exclude=without).entries, stream, limits=Limits())
        sha256 = hashlib.sha256(stream.getvalue()).hexdigest()
        upload = self.root / f"{name}.tar.gz"
        upload.write_bytes(stream.getvalue())
        wish = Wish(
            release=f"{name}-{sha256[:10]}",
            sha256=sha256,
            version=name,
            python=PYTHON,
            settings_module="shop.settings",
            environment={"SECRET_KEY": SECRET, "STATIC_URL": "/static/"},
            secrets=(SECRET,),
            upload=str(upload),
            timeout=5,
        )
        return replace(wish, **more)

    def present(self, wish: Wish, *, check_mode: bool = False) -> dict[str, Any]:
        return states.present(self.layout, wish, self.ports, check_mode=check_mode)

    def tree(self) -> dict[str, str]:
        """Every path of the host with its content; locks and times apart."""
        found = {}
        for path in sorted(Path(self.layout.prefix).rglob("*")):
            if path.suffix != ".lock":
                kind = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else "directory"
                found[str(path.relative_to(self.layout.prefix))] = str(kind)
        return found


def disk_full(_command: Sequence[str], _given: Mapping[str, str]) -> Completed:
    return Completed(1, "", f"error: cannot write: {os.strerror(errno.ENOSPC)}\n")


def leak(_command: Sequence[str], _given: Mapping[str, str]) -> Completed:
    """A program that prints what it was given."""
    return Completed(1, f"trying with {SECRET}\n", f"refused: {SECRET}\n")
