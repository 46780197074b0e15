# SPDX-License-Identifier: GPL-3.0-or-later
"""A rehearsal on a copy tells what really happens, and touches nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from .project import Project

PYTHON = """
def work(apps, editor):
    {body}
"""
AE = "ACCESS EXCLUSIVE"


@pytest.fixture
def copy(project: Project) -> Iterator[Project]:
    """A project with rows; ``rehearse`` makes the copy."""
    project.initial(200)
    yield project
    project.server.sql("postgres", f"DROP DATABASE IF EXISTS copy_{project.database} WITH (FORCE)")


def rehearse(project: Project, **changes: Any) -> dict[str, Any]:
    """The program's answer on a fresh copy."""
    name = f"copy_{project.database}"
    project.server.sql("postgres", f"CREATE DATABASE {name} TEMPLATE {project.database}")
    scratch = {"host": project.server.host, "port": project.server.port, "user": "postgres", "database": name}
    return project.run("rehearse", scratch=scratch, **changes)


def one(project: Project, operations: str, **options: Any) -> dict[str, Any]:
    """The rehearsal of one migration."""
    project.migration("0002_x", operations, **options)
    found = rehearse(project)
    assert found["ok"], found
    (result,) = found["result"]["migrations"]
    assert result["id"] == "notes.0002_x"
    return dict(result)


def locks(result: dict[str, Any]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for lock in result["locks"]:
        assert 0 <= lock["seconds"] <= result["seconds"] + 0.1
        found.setdefault(lock["table"], set()).add(lock["mode"])
    return found


def test_a_rewrite(copy: Project) -> None:
    result = one(copy, 'migrations.AlterField("Note", "size", models.BigIntegerField(default=0))')
    assert result["rewrites"] == ["notes_note"]
    assert AE in locks(result)["notes_note"]
    assert result["reversible"] == "proven"


def test_no_rewrite_and_a_way_back_that_is_proven(copy: Project) -> None:
    result = one(copy, 'migrations.AddField("Note", "mood", models.IntegerField(null=True))')
    assert (result["rewrites"], result["reversible"]) == ([], "proven")
    assert AE in locks(result)["notes_note"]


def test_locks_of_both_tables_of_a_foreign_key(copy: Project) -> None:
    copy.migration("0002_a", 'migrations.CreateModel("Tag", [("id", models.BigAutoField(primary_key=True))])')
    assert copy.run("apply")["ok"]
    copy.migration("0003_b", 'migrations.AddField("Note", "tag", models.ForeignKey("Tag", models.CASCADE, null=True))')
    (result,) = rehearse(copy)["result"]["migrations"]
    assert "SHARE ROW EXCLUSIVE" in locks(result)["notes_tag"]


def test_what_python_does_is_measured(copy: Project) -> None:
    body = 'editor.execute("UPDATE notes_note SET size = size + 1 WHERE pg_sleep(0.002) IS NOT NULL")'
    result = one(copy, "migrations.RunPython(work)", head=PYTHON.format(body=body))
    assert result["rows"] == 200
    assert result["seconds"] >= 0.4
    assert locks(result) == {"notes_note": {"ROW EXCLUSIVE"}}
    assert result["reversible"] == "no"


def test_python_that_undoes_nothing_is_found_out(copy: Project) -> None:
    body = 'editor.execute("UPDATE notes_note SET size = 1")'
    result = one(copy, "migrations.RunPython(work, migrations.RunPython.noop)", head=PYTHON.format(body=body))
    assert (result["reversible"], result["why"]) == ("disproved", "after undoing it: rows of notes_note differs")


def test_a_removed_field_does_not_come_back(copy: Project) -> None:
    copy.sql("UPDATE notes_note SET extra = 'precious'")
    result = one(copy, 'migrations.RemoveField("Note", "extra")')
    assert result["reversible"] == "disproved"
    assert "rows of notes_note differs" in result["why"]


def test_a_removed_field_that_cannot_even_be_added_again(copy: Project) -> None:
    copy.migration("0002_x", 'migrations.AddField("Note", "k", models.IntegerField(null=True))')
    copy.run("apply")
    copy.sql("UPDATE notes_note SET k = 1; ALTER TABLE notes_note ALTER k SET NOT NULL")
    copy.migration("0003_y", 'migrations.SeparateDatabaseAndState([], [migrations.AlterField("Note", "k",'
                   "models.IntegerField())])")  # fmt: skip
    copy.run("apply")
    copy.migration("0004_z", 'migrations.RemoveField("Note", "k")')
    (result,) = rehearse(copy)["result"]["migrations"]
    assert result["reversible"] == "disproved"
    assert "undoing it fails" in result["why"]


def test_an_index_concurrently(copy: Project) -> None:
    result = one(copy, 'pg.AddIndexConcurrently("Note", models.Index(fields=["title"], name="i"))',
                 more="atomic = False")  # fmt: skip
    assert AE not in locks(result).get("notes_note", set())
    assert result["reversible"] == "not tried"


def test_one_that_fails_is_named_and_the_real_database_is_untouched(copy: Project) -> None:
    copy.migration("0002_good", 'migrations.AddField("Note", "a", models.IntegerField(null=True))')
    copy.migration("0003_bad", 'migrations.RunSQL("UPDATE notes_note SET size = 1 / (size - 5)", "")')
    error = rehearse(copy)["error"]
    assert (error["code"], error["details"]["failed"]) == ("rehearsal_failed", "notes.0003_bad")
    assert [each["id"] for each in error["details"]["migrations"]] == ["notes.0002_good"]
    assert copy.plan()["before"] == ["notes.0002_good", "notes.0003_bad"]


def test_nothing_else_is_within_reach(copy: Project) -> None:
    copy.settings(more="CACHES = {'default': {'BACKEND': 'django.core.cache.backends.locmem.LocMemCache'}}\n"
                  "EMAIL_BACKEND = 'django.core.mail.backends.smtp.EmailBackend'\nCELERY_BROKER_URL = 'redis://prod'\n"
                  "DATABASES['other'] = dict(DATABASES['default'])")  # fmt: skip
    body = """
    from django.conf import settings
    from django.core.cache import cache
    from django.core.mail import send_mail
    from django.db import connections
    cache.set("a", 1)
    send_mail("a", "b", "a@example.com", ["b@example.com"])
    assert settings.CELERY_BROKER_URL == "memory://"
    try:
        connections["other"].cursor()
    except Exception as error:
        assert "DATABASES" in str(error), error
    else:
        raise AssertionError("the other database is within reach")
    """
    result = one(copy, "migrations.RunPython(work)", head=PYTHON.format(body=body.strip()))
    assert result["rows"] == 0


def test_a_connection_elsewhere_is_refused(copy: Project) -> None:
    # Settings that ignore what they are given: the database's name is forced when the connection is opened.
    more = f"""
from django.db.backends.postgresql import base
original = base.DatabaseWrapper.get_connection_params
def forced(self):
    return {{**original(self), 'dbname': {copy.database!r}}}
base.DatabaseWrapper.get_connection_params = forced
"""
    copy.settings(more=more)
    copy.migration("0002_x", 'migrations.AddField("Note", "a", models.IntegerField(null=True))')
    assert rehearse(copy)["error"]["code"] == "not_scratch"
    assert "a" not in copy.sql("SELECT attname FROM pg_attribute WHERE attrelid = 'notes_note'::regclass").split()


def test_a_second_pass_that_would_fail_does_not_end_the_rehearsal(copy: Project) -> None:
    copy.sql("CREATE TABLE once (id int PRIMARY KEY)")
    body = 'editor.execute("INSERT INTO once VALUES (1)")'
    copy.migration("0002_x", "migrations.RunPython(work, migrations.RunPython.noop)", head=PYTHON.format(body=body))
    copy.migration("0003_y", 'migrations.AddField("Note", "a", models.IntegerField(null=True))')
    first, second = rehearse(copy)["result"]["migrations"]
    assert (first["reversible"], first["why"]) == ("disproved", "after undoing it: rows of once differs")
    assert second["reversible"] == "proven"


def test_another_servers_socket_is_refused(copy: Project) -> None:
    scratch = {"host": "/tmp", "port": copy.server.port, "user": "postgres", "database": copy.database}
    more = f"""
from django.db.backends.postgresql import base
original = base.DatabaseWrapper.get_connection_params
base.DatabaseWrapper.get_connection_params = lambda self: {{**original(self), 'host': {copy.server.host!r}}}
"""
    copy.settings(more=more)
    assert copy.run("rehearse", scratch=scratch)["error"]["code"] == "not_scratch"


def test_a_command_is_not_rehearsed(copy: Project) -> None:
    scratch = {"host": "/nowhere", "port": 1}
    command = {"pending": ["false"], "apply": ["false"]}
    found = copy.run("rehearse", adapter="command", command=command, scratch=scratch)["result"]
    assert (found["migrations"], found["limits"]) == ([], ["a command of its own cannot be rehearsed"])
