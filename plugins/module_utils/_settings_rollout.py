# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a fleet moves: what the settings of the transaction may be, and which hosts a batch holds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils._settings import Problem, shown

BUCKETS_EACH = 5  # percent: a route has 20 buckets
GATE_SECONDS = 10  # what a host needs beyond the health gate before it may settle by itself


def share(entry: Any) -> tuple[int, bool] | None:
    """A batch as (number, False) or (percent, True); None for what is neither."""
    text = "" if isinstance(entry, bool) else str(entry)
    if re.fullmatch(r"\d{1,5}", text):
        return (int(text), False) if int(text) > 0 else None
    percent = re.fullmatch(r"(\d{1,3})%", text)
    if percent and 1 <= int(percent.group(1)) <= 100:
        return int(percent.group(1)), True
    return None


def reached(entry: Any, count: int) -> int:
    """How many of ``count`` hosts have moved after the batch ``entry``; a share is rounded up."""
    number, percent = share(entry) or (100, True)
    return min(count, -(-number * count // 100) if percent else number)


def batches(web: Sequence[str], wish: Sequence[Any], *, others: Sequence[str] = ()) -> list[list[str]]:
    """The hosts of each batch, in the order given; no batch is empty, and every host is in one.

    ``others`` run no web process and take no traffic: they move with the last batch.
    """
    moved, found = 0, []
    for entry in [*wish, "100%"]:
        upto = reached(entry, len(web))
        if upto > moved:
            found.append(list(web[moved:upto]))
            moved = upto
    if others:
        found = found or [[]]
        found[-1] = found[-1] + list(others)
    return found


def steps(
    hosts: Sequence[str], *, web: Sequence[str], batches_wish: Sequence[Any], canary: Sequence[Any]
) -> list[dict[str, Any]]:
    """In which steps traffic moves to the new release: the hosts of each, and the share, in percent, that it receives.

    The hosts of the first batch go through the ``canary`` shares, those of the others move at once.
    """
    ours = [host for host in hosts if host in set(web)]
    others = [host for host in hosts if host not in set(web)]
    found: list[dict[str, Any]] = []
    for number, batch in enumerate(batches(ours, batches_wish, others=others)):
        shares = [int(one) for one in canary] if number == 0 else [100]
        found += [{"hosts": batch, "weight": weight} for weight in shares]
    for number, step in enumerate(found, start=1):
        step["title"] = f"step {number} of {len(found)}" if len(found) > 1 else "all hosts" if len(hosts) > 1 else "all"
        step["last"] = number == len(found)
    return found


def check_rollout(values: Mapping[str, Any], host: str) -> list[Problem]:
    """What a single host's settings say wrongly about how the fleet moves."""
    checks = (_check_batches, _check_canary, _check_hold)
    return [problem for check in checks for problem in check(values, host)]


def _check_batches(values: Mapping[str, Any], host: str) -> list[Problem]:
    name, wish = "webapp_batches", values.get("webapp_batches", ["100%"])
    if not wish:
        return [Problem(name, "an empty list", 'at least ["100%"]: all web hosts at once', host)]
    problems = []
    before: dict[bool, int] = {}
    for entry in wish:
        part = share(entry)
        if part is None:
            expected = 'a number of web hosts from 1, or a share of them from "1%" to "100%"'
            problems.append(Problem(name, f"the batch {shown(entry)}", expected, host))
        elif part[0] <= before.get(part[1], 0):
            unit = "%" if part[1] else ""
            found = f"{part[0]}{unit} after {before[part[1]]}{unit}"
            problems.append(Problem(name, found, "batches that grow: each says how many have moved after it", host))
        else:
            before[part[1]] = part[0]
    return problems


def _check_canary(values: Mapping[str, Any], host: str) -> list[Problem]:
    name, steps = "webapp_canary_steps", values.get("webapp_canary_steps", [100])
    if not steps:
        return [Problem(name, "an empty list: a canary without traffic", "at least [100]", host)]
    for before, step in zip([0, *steps], steps):
        if step == 0:
            return [Problem(name, "the step 0: a canary without traffic", "weights from 5 to 100", host)]
        if not BUCKETS_EACH <= step <= 100 or step % BUCKETS_EACH:
            return [Problem(name, f"the step {step}", "multiples of 5, from 5 to 100", host)]
        if step <= before:
            return [Problem(name, f"{step} after {before}", "weights that grow", host)]
    if steps[-1] != 100:
        found = f"{steps[-1]} as the last step"
        return [Problem(name, found, "100 as the last step: the canary's whole traffic, before the next batch", host)]
    return []


def _check_hold(values: Mapping[str, Any], host: str) -> list[Problem]:
    """A host must not settle while the gate may still be at work, nor after somebody else may have begun."""
    deadline, lease = values.get("webapp_health_deadline", 0), values.get("webapp_lease_seconds", 86400)
    hold, least = values.get("webapp_hold_seconds", lease), deadline + GATE_SECONDS
    if lease < least:
        expected = f"at least {least}: webapp_health_deadline ({deadline}) and {GATE_SECONDS} s"
        return [Problem("webapp_lease_seconds", shown(lease), expected, host)]
    if least <= hold <= lease:
        return []
    expected = (
        f"{least} to {lease}: at least webapp_health_deadline ({deadline}) and {GATE_SECONDS} s, "
        f"at most webapp_lease_seconds ({lease})"
    )
    return [Problem("webapp_hold_seconds", shown(hold), expected, host)]


def check_rollout_fleet(values: Mapping[str, Any], hosts: Mapping[str, Sequence[str]]) -> list[Problem]:
    """What the settings say wrongly for these hosts; ``hosts``: name -> its roles."""
    web = [name for name, roles in hosts.items() if "web" in roles]
    if not web:
        return []
    problems = _check_shares(values.get("webapp_batches", ["100%"]), len(web)) + _check_policy(values, hosts, web)
    return problems + _check_asked(values, web)


def _check_shares(wish: Sequence[Any], count: int) -> list[Problem]:
    """Numbers and shares can be compared only when it is known of how many."""
    name, hosts = "webapp_batches", "1 web host" if count == 1 else f"{count} web hosts"
    if not wish or any(share(entry) is None for entry in wish):
        return []  # said already
    for before, entry in zip(wish, wish[1:]):
        if reached(entry, count) < reached(before, count):
            found = (
                f"{entry} after {before}, which are {reached(entry, count)} after {reached(before, count)} of {hosts}"
            )
            return [Problem(name, found, "batches that grow: each says how many have moved after it")]
    if reached(wish[-1], count) < count:
        found = f"{wish[-1]} as the last batch, which leaves {count - reached(wish[-1], count)} of {hosts} behind"
        return [Problem(name, found, 'all web hosts in the last batch: "100%"')]
    return []


def _check_asked(values: Mapping[str, Any], web: Sequence[str]) -> list[Problem]:
    """Prometheus is asked by a judgement, and there is none after the last step, unless the release is watched then."""
    name, swarm = "webapp_prometheus_url", values.get("webapp_runtime") == "swarm"
    hosts = web[:1] if swarm else web  # in a swarm one of them conducts it, in one step
    moves = steps(
        hosts,
        web=hosts,
        batches_wish=values.get("webapp_batches", ["100%"]),
        canary=values.get("webapp_canary_steps", [100]),
    )
    judged = len(moves) > 1 and values.get("webapp_canary_analysis", True)
    if not values.get(name) or judged or values.get("webapp_bake_seconds"):
        return []
    way = "webapp_bake_seconds above 0, or webapp_canary_analysis with more than one step"
    expected = "nothing: in a swarm nothing is judged" if swarm else f"{way}; else nothing"
    return [Problem(name, f"{shown(values[name])}, which nobody would ask: nothing is judged", expected)]


def _check_policy(values: Mapping[str, Any], hosts: Mapping[str, Sequence[str]], web: Sequence[str]) -> list[Problem]:
    """exclude_host goes on with the other web hosts, and takes the broken one out of the rotation of the edge."""
    name = "webapp_on_host_failure"
    if values.get(name) != "exclude_host":
        return []
    if len(web) == 1:
        expected = f"revert_fleet: {web[0]} is the only web host, nothing would serve"
        return [Problem(name, "'exclude_host'", expected)]
    return [
        Problem(
            "webapp_host_roles",
            f"edge and web on {host}, which exclude each other with {name}: exclude_host",
            "edge on hosts of its own, which can take a web host out of their rotation; or revert_fleet",
            host,
        )
        for host in web
        if "edge" in hosts[host]
    ]
