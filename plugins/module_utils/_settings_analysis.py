# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the settings of the judgement on real traffic may be."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils._settings import Problem, shown

Rule = tuple[Callable[[Any], bool], str]

_PARTS = ("name", "query", "max", "min")


def _number(low: float, high: float, what: str = "") -> Rule:
    return (lambda value: low <= value <= high), f"{low} to {high}{what}"


RULES: dict[str, Rule] = {
    "webapp_bake_seconds": _number(0, 86400, " seconds"),
    "webapp_analysis_minimum": _number(1, 1_000_000, " requests"),
    "webapp_analysis_seconds": _number(0, 3600, " seconds"),
    "webapp_analysis_probe_paths": (
        lambda paths: len(paths) <= 20 and all(re.fullmatch(r"/[^\s#]*", path) for path in paths),
        "at most 20 paths that begin with /",
    ),
    "webapp_analysis_errors": (lambda value: 0 < value <= 0.5, "a share above 0, such as 0.005, 0.5 at most"),
    "webapp_analysis_latency": (lambda value: 1 < value <= 100, "a ratio above 1, such as 1.5, 100 at most"),
    "webapp_prometheus_url": (
        lambda url: not url or "@" in url or bool(re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", url)),
        "http://host:9090 or https://host/path",
    ),
}


def check_analysis(values: Mapping[str, Any], host: str) -> list[Problem]:
    """The queries, each of which has parts, and whom they are put to."""
    queries, name = values.get("webapp_prometheus_queries", []), "webapp_prometheus_queries"
    url = values.get("webapp_prometheus_url", "")
    problems = [problem for number, query in enumerate(queries) for problem in _check_query(number, query, host)]
    if "@" in url:
        expected = "one without it: let Prometheus know the controller by its address"
        problems.append(Problem("webapp_prometheus_url", "a URL with a password", expected, host))
    if queries and not url:
        expected = "the address of the Prometheus that webapp_prometheus_queries are for"
        problems.append(Problem("webapp_prometheus_url", "nothing", expected, host))
    if url and not queries:
        problems.append(Problem(name, "no query", "at least one, because webapp_prometheus_url is set", host))
    return problems


def _check_query(number: int, query: Mapping[str, Any], host: str) -> list[Problem]:
    full = f"webapp_prometheus_queries[{number}]"
    problems = [
        Problem(f"{full}.{part}", "a name that does not exist", f"one of {', '.join(_PARTS)}", host)
        for part in sorted(set(map(str, query)) - set(_PARTS))
    ]
    problems += [
        Problem(f"{full}.{part}", shown(query.get(part)), "a text", host)
        for part in ("name", "query")
        if not isinstance(query.get(part), str) or not query[part].strip()
    ]
    bounds = {bound: query[bound] for bound in ("max", "min") if bound in query}
    problems += [
        Problem(f"{full}.{bound}", shown(value), "a number", host)
        for bound, value in bounds.items()
        if isinstance(value, bool) or not isinstance(value, (int, float))
    ]
    if not bounds:
        problems.append(Problem(full, "no bound", "max, min or both", host))
    return problems


def check_log(values: Mapping[str, Any], web: Sequence[str]) -> list[Problem]:
    """What wants to read the log that only web hosts write."""
    if web:
        return []
    expected = "a host with the role web, for only there is a log to judge by"
    return [
        Problem(name, f"{shown(values[name])}, which is an analysis without a log", expected)
        for name in ("webapp_canary_analysis", "webapp_bake_seconds")
        if values.get(name)
    ]
