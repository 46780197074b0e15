# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs before the switch, after the commit, or not at all; what authors and operators say about it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.database.pooler import pgbouncer

from .project import INITIAL, Project

ADD = 'migrations.AddField("Note", "{0}", models.IntegerField(null=True))'
REMOVE = 'migrations.RemoveField("Note", "extra")'
RENAME = 'migrations.RenameField("Note", "title", "name")'
SAFEMIGRATE = """
class When:
    value = "{0}"

class Safe:
    when = When
"""


def applied(project: Project, phase: str, **changes: object) -> list[str]:
    found = project.run("apply", phase=phase, **changes)
    assert found["ok"], found
    return [each["id"] for each in found["result"]["applied"]]


def test_each_phase_applies_its_own(project: Project) -> None:
    project.initial()
    first, last = project.migration("0002_add", ADD.format("a")), project.migration("0003_remove", REMOVE)
    plan = project.plan()
    assert (plan["before"], plan["after"]) == ([first], [last])
    error = project.run("apply", phase="after")["error"]
    assert (error["code"], error["details"]["failed"]) == ("out_of_order", last)
    assert applied(project, "before") == [first]
    assert applied(project, "before") == []
    assert applied(project, "after") == [last]


def test_a_before_that_needs_an_after_is_unsafe_and_the_chain_is_told(project: Project) -> None:
    project.initial()
    remove = project.migration("0002_remove", REMOVE)
    project.migration("0003_add", ADD.format("a"))
    last = project.migration("0004_add", ADD.format("b"))
    plan = project.plan("0004_add", accept=[last])
    assert (plan["class"], plan["accepted"]) == ("unsafe", False)
    assert f"{last} -> notes.0003_add -> {remove}" in plan["problems"][0]["message"]
    assert project.run("apply", phase="before")["error"]["code"] == "unsafe_migrations"


def test_what_does_nothing_goes_with_what_it_needs(project: Project) -> None:
    project.initial()
    remove = project.migration("0002_remove", REMOVE)
    options = project.migration("0003_options", 'migrations.AlterModelOptions("Note", {"ordering": ["id"]})')
    assert project.plan()["after"] == [remove, options]


def test_an_after_that_is_accepted_runs_before_and_so_may_what_needs_it(project: Project) -> None:
    project.initial()
    remove, add = project.migration("0002_remove", REMOVE), project.migration("0003_add", ADD.format("a"))
    plan = project.plan(accept=[remove])
    assert (plan["before"], plan["after"], plan["unsafe"]) == ([remove, add], [], [])
    assert [each["old_code_ok"] for each in plan["pending"]] == [False, True]


def test_a_column_that_new_code_leaves_out_is_made_optional_first(project: Project) -> None:
    """What is NOT NULL without a default would fail the INSERTs of the new code until it is dropped."""
    project.initial(5)
    removed = project.migration("0002_remove", 'migrations.RemoveField("Note", "title")')
    plan = project.plan()
    assert (plan["unsafe"], plan["pending"][0]["problems"][0]["code"]) == ([removed], "drops_required")
    accepted = project.plan(accept=[removed])
    assert (accepted["before"], accepted["after"]) == ([], [removed])
    (project.root / "notes" / "migrations" / "0002_remove.py").unlink()
    optional = 'migrations.AlterField("Note", "title", models.CharField(max_length=100, null=True))'
    first = project.migration("0002_optional", optional)
    last = project.migration("0003_remove", 'migrations.RemoveField("Note", "title")')
    plan = project.plan()
    assert (plan["before"], plan["after"], plan["unsafe"]) == ([first], [last], [])


def test_the_first_deploy_of_an_application_with_a_history(project: Project) -> None:
    """Nobody can be hurt, so nothing has to wait, and nothing has to be accepted."""
    project.migration("0001_initial", INITIAL)
    project.migration("0002_remove", REMOVE)
    project.migration("0003_rename", RENAME)
    project.migration("0004_sql", "migrations.RunSQL('DO $$ BEGIN END $$', '')")
    plan = project.plan()
    assert (len(plan["before"]), plan["after"], plan["unsafe"]) == (4, [], [])
    assert len(applied(project, "before")) == 4


def test_what_is_marked_after_stays_there_when_it_is_accepted(project: Project) -> None:
    project.initial()
    marked = project.migration(
        "0002_batch", "migrations.RunSQL('DO $$ BEGIN END $$', '')", more="safe = 'after_deploy'"
    )
    assert project.plan()["unsafe"] == [marked]
    plan = project.plan(accept=[marked])
    assert (plan["before"], plan["after"]) == ([], [marked])
    assert not plan["pending"][0]["old_code_ok"]


def test_a_foreign_key_that_may_be_empty_is_no_loss(project: Project) -> None:
    project.initial()
    key = 'migrations.{0}("Note", "near", models.ForeignKey("Note", models.CASCADE, {1}db_index=False))'
    project.migration("0002_key", key.format("AddField", "null=True, "))
    project.migration("0003_must", key.format("AlterField", ""))
    assert project.run("apply", accept=["notes.0003_must"])["ok"]
    project.migration("0004_may", key.format("AlterField", "null=True, "))
    plan = project.plan("0004_may")
    assert (plan["class"], plan["old_code_ok"]) == ("before", True), plan


def test_a_check_that_holds_already_spares_the_scan(project: Project) -> None:
    project.initial(50)
    project.sql("UPDATE notes_note SET extra = 'x'; ALTER TABLE notes_note ADD CHECK (extra IS NOT NULL)")
    project.migration("0002_must", 'migrations.AlterField("Note", "extra", models.TextField())')
    plan = project.plan("0002_must", small_table_rows=10)
    assert (plan["class"], plan["problems"][0]["code"]) == ("after", "tightens_column"), plan


def test_an_unsafe_one_stops_everything_until_it_is_accepted_by_name(project: Project) -> None:
    project.initial()
    first, rename = project.migration("0002_add", ADD.format("a")), project.migration("0003_rename", RENAME)
    error = project.run("apply", phase="before")["error"]
    assert (error["code"], error["details"]["unsafe"]) == ("unsafe_migrations", [rename])
    assert "keep the old name" in error["found"]
    assert project.plan()["unsafe"] == [rename]
    plan = project.plan(accept=[rename])
    assert (plan["before"], plan["unsafe"]) == ([first, rename], [])
    assert applied(project, "before", accept=[rename]) == [first, rename]


@pytest.mark.parametrize(
    ("operation", "marker", "phase", "code"),
    [
        (ADD.format("a"), "'after_deploy'", "after", ""),
        (ADD.format("a"), "'before-deploy'", "before", ""),
        (ADD.format("a"), "Safe()", "after", ""),
        (ADD.format("a"), "lambda: Safe()", "after", ""),
        (REMOVE, "'always'", "unsafe", "marker_contradicts"),
        (f"{ADD.format('a')}, {REMOVE}", "'after_deploy'", "after", ""),
        (RENAME, "'after_deploy'", "unsafe", "rename"),
    ],
)  # fmt: skip
def test_markers(project: Project, operation: str, marker: str, phase: str, code: str) -> None:
    project.initial()
    marker = marker.replace("lambda: Safe()", "staticmethod(lambda: Safe())")
    project.migration("0002_x", operation, more=f"safe = {marker}", head=SAFEMIGRATE.format("after_deploy"))
    plan = project.plan("0002_x")
    assert plan["class"] == phase
    assert code in {problem["code"] for problem in plan["problems"]} or not code


def test_an_unknown_marker_is_not_overlooked(project: Project) -> None:
    project.initial()
    project.migration("0002_x", REMOVE, more="safe = 'whenever'")
    error = project.run("plan")["error"]
    assert (error["code"], error["found"]) == ("unknown_marker", "'whenever'")


def test_squashed_merged_run_before_and_swappable(project: Project) -> None:
    project.initial()
    project.settings(apps="'notes', 'people'", more="NOTES_OWNER = 'people.Person'")
    project.app("people")
    person = 'migrations.CreateModel("Person", [("id", models.BigAutoField(primary_key=True))])'
    project.migration("0001_initial", person, app="people", more="run_before = [('notes', '0003_owner')]")
    project.migration("0002_left", ADD.format("a"))
    project.migration("0002_right", ADD.format("b"))
    owner = 'migrations.AddField("Note", "owner", models.ForeignKey(settings.NOTES_OWNER, models.CASCADE, null=True))'
    project.migration("0003_owner", owner, head="from django.conf import settings")
    squashed = project.migration(
        "0004_squashed", ADD.format("c"), after="('notes', '0003_owner')",
        more="replaces = [('notes', '0004_one'), ('notes', '0004_two')]",
    )  # fmt: skip
    ids = [each["id"] for each in project.plan()["pending"]]
    assert ids.index("people.0001_initial") < ids.index("notes.0003_owner")
    assert set(ids) == {"people.0001_initial", "notes.0002_left", "notes.0002_right", "notes.0003_owner", squashed}
    assert set(applied(project, "all")) == set(ids)
    assert project.plan()["pending"] == []


def test_two_leaves_are_refused(project: Project) -> None:
    project.initial()
    project.migration("0002_left", ADD.format("a"))
    project.migration("0002_right", ADD.format("b"))
    error = project.run("plan")["error"]
    assert (error["code"], error["found"]) == ("conflicting_migrations", "notes: 0002_left, 0002_right")


def test_what_the_application_prints_does_not_reach_the_answer(project: Project) -> None:
    project.settings(more="print('{\"ok\": false}')")
    assert project.run("plan")["ok"]


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"fase": "all"}, "fase"),
        ({"phase": "later"}, "phase"),
        ({"lock_timeout_ms": 0}, "lock_timeout_ms"),
        ({"lock_timeout_ms": "1s"}, "lock_timeout_ms"),
        ({"accept": "x"}, "accept"),
        ({"scratch": {"host": "db1"}}, "scratch.host"),
        ({"command": {"run": []}}, "command"),
    ],
)
def test_a_request_that_does_not_fit_is_refused_by_name(
    project: Project, changes: dict[str, object], found: str
) -> None:
    error = project.run("plan", **changes)["error"]
    assert error["code"] == "bad_request"
    assert found in error["summary"]


def test_squawk_that_does_not_work_is_an_error(project: Project, tmp_path: Path) -> None:
    project.initial()
    project.migration("0002_x", ADD.format("a"))
    broken = tmp_path / "squawk"
    broken.write_text("#!/bin/sh\necho cannot >&2\nexit 1\n")
    broken.chmod(0o755)
    for program in (str(broken), "/nowhere/squawk"):
        error = project.run("plan", squawk=program)["error"]
        assert error["code"] == "squawk_unusable"


def test_a_pooler_is_refused(project: Project) -> None:
    server = project.server
    with pgbouncer(
        server.host, server.port, system_user="postgres" if os.geteuid() == 0 else "", role="postgres"
    ) as place:
        project.settings()
        text = (project.root / "project_settings.py").read_text()
        (project.root / "project_settings.py").write_text(text.replace(repr(server.host), repr(place)))
        error = project.run("plan")["error"]
    assert error["code"] == "pooled_connection"


CREATE = 'migrations.CreateModel("Fresh", [("id", models.BigAutoField(primary_key=True))])'
KEY = 'migrations.AddField("Note", "fresh", models.ForeignKey("Fresh", models.CASCADE))'
SQL = 'migrations.RunSQL("{0}", "")'


@pytest.mark.parametrize(
    ("operations", "code"),
    [
        ('migrations.AddField("Fresh", "a", models.IntegerField(null=True)), ' + REMOVE, "split"),
        (KEY, "not_null_without_db_default"),
        (SQL.format("CREATE INDEX ON absent (a)"), "index_blocks_writes"),
        (SQL.format("CREATE TABLE IF NOT EXISTS notes_note (id int); CREATE INDEX ON notes_note (size)"),
         "index_blocks_writes"),
        (SQL.format("ALTER TABLE notes_note ADD COLUMN d positive"), "rewrite"),
        (SQL.format("ALTER TABLE notes_note ALTER COLUMN title TYPE varchar(200)"), "rewrite"),
    ],
)  # fmt: skip
def test_what_only_looks_harmless(project: Project, operations: str, code: str) -> None:
    project.initial(50)
    project.sql("CREATE DOMAIN positive AS int CHECK (VALUE > 0);"
                "ALTER TABLE notes_note ADD CHECK (length(title) > 1)")  # fmt: skip
    project.migration("0002_fresh", CREATE)
    project.migration("0003_x", operations)
    plan = project.plan("0003_x", small_table_rows=10)
    assert plan["class"] == "unsafe"
    assert code in {problem["code"] for problem in plan["problems"]}


def test_a_renamed_new_table_is_still_new(project: Project) -> None:
    project.initial()
    project.migration("0002_fresh", CREATE)
    project.migration("0003_rename", 'migrations.RenameModel("Fresh", "Other")')
    project.migration("0004_x", 'migrations.AddField("Other", "a", models.IntegerField(db_index=True, default=0))')
    assert project.plan()["unsafe"] == []


def test_a_conditional_unique_constraint_goes_after(project: Project) -> None:
    project.initial()
    rule = 'models.UniqueConstraint(fields=["size"], condition=models.Q(size__gt=0), name="u")'
    project.migration("0002_rule", f'migrations.AddConstraint("Note", {rule})')
    assert applied(project, "all")
    last = project.migration("0003_x", 'migrations.RemoveConstraint("Note", "u")')
    assert project.plan()["after"] == [last]


def test_phase_after_refuses_what_is_unsafe(project: Project) -> None:
    project.initial()
    project.migration("0002_rename", RENAME)
    assert project.run("apply", phase="after")["error"]["code"] == "unsafe_migrations"


def test_there_is_no_verb_check(project: Project) -> None:
    assert project.run("check")["error"]["code"] == "usage"


def test_another_database_is_told_what_to_set(project: Project) -> None:
    project.settings(more="DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': ':memory:'}}")
    error = project.run("plan")["error"]
    assert (error["code"], error["next_step"]) == ("not_postgresql", "set webapp_migrations: none")
