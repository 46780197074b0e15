# SPDX-License-Identifier: GPL-3.0-or-later
"""A tool of any other kind: one command tells what is pending (a line each), one applies it all.

It opens its own connections, so limits can only be asked for (PGOPTIONS, which libpq reads), not read back.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from slipway_migrate.errors import MigrateError
from slipway_migrate.guard import application_name
from slipway_migrate.model import Effect, Migration, Operation

from .base import Adapter, Direct, Listener, NotReversibleError, Prepare, Rows

_ID = "command"
_DRIVERS = ("+psycopg", "+psycopg2", "+asyncpg")


class CommandAdapter(Adapter):
    """``command`` is {"pending": argv, "apply": argv}; the database is libpq's, or DATABASE_URL in ``environment``."""

    name = "command"
    limits = (
        "timeouts are asked for by PGOPTIONS and not read back",
        "all that is pending runs as one and is never retried",
        "the SQL is not known before it runs",
    )

    def __init__(self, command: dict[str, list[str]], environment: dict[str, str]) -> None:
        for name in ("pending", "apply"):
            if not command.get(name):
                raise MigrateError(
                    "bad_request",
                    f"The request does not fit: command.{name}",
                    found="nothing",
                    expected="the command as a list of words",
                    next_step="set webapp_migration_command",
                )
        self._command = command
        self._environment = environment
        self._settings: dict[str, str] = {}
        self._own: Direct | None = None

    def pending(self) -> list[Migration]:
        """One migration that stands for all lines."""
        lines = [line.strip() for line in self._run("pending").splitlines() if line.strip()]
        operations = [
            Operation("Command", line, [Effect("command", line, reversible=False)], reversible=False) for line in lines
        ]
        return [Migration(id=_ID, app="", name=", ".join(lines), atomic=False, operations=operations)] if lines else []

    def applied(self) -> list[list[str]]:
        """Unknown."""
        return []

    def is_applied(self, migration: Migration) -> bool:
        """Nothing is pending any more."""
        return not self.pending() and bool(migration.id)

    def apply(self, migration: Migration) -> None:
        """Run the command once."""
        self._run("apply")
        if self.pending():
            raise MigrateError(
                "command_left_pending",
                "The command ended well, but migrations are still pending",
                found=self._run("pending").strip()[:500],
                expected="nothing",
                next_step=f"look at the output of {self._command['apply'][0]}: it did not apply {migration.name}",
            )

    def reverse(self, migration: Migration) -> None:
        """Never."""
        raise NotReversibleError(f"{migration.id} is a command of its own")

    def arm(self, prepare: Prepare) -> None:
        """Learn the limits from a connection that has them, to ask the command for the same."""
        connection = self.connect()
        try:
            prepare(connection.fetch)
            rows = connection.fetch("SELECT name, setting FROM pg_settings WHERE source = 'session'")
            self._settings = {str(name): str(setting) for name, setting in rows}
        finally:
            connection.close()

    def fetch(self, sql: str, params: tuple[Any, ...] = ()) -> Rows:
        """A query on a connection of our own."""
        if self._own is None:
            self._own = self.connect()
        return self._own.fetch(sql, params)

    def connect(self) -> Direct:
        """By DATABASE_URL, else by libpq's own variables."""
        url = self._environment.get("DATABASE_URL", "")
        for driver in _DRIVERS:
            url = url.replace(driver + "://", "://", 1)
        for name, value in self._environment.items():
            if name.startswith("PG") and name != "PGOPTIONS":
                os.environ[name] = value
        return Direct(_driver().connect(url.replace("postgis://", "postgresql://", 1)))

    def disconnect(self) -> None:
        """Ours goes."""
        if self._own:
            self._own.close()
        self._own = None

    @contextlib.contextmanager
    def trace(self, listener: Listener) -> Iterator[None]:  # noqa: ARG002 - its statements cannot be seen
        """Nothing to hear."""
        yield

    def _run(self, name: str) -> str:
        options = [f"-c {key}={value}" for key, value in self._settings.items() if key != "application_name"]
        given = self._environment.get("PGOPTIONS", "")
        environment = {**self._environment, "PGOPTIONS": " ".join([given, *options]).strip()}
        environment["PGAPPNAME"] = self._settings.get("application_name", application_name("read", ""))
        argv = self._command[name]
        if shutil.which("setpriv"):  # it dies with us, so that its locks go
            argv = ["setpriv", "--pdeathsig", "KILL", *argv]
        try:
            done = subprocess.run(argv, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, check=False,
                                  env=environment)  # fmt: skip
        except OSError as error:
            raise MigrateError(
                "command_failed",
                f"The command cannot be run: {argv}",
                found=str(error),
                expected="a program",
                next_step="correct webapp_migration_command",
            ) from error
        if name == "apply":
            sys.stderr.write(done.stdout)
        if done.returncode:
            raise MigrateError(
                "command_failed",
                f"command.{name} failed: {self._command[name][0]}",
                found=f"exit code {done.returncode}",
                expected="exit code 0",
                next_step="see its output on standard error, repair it, then run again",
            )
        return done.stdout


def _driver() -> Any:
    try:
        import psycopg
    except ImportError:
        try:
            import psycopg2
        except ImportError as error:
            raise MigrateError(
                "driver_unsupported",
                "There is no PostgreSQL driver in the release",
                found="neither psycopg nor psycopg2",
                expected="one of them",
                next_step="add psycopg to the release's requirements",
            ) from error
        return psycopg2
    return psycopg
