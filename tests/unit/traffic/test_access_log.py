# SPDX-License-Identifier: GPL-3.0-or-later
"""The access log from a moment on: long files, rotations, lines that are none, and a bound for what is read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils import _access_log
from ansible_collections.slipway.webapp.plugins.module_utils._access_log import Entry, Log, Parser
from tests.unit.traffic.lines import NOW, line


def ends(log: Log) -> list[int]:
    return [entry.ended - NOW for entry in log.entries() if entry]


def write(path: Path, *times: int) -> None:
    with path.open("ab") as stream:
        stream.write(b"".join(line(at=time) for time in times))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.access.json"


def test_a_line_of_ours() -> None:
    found = Parser().parse(line(at=3, took=0.25, waited="0.1, 0.05", status=502, bucket="07", slot="blue"))
    assert found is not None
    assert (found.ended, found.took, found.status, found.bucket, found.slot) == (NOW + 3, 0.25, 502, "07", "blue")
    assert found.waited == pytest.approx(0.15)
    assert found.passed_on


@pytest.mark.parametrize(
    ("said", "waited"), [("", None), ("-", None), ("0.010", 0.01), ("0.010, -", 0.01), ("0.1 : 0.2", 0.3)]
)
def test_what_several_upstreams_took(said: str, waited: float | None) -> None:
    found = Parser().parse(line(waited=said))
    assert found is not None
    assert found.waited == pytest.approx(waited)


def test_another_time_zone_and_bytes_that_are_no_text() -> None:
    found = Parser().parse(line(zone=2).replace(b"Mozilla", b"\xff\xfe"))
    assert isinstance(found, Entry)
    assert found.ended == NOW


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b'{"time":"today"}', b'{"status":000}'])
def test_what_is_no_request(text: bytes) -> None:
    assert Parser().parse(text) is None


@pytest.mark.parametrize("count", [1, 50, 8_000])
@pytest.mark.parametrize("since", [-1.0, 0.4, 0.9, 2.0])
def test_only_the_end_of_a_file_is_read(path: Path, count: int, since: float) -> None:
    moments = [int(number * 100 / count) for number in range(count)]
    write(path, *moments)
    moment = since * 100
    log = Log(str(path), moment=NOW + moment)
    found = ends(log)
    log.close()
    wanted = [one for one in moments if one >= moment]
    assert found[len(found) - len(wanted) :] == wanted
    assert len(found) - len(wanted) < 3_000  # a block, and two seconds
    assert log.whole


def test_what_comes_later_is_read_once_and_only_when_its_line_ends(path: Path) -> None:
    write(path, 0)
    log = Log(str(path), moment=NOW)
    assert ends(log) == [0]
    last = line(at=2)
    with path.open("ab") as stream:
        stream.write(line(at=1) + last[:30])
    assert ends(log) == [1]
    with path.open("ab") as stream:
        stream.write(last[30:])
    assert ends(log) == [2]
    assert ends(log) == []


def test_the_file_before_the_last_rotation(path: Path) -> None:
    write(Path(f"{path}.1"), 0, 10, 20)
    write(path, 30)
    assert ends(Log(str(path), moment=NOW + 9)) == [0, 10, 20, 30]  # a block is not cut


@pytest.mark.parametrize(
    ("older", "whole"), [([], True), ([".1"], True), ([".1", ".2.gz"], False), ([".1", ".2"], False)]
)
def test_what_was_rotated_away_too_long_ago(path: Path, older: list[str], whole: bool) -> None:
    write(path, 30)
    for ending in older:
        write(Path(f"{path}{ending}"), 20)
    assert Log(str(path), moment=NOW).whole == whole


def test_a_rotation_while_we_watch(path: Path) -> None:
    write(path, 0)
    log = Log(str(path), moment=NOW)
    assert ends(log) == [0]
    path.rename(f"{path}.1")
    path.touch()
    write(Path(f"{path}.1"), 1)  # Nginx was not told yet
    assert ends(log) == [1]
    write(path, 2)
    write(Path(f"{path}.1"), 2)
    assert ends(log) == [2, 2]
    assert log.whole
    assert not log.gone


def test_a_file_that_goes_away(path: Path) -> None:
    write(path, 0)
    log = Log(str(path), moment=NOW)
    path.unlink()
    assert ends(log) == [0]
    assert log.gone
    with pytest.raises(FileNotFoundError):
        Log(str(path), moment=NOW)


def test_an_empty_file(path: Path) -> None:
    path.touch()
    log = Log(str(path), moment=NOW)
    assert ends(log) == []
    assert log.whole


def test_there_is_a_bound(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path, *range(4_000))
    size = os.stat(path).st_size // 4
    monkeypatch.setattr(_access_log, "MOST_BYTES", size)
    log = Log(str(path), moment=NOW)
    found = ends(log)
    assert found == list(range(found[0], 4_000))
    assert len(found) == pytest.approx(1_000, rel=0.01)
    assert not log.whole


def test_before_the_moment_only_what_is_near_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path, *range(4_000))
    size = os.stat(path).st_size // 4_000
    assert ends(Log(str(path), moment=NOW + 3_990, before=3_990))[0] == 0
    monkeypatch.setattr(_access_log, "MOST_BEFORE", 100 * size)
    monkeypatch.setattr(_access_log, "_BLOCK", 1_000)
    log = Log(str(path), moment=NOW + 3_990, before=600)
    assert ends(log)[0] == pytest.approx(3_888, abs=5)
    assert log.whole
