# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real service manager, by systemctl, systemd-run and journalctl."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence

from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._host import iso_time
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Completed, Runner, UnitState

# Where `systemctl enable` puts the link for the only target that our units name in WantedBy=.
WANTS = "/etc/systemd/system/multi-user.target.wants"
_PROPERTIES = "Id,ActiveState,SubState,StatusText,ActiveEnterTimestamp"


class HostSystemd:
    """systemd on this host."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def _do(self, *command: str) -> Completed:
        return self._runner.run(command, environment={"TZ": "UTC"})

    def _need(self, *command: str) -> None:
        answer = self._do(*command)
        if not answer.ok:
            raise SlipwayError(f"{shlex.join(command)} failed", found=answer.stderr.strip() or answer.stdout.strip())

    def states(self, units: Sequence[str]) -> dict[str, UnitState]:
        if not units:
            return {}
        answer = self._do("systemctl", "show", "--timestamp=unix", f"--property={_PROPERTIES}", *units)
        blocks = [
            dict(line.split("=", 1) for line in part.splitlines()) for part in answer.stdout.split("\n\n") if part
        ]
        if not answer.ok or len(blocks) != len(units):
            raise SlipwayError("systemd did not answer", found=answer.stderr.strip() or answer.stdout.strip())
        return {unit: _unit_state(unit, block) for unit, block in zip(units, blocks)}

    def start(self, units: Sequence[str], *, timeout: float) -> None:
        if not units:
            return
        # A unit that failed too often just now refuses to start at all; this start is a new attempt on purpose.
        self._do("systemctl", "reset-failed", *units)
        answer = self._runner.run(["systemctl", "start", *units], timeout=timeout)
        if answer.ok:
            return
        down = [unit for unit, state in self.states(units).items() if not state.running] or list(units)
        if answer.timed_out:
            self._do("systemctl", "stop", "--no-block", *down)
        why = f"not ready within {timeout:g} s" if answer.timed_out else _reason(answer.stderr)
        logs = {unit: self.log(unit) for unit in down}
        lines = [line for unit in down for line in (f"the last log lines of {unit}:", *logs[unit])]
        raise SlipwayError(
            f"{' and '.join(down)} did not start",
            found="\n".join([why, *lines]),
            next_step=f"journalctl -u '{down[0]}' on this host shows the whole log",
            details={"unit": down[0], "log": logs[down[0]]},
        )

    def begin(self, units: Sequence[str]) -> None:
        if units:
            self._do("systemctl", "reset-failed", *units)
            self._need("systemctl", "start", "--no-block", *units)

    def stop(self, units: Sequence[str], *, wait: bool = True) -> None:
        if units:
            self._need("systemctl", "stop", *([] if wait else ["--no-block"]), *units)

    def enable(self, units: Sequence[str]) -> None:
        # Only the next boot reads the links, so nothing needs to be reloaded now (a reload costs more than all else).
        if units:
            self._need("systemctl", "enable", "--quiet", "--no-reload", *units)

    def disable(self, units: Sequence[str]) -> None:
        if units:
            self._need("systemctl", "disable", "--quiet", "--no-reload", *units)

    def stop_later(self, name: str, units: Sequence[str], *, seconds: int, only_if: Sequence[str] = ()) -> None:
        condition = [f"--property=ExecCondition={shlex.join(only_if)}"] if only_if else []
        self._need(
            *("systemd-run", "--quiet", "--collect", f"--unit={name}", f"--on-active={seconds}"),
            *("--timer-property=AccuracySec=1s", *condition),
            *("systemctl", "stop", *units),
        )

    def start_later(self, name: str, *, seconds: int) -> None:
        # Of a service that is there only the timer is made.
        self._need(
            *("systemd-run", "--quiet", f"--unit={name}.service", f"--on-active={seconds}"),
            "--timer-property=AccuracySec=1s",
        )

    def cancel_timer(self, name: str) -> None:
        self._do("systemctl", "stop", f"{name}.timer")

    def cancel(self, name: str) -> None:
        # The service too: the timer may have fired a moment ago. What is not loaded cannot be stopped, and need not be.
        self._do("systemctl", "stop", f"{name}.timer", f"{name}.service")
        if self.timer_active(name):
            raise SlipwayError(f"The timer {name} cannot be stopped", next_step=f"systemctl status {name}.timer")

    def timer_active(self, name: str) -> bool:
        return self._do("systemctl", "is-active", "--quiet", f"{name}.timer").ok

    def log(self, unit: str, *, lines: int = 20) -> list[str]:
        # Of this start only: what the release before it said in the same slot would mislead.
        this = self._do("systemctl", "show", "--property=InvocationID", "--value", unit).stdout.strip()
        match = [f"_SYSTEMD_INVOCATION_ID={this}", "+", f"INVOCATION_ID={this}"] if this else [f"--unit={unit}"]
        answer = self._do("journalctl", "--no-pager", "--output=cat", f"--lines={lines}", *match)
        return answer.stdout.splitlines()


def _reason(said: str) -> str:
    """What systemctl says of a failed start, without what it always says."""
    lines = [line for line in said.splitlines() if not line.startswith(("Warning: The unit file", "See "))]
    return "\n".join(lines).strip()


def _unit_state(unit: str, block: Mapping[str, str]) -> UnitState:
    stamp = block.get("ActiveEnterTimestamp", "").lstrip("@")
    return UnitState(
        name=unit,
        active=block.get("ActiveState", "unknown"),
        sub=block.get("SubState", ""),
        # Not by UnitFileState: systemd remembers it until it reloads, and we do not make it reload.
        enabled=os.path.lexists(os.path.join(WANTS, unit)),
        since=iso_time(float(stamp)) if stamp.isdigit() and stamp != "0" else "",
        status=block.get("StatusText", ""),
    )
