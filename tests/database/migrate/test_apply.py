# SPDX-License-Identifier: GPL-3.0-or-later
"""Applying under faults: afterwards it is known exactly what is applied and what is not."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from .project import Project, answer
from .server import eventually

COLUMN = 'migrations.AddField("Note", "{0}", models.IntegerField(null=True))'
ADD = COLUMN.format("a")
PYTHON = """
def {name}(apps, editor):
    from django.db import connection, transaction
    {body}
"""
CUT = "SELECT pg_terminate_backend(pg_backend_pid())"
DEAD_SQL = 'migrations.RunSQL("{0}", "")'
PATIENT: dict[str, Any] = {"lock_timeout_ms": 60000}
OURS = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND application_name LIKE 'slipway-migrate:{0}%'"
)


def columns(project: Project) -> set[str]:
    """The names of notes_note's columns."""
    query = "SELECT column_name FROM information_schema.columns WHERE table_name = 'notes_note'"
    return set(project.sql(query).split())


def recorded(project: Project) -> list[str]:
    """What django_migrations says of the application."""
    return project.sql("SELECT name FROM django_migrations WHERE app = 'notes' ORDER BY id").split()


def waits(project: Project, name: str = "work") -> bool:
    """Whether our connection of that role waits for a lock."""
    return project.sql(OURS.format(name) + " AND wait_event_type = 'Lock'") != "0"


def test_one_at_a_time_and_each_is_told(project: Project) -> None:
    project.initial()
    ids = [project.migration(f"000{number}_x", COLUMN.format(f"c{number}")) for number in (2, 3)]
    found = project.run("apply")
    assert [each["id"] for each in found["result"]["applied"]] == ids
    assert [(each["event"], each["migration"]) for each in project.events()[-4:]] == [
        ("begin", ids[0]), ("applied", ids[0]), ("begin", ids[1]), ("applied", ids[1])]  # fmt: skip
    assert all(f"applied {one}" in found["stderr"] for one in ids)
    assert project.run("apply")["result"]["applied"] == []
    assert {"c2", "c3"} <= columns(project)


def test_an_atomic_one_that_fails_half_way_is_rolled_back_whole(project: Project) -> None:
    project.initial()
    good = project.migration("0002_good", ADD)
    bad = project.migration("0003_bad", COLUMN.format("b") + "," + DEAD_SQL.format("UPDATE notes_note SET size = 1/0"))
    later = project.migration("0004_later", COLUMN.format("c"))
    project.rows(1)
    error = project.run("apply")["error"]
    assert error["code"] == "migration_failed"
    assert "division by zero" in error["found"]
    details = error["details"]
    assert [each["id"] for each in details["applied"]] == [good]
    assert (details["failed"], details["not_applied"]) == (bad, [bad, later])
    assert (details["rolled_back"], details["debris"]) == (True, [])
    assert "b" not in columns(project)
    assert recorded(project)[-1] == "0002_good"


def test_one_that_is_not_atomic_names_what_it_left_and_runs_again_after_the_repair(project: Project) -> None:
    project.initial(1)
    bad = project.migration(
        "0002_bad",
        ADD + "," + DEAD_SQL.format("UPDATE notes_note SET size = 1 / (size - 1)"),
        more="atomic = False",
    )
    details = project.run("apply")["error"]["details"]
    repair = 'ALTER TABLE "notes_note" DROP COLUMN "a";'
    assert (details["rolled_back"], details["debris"]) == (False, [repair])
    again = project.run("apply")["error"]
    assert (again["code"], again["details"]["failed"]) == ("half_applied", bad)
    assert repair in again["next_step"]
    project.sql(repair + "UPDATE notes_note SET size = 2")
    assert project.run("apply")["ok"]


def test_an_index_left_invalid_is_found_and_named(project: Project) -> None:
    project.initial(2)
    project.sql("UPDATE notes_note SET title = 'same'")
    project.migration("0002_index", DEAD_SQL.format("CREATE UNIQUE INDEX CONCURRENTLY twice ON notes_note (title)"),
                      more="atomic = False")  # fmt: skip
    error = project.run("apply")["error"]
    assert error["details"]["invalid_indexes"] == ["public.twice on notes_note"]
    repair = 'DROP INDEX CONCURRENTLY "twice";'
    assert error["details"]["debris"] == [repair]
    assert project.run("apply")["error"]["code"] == "half_applied"
    project.sql("UPDATE notes_note SET title = id::text")
    project.sql(repair)
    found = project.run("apply")["result"]
    assert found["applied"]
    assert found["invalid_indexes"] == []


def test_no_reader_queues_for_long_and_it_succeeds_when_the_blocker_goes(project: Project) -> None:
    project.initial(1)
    project.migration("0002_add", ADD)
    blocker, reader = project.session(), project.session("reader")
    blocker.run("BEGIN; SELECT count(*) FROM notes_note;")
    # Its own limit tells: behind a queued ACCESS EXCLUSIVE lock it waits 0.2 s, never five.
    reader.run("SET statement_timeout = '5s'")
    process = project.start("apply")
    eventually(lambda: project.journal.exists() and len(project.events()) > 2, "it begins")
    reads = 0
    while sum(event["event"] == "retry" for event in project.events()) < 4:
        assert reader.run("SELECT count(*) FROM notes_note") == ["1"]
        reads += 1
    blocker.end()
    reader.end()
    found = answer(process)
    assert found["result"]["applied"][0]["attempts"] > 4
    assert "/blocker/" in found["result"]["waited"][0]["for"]
    assert "waits for" in found["stderr"]
    assert reads > 0


def test_it_gives_up_after_the_budget_and_names_the_blocker(project: Project) -> None:
    project.initial(1)
    project.migration("0002_add", ADD)
    blocker = project.session("forgotten psql")
    blocker.run("BEGIN; SELECT 42 FROM notes_note;")
    error = project.run("apply", lock_budget_seconds=1)["error"]
    blocker.end()
    assert error["code"] == "lock_timeout"
    assert error["details"]["rolled_back"]
    assert error["details"]["blockers"][0]["application_name"] == "forgotten psql"
    assert "SELECT 42" in error["details"]["blockers"][0]["query"]
    assert "forgotten psql" in error["found"]
    assert "a" not in columns(project)


def test_what_is_not_atomic_is_never_tried_twice(project: Project) -> None:
    project.initial(1)
    project.migration("0002_add", ADD, more="atomic = False")
    blocker = project.session()
    blocker.run("BEGIN; SELECT 1 FROM notes_note;")
    assert project.run("apply")["error"]["code"] == "lock_timeout"
    blocker.end()
    assert [event["event"] for event in project.events()][-2:] == ["begin", "failed"]


def test_the_second_of_two_is_refused_and_told_by_whom(project: Project) -> None:
    project.initial(1)
    project.migration("0002_add", ADD)
    blocker = project.session()
    blocker.run("BEGIN; SELECT 1 FROM notes_note;")
    first = project.start("apply", **PATIENT)
    eventually(lambda: waits(project), "the first waits")
    error = project.run("apply", run="run-2")["error"]
    assert error["code"] == "locked"
    assert error["details"]["holders"][0]["application_name"] == "slipway-migrate:lock:run-1"
    blocker.end()
    assert answer(first)["ok"]


def test_two_at_once_with_an_index_concurrently_do_not_deadlock(project: Project) -> None:
    project.initial(1)
    project.migration("0002_index", 'pg.AddIndexConcurrently("Note", models.Index(fields=["title"], name="i"))',
                      more="atomic = False")  # fmt: skip
    blocker = project.session()
    blocker.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM notes_note;")
    first = project.start("apply")  # waits far longer than its lock timeout: nobody queues behind it
    eventually(lambda: waits(project), "the first waits for the older transaction")
    second = project.start("apply", run="run-2", advisory_wait_seconds=60)
    eventually(lambda: project.sql(OURS.format("lock:run-2")) == "1", "the second polls")
    blocker.end()
    assert [each["id"] for each in answer(first)["result"]["applied"]] == ["notes.0002_index"]
    assert answer(second)["result"]["applied"] == []


def test_killed_in_the_middle_it_leaves_no_lock_and_the_next_run_resumes(project: Project) -> None:
    project.initial(1)
    project.migration("0002_add", ADD)
    project.migration("0003_add", COLUMN.format("b"))
    blocker = project.session()
    blocker.run("BEGIN; SELECT 1 FROM notes_note;")
    process = project.start("apply", **PATIENT)
    eventually(lambda: waits(project), "it waits")
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    eventually(lambda: project.sql(OURS.format("")) == "0", "all of its connections end")
    blocker.end()
    found = project.run("apply", run="run-2")
    assert len(found["result"]["applied"]) == 2
    assert found["result"]["resumed_after"]["migration"] == "notes.0002_add"


def test_what_a_dead_run_left_at_work_is_not_run_beside(project: Project) -> None:
    project.initial()
    orphan = project.session("slipway-migrate:work:dead")
    orphan.run("BEGIN; SELECT 1;")
    error = project.run("apply")["error"]
    orphan.end()
    assert (error["code"], error["details"]["holders"][0]["application_name"]) == (
        "orphan_at_work", "slipway-migrate:work:dead")  # fmt: skip


@pytest.mark.parametrize("atomic", [True, False])
@pytest.mark.parametrize("cut_at", range(4))
def test_a_connection_cut_at_any_statement_is_told_exactly(project: Project, cut_at: int, atomic: bool) -> None:
    project.initial()
    steps = [COLUMN.format(name) for name in "abc"]
    steps.insert(cut_at, DEAD_SQL.format(CUT))
    bad = project.migration("0002_cut", ",".join(steps), more=f"atomic = {atomic}")
    later = project.migration("0003_later", COLUMN.format("d"))
    error = project.run("apply", accept=[bad])["error"]
    assert error["code"] == "connection_lost"
    details = error["details"]
    assert (details["applied"], details["failed"], details["not_applied"]) == ([], bad, [bad, later])
    there = [] if atomic else list("abc"[:cut_at])
    assert details["debris"] == [f'ALTER TABLE "notes_note" DROP COLUMN "{name}";' for name in reversed(there)]
    assert details["rolled_back"] == (not there if atomic else False)
    assert columns(project) & set("abcd") == set(there)


def test_an_error_after_the_commit_does_not_hide_that_it_is_applied(project: Project) -> None:
    project.initial()
    head = PYTHON.format(name="late", body="transaction.on_commit(lambda: connection.cursor().execute('SELECT 1/0'))")
    late = project.migration("0002_late", "migrations.RunPython(late)", head=head)
    found = project.run("apply")
    assert [each["id"] for each in found["result"]["applied"]] == [late]
    assert recorded(project)[-1] == "0002_late"


def test_a_migration_is_recorded_in_its_own_transaction(project: Project) -> None:
    # Django alone records one with deferred SQL afterwards: the index exists, the record does not.
    project.initial()
    project.migration("0002_key", 'migrations.AddField("Note", "k", models.IntegerField(null=True, db_index=True))')
    project.sql("ALTER TABLE django_migrations ADD CHECK (name <> '0002_key')")
    details = project.run("apply")["error"]["details"]
    assert (details["rolled_back"], details["debris"]) == (True, [])
    assert "k" not in columns(project)


def test_a_statement_has_a_limit(project: Project) -> None:
    project.initial()
    head = PYTHON.format(name="slow", body="connection.cursor().execute('SELECT pg_sleep(50)')")
    project.migration("0002_slow", "migrations.RunPython(slow)", head=head)
    error = project.run("apply", statement_timeout_seconds=0.5)["error"]
    assert (error["code"], error["details"]["rolled_back"]) == ("statement_timeout", True)


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_nothing_in_the_settings_or_the_environment_overrides_the_guards(project: Project, driver: str) -> None:
    more = "import sys; sys.modules['psycopg'] = None" if driver == "psycopg2" else ""
    zero = "-c lock_timeout=0 -c statement_timeout=0"
    project.settings(options={"options": zero}, more=more)
    project.sql(f"ALTER DATABASE {project.database} SET lock_timeout = 0; CREATE TABLE seen (name text, setting text)")
    insert = (
        "INSERT INTO seen SELECT name, setting FROM pg_settings WHERE name ~ "
        "'^(lock_timeout|statement_timeout|idle_in_transaction|client_connection_check)' UNION SELECT 'driver', %s"
    )
    body = f'connection.cursor().execute("{insert}", [type(connection.connection).__module__.split(".")[0]])'
    project.migration("0001_look", "migrations.RunPython(look)", head=PYTHON.format(name="look", body=body))
    process = project.start("apply", environment={"PGOPTIONS": zero}, statement_timeout_seconds=7)
    assert answer(process)["ok"]
    seen = dict(line.split("|") for line in project.sql("SELECT * FROM seen").splitlines())
    assert seen == {
        "driver": driver, "lock_timeout": "200", "statement_timeout": "7000",
        "idle_in_transaction_session_timeout": "7000", "client_connection_check_interval": "500",
    }  # fmt: skip


def test_a_lost_lock_ends_the_run_before_the_next_migration(project: Project) -> None:
    project.initial()
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'slipway-migrate:lock%%'"
    head = PYTHON.format(name="cut", body=f'connection.cursor().execute("{cut}", [])')
    project.migration("0002_cut", "migrations.RunPython(cut)", head=head)
    project.migration("0003_add", ADD)
    error = project.run("apply")["error"]
    assert error["code"] == "lock_lost"
    assert [each["id"] for each in error["details"]["applied"]] == ["notes.0002_cut"]
    assert error["details"]["not_applied"] == ["notes.0003_add"]
    assert "a" not in columns(project)


def test_code_that_exits_is_a_failure_like_any_other(project: Project) -> None:
    project.initial()
    head = PYTHON.format(name="leave", body="print('{}'); raise SystemExit(0)")
    project.migration("0002_leave", "migrations.RunPython(leave)", head=head)
    assert project.run("apply")["error"]["details"]["rolled_back"]


def test_permissions_and_content_types_follow(project: Project) -> None:
    project.settings(apps="'django.contrib.contenttypes', 'django.contrib.auth', 'notes'")
    model = "from django.db import models\nclass Note(models.Model):\n    title = models.CharField(max_length=100)\n"
    (project.root / "notes" / "models.py").write_text(model)
    project.initial()
    assert project.sql("SELECT count(*) FROM auth_permission WHERE codename LIKE '%_note'") == "4"


def test_an_older_object_of_the_same_name_is_not_debris_of_an_atomic_one(project: Project) -> None:
    project.initial()
    project.sql("ALTER TABLE notes_note ADD a int")
    project.migration("0002_add", ADD)
    details = project.run("apply")["error"]["details"]
    assert (details["rolled_back"], details["debris"], details["unanswered"]) == (True, [], "")
