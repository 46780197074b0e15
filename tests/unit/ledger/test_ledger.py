# SPDX-License-Identifier: GPL-3.0-or-later
"""What is written stays written, once, and a torn line harms no other."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.slipway.webapp.plugins.module_utils import _ledger
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout
from tests.unit.fakes import host

NOW = 1_800_000_000.0


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return host(tmp_path)


def entry(run: str = "run1", release: str = "r1", **more: Any) -> _ledger.Entry:
    fields = {"action": "deploy", "outcome": "succeeded", "release": release, "config": "c1", "slot": "blue"}
    return _ledger.entry(now=NOW, fields={**fields, "by": "anna", "run": run, **more})


def test_an_entry_is_one_line(layout: Layout) -> None:
    result = _ledger.record(layout, entry(detail="two\nlines"))
    assert result["changed"]
    lines = Path(layout.ledger).read_text().splitlines()
    assert len(lines) == 1
    assert json.loads(lines[0]) == result["entry"] == _ledger.read(layout)[0]
    assert result["entry"]["time"] == "2027-01-15T08:00:00Z"
    assert result["diff"] == {"before": "", "after": lines[0] + "\n"}


def test_the_same_is_written_once(layout: Layout) -> None:
    _ledger.record(layout, entry())
    later = _ledger.entry(now=NOW + 99, fields={**entry(), "detail": "again"})
    again = _ledger.record(layout, later)
    assert not again["changed"]
    assert again["entry"]["detail"] == ""
    for other in (entry("run2"), entry(outcome="failed"), entry(action="rollback")):
        assert _ledger.record(layout, other)["changed"]
    assert len(_ledger.read(layout)) == 4


def test_check_mode_writes_nothing(layout: Layout) -> None:
    before = os.listdir(layout.state)
    assert _ledger.record(layout, entry(), check_mode=True)["changed"]
    assert os.listdir(layout.state) == before


def test_there_is_none_yet(tmp_path: Path) -> None:
    assert _ledger.read(Layout("shop", prefix=str(tmp_path))) == []


def test_values_are_bounded_and_only_known_ones_written(layout: Layout) -> None:
    long = entry(
        by="x" * 9999,
        detail="y" * 9999,
        secrets={"PASSWORD": "hunter2"},
        previous={"release": "r0", "config": "c0", "slot": "green", "since": "now", "by": "z" * 9999},
    )
    _ledger.record(layout, long)
    text = Path(layout.ledger).read_text()
    assert len(text) < 3000
    assert "hunter2" not in text
    assert long["previous"] == {"release": "r0", "config": "c0", "slot": "green"}
    assert entry(previous={})["previous"] is None


@given(cut=st.integers(0, 400))
@settings(max_examples=60, deadline=None)
def test_a_torn_line_is_kept_passed_over_and_closed(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    layout = host(tmp_path_factory.mktemp("torn"))
    for number in range(3):
        _ledger.record(layout, entry(f"run{number}"))
    path = Path(layout.ledger)
    whole = path.read_bytes()
    torn = whole[: max(0, len(whole) - cut)]
    path.write_bytes(torn)
    survivors = _ledger.read(layout)
    assert len(survivors) == sum(
        1 for line in torn.split(b"\n") if line.endswith(b"}") and line.startswith(b'{"time') and _whole(line)
    )
    _ledger.record(layout, entry("after"))
    assert path.read_bytes().startswith(torn), "what was there is kept"
    assert [old["run"] for old in _ledger.read(layout)] == [*(old["run"] for old in survivors), "after"]
    assert path.read_bytes().endswith(b"\n")


def _whole(line: bytes) -> bool:
    try:
        return bool(json.loads(line))
    except ValueError:
        return False


@pytest.mark.parametrize("junk", [b"\xff\xfe\n", b"[]\n", b"null\n", b'{"a": 1}\n', b"\n\n", b"\0\0\0\0"])
def test_junk_is_passed_over(layout: Layout, junk: bytes) -> None:
    _ledger.record(layout, entry())
    with open(layout.ledger, "ab") as stream:
        stream.write(junk)
    _ledger.record(layout, entry("run2"))
    assert [old["run"] for old in _ledger.read(layout)] == ["run1", "run2"]


def test_a_full_disk_leaves_no_half_line(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    _ledger.record(layout, entry())
    before = Path(layout.ledger).read_bytes()
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:10]))
    with pytest.raises(SlipwayError, match="the disk is full"):
        _ledger.record(layout, entry("run2"))
    assert Path(layout.ledger).read_bytes() == before


def test_a_line_is_one_write_and_durable(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def watched(name: str) -> None:
        real = getattr(os, name)

        def call(*given: Any) -> Any:
            calls.append(name)
            return real(*given)

        monkeypatch.setattr(os, name, call)

    watched("write")
    watched("fsync")
    _ledger.record(layout, entry())
    assert calls == ["write", "fsync", "fsync"]


def test_of_a_long_ledger_the_end_is_read(layout: Layout) -> None:
    line = json.dumps(entry("old", detail="x" * 1900)).encode() + b"\n"
    Path(layout.ledger).write_bytes(line * 700 + json.dumps(entry("new")).encode() + b"\n")
    entries = _ledger.read(layout)
    assert 400 < len(entries) < 700
    assert entries[-1]["run"] == "new"


def test_proven() -> None:
    entries = [
        entry("1", "r1"),
        entry("2", "r2", outcome="failed"),
        entry("3", "r3", previous={"release": "r1", "config": "c1", "slot": "blue"}),
        entry("4", "r1", action="rollback"),
        entry("5", "r4", outcome="started"),
        entry("6", "r1", config="c2"),
    ]
    found = _ledger.proven(entries)
    assert [(old["release"], old["config"], old["action"]) for old in found] == [
        ("r1", "c2", "deploy"),
        ("r1", "c1", "rollback"),
        ("r3", "c1", "deploy"),
        ("r1", "c1", "deploy"),
    ]
    assert found[2]["previous"] == {"release": "r1", "config": "c1", "slot": "blue"}
    assert set(found[0]) == {"release", "config", "slot", "time", "by", "action", "previous"}


def migrated(run: str, release: str, *applied: str, at: float = NOW, **database: Any) -> dict[str, Any]:
    fields = {**entry(run, release), "database": {"applied": [*applied], **database}}
    return _ledger.entry(now=at, fields=fields)


def test_what_happened_to_the_database() -> None:
    assert entry()["database"] is None
    told = migrated("1", "r1", "a.1", "a.2", breaks_old_code=["a.2", "a.3"], irreversible=["a.3"], backup="b1", sql="x")
    assert told["database"] == {
        "applied": ["a.1", "a.2"],
        "waiting": [],
        "breaks_old_code": ["a.2"],
        "irreversible": [],
        "backup": "b1",
        "restored": "",
    }


def test_schema_changes_hold_until_a_restore_undoes_them() -> None:
    first, second = migrated("1", "r1", "a.1", at=NOW), migrated("2", "r2", "a.2", at=NOW + 60)
    plain = entry("3", "r3")
    assert [one["applied"] for one in _ledger.schema_changes([first, plain, second])] == [["a.1"], ["a.2"]]
    back = {**entry("4", "r1", action="restore"), "database": {"applied": [], "restored": first["time"]}}
    again = migrated("5", "r2", "a.2", at=NOW + 120)
    assert [one["applied"] for one in _ledger.schema_changes([first, second, back])] == [["a.1"]]
    assert [one["applied"] for one in _ledger.schema_changes([first, second, back, again])] == [["a.1"], ["a.2"]]


def test_backups_behind_retained_releases() -> None:
    entries = [migrated(str(number), f"r{number}", "a.1", backup=f"b{number}") for number in range(3)]
    assert _ledger.backups([*entries, entry("9", "r1")], ["r1", "r2"]) == ["b1", "b2"]


def test_what_is_no_release_in_front_of_users_proves_nothing() -> None:
    assert _ledger.proven([entry("1", "r1", action="migrate"), entry("2", "r1", action="restore")]) == []


def test_what_a_run_meant_counts_until_it_says_what_it_did() -> None:
    meant = {**migrated("1", "r1", "a.1", "a.2"), "action": "migrate", "outcome": "started"}
    assert [one["applied"] for one in _ledger.schema_changes([meant])] == [["a.1", "a.2"]], "it died"
    said = migrated("1", "r1", "a.1", at=NOW + 9)
    assert [one["applied"] for one in _ledger.schema_changes([meant, said])] == [["a.1"]]
    assert _ledger.schema_changes([meant, entry("1", "r1", outcome="failed")]) == []
    other = entry("2", "r1")
    assert [one["applied"] for one in _ledger.schema_changes([meant, other])] == [["a.1", "a.2"]]


def test_what_has_to_wait() -> None:
    deploy = {**migrated("1", "r1"), "database": {"applied": ["a.1"], "waiting": ["a.2"]}}
    begun = {**migrated("1-after", "r1", "a.2"), "action": "migrate", "outcome": "started"}
    done = {**begun, "outcome": "succeeded"}
    assert _ledger.waiting([deploy]) == _ledger.waiting([deploy, begun]) == ["a.2"]
    assert _ledger.waiting([deploy, begun, done]) == []
    assert _ledger.waiting([deploy, entry("2", "r0", action="rollback")]) == []


def test_what_a_restore_took_from_the_live_release_waits_again() -> None:
    before, live = migrated("1", "r1", "a.1"), migrated("2", "r2", "a.2", at=NOW + 60)
    back = {**entry("3", "r2", action="restore"), "database": {"applied": [], "restored": before["time"]}}
    assert _ledger.waiting([before, live, back]) == ["a.2"]
    assert _ledger.waiting([before, live, {**back, "release": "r1"}]) == [], "of another release"


def test_a_release_without_migrations_needs_what_it_was_built_on() -> None:
    """r2 brings a.2, r3 brings nothing and is live; a backup of before a.2 takes away what r3 needs, too."""
    second, third = migrated("2", "r2", "a.2", at=NOW + 60), migrated("3", "r3", at=NOW + 90)
    back = {**entry("4", "r3", action="restore"), "database": {"applied": [], "restored": entry()["time"]}}
    assert _ledger.waiting([second, third, back]) == ["a.2"]
    assert [one["applied"] for one in _ledger.undone([second, third, back])] == [["a.2"]]
    again = migrated("5", "r3", "a.2", at=NOW + 200)
    assert _ledger.undone([second, third, back, again]) == []
    changes = _ledger.schema_changes([second, third])
    proven = _ledger.proven([entry("1", "r1"), second, third])
    assert [_ledger.needed(changes, proven, release) for release in ("r1", "r2", "r3")] == [[], changes, changes]


def test_an_after_migration_that_failed_half_way_still_waits() -> None:
    live = {**entry("1", "r1"), "database": {"applied": [], "waiting": ["a.2", "a.3"]}}
    half = {
        **entry("1-after", "r1", action="migrate", outcome="failed"),
        "database": {"applied": ["a.2"], "waiting": ["a.2", "a.3"]},
    }
    assert _ledger.waiting([live, half]) == ["a.2", "a.3"]
    whole = {**half, "outcome": "succeeded", "database": {"applied": ["a.2", "a.3"], "waiting": []}}
    assert _ledger.waiting([live, half, whole]) == []
