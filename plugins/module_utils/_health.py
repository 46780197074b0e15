# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate: the right answer, so many times in a row, before a deadline."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._mask import mask
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Clock, Systemd

SHOWN = 200  # characters of a body in a message
KEPT = 5  # answers in a message
_LOOK_EVERY = 2.0  # seconds between two looks at the process behind a silent socket
_UNITS_EVERY = 0.1  # seconds between two looks at the processes beside it


@dataclass(frozen=True)
class Answer:
    """What came back: a status and a body, or the reason why nothing did in ``error``."""

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    error: str = ""

    @property
    def release(self) -> str:
        """The release that answered: our own header, else the JSON field ``release``."""
        return self.headers.get("x-slipway-release", "") or str(_fields(self.body).get("release", ""))

    def shown(self, secrets: Sequence[str] = ()) -> dict[str, Any]:
        """The answer as data, without secrets, and of its body only the beginning."""
        if self.error:
            return {"error": self.error}
        return {"status": self.status, "release": self.release, "body": mask(self.body, secrets)[:SHOWN]}

    def __str__(self) -> str:
        if self.error:
            return self.error
        by = f" by release {self.release}" if self.release else ""
        return f"{self.status}{by}: {self.body[:SHOWN]!r}"


class Asker(Protocol):
    """Asks once. Never raises for what a server may do: that is an Answer with an error."""

    def ask(self, *, timeout: float) -> Answer:
        """One request, over within ``timeout`` seconds."""


@dataclass(frozen=True)
class Watch:
    """The process behind the address, if it is a unit of this host, and those that must be ready beside it.

    ``secrets`` are the values that they may print.
    """

    systemd: Systemd
    unit: str = ""
    units: Sequence[str] = ()
    secrets: Sequence[str] = ()

    def failed(self) -> str:
        """Why there is no use in waiting any longer, or ''."""
        if self.unit and self.systemd.states([self.unit])[self.unit].active == "failed":
            return f"{self.unit} has failed"
        return ""

    def log(self, unit: str = "") -> list[str]:
        """The last log lines of the process behind the address or of another one, without secrets."""
        unit = unit or self.unit
        return [mask(line, self.secrets) for line in self.systemd.log(unit)] if unit else []

    def late(self) -> tuple[str, bool]:
        """One of those units that is not ready, or ''; and whether it has failed."""
        states = self.systemd.states(self.units)
        late = [state for state in states.values() if not state.running]
        failed = [state for state in late if state.active == "failed" or state.sub == "auto-restart"]
        return next(((state.name, bool(failed)) for state in [*failed, *late]), ("", False))


@dataclass(frozen=True)
class Wish:
    """What counts as healthy, and how long to wait for it; times in seconds."""

    status: Sequence[int] = (200,)
    json: Mapping[str, Any] = field(default_factory=dict)
    release: str = ""
    successes: int = 1
    interval: float = 1.0
    deadline: float = 60.0
    timeout: float = 5.0


@dataclass(frozen=True)
class Healthy:
    """``successes`` good answers in a row were seen, the last one of ``asked``, after ``seconds``."""

    asked: int
    successes: int
    seconds: float
    last: Answer


def _fields(body: str) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _differences(wanted: Mapping[str, Any], found: Mapping[str, Any], *, prefix: str = "") -> list[str]:
    reasons = []
    for name, value in wanted.items():
        if name not in found:
            reasons.append(f"no JSON field {prefix}{name}")
        elif isinstance(value, dict) and isinstance(found[name], dict):
            reasons += _differences(value, found[name], prefix=f"{prefix}{name}.")
        elif found[name] != value:
            reasons.append(f"{prefix}{name} is {found[name]!r}, not {value!r}")
    return reasons


def judge(answer: Answer, wish: Wish) -> str:
    """Why the answer is not good enough, or ''."""
    if answer.error:
        return answer.error
    if answer.status not in wish.status:
        return f"status {answer.status}, not {' or '.join(map(str, wish.status))}"
    if wish.release and answer.release != wish.release:
        return f"answered by release {answer.release or '(it does not say which)'}, not {wish.release}"
    return "; ".join(_differences(wish.json, _fields(answer.body)))


def wait_for_units(wish: Wish, *, clock: Clock, watch: Watch, begin: float) -> None:
    """Wait until the processes beside the one that was asked are ready, before the same deadline."""
    while True:
        unit, failed = watch.late()
        if not unit:
            return
        if failed or clock.monotonic() - begin >= wish.deadline:
            log = watch.log(unit)
            raise SlipwayError(
                f"{unit} {'has failed' if failed else f'was not ready within {wish.deadline:g} s'}",
                found="\n".join(["the last log lines:", *log]),
                expected="a process that is ready before traffic moves",
                next_step=f"mend what they say, then run the same command again; journalctl -u '{unit}' shows them all",
                details={"unit": unit, "log": log},
            )
        clock.sleep(_UNITS_EVERY)


def wait(wish: Wish, *, asker: Asker, clock: Clock, watch: Watch, where: str) -> Healthy:
    """Ask until enough good answers came in a row; an error with the last answers when the deadline comes first."""
    begin = look = clock.monotonic()
    row, asked, last = 0, 0, [Answer(error="not asked yet")]
    while True:
        left = wish.deadline - (clock.monotonic() - begin)
        if left <= 0:
            raise _unhealthy(f"within {wish.deadline:g} s", wish, last, asked=asked, watch=watch, where=where)
        answer = asker.ask(timeout=min(wish.timeout, left))
        asked += 1
        last = [*last, answer][-KEPT:] if asked > 1 else [answer]
        row = 0 if judge(answer, wish) else row + 1
        if row >= wish.successes:
            return Healthy(asked, row, round(clock.monotonic() - begin, 3), answer)
        if answer.error and clock.monotonic() - look >= _LOOK_EVERY:
            look = clock.monotonic()
            why = watch.failed()
            if why:
                raise _unhealthy(f"and will not: {why}", wish, last, asked=asked, watch=watch, where=where)
        clock.sleep(min(wish.interval, max(0.0, wish.deadline - (clock.monotonic() - begin))))


def _unhealthy(when: str, wish: Wish, last: list[Answer], *, asked: int, watch: Watch, where: str) -> SlipwayError:
    log = watch.log()
    # The reason has a line of its own: a summary of the failure shows only the first lines.
    lines = [judge(last[-1], wish) or "too few good answers in a row"]
    lines += [f"the last of {asked} answers:", *(str(answer) for answer in last)]
    lines += [f"the last log lines of {watch.unit}:", *log] if log else []
    return SlipwayError(
        f"{where} did not become healthy {when}",
        found=mask("\n".join(lines), watch.secrets),
        expected=f"{wish.successes} good answers in a row",
        next_step="mend what the answers and the log lines say, then run the same command again",
        details={"answers": [answer.shown(watch.secrets) for answer in last], "log": log, "asked": asked},
    )


def _actions(ask: str, look: str, asker: Asker | None, watch: Watch, where: str) -> list[str]:
    return [*([f"{ask} {where}"] if asker else []), *(f"{look} {unit}" for unit in watch.units)]


def ask_until_healthy(
    wish: Wish, *, asker: Asker | None, clock: Clock, watch: Watch, where: str, check_mode: bool = False
) -> dict[str, Any]:
    """Wait for health; a module's result. In check mode nobody is asked, and nothing is said to be healthy.

    Without an ``asker`` there is nobody to ask, and only the units are waited for.
    """
    if wish.successes < 1 or min(wish.deadline, wish.timeout) <= 0 or wish.interval < 0:
        raise SlipwayError(
            "Such a check could never end well",
            found=f"successes {wish.successes}, times {wish.deadline:g}, {wish.timeout:g}, {wish.interval:g}",
            expected="at least one success, and times above zero",
        )
    result: dict[str, Any] = {"changed": False, "asked": 0, "successes": 0, "seconds": 0.0}
    if check_mode:
        return {**result, "actions": _actions("Would ask", "Would look at", asker, watch, where)}
    begin = clock.monotonic()
    if asker:
        seen = wait(wish, asker=asker, clock=clock, watch=watch, where=where)
        result |= {"asked": seen.asked, "successes": seen.successes, "last": seen.last.shown(watch.secrets)}
    wait_for_units(wish, clock=clock, watch=watch, begin=begin)
    actions = _actions("Asked", "Looked at", asker, watch, where)
    return {**result, "actions": actions, "seconds": round(clock.monotonic() - begin, 3)}
