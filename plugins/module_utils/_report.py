# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one screen at the end of a run that went back: what failed, where, and what each host serves now. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_REASONS = 3  # different ones that are shown
_LINES = 4  # of each
# What a host can fail at alone; all else says something about the release.
OF_A_HOST = ("Stage |", "Start |", "Switch |", "Hand over |", "Commit |")


def _causes(hosts: Mapping[str, Mapping[str, Any]]) -> dict[tuple[str, str], list[str]]:
    """What failed: (task, why) -> the hosts on which it did. Those that only followed have no word of their own."""
    found: dict[tuple[str, str], list[str]] = {}
    for name, seen in hosts.items():
        result = seen.get("ansible_failed_result") or {}
        message = str(result.get("msg") or "") if isinstance(result, Mapping) else ""
        task = seen.get("ansible_failed_task") or {}
        at = str(task.get("name") or "") if isinstance(task, Mapping) else ""
        if message and at:
            found.setdefault((at, "; ".join(message.splitlines()[:_LINES])), []).append(name)
    return found


def _reached(seen: Mapping[str, Any]) -> bool:
    """Whether the host was told to go back: Ansible drops one that it cannot reach."""
    told = seen.get("__run_returned")
    return bool(told) and not (isinstance(told, Mapping) and told.get("unreachable"))


def _takes_part(seen: Mapping[str, Any]) -> bool:
    """Whether the host answers for what it serves: of a swarm, the one that conducts it."""
    return not (seen.get("__run_before") or {}).get("skipped")


def _now(name: str, seen: Mapping[str, Any], *, release: str, hold: int) -> str:
    """What a host serves when the run has gone back."""
    live = (seen.get("__run_before") or {}).get("live") or {}
    before = f"{live['release']} from {live['slot']}" if live else ""
    returned = seen.get("__run_returned") or {}
    if not _reached(seen):
        then = f"goes back to {before}" if before else "ends the run"
        return f"{name} cannot be reached; it {then} by itself, {hold} s after the last word or when it is up again"
    if returned.get("failed"):
        said = str(returned.get("msg") or "").splitlines()[:1]
        return f"{name} COULD NOT GO BACK ({' '.join(said)}); it tries again by itself, every few seconds"
    if returned.get("ended") == "committed":
        return f"{name} serves {release}: all hosts had agreed to it, and it had waited in vain for the last word"
    by_itself = ", by itself" if returned.get("ended") == "returned" else ""
    return f"{name} serves {before}, as before{by_itself}" if before else f"{name} serves no proven release"


def excludable(hosts: Mapping[str, Mapping[str, Any]], *, primary: str, web: Sequence[str]) -> list[str]:
    """The hosts that a run can go on without: they failed where others did not, and enough others are left.

    None when the release itself was found bad, when the primary failed, or when less than half of the web hosts
    is left.
    """
    failed = [names for (task, _why), names in _causes(hosts).items() if not task.startswith(OF_A_HOST)]
    broken = {name for names in _causes(hosts).values() for name in names}
    broken |= {name for name, seen in hosts.items() if not _reached(seen)}
    left = [name for name in web if name in hosts and name not in broken]
    if failed or primary in broken or not left or 2 * len(left) < len([name for name in web if name in hosts]):
        return []
    return [name for name in hosts if name in broken]


def returned(
    hosts: Mapping[str, Mapping[str, Any]],
    *,
    action: str,
    release: str,
    hold: int,
    next_step: str,
    put_back: str = "",
) -> str:
    """The screen. ``hosts``: name -> that host's variables; ``put_back``: what puts those that the run has taken out
    of rotation back, '' where it has taken out none.
    """
    causes = _causes(hosts)
    lines = [f"The {action} of {release} failed"]
    for (task, why), names in list(causes.items())[:_REASONS]:
        where = f" ({', '.join(names)})" if len(hosts) > 1 else ""
        lines += [f"at: {task}{where}", f"why: {why}"]
    mine = {name: seen for name, seen in hosts.items() if _takes_part(seen)}
    gone = [name for name, seen in mine.items() if not _reached(seen)]
    if not causes:
        lines += [
            "at: see above",
            f"why: {', '.join(gone)} cannot be reached any more" if gone else "why: see the failure above",
        ]
    states = [_now(name, seen, release=release, hold=hold) for name, seen in mine.items()]
    lines += [("now: " if number == 0 else "     ") + state for number, state in enumerate(states)]
    lines.append(f"next: {next_step}")
    if put_back:
        lines.append(f"and: {put_back} once that works; until then the edge passes it no requests")
    return "\n".join(lines)
