# SPDX-License-Identifier: GPL-3.0-or-later
"""Nothing is migrated without a backup that the gate lets through, and what was done is told whatever happened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils import _manage, _migrations
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._migrations import Gate, Migrator, migrate
from tests.unit.fakes import FakeRunner, host

SETTINGS = {
    "adapter": "django",
    "accept": ["a.1"],
    "lock_timeout": 0.5,
    "lock_budget": 120,
    "statement_timeout": 900,
    "small_table_rows": 10000,
    "alembic_config": "alembic.ini",
    "command": [],
    "pending_command": [],
}


@dataclass
class FakeMigrator:
    run: str = "run1"
    waiting: dict[str, list[str]] = field(default_factory=lambda: {"before": ["a.1", "a.2"], "after": []})
    fails: bool = False
    asked: list[str] = field(default_factory=list)

    def pending(self, phase: str) -> list[str]:
        return self.waiting[phase]

    def apply(self, phase: str) -> dict[str, Any]:
        self.asked.append(f"apply {phase}")
        if self.fails:
            raise SlipwayError("a.2 failed", details={"applied": [{"id": "a.1"}], "failed_migration": "a.2"})
        return {"applied": [{"id": name} for name in self.waiting[phase]]}


@dataclass
class FakeBackups:
    """What slipway-backup answers; ``refuses`` the verbs that it refuses."""

    refuses: tuple[str, ...] = ()
    asked: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)

    def ask(self, verb: str, request: Mapping[str, Any]) -> dict[str, Any]:
        self.asked.append((verb, request))
        if verb in self.refuses:
            raise SlipwayError(f"{verb} refused")
        return {"backup": "b1"}


def gate(backups: FakeBackups) -> Gate:
    return Gate(program=backups, reach={"app": "shop"}, backup="", level="full", seconds=60)  # type: ignore[arg-type]


def run(migrator: FakeMigrator, backups: FakeBackups | None, phase: str = "before", **options: Any) -> dict[str, Any]:
    return migrate(migrator, gate(backups) if backups else None, phase=phase, **options)  # type: ignore[arg-type]


def test_behind_the_gate_and_covered_afterwards() -> None:
    migrator, backups = FakeMigrator(), FakeBackups()
    result = run(migrator, backups)
    assert (result["changed"], result["backup"], len(result["applied"])) == (True, "b1", 2)
    assert [verb for verb, _request in backups.asked] == ["gate", "covers"]
    assert backups.asked[0][1] == {"app": "shop", "backup": "", "level": "full", "max_age_seconds": 60}
    assert backups.asked[1][1] == {"app": "shop", "backup": "b1", "run": "run1"}


def test_a_closed_gate_stops_before_the_database() -> None:
    migrator = FakeMigrator()
    with pytest.raises(SlipwayError, match="gate refused"):
        run(migrator, FakeBackups(refuses=("gate",)))
    assert migrator.asked == []


def test_nothing_pending_asks_for_no_backup() -> None:
    backups = FakeBackups(refuses=("gate",))
    result = run(FakeMigrator(), backups, phase="after")
    assert (result["changed"], result["actions"], backups.asked) == (False, [], [])


def test_check_mode_says_what_it_would_do() -> None:
    migrator, backups = FakeMigrator(), FakeBackups()
    result = run(migrator, backups, check_mode=True)
    assert result["actions"] == ["Apply a.1", "Apply a.2"]
    assert (migrator.asked, backups.asked) == ([], [])


@pytest.mark.parametrize("refuses", [(), ("covers",)])
def test_after_a_failure_the_first_error_counts_and_the_backup_still_covers(refuses: tuple[str, ...]) -> None:
    backups = FakeBackups(refuses=refuses)
    with pytest.raises(SlipwayError, match=r"a\.2 failed") as failed:
        run(FakeMigrator(fails=True), backups)
    assert failed.value.details["applied"] == [{"id": "a.1"}]
    assert [verb for verb, _request in backups.asked] == ["gate", "covers"]


def test_without_a_backup_only_when_told() -> None:
    migrator = FakeMigrator()
    assert run(migrator, None)["backup"] == ""
    assert migrator.asked == ["apply before"]


def test_what_the_program_is_asked(tmp_path: Any) -> None:
    layout = host(tmp_path, "r1", processes=())
    manager = _manage.manager_of(
        layout, FakeRunner(), {"release": "r1", "environment": {"A": "1"}, "secrets": {"S": "hunter2-x"}, "timeout": 9}
    )
    migrator = Migrator(manager, SETTINGS, run="run1")
    request = migrator.request(phase="after")
    assert (request["phase"], request["accept"], request["lock_timeout_ms"]) == ("after", ["a.1"], 500)
    rehearsal = migrator.rehearsal(scratch="/scratch")
    assert rehearsal["command"][-1] == "rehearse"
    assert rehearsal["environment"]["S"] == "hunter2-x"
    assert "hunter2" not in str(rehearsal["command"])
    assert rehearsal["request"]["journal"] == ""


def test_a_release_that_is_not_there(tmp_path: Any) -> None:
    layout = host(tmp_path, processes=())
    manager = _manage.manager_of(
        layout, FakeRunner(), {"release": "r1", "environment": {}, "secrets": {}, "timeout": 9}
    )
    with pytest.raises(SlipwayError, match="cannot be read on this host"):
        Migrator(manager, SETTINGS).plan()


def migration(name: str, *, old_code_ok: bool = True, reversible: bool = True, **more: Any) -> dict[str, Any]:
    problems = [{"code": "rename", "message": "old code asks for the old name", "advice": "keep db_column"}]
    return {"id": name, "old_code_ok": old_code_ok, "reversible": reversible, "problems": problems, **more}


PLAN = {
    "pending": [migration("a.1"), migration("a.2", old_code_ok=False, reversible=False), migration("a.3")],
    "before": ["a.1", "a.2"],
    "after": ["a.3"],
    "unsafe": ["a.2"],
    "table": "",
}


def test_unsafe_migrations_are_refused_with_the_way_to_write_them() -> None:
    refused = _migrations.refusal(PLAN)
    assert refused
    for said in ("a.2", "rename", "keep db_column", "webapp_accepted_migrations"):
        assert said in str(refused)
    assert "a.1:" not in str(refused)
    assert _migrations.refusal({**PLAN, "unsafe": []}) is None


@pytest.mark.parametrize(
    ("migrated", "applied"),
    [
        ({}, []),
        ({"applied": [{"id": "a.1"}]}, ["a.1"]),
        ({"failed": True, "applied": [{"id": "a.1"}], "failed_migration": "a.2", "rolled_back": True}, ["a.1"]),
        ({"failed": True, "applied": [], "failed_migration": "a.2", "rolled_back": False}, ["a.2"]),
    ],
)
def test_what_the_ledger_is_told(migrated: dict[str, Any], applied: list[str]) -> None:
    variables = {
        "__run_migrations": {"effect": _migrations.effect(PLAN)},
        "__run_backup": {"backup": {"id": "b1"}},
        "__run_migrated": migrated,
    }
    told = _migrations.effect_of(variables)
    assert told == {
        "applied": applied,
        "waiting": ["a.3"],
        "breaks_old_code": ["a.2"],
        "irreversible": ["a.2"],
        "backup": "b1",
    }


def test_what_came_last_and_failed_half_way_is_there_and_still_to_do() -> None:
    after = {"failed": True, "applied": [], "failed_migration": "a.3", "rolled_back": False}
    variables = {"__run_migrations": {"effect": _migrations.effect(PLAN)}, "__run_migrated_after": after}
    told = _migrations.effect_of(variables, "__run_migrated_after")
    assert (told["applied"], told["waiting"]) == (["a.3"], ["a.3"])


@pytest.mark.parametrize(("left", "applied"), [(["a.2"], ["a.1"]), (None, ["a.1", "a.2"])])
def test_a_program_that_died_is_made_up_for_by_asking_the_database(left: list[str] | None, applied: list[str]) -> None:
    class Killed(FakeMigrator):
        def pending(self, phase: str) -> list[str]:
            if not self.asked:
                return self.waiting[phase]
            if left is None:
                raise SlipwayError("no answer either")
            return left

        def apply(self, phase: str) -> dict[str, Any]:
            self.asked.append(phase)
            raise SlipwayError("slipway-migrate apply took longer than 9 s")

    backups = FakeBackups()
    with pytest.raises(SlipwayError) as failure:
        run(Killed(), backups)
    assert [one["id"] for one in failure.value.details["applied"]] == applied
    assert [verb for verb, _request in backups.asked] == ["gate", "covers"]


def test_a_run_that_never_came_to_the_database() -> None:
    assert _migrations.effect_of({}) == {"waiting": [], "applied": [], "backup": ""}
