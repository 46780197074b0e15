# SPDX-License-Identifier: GPL-3.0-or-later
"""The bench of backups: what is added up, divided and judged."""

from __future__ import annotations

from typing import Any

import pytest

from tests.bench.backup import figures, on_host, processes
from tests.bench.backup.processes import Process

STAT = "42 (a (b) c) S 7 42 42 0 -1 4194560 1 2 3 4 150 50 20 5 20 0 1 0 100 5000000 300 1844 1 1 0 0 0"


def process(pid: int, parent: int, name: str = "x", *, own: int = 0, waited: int = 0, pages: int = 0) -> Process:
    return Process(pid, parent, name, own, waited, pages)


def one(seconds: float, cpu: float = 1.0, rss: float = 10.0, own: float = 0.1) -> dict[str, float]:
    return {"seconds": seconds, "source_cpu_s": cpu, "own_cpu_s": own, "dump_cpu_s": 2.0, "rss_mb": rss}


def size(*, database_bytes: int = 10**9, full: float = 20.0, own: float = 0.1, rss: float = 50.0) -> dict[str, Any]:
    ours = {level: one(13.0, 2.2, own=own) for level in ("archive", "data", "constraints", "amcheck", "restore")}
    return {
        "gigabytes": 1.0,
        "database_bytes": database_bytes,
        "theirs": {"pg_dump": one(10.0), "pg_dump_kind": one(5.0, 2.0), "pg_basebackup": one(6.0)},
        "ours": {**ours, "full": one(full, 2.2, rss, own)},
        "users": {"tps_alone": 200.0, "tps_beside_pg_dump": 150.0, "tps_beside_full": 100.0},
    }


def test_a_line_of_proc() -> None:
    assert processes.parse_stat(STAT) == Process(42, 7, "a (b) c", 200, 25, 300)


def test_the_processor_time_of_a_server_counts_whoever_has_ended_once() -> None:
    found = [process(1, 0, own=9), process(5, 1, own=10, waited=100), process(6, 5, own=7), process(7, 9, own=1000)]
    assert processes.cpu_ticks(found, 5) == 117
    assert processes.cpu_ticks([process(5, 1, own=10, waited=107)], 5) == 117


def test_our_memory_is_without_the_programs_of_postgresql() -> None:
    found = [
        process(1, 0, pages=1000),
        process(5, 1, "python3", pages=10),
        process(6, 5, "zstd", pages=3),
        process(7, 5, "postgres", pages=500),
        process(8, 7, "sha256sum", pages=70),
        process(9, 5, "pg_restore", pages=90),
    ]
    assert processes.own_pages(found, 5) == 13
    assert processes.own_pages(found, 4) == 0


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("slipway-backup", "own"),
        ("slipway-backup 20261127T0400Z", "dump"),
        ("pg_dump", "dump"),
        ("psql", "other"),
        ("", "other"),
    ],
)
def test_whose_session_it_is(name: str, kind: str) -> None:
    assert processes.kind_of_session(name) == kind


def test_the_mean_of_what_pgbench_told() -> None:
    told = "progress: 1.0 s, 100.0 tps, lat 1 ms\nprogress: 2.0 s, 300.0 tps, lat 1 ms\nnothing\n"
    assert on_host.progress(told) == 200.0
    assert on_host.progress("") == 0.0


def test_ratios() -> None:
    found = figures.ratios(size())
    assert found["full_ratio"] == 2.0
    assert found["data_ratio"] == 1.3
    assert found["physical_ratio"] == 0.6
    assert found["source_load_ratio"] == 0.05
    assert found["source_total_ratio"] == 0.1
    assert found["users_ratio"] == 0.5


def test_the_largest_database_is_judged_and_the_most_memory() -> None:
    raw = {"noop_s": [1.0, 3.0, 1.2], "sizes": [size(database_bytes=5, full=30.0), size(database_bytes=2, rss=99.0)]}
    found = figures.judged(raw)
    assert found["full_ratio"] == 3.0
    assert found["rss_mb"] == 99.0
    assert found["noop_s"] == 1.2
    assert figures.missed(found) == ["full_ratio"]
    assert any("full_ratio" in line and "MISSED" in line for line in figures.table(found))


@pytest.mark.parametrize(
    ("change", "late"),
    [({}, []), ({"full": 22.0}, []), ({"full": 22.1}, ["full_ratio"]), ({"own": 0.21}, ["source_load_ratio"])],
)
def test_budgets(change: dict[str, float], late: list[str]) -> None:
    assert figures.missed(figures.judged({"noop_s": [1.0], "sizes": [size(**change)]})) == late  # type: ignore[arg-type]
