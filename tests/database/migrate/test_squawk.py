# SPDX-License-Identifier: GPL-3.0-or-later
"""squawk's word about SQL that people wrote, and its silence where it cannot know."""

from __future__ import annotations

from pathlib import Path

from .project import Project


def sql(text: str) -> str:
    """An operation."""
    return f'migrations.RunSQL("{text}", "")'


def test_it_decides_about_sql_that_people_wrote(project: Project, squawk: str) -> None:
    project.initial()
    project.migration("0002_x", sql("UPDATE notes_note SET WHERE"))
    assert project.plan("0002_x")["class"] == "before"  # the recogniser alone does not see it
    plan = project.plan("0002_x", squawk=squawk)
    assert plan["class"] == "unsafe"
    assert {(each["code"], each["source"]) for each in plan["problems"]} == {("syntax-error", "squawk")}


def test_it_informs_about_what_depends_on_size(project: Project, squawk: str) -> None:
    project.initial(5)
    project.migration("0002_x", 'migrations.AddIndex("Note", models.Index(fields=["title"], name="i"))')
    plan = project.plan("0002_x", squawk=squawk)
    assert plan["class"] == "before"
    assert [each["code"] for each in plan["problems"]] == ["require-concurrent-index-creation"]
    assert plan["problems"][0]["advice"]


def test_it_knows_whether_there_is_a_transaction(project: Project, squawk: str) -> None:
    project.initial()
    text = sql("CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON notes_note (title)")
    project.migration("0002_x", text, more="atomic = False")
    assert project.plan("0002_x", squawk=squawk)["problems"] == []
    (Path(project.root) / "notes" / "migrations" / "0002_x.py").unlink()
    # squawk takes a file of one statement for one that needs no transaction; ours does not (needs_no_transaction).
    project.migration("0002_y", f"{sql('UPDATE notes_note SET size = 1')}, {text}")
    plan = project.plan("0002_y", squawk=squawk)
    assert "ban-concurrent-index-creation-in-transaction" in {each["code"] for each in plan["problems"]}
    assert plan["class"] == "unsafe"


def test_style_is_left_out(project: Project, squawk: str) -> None:
    project.initial()
    project.migration("0002_x", sql("ALTER TABLE notes_note ADD COLUMN a integer"))
    assert project.plan("0002_x", squawk=squawk)["problems"] == []
