# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hosts a restart takes, and what became of one: whether it is lost, and what to say when it failed. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_LINES = 4  # of a reason
# What may find that the host, or an edge host, cannot be reached any more, in the order of the tasks of restart.yml.
STEPS = (
    "__rotation_done",
    "__restart_drained",
    "__restart_rebooted",
    "__restart_nginx",
    "__restart_processes",
    "__restart_healthy",
    "__restart_answer",
)
# What is read of the host that is restarted.
READ = (*STEPS, "__restart_released", "ansible_failed_result", "ansible_failed_task")


def wish(about: Mapping[str, Any]) -> dict[str, Any]:
    """Whether this host is to be restarted, and, where it was named and must not be, why: ``refusal``, else ''.

    ``about``: ``host``; ``what``, one of host, nginx and application; ``named``, the hosts that are asked for, none for
    all; ``accepted``, whether requests may fail; of this host ``edge``, ``web``, ``database``, ``broker`` and its
    ``units``; ``relieved``, whether other web hosts answer while a web host is away.
    """
    has = {
        "host": True,
        "nginx": about["edge"] or about["web"],
        "application": len(about["units"]) > 0,
    }.get(about["what"], False)
    # Another web host answers meanwhile, or what this one does can wait.
    needed = about["edge"] or about["database"] or about["broker"] or (about["web"] and not about["relieved"])
    may = bool(has and (about["accepted"] or not needed))
    named = about["host"] in about["named"]
    return {
        "wanted": named if about["named"] else may,
        "refusal": _refusal(about["host"], has=has) if named and not may else "",
    }


def _refusal(host: str, *, has: bool) -> str:
    if has:
        found = "nobody does its work meanwhile: requests would fail"
        expected = "a web host beside others, or one that is neither edge, database nor broker"
        then = "say that it is meant: -e accept_downtime=true"
    else:
        found, expected, then = "nothing of that kind on it", "a host that has it", "name another one"
    return f"{host} was not restarted, nor any other host. found: {found}. expected: {expected}. next: {then}"


def outcome(
    host: str, seen: Mapping[str, Any], *, edges: Sequence[Mapping[str, Any]], primary: str, rotates: bool
) -> dict[str, Any]:
    """What became of one host so far. ``seen``: its variables ``READ``; ``edges``: what every edge host said before.

    ``lost``: that it, or an edge host, cannot be reached any more, else ''; ``was_out``: who was out of rotation
    before; ``report``: what to say when it failed. ``rotates``: it is taken out of rotation, and others answer
    meanwhile.
    """
    was_out = [name for edge in edges for name in edge["out"]]
    return {
        "lost": _lost(seen),
        "was_out": was_out,
        "report": "\n".join(_report(host, seen, was_out=was_out, primary=primary, rotates=rotates)),
    }


def _lost(seen: Mapping[str, Any]) -> str:
    for step in STEPS:
        result = seen.get(step) or {}
        if result.get("unreachable"):
            said = [str(one.get("msg") or "") for one in result.get("results") or [result]]
            return f"a host cannot be reached any more: {'; '.join(one for one in said if one)}"
    return ""


def _report(
    host: str, seen: Mapping[str, Any], *, was_out: Sequence[str], primary: str, rotates: bool
) -> tuple[str, ...]:
    task, result = seen.get("ansible_failed_task") or {}, seen.get("ansible_failed_result") or {}
    released = seen.get("__restart_released") or {}
    now = "it is out of rotation, and nobody asks it" if rotates else "nobody does its work"
    before = f" ({', '.join(was_out)} was out before)" if was_out else ""
    back = f"; when it is well, rotation.yml -e back={host} passes it requests again" if rotates else ""
    returned = "lease" in released and not released.get("unreachable")
    return (
        f"The restart of {host} failed, and the hosts after it were left alone",
        f"at: {task.get('name', '')}",
        f"why: {'; '.join(str(result.get('msg', 'see above')).splitlines()[:_LINES])}",
        f"now: {now}{before}",
        f"lease: {'given back' if returned else f'not given back, {primary} did not answer; it expires'}",
        f"next: mend it{back}",
    )
