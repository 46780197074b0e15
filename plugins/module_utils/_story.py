# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run told to people: a line for each phase, failures in full, screens as they are. It knows nothing of Ansible.

A phase is what stands before `` | `` in a task's name, or the role of a task that has one. Every method returns the
lines to print. Results carry messages only, never a task's arguments: those may hold secrets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

OK, CHANGED, UNREACHABLE, FAILED = "ok", "changed", "unreachable", "failed"
WORST_FIRST = (FAILED, UNREACHABLE, CHANGED, OK)
NAMED_HOSTS = 6
# Of a program's output, the end says why it failed.
OUTPUT_LINES = 20
HIDDEN = "(hidden: no_log is set)"


def phase_of(name: str, role: str = "") -> str:
    """The phase that a task belongs to."""
    if role:
        return role.rpartition(".")[2]
    head, line, _rest = name.partition(" | ")
    return head.strip().lower() if line else name.strip()


def message_of(result: Mapping[str, Any]) -> str:
    """What a failed result says to people: its message, and the output of a program behind it."""
    if "censored" in result:
        return HIDDEN
    parts = [_text(result.get("msg")) or _text(result.get("reason")) or "it failed without a word"]
    for name in ("stdout", "stderr", "module_stdout", "module_stderr"):
        text = _text(result.get(name)).strip()
        if text and text not in parts[0]:
            lines = text.splitlines()
            cut = [f"... {len(lines) - OUTPUT_LINES} lines before"] if len(lines) > OUTPUT_LINES else []
            parts.append("\n".join([f"{name.replace('module_', '')}:", *cut, *lines[-OUTPUT_LINES:]]))
    return "\n".join(parts)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, (list, tuple)):
        return "\n".join(str(entry) for entry in value)
    return str(value)


def indented(text: str) -> list[str]:
    return ["  " + line if line else "" for line in text.splitlines()]


def listed(hosts: Sequence[str]) -> str:
    """Names while they are few, else their number."""
    return " ".join(hosts) if len(hosts) <= NAMED_HOSTS else f"{len(hosts)} hosts"


@dataclass
class Phase:
    """An open phase: when it began, and the worst that each host has seen in it."""

    name: str
    began: float
    hosts: dict[str, str] = field(default_factory=dict)

    def mark(self, host: str, status: str) -> None:
        before = self.hosts.get(host, OK)
        self.hosts[host] = min(before, status, key=WORST_FIRST.index)

    def line(self, now: float) -> str:
        marks = []
        for status in WORST_FIRST:
            hosts = [host for host, seen in self.hosts.items() if seen == status]
            if hosts:
                marks.append(f"{status}: {listed(hosts)}")
        return f"{self.name:<12} {now - self.began:7.1f} s  {'   '.join(marks)}".rstrip()


@dataclass
class Task:
    """A running task, and what its hosts have said: text -> the hosts that said it."""

    name: str
    phase: str = ""
    began: float = 0.0
    hosts: list[str] = field(default_factory=list)
    failures: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    screens: dict[str, list[str]] = field(default_factory=dict)


class Story:
    """The state of the telling. ``now`` gives seconds on a clock that never jumps."""

    def __init__(self, *, now: Callable[[], float]) -> None:
        self._now = now
        self._began = now()
        self._phase: Phase | None = None
        self._task = Task("")
        self.failures: list[dict[str, Any]] = []

    @property
    def phase(self) -> str:
        """The open phase, or ''."""
        return self._phase.name if self._phase else ""

    def task(self, name: str, *, role: str = "", quiet: bool = False) -> list[str]:
        """A task begins. A ``quiet`` one (an include, a screen) neither opens nor closes a phase."""
        lines = self._tell()
        phase = "" if quiet else phase_of(name, role)
        if phase and self._phase and self._phase.name != phase:
            lines += self._close()
        self._task = Task(name, phase=phase, began=self._now())
        return lines

    def result(self, host: str, status: str, *, message: str = "") -> None:
        """A host is through with the task; ``message`` is why not, when it is not."""
        if message:
            self._task.failures.setdefault((status, message), []).append(host)
        if not self._task.phase:
            return
        if self._phase is None:
            self._phase = Phase(self._task.phase, self._task.began)
        self._phase.mark(host, status)

    def screen(self, host: str, text: str) -> None:
        """A host has something to show."""
        self._task.screens.setdefault(text, []).append(host)

    def end(self, hosts: Mapping[str, Mapping[str, int]]) -> list[str]:
        """The run is over; ``hosts`` are Ansible's counts."""
        lines = self._tell() + self._close()
        if not hosts:
            return lines
        width = max(len(host) for host in hosts)
        lines.append("")
        for host, counts in sorted(hosts.items()):
            words = [f"{name} {counts.get(name, 0)}" for name in ("ok", "changed", "failed", "unreachable")]
            if counts.get("rescued"):
                words.append(f"rescued {counts['rescued']}")
            lines.append(f"{host:<{width}}  {'  '.join(words)}")
        lines.append(f"{'total':<{width}}  {self._now() - self._began:.1f} s")
        return lines

    def flush(self) -> list[str]:
        """What is known but not told yet, without ending anything but the phase's line."""
        return self._tell()

    def _close(self) -> list[str]:
        if self._phase is None:
            return []
        line = self._phase.line(self._now())
        self._phase = None
        return [line]

    def _tell(self) -> list[str]:
        """Failures and screens of the task that is over. Before either of them the phase's line is due."""
        task, self._task = self._task, Task(self._task.name, self._task.phase, self._task.began)
        if not task.failures and not task.screens:
            return []
        lines = self._close()
        for (status, message), hosts in task.failures.items():
            self.failures.append({"task": task.name, "status": status, "hosts": hosts, "message": message})
            lines += ["", f"{status.upper()}  {task.name}", f"  on {' '.join(hosts)}", *indented(message), ""]
        for text, hosts in task.screens.items():
            lines += [f"{' '.join(hosts)}:"] if len(task.screens) > 1 else []
            lines += text.splitlines()
        return lines
