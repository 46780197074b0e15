# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts that need no server: statements cut and read, types compared, limits read back, the journal after a crash."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest


def part(name: str) -> Any:
    """A module of the program; conftest.py has put it on the path."""
    return importlib.import_module(f"slipway_migrate.{name}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a; b;", ["a", "b"]),
        ("a -- ; no\n; b", ["a", "b"]),
        ("a /* ; */ ;b", ["a", "b"]),
        ("a ';' ; b", ["a ';'", "b"]),
        ("a 'it''s;' ; b", ["a 'it''s;'", "b"]),
        (r"a E'\';' ; b", [r"a E'\';'", "b"]),
        (r"a 'c:\' ; b", [r"a 'c:\'", "b"]),
        ('a "x;y" ; b', ['a "x;y"', "b"]),
        ("DO $$ a; b $$ ; c", ["DO $$ a; b $$", "c"]),
        ("DO $x$ a; $$ b $x$; c", ["DO $x$ a; $$ b $x$", "c"]),
        ("a $1; b", ["a $1", "b"]),
        (" ; ; ", []),
    ],
)
def test_statements_are_cut_outside_of_quotes(text: str, expected: list[str]) -> None:
    assert part("statements").split(text) == expected


@pytest.mark.parametrize(
    ("text", "kinds", "table", "lock"),
    [
        ('ALTER TABLE "Größe" ADD "Ж" int', ["add column"], '"Größe"', "ACCESS EXCLUSIVE"),
        ("alter table only S.T add a int, drop column b", ["add column", "drop column"], '"s"."t"', "ACCESS EXCLUSIVE"),
        ("ALTER TABLE t ADD a numeric(5, 2), ADD b int", ["add column", "add column"], '"t"', "ACCESS EXCLUSIVE"),
        ("ALTER TABLE t ADD a int, FROBNICATE", ["unparsed"], "", "none"),
        ("ALTER TABLE t ADD CHECK (a > 0)", ["add check"], '"t"', "ACCESS EXCLUSIVE"),
        ("ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0) NOT VALID", ["add check"], '"t"', "ACCESS EXCLUSIVE"),
        ("ALTER TABLE t VALIDATE CONSTRAINT c", ["validate constraint"], '"t"', "SHARE UPDATE EXCLUSIVE"),
        ("ALTER TABLE t ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES o (id)", ["add foreign key", "references"], '"t"',
         "SHARE ROW EXCLUSIVE"),
        ("CREATE INDEX ON t (a)", ["create index"], '"t"', "SHARE"),
        ("CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS i ON s.t (a)", ["create index concurrently"], '"s"."t"',
         "SHARE UPDATE EXCLUSIVE"),
        ("DROP INDEX CONCURRENTLY i", ["drop index concurrently"], "", "SHARE UPDATE EXCLUSIVE"),
        ("DELETE FROM t WHERE x = 'DROP TABLE t'", ["delete from"], '"t"', "ROW EXCLUSIVE"),
        ("WITH x AS (DELETE FROM t RETURNING 1) SELECT 1", ["unparsed"], "", "none"),
        ("SELECT delete_everything()", ["unparsed"], "", "none"),
        ("VACUUM FULL t", ["unparsed"], "", "none"),
        ("LOCK TABLE t", ["unparsed"], "", "none"),
        ("CLUSTER t", ["unparsed"], "", "none"),
        ("REINDEX TABLE t", ["unparsed"], "", "none"),
    ],
)  # fmt: skip
def test_statements_are_read(text: str, kinds: list[str], table: str, lock: str) -> None:
    effects = part("statements").read(text)
    assert [effect.kind for effect in effects] == kinds
    assert (effects[0].table, effects[0].lock) == (table, lock)


@pytest.mark.parametrize(
    ("default", "rewrites"),
    [("1", False), ("now()", False), ("''", False), ("random()", True), ("gen_random_uuid()", True),
     ("nextval('s')", True), ("1 NOT NULL CHECK (length(a) > 0)", False)],
)  # fmt: skip
def test_defaults_that_rewrite(default: str, rewrites: bool) -> None:
    assert part("statements").read(f"ALTER TABLE t ADD COLUMN a int DEFAULT {default}")[0].rewrites == rewrites


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("character varying(10)", "varchar(20)", True),
        ("character varying(10)", "varchar(9)", False),
        ("character varying(10)", "text", True),
        ("text", "varchar(10)", False),
        ("text", "character varying", True),
        ("numeric(6,2)", "numeric(8, 2)", True),
        ("numeric(6,2)", "numeric(8, 3)", False),
        ("integer", "bigint", False),
        ("bigint", "bigint", True),
    ],
)
def test_types_that_keep_rows(old: str, new: str, expected: bool) -> None:
    assert part("catalog").widens(old, new) == expected


def test_a_limit_that_does_not_take_is_told() -> None:
    def fetch(sql: str, _params: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        return [("lock_timeout", "0")] if "pg_settings" in sql else []

    with pytest.raises(part("errors").MigrateError) as refusal:
        part("guard").enforce(fetch, {"lock_timeout": "500"})
    assert refusal.value.code == "guard_not_in_force"
    assert (refusal.value.found, refusal.value.expected) == ("lock_timeout = 0", "lock_timeout = 500")


def test_names_fit_into_the_server() -> None:
    assert len(part("guard").application_name("work", "ü" * 100)) == 63


def test_a_journal_that_was_cut_off(tmp_path: Path) -> None:
    journal = part("report").Journal(str(tmp_path / "journal"), run="r")
    assert journal.unfinished() == {}
    journal.write("begin", migration="a")
    with (tmp_path / "journal").open("a") as file:
        file.write('{"event": "appl')
    assert journal.unfinished()["migration"] == "a"


@pytest.mark.parametrize(
    ("text", "phase", "code"),
    [
        ("SET search_path = x", "unsafe", "overrides_guard"),
        ("SET application_name TO 'x'", "unsafe", "overrides_guard"),
        ("SET LOCAL session_replication_role = replica", "unsafe", "overrides_guard"),
        ("SET client_connection_check_interval = 0", "unsafe", "overrides_guard"),
        ("ALTER TABLE t OWNER TO other", "unsafe", "owner"),
        ("ALTER SEQUENCE s SET SCHEMA other", "unsafe", "rename"),
        ("ALTER TABLE t ALTER a TYPE bigint", "unsafe", "rewrite"),
    ],
)
def test_what_is_never_safe(text: str, phase: str, code: str) -> None:
    (effect,) = part("statements").read(text)
    assert (effect.phase.value, effect.code) == (phase, code)


def test_what_works_through_rows() -> None:
    read = part("statements").read
    assert read("ALTER TABLE t ADD COLUMN a int GENERATED ALWAYS AS(b) STORED")[0].rewrites
    assert read("ALTER TABLE t ADD PRIMARY KEY USING INDEX i")[0].scans
    assert not read("ALTER TABLE t ADD UNIQUE USING INDEX i")[0].scans


def test_if_not_exists_makes_nothing_that_is_surely_ours() -> None:
    texts = ("CREATE TABLE IF NOT EXISTS t (a int)", "CREATE INDEX IF NOT EXISTS i ON t (a)",
             "ALTER TABLE t ADD COLUMN IF NOT EXISTS a int")  # fmt: skip
    assert all(part("statements").read(text)[0].creates[0].if_absent for text in texts)


def test_only_alembics_own_frame_is_left_out() -> None:
    own = part("adapters.alembic")._own
    frame = ["BEGIN", "UPDATE alembic_version SET version_num='b'", "COMMIT"]
    assert own(frame, blocks=False) == []
    assert own(["BEGIN", "a", "COMMIT", "BEGIN", "b", "COMMIT"], blocks=False) == ["a", "COMMIT", "BEGIN", "b"]
    assert own(["BEGIN", "COMMIT", "a", "BEGIN", "COMMIT"], blocks=True) == ["a"]


def test_the_environment_names_the_scratch_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgis://u:p@db1:5432/shop?sslmode=require")
    monkeypatch.setenv("PGHOSTADDR", "10.0.0.1")
    for name in ("PGHOST", "PGPORT", "PGUSER", "PGDATABASE"):
        monkeypatch.setenv(name, "real")
    part("adapters.environment").redirect(part("request").Scratch("/run/x", 5433, "postgres", "copy"))
    environment = importlib.import_module("os").environ
    assert environment["DATABASE_URL"] == "postgis://postgres@/copy?host=%2Frun%2Fx&port=5433"
    assert (environment["PGHOST"], "PGHOSTADDR" in environment) == ("/run/x", False)
