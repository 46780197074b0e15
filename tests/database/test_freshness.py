# SPDX-License-Identifier: GPL-3.0-or-later
"""Freshness: what is old, missing, failed or from the future fails loudly, and Prometheus is told."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
from slipway_backup import catalogue, freshness
from slipway_backup.errors import BackupError

from tests.database.backups import APP, ago, put

HOUR = 3600


def request(directory: Path, **more: Any) -> dict[str, Any]:
    return {"app": APP, "directory": str(directory), "max_age_seconds": HOUR, **more}


def metric(path: Path, name: str) -> float:
    return next(
        float(line.split()[-1])
        for line in path.read_text().splitlines()
        if line.startswith(f'slipway_backup_{name}{{app="{APP}"}}')
    )


def test_fresh(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entry, old = put(tmp_path, ago(minutes=10)), put(tmp_path, ago(days=10))
    file = tmp_path / "metrics" / "slipway.prom"
    file.parent.mkdir()
    result = freshness.run(request(tmp_path, metrics=str(file)))
    assert result["backup"] == entry.name != old.name
    assert 600 <= result["age_seconds"] < HOUR
    assert (metric(file, "fresh"), metric(file, "verified")) == (1, 2)
    assert metric(file, "newest_timestamp_seconds") == pytest.approx(ago(minutes=10).timestamp(), abs=HOUR / 2)
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert capsys.readouterr().err.startswith("<6>")


def stale(directory: Path) -> None:
    put(directory, ago(hours=2))


def failed(directory: Path) -> None:
    put(directory, ago(minutes=1), status="failed")


def future(directory: Path) -> None:
    put(directory, ago(days=-1))


def torn(directory: Path) -> None:
    (put(directory, ago(minutes=1)) / "manifest.json").write_text("{")


def of_another_app(directory: Path) -> None:
    put(directory, ago(minutes=1), app="blog")


def nothing(directory: Path) -> None:
    assert directory.is_dir()


@pytest.mark.parametrize("state", [stale, failed, future, torn, of_another_app, nothing])
def test_not_fresh(tmp_path: Path, capsys: pytest.CaptureFixture[str], state: Any) -> None:
    state(tmp_path)
    (tmp_path / "metrics").mkdir()
    file = tmp_path / "metrics" / "slipway.prom"
    with pytest.raises(BackupError) as refusal:
        freshness.run(request(tmp_path, metrics=str(file)))
    assert refusal.value.code == "not_fresh"
    assert metric(file, "fresh") == 0
    assert capsys.readouterr().err.startswith("<3>")


def test_a_clock_that_went_ahead_makes_everything_old_not_fresh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, ago(minutes=1))
    monkeypatch.setattr(catalogue, "now", lambda: ago(days=-400))
    with pytest.raises(BackupError, match="new enough"):
        freshness.run(request(tmp_path))


def test_a_metric_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    put(tmp_path, ago(minutes=1))
    with pytest.raises(BackupError) as refusal:
        freshness.run(request(tmp_path, metrics=str(tmp_path / "none" / "slipway.prom")))
    assert refusal.value.code == "catalogue_unusable"
    assert "slipway.prom" in refusal.value.summary


@pytest.mark.parametrize("bad", [{"max_age_seconds": 0}, {"metrics": "x.prom"}, {"metrics": "/tmp/x.txt"}, {"app": ""}])
def test_bad_requests(tmp_path: Path, bad: dict[str, Any]) -> None:
    with pytest.raises(BackupError) as refusal:
        freshness.run(request(tmp_path, **bad))
    assert refusal.value.code == "bad_request"
