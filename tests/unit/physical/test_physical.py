# SPDX-License-Identifier: GPL-3.0-or-later
"""What is an alarm in what pgBackRest says. The reports are those of pgBackRest 2.55.1."""

from __future__ import annotations

import importlib.util
import stat
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FILE = Path(__file__).parents[3] / "roles" / "backup" / "files" / "slipway_physical.py"
NOW = 1_800_000_000
REPORT = """stanza: shop
status: {status}
  archiveId: 17-1, total WAL checked: 3, total valid WAL: 3
    missing: {missing}, checksum invalid: 0, size invalid: 0, other: 0
  backup: 20261121-194012F, status: valid, total files checked: 1261, total valid files: 1260
    missing: 0, checksum invalid: {invalid}, size invalid: 0, other: 0
"""


@pytest.fixture(scope="module")
def physical() -> ModuleType:
    spec = importlib.util.spec_from_file_location("slipway_physical", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def copy(age: int, *, error: bool = False) -> dict[str, Any]:
    return {"label": "20261121-194012F", "error": error, "timestamp": {"start": 0, "stop": NOW - age}}


def info(*copies: dict[str, Any]) -> dict[str, Any]:
    return {"backup": list(copies), "status": {"code": 0, "message": "ok" if copies else "no valid backups"}}


@pytest.mark.parametrize(
    ("copies", "words"),
    [
        ([copy(100)], []),
        ([copy(9999), copy(100)], []),
        ([copy(1000)], []),
        ([copy(1001)], ["too old"]),
        ([], ["no valid backups"]),
        ([copy(100, error=True)], ["damaged pages", "no good copy"]),
        ([copy(100, error=True), copy(200)], ["damaged pages"]),
        ([copy(100, error=True), copy(2000)], ["damaged pages", "too old"]),
    ],
)
def test_age(physical: ModuleType, copies: list[dict[str, Any]], words: list[str]) -> None:
    found = physical.problems_of_age(info(*copies), now=NOW, limit=1000)
    assert len(found) == len(words), found
    for problem, word in zip(found, words, strict=True):
        assert word in problem


@pytest.mark.parametrize(
    ("status", "missing", "invalid", "count"),
    [("ok", 0, 0, 0), ("error", 0, 1, 2), ("error", 2, 0, 2), ("ok", 1, 0, 1), ("error", 0, 0, 1)],
)
def test_content(physical: ModuleType, status: str, missing: int, invalid: int, count: int) -> None:
    found = physical.problems_of_content(REPORT.format(status=status, missing=missing, invalid=invalid))
    assert len(found) == count, found


@pytest.mark.parametrize("report", ["", "stanza: shop\n"])
def test_no_report_is_no_proof(physical: ModuleType, report: str) -> None:
    assert physical.problems_of_content(report)


@pytest.mark.parametrize(
    ("prints", "code", "arguments", "wanted"),
    [
        (REPORT.format(status="ok", missing=0, invalid=0), 0, ["verify", "shop"], 0),
        # It says so and ends well all the same.
        (REPORT.format(status="error", missing=0, invalid=1), 0, ["verify", "shop"], 1),
        ("", 0, ["verify", "shop"], 1),
        ("", 56, ["verify", "shop"], 1),
        ("no json", 0, ["fresh", "shop", "60"], 1),
        ("[]", 0, ["fresh", "shop", "60"], 1),
        ("", 0, ["mend", "shop"], 1),
        ("", 0, [], 1),
    ],
)
def test_the_exit_code(
    physical: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    prints: str,
    code: int,
    arguments: list[str],
    wanted: int,
) -> None:
    program = tmp_path / "pgbackrest"
    (tmp_path / "report").write_text(prints)
    program.write_text(f"#!/bin/sh\ncat {tmp_path}/report\nexit {code}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(physical, "PROGRAM", str(program))
    assert physical.main(arguments) == wanted
