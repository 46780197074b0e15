# SPDX-License-Identifier: GPL-3.0-or-later
"""Every class of operation, planned against a large and a small table: class, risk, lock, old code, way back."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from .project import Project
from .server import Server

AE, SRE, SUE = "ACCESS EXCLUSIVE", "SHARE ROW EXCLUSIVE", "SHARE UPDATE EXCLUSIVE"
FIELDS = """
        ("id", models.BigAutoField(primary_key=True)),
        ("title", models.CharField(max_length=100)),
        ("body", models.TextField(null=True)),
        ("gone", models.IntegerField(null=True)),
        ("number", models.IntegerField(default=0)),
        ("wide", models.CharField(max_length=10, default="")),
        ("text", models.CharField(max_length=10, null=True)),
        ("narrow", models.CharField(max_length=50, default="")),
        ("price", models.DecimalField(max_digits=6, decimal_places=2, default=0)),
        ("maybe", models.IntegerField(null=True)),
        ("must", models.IntegerField(default=0)),
        ("code", models.IntegerField(default=0)),
        ("old", models.IntegerField(default=0)),
        ("kept", models.IntegerField(default=0)),
        ("words", models.IntegerField(default=0)),
        ("together", models.IntegerField(default=0)),
        ("required", models.IntegerField(default=0)),
        ("filled", models.IntegerField(null=True)),
        ("given", models.IntegerField(db_default=3)),
"""
INITIAL = f"""
    operations = [migrations.CreateModel("Big", [{FIELDS}],
                      options={{"constraints": [models.CheckConstraint(condition=models.Q(kept__gte=0),
                                                                       name="kept_ok")],
                               "indexes": [models.Index(fields=["kept"], name="kept_i"),
                                           models.Index(fields=["words"], name="words_i")]}}),
                  migrations.CreateModel("Small", [{FIELDS}])] + [
                  migrations.CreateModel(name, [("id", models.BigAutoField(primary_key=True))])
                  for name in ("Doomed", "Renamed", "Moved")]
"""


class Case(NamedTuple):
    """What is written, and what the plan must say."""

    name: str
    operations: str
    phase: str
    code: str = ""  # of the first problem
    lock: str = "none"
    rewrites: bool = False
    old_code_ok: bool = True
    reversible: bool = True
    more: str = ""


NOT_ATOMIC = "atomic = False"
CASES = [
    Case("create_model", 'migrations.CreateModel("New", [("id", models.BigAutoField(primary_key=True))])', "before"),
    Case(
        "create_model_with_key",
        'migrations.CreateModel("Child", [("id", models.BigAutoField(primary_key=True)),'
        '("big", models.ForeignKey("notes.Big", models.CASCADE))])',
        "before", lock=SRE,
    ),
    Case("add_null", 'migrations.AddField("Big", "a", models.IntegerField(null=True))', "before", lock=AE),
    Case("add_db_default", 'migrations.AddField("Big", "b", models.IntegerField(db_default=1))', "before", lock=AE),
    Case("add_python_default", 'migrations.AddField("Big", "c", models.IntegerField(default=1))', "unsafe",
         "not_null_without_db_default", AE, old_code_ok=False),
    Case("add_volatile", 'migrations.AddField("Big", "d", models.UUIDField(db_default='
         'models.Func(function="gen_random_uuid")))', "unsafe", "rewrite", AE, True),
    Case("add_now", 'migrations.AddField("Big", "d2", models.DateTimeField(db_default=models.functions.Now()))',
         "before", lock=AE),
    Case("add_generated", 'migrations.AddField("Big", "e", models.GeneratedField(expression=models.F("number") * 2,'
         "output_field=models.IntegerField(), db_persist=True))", "unsafe", "rewrite", AE, True),
    Case("add_generated_small", 'migrations.AddField("Small", "e", models.GeneratedField(expression='
         'models.F("number") * 2, output_field=models.IntegerField(), db_persist=True))', "before", lock=AE,
         rewrites=True),
    Case("add_unique_null", 'migrations.AddField("Big", "f", models.IntegerField(null=True, unique=True))', "unsafe",
         "unique_build", AE),
    Case("add_foreign_key", 'migrations.AddField("Big", "g", models.ForeignKey("notes.Small", models.CASCADE,'
         "null=True))", "unsafe", "index_blocks_writes", AE),
    Case("add_foreign_key_no_index", 'migrations.AddField("Big", "h", models.ForeignKey("notes.Small",'
         "models.CASCADE, null=True, db_index=False))", "before", lock=AE),
    Case("add_many_to_many", 'migrations.AddField("Big", "many", models.ManyToManyField("notes.Small"))', "before",
         lock=SRE),
    Case("add_index", 'migrations.AddIndex("Big", models.Index(fields=["title"], name="ti"))', "unsafe",
         "index_blocks_writes", "SHARE"),
    Case("add_index_small", 'migrations.AddIndex("Small", models.Index(fields=["title"], name="tis"))', "before",
         lock="SHARE"),
    Case("add_index_concurrently", 'pg.AddIndexConcurrently("Big", models.Index(fields=["title"], name="tic"))',
         "before", lock=SUE, more=NOT_ATOMIC),
    Case("add_index_concurrently_atomic", 'pg.AddIndexConcurrently("Big", models.Index(fields=["body"], name="tia"))',
         "unsafe", "needs_no_transaction", SUE),
    Case("remove_index", 'migrations.RemoveIndex("Big", "kept_i")', "before", lock=AE),
    Case("remove_index_concurrently", 'pg.RemoveIndexConcurrently("Big", "words_i")', "before", lock=SUE,
         more=NOT_ATOMIC),
    Case("add_check", 'migrations.AddConstraint("Big", models.CheckConstraint(condition=models.Q(number__gte=0),'
         'name="ck"))', "unsafe", "constraint_scan", AE),
    Case("add_check_small", 'migrations.AddConstraint("Small", models.CheckConstraint(condition='
         'models.Q(number__gte=0), name="cks"))', "before", "tightens", AE),
    Case("add_check_not_valid", 'pg.AddConstraintNotValid("Big", models.CheckConstraint(condition='
         'models.Q(code__gte=0), name="cknv"))', "before", "tightens", AE),
    Case("validate", 'pg.ValidateConstraint("Big", "kept_ok")', "before", lock=SUE),
    Case("add_unique_constraint", 'migrations.AddConstraint("Big", models.UniqueConstraint(fields=["code"],'
         'name="uq"))', "unsafe", "unique_build", AE),
    Case("remove_constraint", 'migrations.RemoveConstraint("Small", "none")', "after", "drops", AE, old_code_ok=False),
    Case("unique_together", 'migrations.AlterUniqueTogether("Big", {("together", "title")})', "unsafe", "unique_build",
         AE),
    Case("alter_unique", 'migrations.AlterField("Big", "code", models.IntegerField(default=0, unique=True))', "unsafe",
         "unique_build", AE),
    Case("int_to_bigint", 'migrations.AlterField("Big", "number", models.BigIntegerField(default=0))', "unsafe",
         "rewrite", AE, True, old_code_ok=False),
    Case("int_to_bigint_small", 'migrations.AlterField("Small", "number", models.BigIntegerField(default=0))',
         "unsafe", "rewrite", AE, True, old_code_ok=False),
    Case("varchar_longer", 'migrations.AlterField("Big", "wide", models.CharField(max_length=20, default=""))',
         "before", lock=AE),
    Case("varchar_to_text", 'migrations.AlterField("Big", "text", models.TextField(null=True))', "before", lock=AE),
    Case("varchar_shorter", 'migrations.AlterField("Big", "narrow", models.CharField(max_length=5, default=""))',
         "unsafe", "rewrite", AE, True, old_code_ok=False),
    Case("numeric_wider", 'migrations.AlterField("Big", "price", models.DecimalField(max_digits=9, decimal_places=2,'
         "default=0))", "before", lock=AE),
    Case("null_to_not_null", 'migrations.AlterField("Big", "maybe", models.IntegerField())', "unsafe", "not_null_scan",
         AE, old_code_ok=False),
    Case("null_to_not_null_small", 'migrations.AlterField("Small", "maybe", models.IntegerField())', "after",
         "not_null_scan", AE, old_code_ok=False),
    Case("not_null_to_null", 'migrations.AlterField("Big", "must", models.IntegerField(null=True))', "before", lock=AE),
    Case("choices", 'migrations.AlterField("Big", "title", models.CharField(max_length=100, choices=[("a", "b")]))',
         "before"),
    Case("rename_field", 'migrations.RenameField("Big", "old", "young")', "unsafe", "rename", AE, old_code_ok=False),
    Case("rename_model", 'migrations.RenameModel("Renamed", "Called")', "unsafe", "rename", AE, old_code_ok=False),
    Case("alter_table", 'migrations.AlterModelTable("Moved", "elsewhere")', "unsafe", "rename", AE, old_code_ok=False),
    Case("remove_field", 'migrations.RemoveField("Big", "gone")', "after", "drops", AE, old_code_ok=False,
         reversible=False),
    Case("remove_required", 'migrations.RemoveField("Small", "required")', "unsafe", "drops_required", AE,
         old_code_ok=False, reversible=False),
    Case("null_to_not_null_filled", 'migrations.AlterField("Small", "filled", models.IntegerField(default=0))', "after",
         "not_null_scan", AE, old_code_ok=False),
    Case("take_db_default_away", 'migrations.AlterField("Small", "given", models.IntegerField(default=3))', "after",
         "drops", AE, old_code_ok=False),
    Case("delete_model", 'migrations.DeleteModel("Doomed")', "after", "drops", AE, old_code_ok=False, reversible=False),
    Case("options", 'migrations.AlterModelOptions("Big", {"ordering": ["id"]})', "before"),
    Case("extension", "pg.HStoreExtension()", "before"),
    Case("python", "migrations.RunPython(migrations.RunPython.noop)", "before", reversible=False),
    Case("python_reversible", "migrations.RunPython(migrations.RunPython.noop, migrations.RunPython.noop)", "before"),
    Case("sql_update", "migrations.RunSQL(\"UPDATE notes_big SET body = 'a;b' -- ; c\\n\", '')", "before",
         lock="ROW EXCLUSIVE"),
    Case("sql_index", 'migrations.RunSQL("CREATE INDEX x1 ON notes_big (title)", "DROP INDEX x1")', "unsafe",
         "index_blocks_writes", "SHARE"),
    Case("sql_do", 'migrations.RunSQL("DO $$ BEGIN DELETE FROM notes_big; END $$", "")', "unsafe", "unparsed",
         old_code_ok=False, reversible=False),
    Case("sql_nonsense", 'migrations.RunSQL("FROBNICATE notes_big", "")', "unsafe", "unparsed", old_code_ok=False,
         reversible=False),
    Case("sql_guard", 'migrations.RunSQL("SET lock_timeout = 0", "")', "unsafe", "overrides_guard"),
    Case("sql_commit", 'migrations.RunSQL("COMMIT", "")', "unsafe", "transaction_control"),
    Case("sql_drop_default", 'migrations.RunSQL("ALTER TABLE notes_big ALTER body DROP DEFAULT", "")', "after", "drops",
         AE, old_code_ok=False, reversible=False),
    Case("separate", 'migrations.SeparateDatabaseAndState([migrations.RunSQL("CREATE UNIQUE INDEX CONCURRENTLY ux ON '
         'notes_big (words)", "DROP INDEX ux")], [])', "before", lock=SUE, more=NOT_ATOMIC),
    Case("state_only", 'migrations.SeparateDatabaseAndState([], [migrations.RemoveField("Small", "gone")])', "before"),
    Case("own_operation", "Own()", "unsafe", "unknown_operation", old_code_ok=False),
    Case("own_python", "OwnPython(migrations.RunPython.noop)", "before", reversible=False),
    Case("split", 'migrations.AddField("Small", "s", models.IntegerField(null=True)),'
         'migrations.RemoveField("Small", "body")', "unsafe", "drops", AE, old_code_ok=False, reversible=False),
    Case("works_under_lock", 'migrations.AddField("Big", "wl", models.IntegerField(null=True)),'
         "migrations.RunPython(migrations.RunPython.noop)", "unsafe", "works_under_lock", AE,
         reversible=False),
    Case("works_under_small_lock", 'migrations.AddField("Small", "wl", models.IntegerField(null=True)),'
         "migrations.RunPython(migrations.RunPython.noop)", "before", reversible=False, lock=AE),
    Case("works_without_lock", 'migrations.AddField("Big", "wl2", models.IntegerField(null=True)),'
         "migrations.RunPython(migrations.RunPython.noop)", "before", reversible=False, lock=AE, more=NOT_ATOMIC),
    Case("on_created", 'migrations.CreateModel("Fresh", [("id", models.BigAutoField(primary_key=True)),'
         '("x", models.IntegerField())]), migrations.AddField("Fresh", "y", models.IntegerField(default=1)),'
         'migrations.AddIndex("Fresh", models.Index(fields=["x"], name="fresh_x")),'
         'migrations.RemoveField("Fresh", "x")',
         "before", reversible=False),
]  # fmt: skip
HEAD = """
class Own(migrations.operations.base.Operation):
    def state_forwards(self, app_label, state): pass
    def database_forwards(self, *args): pass
    def database_backwards(self, *args): pass

class OwnPython(migrations.RunPython): pass
"""


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory, server: Server, django_python: str) -> Iterator[dict[str, Any]]:
    """All cases side by side, none needing another, planned once."""
    database = f"classes_{uuid.uuid4().hex[:8]}"
    server.sql("postgres", f"CREATE DATABASE {database}")
    project = Project(tmp_path_factory.mktemp("classes"), server, database, django_python)
    project.settings(apps="'notes', 'django.contrib.postgres'")
    project.migration("0001_initial", INITIAL)
    applied = project.run("apply")
    assert applied["ok"], applied
    for table, rows in (("big", 100), ("small", 5)):
        project.sql(
            f"INSERT INTO notes_{table} (title, number, wide, narrow, price, must, code, old, kept, words, together,"
            f" required) SELECT 'x', 0, '', '', 0, 0, i, 0, 0, i, i, i FROM generate_series(1, {rows}) i;"
            f" ANALYZE notes_{table}"
        )
    project.sql('ALTER TABLE notes_small ADD CONSTRAINT "none" CHECK (kept >= 0)')
    state = 'migrations.SeparateDatabaseAndState([], [migrations.AddConstraint("Small", models.CheckConstraint('
    project.migration("0002_state", state + 'condition=models.Q(kept__gte=0), name="none"))])')
    for case in CASES:
        project.migration(f"0003_{case.name}", case.operations, more=case.more, head=HEAD)
    project.migration("0004_merge", "")
    answer = project.run("plan", small_table_rows=10)
    assert answer["ok"], answer
    yield {each["name"]: each for each in answer["result"]["pending"]}
    server.sql("postgres", f"DROP DATABASE {database} WITH (FORCE)")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_class(plan: dict[str, Any], case: Case) -> None:
    found = plan[f"0003_{case.name}"]
    codes = [problem["code"] for problem in found["problems"]]
    locks = [operation["lock"] for operation in found["operations"]]
    assert (found["class"], codes[:1]) == (case.phase, [case.code] if case.code else []), found
    assert case.lock in (locks or ["none"]), found
    assert any(operation["rewrites"] for operation in found["operations"]) == case.rewrites
    assert (found["old_code_ok"], found["reversible"]) == (case.old_code_ok, case.reversible), found
    assert all(problem["advice"] for problem in found["problems"])


def test_both_in_one_says_split_it(plan: dict[str, Any]) -> None:
    assert [problem["advice"] for problem in plan["0003_split"]["problems"] if problem["code"] == "split"]


def test_a_merge_is_nothing(plan: dict[str, Any]) -> None:
    # It needs migrations of phase after, so it cannot run before the switch.
    assert plan["0004_merge"]["operations"] == []
