# SPDX-License-Identifier: GPL-3.0-or-later
"""Alembic, and commands of any other kind, on a real server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from .project import Project, answer
from .server import eventually

INI = "[alembic]\nscript_location = alembic\n"
ENV = """
import os
from alembic import context
from sqlalchemy import create_engine, pool

URL = "postgresql+{driver}://postgres@/{database}?host={host}&port={port}"
if context.is_offline_mode():
    context.configure(url=URL, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    with create_engine(URL, poolclass=pool.NullPool).connect() as connection:
        context.configure(connection=connection)
        with context.begin_transaction():
            context.run_migrations()
"""
REVISION = """
from alembic import op
import sqlalchemy as sa
revision, down_revision = {name!r}, {before}
{more}
def upgrade():
    {upgrade}
def downgrade():
    {downgrade}
"""
CREATE = 'op.create_table("t", sa.Column("id", sa.Integer, primary_key=True), sa.Column("n", sa.Integer))'


class Alembic:
    """A project with revisions instead of Django's migrations."""

    def __init__(self, project: Project, driver: str) -> None:
        self.project = project
        self.folder = project.root / "alembic"
        (self.folder / "versions").mkdir(parents=True)
        (project.root / "alembic.ini").write_text(INI)
        server = project.server
        (self.folder / "env.py").write_text(
            ENV.format(driver=driver, database=project.database, host=server.host, port=server.port)
        )
        self.last: str | None = None

    def revision(self, name: str, upgrade: str, downgrade: str = "pass", more: str = "") -> None:
        """One more."""
        text = REVISION.format(name=name, before=repr(self.last), upgrade=upgrade, downgrade=downgrade, more=more)
        (self.folder / "versions" / f"{name}.py").write_text(text)
        self.last = name

    def run(self, verb: str, **changes: Any) -> dict[str, Any]:
        """The program's answer."""
        return self.project.run(verb, adapter="alembic", alembic={"config": "alembic.ini"}, **changes)


@pytest.fixture(params=["psycopg", "psycopg2"])
def alembic(project: Project, request: pytest.FixtureRequest) -> Alembic:
    """With either driver."""
    return Alembic(project, request.param)


def test_alembic_plans_and_applies_one_at_a_time(alembic: Alembic) -> None:
    alembic.project.sql("CREATE TABLE somebody_uses_this (id integer)")
    alembic.revision("r1", CREATE)
    alembic.revision("r2", 'op.add_column("t", sa.Column("a", sa.Integer))')
    alembic.revision("r3", 'op.drop_column("t", "n")', more="safe = 'after_deploy'")
    plan = alembic.run("plan")["result"]
    assert (plan["before"], plan["after"], plan["unsafe"]) == (["r1", "r2"], ["r3"], [])
    assert "ADD COLUMN a INTEGER" in plan["pending"][1]["sql"]
    assert [each["id"] for each in alembic.run("apply", phase="before")["result"]["applied"]] == ["r1", "r2"]
    assert alembic.run("plan")["result"]["after"] == ["r3"]
    assert alembic.run("apply", phase="after")["ok"]
    assert alembic.run("plan")["result"]["applied"] == [["", "r1"], ["", "r2"], ["", "r3"]]


def test_alembic_judges_by_the_size_of_tables(alembic: Alembic) -> None:
    alembic.revision("r1", CREATE)
    assert alembic.run("apply")["ok"]
    alembic.project.sql("INSERT INTO t SELECT i, i FROM generate_series(1, 100) i; ANALYZE t")
    alembic.revision("r2", 'op.create_index("i", "t", ["n"])')
    alembic.revision("r3", 'op.get_bind().execute(sa.text("SELECT 1")).fetchall()')
    plan = alembic.run("plan", small_table_rows=10)["result"]
    codes = [[problem["code"] for problem in each["problems"]] for each in plan["pending"]]
    assert (plan["unsafe"], codes) == (["r2", "r3"], [["index_blocks_writes"], ["sql_unavailable"]])


def test_alembic_under_guards_with_retries_and_rollback(alembic: Alembic) -> None:
    alembic.revision("r1", CREATE)
    look = "SELECT name, setting FROM pg_settings WHERE name ~ '^(lock|statement)_timeout'"
    seen = f'op.execute("INSERT INTO seen {look}")'
    alembic.revision("r2", f'op.create_table("seen", sa.Column("n", sa.Text), sa.Column("s", sa.Text)); {seen}')
    assert alembic.run("apply", statement_timeout_seconds=7)["ok"]
    assert set(alembic.project.sql("SELECT * FROM seen").split()) == {"lock_timeout|200", "statement_timeout|7000"}
    alembic.revision("r3", 'op.add_column("t", sa.Column("a", sa.Integer))')
    blocker = alembic.project.session()
    blocker.run("BEGIN; SELECT 1 FROM t")
    process = alembic.project.start("apply", adapter="alembic")
    eventually(lambda: any(event["event"] == "retry" for event in alembic.project.events()), "it tries again")
    blocker.end()
    assert answer(process)["result"]["applied"][0]["attempts"] > 1
    alembic.revision("r4", 'op.add_column("t", sa.Column("b", sa.Integer)); op.execute("UPDATE t SET n = 1 / (n - n)")')
    alembic.project.sql("INSERT INTO t (id, n) VALUES (1, 1)")
    details = alembic.run("apply")["error"]["details"]
    assert (details["failed"], details["rolled_back"], details["debris"]) == ("r4", True, [])


def test_alembic_cut_connection(alembic: Alembic) -> None:
    alembic.revision("r1", CREATE)
    alembic.revision("r2", 'op.execute("SELECT pg_terminate_backend(pg_backend_pid())")')
    error = alembic.run("apply", accept=["r2"])["error"]
    assert (error["code"], error["details"]["failed"], error["details"]["rolled_back"]) == (
        "connection_lost",
        "r2",
        True,
    )
    assert [each["id"] for each in error["details"]["applied"]] == ["r1"]


def test_alembic_rehearses(alembic: Alembic) -> None:
    alembic.revision("r1", CREATE)
    assert alembic.run("apply")["ok"]
    project, name = alembic.project, f"copy_{alembic.project.database}"
    project.sql("INSERT INTO t (id, n) VALUES (1, 1)")
    project.server.sql("postgres", f"CREATE DATABASE {name} TEMPLATE {project.database}")
    alembic.revision("r2", 'op.alter_column("t", "n", type_=sa.BigInteger)',
                     'op.alter_column("t", "n", type_=sa.Integer)')  # fmt: skip
    alembic.revision("r3", 'op.execute("UPDATE t SET n = 5")')
    scratch = {"host": project.server.host, "port": project.server.port, "user": "postgres", "database": name}
    found = alembic.run("rehearse", scratch=scratch)
    assert found["ok"], found
    first, second = found["result"]["migrations"]
    assert (first["rewrites"], first["reversible"]) == (["t"], "not tried")
    assert (second["rows"], second["reversible"]) == (1, "not tried")
    assert [each["id"] for each in alembic.run("plan")["result"]["pending"]] == ["r2", "r3"]
    project.server.sql("postgres", f"DROP DATABASE {name} WITH (FORCE)")


PENDING = """
import os, subprocess, sys
psql = ["psql", "-XAtq", "-d", os.environ["DATABASE_URL"], "-c"]
if sys.argv[1] == "pending":
    there = subprocess.run([*psql, "SELECT to_regclass('made')"], capture_output=True, text=True).stdout.strip()
    print("" if there else "001_make\\n002_fill")
else:
    print("noise")
    sys.exit(subprocess.run([*psql, os.environ["STATEMENT"]]).returncode)
"""


@pytest.fixture
def tool(project: Project) -> Any:
    """A tool of its own kind."""
    script = Path(project.root) / "tool.py"
    script.write_text(PENDING)
    command = {word: [sys.executable, str(script), word] for word in ("pending", "apply")}
    url = f"postgresql://postgres@/{project.database}?host={project.server.host}&port={project.server.port}"

    def run(verb: str, statement: str = "", **changes: Any) -> dict[str, Any]:
        environment = {"DATABASE_URL": url, "STATEMENT": statement}
        return answer(project.start(verb, environment=environment, adapter="command", command=command, **changes))

    return run


MAKE = "CREATE TABLE made AS SELECT name, setting FROM pg_settings WHERE name IN ('lock_timeout', 'application_name')"


def test_a_command(tool: Any, project: Project) -> None:
    plan = tool("plan")["result"]
    assert [operation["describes"] for operation in plan["pending"][0]["operations"]] == ["001_make", "002_fill"]
    found = tool("apply", MAKE)["result"]
    assert [each["id"] for each in found["applied"]] == ["command"]
    assert found["limits"]
    assert set(project.sql("SELECT * FROM made").split()) == {
        "lock_timeout|200", "application_name|slipway-migrate:work:run-1"}  # fmt: skip
    assert tool("plan")["result"]["pending"] == []


@pytest.mark.parametrize(
    ("statement", "code"), [("SELECT 1/0", "command_failed"), ("SELECT 1", "command_left_pending")]
)
def test_a_command_that_fails_or_does_nothing(tool: Any, statement: str, code: str) -> None:
    error = tool("apply", statement)["error"]
    assert (error["code"], error["details"]["applied"], error["details"]["not_applied"]) == (code, [], ["command"])
    assert not error["details"]["rolled_back"]
