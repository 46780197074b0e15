# SPDX-License-Identifier: GPL-3.0-or-later
"""What a bench that breaks off leaves behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.bench import __main__ as bench
from tests.bench import containers, fleet, measure
from tests.load.generator import LoadError


@pytest.mark.parametrize("error", [LoadError("nobody answers"), measure.BenchError("no figure")])
def test_what_was_measured_outlives_a_part_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    def fails(*_what: Any) -> dict[str, object]:
        raise error

    result = tmp_path / "build" / "bench.json"
    monkeypatch.setattr(bench, "RESULT", result)
    monkeypatch.setattr(bench, "_prepare", lambda _count: None)
    monkeypatch.setattr(bench, "_one_host", lambda *_what: {"floor_s": 1.0})
    monkeypatch.setattr(bench, "_many_hosts", lambda *_what: {"hosts_8_ratio": 1.2})
    monkeypatch.setattr(bench, "_under_load", fails)
    monkeypatch.setattr("sys.argv", ["bench"])
    assert bench.main() == 1
    assert json.loads(result.read_text()) == {"floor_s": 1.0, "hosts_8_ratio": 1.2}
    assert str(error) in capsys.readouterr().err


def test_the_column_of_containers_is_added_to_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = fleet.ROOT / ".build" / f"bench-{tmp_path.name}.json"
    result.write_text('{"floor_s": 1.0, "docker_noop_s": 9.0}')
    try:
        monkeypatch.setattr(bench, "RESULT", result)
        monkeypatch.setattr(containers, "column", lambda _rounds: {"docker_noop_s": 2.0})
        monkeypatch.setattr("sys.argv", ["bench", "--only-docker"])
        assert bench.main() == 0
        assert json.loads(result.read_text()) == {"floor_s": 1.0, "docker_noop_s": 2.0}
    finally:
        result.unlink()
