# SPDX-License-Identifier: GPL-3.0-or-later
"""Django's migrations, by its own MigrationExecutor on its own connection."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

from slipway_migrate import markers
from slipway_migrate.errors import MigrateError
from slipway_migrate.model import Migration
from slipway_migrate.request import Scratch

from . import django_operations
from .base import Adapter, Direct, Fetch, Listener, NotReversibleError, Prepare, Rows, fetch_raw, refuse_pooler
from .django_scratch import redirect


class DjangoAdapter(Adapter):
    """One alias of DATABASES. ``settings_module`` '' leaves what the environment says."""

    name = "django"

    def __init__(self, settings_module: str, alias: str, *, scratch: Scratch | None = None) -> None:
        if settings_module:
            os.environ["DJANGO_SETTINGS_MODULE"] = settings_module
        if os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())
        import django
        from django.db import connections
        from django.db.backends.signals import connection_created

        if scratch:
            redirect(alias, scratch)
        django.setup()
        self._alias = alias
        self._connection: Any = connections[alias]
        self._refuse_unsuitable()
        self._prepare: Prepare | None = None
        connection_created.connect(self._on_connection, weak=False, dispatch_uid="slipway-migrate")
        self._connection.ensure_connection()

    def _refuse_unsuitable(self) -> None:
        if self._connection.vendor != "postgresql":
            raise MigrateError(
                "not_postgresql",
                f"The database {self._alias} is not PostgreSQL",
                found=self._connection.vendor,
                expected="postgresql",
                next_step="set webapp_migrations: none",
            )
        if self._connection.settings_dict.get("OPTIONS", {}).get("pool"):
            raise MigrateError(
                "pooled_connection",
                f"The database {self._alias} uses a connection pool",
                found="OPTIONS has `pool`",
                expected="a connection of its own for the migrations",
                next_step="give the migrations settings without `pool`",
            )

    def _on_connection(self, *, connection: Any, **_: Any) -> None:
        if connection is not self._connection:
            return
        refuse_pooler(connection.connection, self._fetch_here)
        if self._prepare:
            self._prepare(self._fetch_here)

    def _fetch_here(self, sql: str, params: tuple[Any, ...] = ()) -> Rows:
        # Not by Django's cursor: that would be traced, and opens connections.
        return fetch_raw(self._connection.connection, sql, params)

    def fetch(self, sql: str, params: tuple[Any, ...] = ()) -> Rows:
        """A query on the connection that migrates."""
        self._connection.ensure_connection()
        return self._fetch_here(sql, params)

    def connect(self) -> Direct:
        """A driver's connection with the alias' own parameters; Django's wrapper would be tied to this thread."""
        return Direct(self._connection.get_new_connection(self._connection.get_connection_params()))

    def disconnect(self) -> None:
        """Close, whatever state the connection is in."""
        with contextlib.suppress(Exception):
            self._connection.close()
        # A connection that broke inside atomic blocks is otherwise kept until they end.
        self._connection.connection = None
        self._connection.in_atomic_block = False
        self._connection.savepoint_ids = []
        self._connection.needs_rollback = False
        self._connection.closed_in_transaction = False

    def arm(self, prepare: Prepare) -> None:
        """Guard this connection, now and whenever Django opens it anew."""
        self._prepare = prepare
        if self._connection.connection is None:
            self._connection.ensure_connection()  # which calls prepare
        else:
            prepare(self._fetch_here)

    def _executor(self) -> Any:
        from django.db.migrations.executor import MigrationExecutor

        return MigrationExecutor(self._connection)

    def pending(self) -> list[Migration]:
        """The plan of `migrate` without arguments: squashes, merges, run_before, swappable models included."""
        executor = self._executor()
        executor.loader.check_consistent_history(self._connection)
        conflicts = executor.loader.detect_conflicts()
        if conflicts:
            raise MigrateError(
                "conflicting_migrations",
                "Several migrations claim to be the last one",
                found="; ".join(f"{app}: {', '.join(sorted(names))}" for app, names in sorted(conflicts.items())),
                expected="one last migration for each application",
                next_step="run makemigrations --merge and commit the result",
            )
        plan = [migration for migration, _unused in executor.migration_plan(executor.loader.graph.leaf_nodes())]
        migrations = [self._migration(each, executor.loader.graph, plan) for each in plan]
        if plan:
            self._describe(executor, plan, migrations)
        return migrations

    @staticmethod
    def _migration(migration: Any, graph: Any, plan: list[Any]) -> Migration:
        label = f"{migration.app_label}.{migration.name}"
        keys = {(each.app_label, each.name) for each in plan}
        node = graph.node_map[(migration.app_label, migration.name)]
        return Migration(
            id=label,
            app=migration.app_label,
            name=migration.name,
            atomic=migration.atomic,
            marker=markers.read(migration, of=label),
            parents=tuple(f"{parent.key[0]}.{parent.key[1]}" for parent in sorted(node.parents) if parent.key in keys),
        )

    def _describe(self, executor: Any, plan: list[Any], migrations: list[Migration]) -> None:
        state = executor._create_project_state(with_applied_migrations=True)
        # Code of the application's own operations runs while SQL is collected: it must not write.
        self.arm(_read_only)
        try:
            for one, found in zip(plan, migrations):
                found.operations, found.sql = django_operations.describe(one, state, self._connection)
        finally:
            self._prepare = None
            self.fetch("RESET default_transaction_read_only")

    def applied(self) -> list[list[str]]:
        """What django_migrations says."""
        return [list(key) for key in sorted(self._recorded())]

    def _recorded(self) -> set[tuple[str, str]]:
        from django.db.migrations.recorder import MigrationRecorder

        return set(MigrationRecorder(self._connection).applied_migrations())

    def is_applied(self, migration: Migration) -> bool:
        """Recorded itself, or all that it replaces: Django records a squash by its parts."""
        recorded = self._recorded()
        replaces = self._executor().loader.disk_migrations[(migration.app, migration.name)].replaces
        parts = [tuple(key) for key in replaces]
        return (migration.app, migration.name) in recorded or (bool(parts) and set(parts) <= recorded)

    def apply(self, migration: Migration) -> None:
        """Run it by Django's executor.

        Django records a migration outside of its transaction when it has deferred SQL (indexes, foreign keys): a crash
        between the two leaves it applied and not recorded. An outer transaction holds both.
        """
        self._run(migration, backwards=False)

    def reverse(self, migration: Migration) -> None:
        """Undo it by Django's executor."""
        from django.db.migrations.exceptions import IrreversibleError

        try:
            self._run(migration, backwards=True)
        except IrreversibleError as error:
            raise NotReversibleError(str(error)) from error

    def _run(self, migration: Migration, *, backwards: bool) -> None:
        from django.core.management.sql import emit_pre_migrate_signal
        from django.db import transaction

        self._connection.prepare_database()  # PostGIS brings its extension
        executor = self._executor()
        one = executor.loader.get_migration(migration.app, migration.name)
        whole = transaction.atomic(using=self._alias) if migration.atomic else contextlib.nullcontext()
        with whole:
            plan = [(one, backwards)]
            # contenttypes adds its own operations to the plan here when a model was renamed.
            state = executor._create_project_state(with_applied_migrations=True)
            emit_pre_migrate_signal(0, False, self._alias, stdout=sys.stderr, apps=state.apps, plan=plan)
            executor.migrate(targets=[(migration.app, migration.name)], plan=plan, state=state.clone())

    @contextlib.contextmanager
    def discarded(self) -> Iterator[None]:
        """Django's own transaction: those of the migrations become savepoints in it."""
        from django.db import transaction

        with transaction.atomic(using=self._alias):
            try:
                yield
            finally:
                transaction.set_rollback(True, using=self._alias)

    def finish(self) -> None:
        """Django's post_migrate: content types and permissions. Sent on every run, also for one that was cut off."""
        from django.apps import apps
        from django.core.management.sql import emit_post_migrate_signal
        from django.db.migrations.state import ModelState

        executor = self._executor()
        executor.check_replacements()
        state = executor._create_project_state(with_applied_migrations=True)
        state.clear_delayed_apps_cache()
        historical = state.apps
        # As the migrate command does: models of applications without migrations get their relations now.
        keys = [(model.app_label, model.name_lower) for model in historical.real_models]
        with historical.bulk_update():
            for key in keys:
                historical.unregister_model(*key)
        historical.render_multiple([ModelState.from_model(apps.get_model(*key)) for key in keys])
        emit_post_migrate_signal(0, False, self._alias, stdout=sys.stderr, apps=historical, plan=[])

    @contextlib.contextmanager
    def trace(self, listener: Listener) -> Iterator[None]:
        """Django's own hook around each statement."""
        from time import monotonic

        def wrapper(execute: Any, sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
            began = monotonic()
            result = execute(sql, params, many, context)
            fetch: Fetch = self._fetch_here
            listener(str(sql), context["cursor"].rowcount, monotonic() - began, fetch)
            return result

        with self._connection.execute_wrapper(wrapper):
            yield


def _read_only(fetch: Fetch) -> None:
    fetch("SET default_transaction_read_only = on")
