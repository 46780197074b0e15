# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of migrations and backups: what is refused, and by which name."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils._settings_rules import check_rules

TIMES = {"full": "weekly", "incremental": "daily"}
AGE = {"tool": "age", "recipients": ["age1x"]}


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("webapp_migration_lock_timeout", 0.0, "webapp_migration_lock_timeout"),
        ("webapp_accepted_migrations", ["notes.0003 x"], "webapp_accepted_migrations"),
        ("webapp_alembic_config", "../alembic.ini", "webapp_alembic_config"),
        ("webapp_backup_database_url", "mysql://a:b@c/d", "webapp_backup_database_url"),
        ("webapp_backup_directory", "backups", "webapp_backup_directory"),
        ("webapp_backup_metrics", "slipway.prom", "webapp_backup_metrics"),
        ("webapp_backup_max_age", 1, "webapp_backup_max_age"),
        ("webapp_backup_retention", {"lats": 5}, "webapp_backup_retention.lats"),
        ("webapp_backup_retention", {"last": -1}, "webapp_backup_retention.last"),
        ("webapp_backup_retention", {"last": True}, "webapp_backup_retention.last"),
        ("webapp_backup_retention", {"last": 0}, "webapp_backup_retention"),
        ("webapp_backup_encryption", {"tool": "zip"}, "webapp_backup_encryption.tool"),
        ("webapp_backup_encryption", {**AGE, "keys": "x"}, "webapp_backup_encryption.keys"),
        ("webapp_backup_encryption", {"tool": "age"}, "webapp_backup_encryption.recipients"),
        ("webapp_backup_offsite", {"tool": "rclone"}, "webapp_backup_offsite.remote"),
        ("webapp_backup_offsite_environment", {"a-b": "x"}, "webapp_backup_offsite_environment.a-b"),
        ("webapp_backup_offsite_environment", {"A": 1}, "webapp_backup_offsite_environment.A"),
        ("webapp_backup_offsite_secrets", {"A": "short"}, "webapp_backup_offsite_secrets.A"),
        (
            "webapp_backup_offsite",
            {"tool": "restic", "repository": "rest:https://a:hunter2@b/"},
            "webapp_backup_offsite.repository",
        ),
        ("webapp_backup_physical_directory", "pgbackrest", "webapp_backup_physical_directory"),
        ("webapp_backup_physical_directory", "/a%b", "webapp_backup_physical_directory"),
        ("webapp_backup_physical_retention", 0, "webapp_backup_physical_retention"),
        ("webapp_backup_physical_schedule", {"full": "weekly"}, "webapp_backup_physical_schedule.incremental"),
        ("webapp_backup_physical_schedule", {**TIMES, "full": "a\nb"}, "webapp_backup_physical_schedule.full"),
        ("webapp_backup_physical_schedule", {**TIMES, "full": ""}, "webapp_backup_physical_schedule.full"),
        ("webapp_backup_physical_schedule", {**TIMES, "diff": "daily"}, "webapp_backup_physical_schedule.diff"),
    ],
)
def test_what_is_refused(name: str, value: Any, named: str) -> None:
    assert [problem.name for problem in check_rules({name: value}, host="web1")] == [named]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("webapp_backup_retention", {"last": 1}),
        ("webapp_backup_encryption", AGE),
        ("webapp_backup_encryption", {"tool": "gpg", "recipients": ["a@b"], "keys": "text"}),
        ("webapp_backup_offsite", {"tool": "restic", "repository": "s3:x"}),
        ("webapp_backup_schedule", ""),
        ("webapp_backup_physical", True),
        ("webapp_backup_physical_schedule", TIMES),
        ("webapp_accepted_migrations", ["notes.0003_rename", "1975ea83b712"]),
    ],
)
def test_what_is_fine(name: str, value: Any) -> None:
    assert check_rules({name: value}, host="web1") == []


def test_a_rehearsal_needs_a_whole_copy() -> None:
    found = check_rules({"webapp_backup_rehearse": True, "webapp_backup_level": "data"}, host="web1")
    assert [problem.name for problem in found] == ["webapp_backup_level"]
    assert check_rules({"webapp_backup_rehearse": False, "webapp_backup_level": "data"}, host="web1") == []


@pytest.mark.parametrize(
    "values",
    [
        {"webapp_backup_max_age": 3600, "webapp_backup_timeout": 7200},
        {"webapp_restore_after_failed_migration": True, "webapp_backup_encryption": AGE},
    ],
)
def test_what_cannot_be_together(values: dict[str, Any]) -> None:
    assert [problem.name for problem in check_rules(values, host="web1")] == [next(iter(values))]


def test_a_command_needs_its_words() -> None:
    found = check_rules({"webapp_migrations": "command", "webapp_migration_command": ["x"]}, host="web1")
    assert [problem.name for problem in found] == ["webapp_migration_pending_command"]


@pytest.mark.parametrize(("kept", "thrown"), [("/a/b", "/a/b/c"), ("/a/b/c", "/a"), ("/a", "/a/")])
def test_the_throwaway_server_is_apart_from_the_catalogue(kept: str, thrown: str) -> None:
    values = {"webapp_backup_directory": kept, "webapp_backup_scratch_directory": thrown}
    assert [problem.name for problem in check_rules(values, host="web1")] == ["webapp_backup_scratch_directory"]
    assert check_rules({**values, "webapp_backup_scratch_directory": "/apart"}, host="web1") == []


def test_a_password_is_never_shown() -> None:
    (problem,) = check_rules({"webapp_backup_database_url": "mysql://a:hunter2@c/d"}, host="web1")
    assert "hunter2" not in str(problem)


def test_a_server_of_somebody_else_is_not_copied() -> None:
    url = {"webapp_database_url": "postgres://a:hunter2hunter2@db.example.org/a"}
    found = check_rules({**url, "webapp_backup_physical": True}, host="web1")
    assert [problem.name for problem in found] == ["webapp_backup_physical"]
    assert "hunter2" not in str(found)
    assert check_rules({**url, "webapp_backup_physical": False}, host="web1") == []
