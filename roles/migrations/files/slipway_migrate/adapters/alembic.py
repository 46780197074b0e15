# SPDX-License-Identifier: GPL-3.0-or-later
"""Alembic's revisions, run by the application's own env.py.

env.py opens its connections itself, so the guards are put on every connection that SQLAlchemy hands out.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import re
import sys
from collections.abc import Iterator
from typing import Any

from slipway_migrate import markers, statements
from slipway_migrate.errors import MigrateError
from slipway_migrate.model import Migration, Operation
from slipway_migrate.request import Scratch

from .base import Adapter, Direct, Listener, NotReversibleError, Prepare, Rows, fetch_raw, refuse_pooler

_BOOKKEEPING = re.compile(
    r'(?:CREATE TABLE|INSERT INTO|UPDATE|DELETE FROM) (?:(?:"[^"]+"|\w+)\.)?"?alembic_version\b', re.I
)
_CONTROL = re.compile(r"(?:BEGIN|COMMIT|ROLLBACK|START TRANSACTION|END|ABORT)\b", re.I)


class AlembicAdapter(Adapter):
    """The scripts of one alembic.ini."""

    name = "alembic"

    def __init__(self, config: str, *, scratch: Scratch | None = None) -> None:
        if os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())
        from alembic.config import Config
        from alembic.script import ScriptDirectory
        from sqlalchemy import event
        from sqlalchemy.engine import Engine
        from sqlalchemy.pool import Pool

        if not os.path.isfile(config):
            raise MigrateError(
                "no_alembic_config",
                "There is no Alembic configuration",
                found=f"no file {config}",
                expected="`alembic.config` names it, from the release's directory",
                next_step="set webapp_alembic_config to its path inside the source",
            )
        self._config = Config(config, stdout=io.StringIO(), output_buffer=io.StringIO())
        self._script = ScriptDirectory.from_config(self._config)
        self._scratch = scratch
        self._prepare: Prepare | None = None
        self._listener: Listener | None = None
        self._open_again: Any = None
        self._own: Direct | None = None
        event.listen(Engine, "do_connect", self._on_connect)
        event.listen(Pool, "checkout", self._on_checkout)
        event.listen(Engine, "before_cursor_execute", self._before_statement)
        event.listen(Engine, "after_cursor_execute", self._after_statement)
        self._heads()  # opens a connection as env.py does, which tells how

    def _on_connect(self, dialect: Any, _record: Any, arguments: list[Any], parameters: dict[str, Any]) -> None:
        if dialect.name != "postgresql":
            raise MigrateError(
                "not_postgresql",
                "The database is not PostgreSQL",
                found=dialect.name,
                expected="postgresql",
                next_step="set webapp_migrations: none",
            )
        if self._scratch:
            arguments[:] = []
            for name in ("dsn", "service", "passfile", "hostaddr", "password", "dbname", "sslmode", "options"):
                database = parameters.pop(name, None) or "" if name == "dbname" else parameters.pop(name, None)
                if name == "dbname":
                    parameters["dbname"] = self._scratch.database or database
            parameters.update(host=self._scratch.host, port=self._scratch.port, user=self._scratch.user)
        copied = dict(parameters)
        self._open_again = lambda: dialect.connect(*arguments, **copied)

    def _on_checkout(self, raw: Any, _record: Any, _proxy: Any) -> None:
        def fetch(sql: str, params: tuple[Any, ...] = ()) -> Rows:
            return fetch_raw(raw, sql, params)

        refuse_pooler(raw, fetch)
        if self._prepare:
            self._prepare(fetch)
        raw.commit()  # what was set in a transaction would go with its rollback

    def _before_statement(self, connection: Any, *_: Any) -> None:
        from time import monotonic

        connection.info["slipway_began"] = monotonic()

    def _after_statement(self, connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        from time import monotonic

        if self._listener:
            raw = cursor.connection
            seconds = monotonic() - connection.info["slipway_began"]
            self._listener(statement, cursor.rowcount, seconds, lambda sql, params=(): fetch_raw(raw, sql, params))

    def _heads(self) -> tuple[str, ...]:
        """What alembic_version says, read by env.py's own way."""
        from alembic.runtime.environment import EnvironmentContext

        found: list[tuple[str, ...]] = []

        def look(heads: Any, _context: Any) -> list[Any]:
            found.append(tuple(heads if isinstance(heads, (tuple, list)) else [heads] if heads else []))
            return []

        with EnvironmentContext(self._config, self._script, fn=look, dont_mutate=True):
            self._script.run_env()
        return found[0] if found else ()

    def _applied(self) -> list[Any]:
        heads = self._heads()
        return list(self._script.iterate_revisions(heads, "base")) if heads else []

    def applied(self) -> list[list[str]]:
        """Revisions; Alembic knows no applications."""
        return [["", revision.revision] for revision in reversed(self._applied())]

    def pending(self) -> list[Migration]:
        """Revisions in the order of the graph."""
        done = {revision.revision for revision in self._applied()}
        scripts = [each for each in self._script.walk_revisions() if each.revision not in done]
        known = {each.revision for each in scripts}
        return [self._migration(each, known) for each in reversed(scripts)]

    def _migration(self, script: Any, known: set[str]) -> Migration:
        parents = {*(script._versioned_down_revisions), *(script._resolved_dependencies or ())}
        source = inspect.getsource(script.module)
        migration = Migration(
            id=script.revision,
            app="",
            name=script.doc or script.revision,
            atomic="autocommit_block" not in source,
            marker=markers.read(script.module, of=script.revision),
            parents=tuple(sorted(parents & known)),
        )
        self._describe(migration, script, reversible=_has_downgrade(script.module))
        return migration

    def _describe(self, migration: Migration, script: Any, *, reversible: bool) -> None:
        sql = self._sql(script)
        if sql is None:
            migration.operations = [Operation("Revision", migration.name, codes=["sql_unavailable"], from_sql=True)]
            return
        texts = _own(statements.split(sql), blocks=not migration.atomic)
        # A COMMIT of its own keeps what came before it, whatever fails after.
        migration.atomic = migration.atomic and not any(_CONTROL.match(text) for text in texts)
        migration.sql = "".join(f"{text};\n" for text in texts)
        migration.operations = [
            Operation(effect.kind, effect.describes, [effect], reversible=reversible, from_sql=True)
            for text in texts
            for effect in statements.read(text)
        ]

    def _sql(self, script: Any) -> str | None:
        """As `alembic upgrade --sql` renders this revision; None if it needs a connection."""
        from alembic.runtime.environment import EnvironmentContext
        from alembic.runtime.migration import MigrationStep

        buffer = io.StringIO()
        self._config.output_buffer = buffer
        before = script._versioned_down_revisions or ("base",)

        def step(_heads: Any, _context: Any) -> list[Any]:
            return [MigrationStep.upgrade_from_script(self._script.revision_map, script)]

        try:
            with EnvironmentContext(self._config, self._script, fn=step, as_sql=True, starting_rev=before[0],
                                    destination_rev=script.revision):  # fmt: skip
                self._script.run_env()
        except Exception:  # noqa: BLE001 - the revision is the application's code
            return None
        return buffer.getvalue()

    def is_applied(self, migration: Migration) -> bool:
        """Among the ancestors of the recorded heads."""
        return migration.id in {revision.revision for revision in self._applied()}

    def apply(self, migration: Migration) -> None:
        """`alembic upgrade` to this revision, whose ancestors are applied."""
        from alembic import command

        command.upgrade(self._config, migration.id)

    def reverse(self, migration: Migration) -> None:
        """`alembic downgrade` to the revision before."""
        from alembic import command

        script = self._script.get_revision(migration.id)
        before = script._versioned_down_revisions
        if len(before) > 1 or not _has_downgrade(script.module):
            raise NotReversibleError("it merges branches" if len(before) > 1 else "downgrade() is empty")
        command.downgrade(self._config, before[0] if before else "base")

    def arm(self, prepare: Prepare) -> None:
        """Guard each connection that SQLAlchemy hands out from now on."""
        self._prepare = prepare

    def fetch(self, sql: str, params: tuple[Any, ...] = ()) -> Rows:
        """A query on a connection beside the one that migrates."""
        if self._own is None:
            self._own = self.connect()
        return self._own.fetch(sql, params)

    def connect(self) -> Direct:
        """A driver's connection with the parameters that env.py used."""
        if self._open_again is None:
            raise MigrateError(
                "no_connection",
                "env.py opened no connection, so it is not known how to reach the database",
                found="run_migrations_online() without a connection",
                expected="an engine of SQLAlchemy with psycopg or psycopg2",
                next_step="let run_migrations_online() connect and call context.configure(connection=...)",
            )
        return Direct(self._open_again())

    def disconnect(self) -> None:
        """env.py opens its own anew; ours goes."""
        if self._own:
            self._own.close()
        self._own = None

    @contextlib.contextmanager
    def trace(self, listener: Listener) -> Iterator[None]:
        """SQLAlchemy's events around each statement."""
        self._listener = listener
        try:
            yield
        finally:
            self._listener = None


def _has_downgrade(module: Any) -> bool:
    """Whether downgrade() does anything."""
    downgrade = getattr(module, "downgrade", None)
    if downgrade is None:
        return False
    return bool(set(downgrade.__code__.co_names)) and "NotImplementedError" not in downgrade.__code__.co_names


def _own(texts: list[str], *, blocks: bool) -> list[str]:
    """The rendered statements without Alembic's part: its table, and BEGIN and COMMIT around all.

    With ``blocks`` each autocommit_block brings a COMMIT and a BEGIN, too: the revision is known not to be atomic.
    """
    texts = [text for text in texts if not _BOOKKEEPING.match(text)]
    if blocks:
        return [text for text in texts if text.upper() not in ("BEGIN", "COMMIT")]
    if texts and texts[0].upper() == "BEGIN":
        texts = texts[1:]
    return texts[:-1] if texts and texts[-1].upper() == "COMMIT" else texts
