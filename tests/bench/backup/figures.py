# SPDX-License-Identifier: GPL-3.0-or-later
"""From what was measured on the host to what is judged. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from typing import Any

BUDGETS = {
    "data_ratio": 1.3,
    "constraints_ratio": 1.6,
    "full_ratio": 2.2,
    "source_load_ratio": 0.10,
    "noop_s": 1.5,
    "rss_mb": 300.0,
}
OTHERS = ("physical_ratio", "restore_ratio", "source_load_ratio", "source_total_ratio")
LEVELS = ("archive", "data", "constraints", "full", "amcheck")


def judged(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The figures with budgets, those of the largest database (users': of the one that had some), and all details."""
    sizes = [{**size, **ratios(size)} for size in raw["sizes"]]
    largest = max(sizes, key=lambda size: float(size["database_bytes"]))
    visited = next(size for size in sizes if "users" in size)
    names = [f"{level}_ratio" for level in LEVELS]
    return {
        **{name: largest[name] for name in (*names, *OTHERS)},
        "users_ratio": visited["users_ratio"],
        "users_pg_dump_ratio": visited["users_pg_dump_ratio"],
        "noop_s": round(statistics.median(raw["noop_s"]), 2),
        "rss_mb": max(size["ours"][level]["rss_mb"] for size in sizes for level in (*LEVELS, "restore")),
        "details": {**raw, "sizes": sizes},
    }


def ratios(size: Mapping[str, Any]) -> dict[str, float]:
    """Those of one database: to plain ``pg_dump -Fc`` = 1.0; users' to their transactions per second when alone.

    ``source_load_ratio`` is the work of our own session to that of pg_dump's in the same backup; ``source_total_ratio``
    is what the whole server worked beyond a dump of the same kind by itself, its own processes and chance included.
    Both are the median of the levels, because these differ in what is done away from the server only.
    """
    theirs, ours = size["theirs"], size["ours"]
    plain, kind = theirs["pg_dump"]["seconds"], theirs["pg_dump_kind"]["source_cpu_s"]
    taken = [ours[level] for level in LEVELS]
    found = {f"{level}_ratio": ours[level]["seconds"] / plain for level in LEVELS}
    found["physical_ratio"] = theirs["pg_basebackup"]["seconds"] / plain
    found["restore_ratio"] = ours["restore"]["seconds"] / plain
    found["source_load_ratio"] = statistics.median(one["own_cpu_s"] / one["dump_cpu_s"] for one in taken)
    found["source_total_ratio"] = statistics.median(one["source_cpu_s"] for one in taken) / kind - 1
    if users := size.get("users"):
        found["users_ratio"] = users["tps_beside_full"] / users["tps_alone"]
        found["users_pg_dump_ratio"] = users["tps_beside_pg_dump"] / users["tps_alone"]
    return {name: round(value, 3) for name, value in found.items()}


def missed(figures: Mapping[str, Any]) -> list[str]:
    """The names of the figures that are over their budget."""
    return [name for name, budget in BUDGETS.items() if figures[name] > budget]


def table(figures: Mapping[str, Any]) -> Iterator[str]:
    """The lines for people: each size, then the figures beside their budgets."""
    for size in figures["details"]["sizes"]:
        yield f"database of {size['database_bytes'] / 1e9:.2f} GB"
        yield f"  {'':<26}{'seconds':>9}{'ratio':>8}{'source CPU s':>14}{'dump':>8}{'own':>8}{'RSS MB':>8}"
        plain = size["theirs"]["pg_dump"]["seconds"]
        for name, one in {**size["theirs"], **size["ours"]}.items():
            memory = f"{one['rss_mb']:>8.0f}" if name in size["ours"] else ""
            seconds, source = one["seconds"], one["source_cpu_s"]
            parts = f"{one['dump_cpu_s']:>8.2f}{one['own_cpu_s']:>8.2f}"
            yield f"  {name:<26}{seconds:>9.2f}{seconds / plain:>8.2f}{source:>14.2f}{parts}{memory}"
        for name, value in size.get("users", {}).items():
            yield f"  {name:<26}{value:>9.1f}"
        yield ""
    late = missed(figures)
    for name, value in figures.items():
        if name != "details":
            verdict = f"budget {BUDGETS[name]}: {'MISSED' if name in late else 'met'}" if name in BUDGETS else ""
            yield f"{name:<24}{value!s:<12}{verdict}".rstrip()
