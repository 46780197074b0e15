# SPDX-License-Identifier: GPL-3.0-or-later
"""Django's operations: what their classes say, joined with what their SQL does.

The SQL tells locks, rewrites and scans (statements.py); the class tells what SQL cannot: that a default lives in Python
only, that RunPython is reversible. A class is trusted by its name only if it runs Django's own code.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from slipway_migrate import statements
from slipway_migrate.model import Effect, Operation, Phase
from slipway_migrate.names import canonical, quoted

# Classes whose SQL tells all that they do, or about which _correct knows the rest.
KINDS = frozenset((
    "CreateModel", "DeleteModel", "RenameModel", "AlterModelTable", "AlterModelTableComment",
    "AlterModelOptions", "AlterModelManagers", "AlterOrderWithRespectTo", "AlterUniqueTogether",
    "AlterIndexTogether", "AddField", "RemoveField", "AlterField", "RenameField", "AddIndex", "RemoveIndex",
    "RenameIndex", "AddConstraint", "RemoveConstraint", "AlterConstraint", "AddIndexConcurrently",
    "RemoveIndexConcurrently", "AddConstraintNotValid", "ValidateConstraint", "CreateExtension",
    "CreateCollation", "RemoveCollation", "RunSQL", "RunPython", "RenameContentType",
))  # fmt: skip
_DROPS = ("DeleteModel", "RemoveField")
_TIGHTENS = ("AddConstraint", "AddConstraintNotValid", "AlterUniqueTogether")


def kind_of(operation: Any) -> str:
    """The name of Django's class whose code this operation runs, '' if it has code of its own."""
    bases: tuple[Any, ...] = type(operation).__mro__
    for base in bases:
        if base.__module__.startswith(("django.db.migrations.", "django.contrib.")):
            own = bases[0].database_forwards is base.database_forwards
            known = [each.__name__ for each in base.__mro__ if each.__name__ in KINDS]
            return known[0] if own and known else ""
    return ""


def _is_separate(operation: Any) -> bool:
    return type(operation).__name__ == "SeparateDatabaseAndState"


def describe(migration: Any, state: Any, connection: Any) -> tuple[list[Operation], str]:
    """The operations of a migration with their effects, and its SQL; ``state`` is moved forward."""
    described, sql = [], []
    for operation in migration.operations:
        for leaf, old, new in _leaves(operation, migration.app_label, state):
            text = _sql(leaf, migration, old, new, connection)
            described.append(_operation(leaf, text, _table(leaf, migration.app_label, old)))
            sql += [f"-- {leaf.describe()}", text if text is not None else "-- (its SQL is known only when it runs)"]
    return described, "\n".join(sql) + "\n" if sql else ""


def _leaves(operation: Any, app: str, state: Any) -> list[tuple[Any, Any, Any]]:
    """(operation, state before, state after) of what touches the database; ``state`` is moved forward."""
    old = state.clone()
    if not _is_separate(operation):
        operation.state_forwards(app, state)
        return [(operation, old, state.clone())]
    found: list[tuple[Any, Any, Any]] = []
    for each in operation.database_operations:
        found += _leaves(each, app, old)
    operation.state_forwards(app, state)
    return found


def _sql(operation: Any, migration: Any, old: Any, new: Any, connection: Any) -> str | None:
    """The operation's SQL; None where Django needs the database in a form that it does not have yet."""
    if not operation.reduces_to_sql:
        return ""
    try:
        # Never atomic: nothing runs, and CONCURRENTLY would be refused here although the migration is not atomic.
        with connection.schema_editor(collect_sql=True, atomic=False) as editor:
            operation.database_forwards(migration.app_label, editor, old, new)
    except Exception:  # noqa: BLE001 - operations may be the application's own code
        connection.close()  # the failure may have left the connection in any state
        return None
    return "\n".join(editor.collected_sql)


def _table(operation: Any, app: str, state: Any) -> str:
    """The canonical name of the table that loses a constraint: DROP INDEX does not tell it."""
    if kind_of(operation) != "RemoveConstraint" or not operation.reduces_to_sql:
        return ""
    return canonical(quoted(state.apps.get_model(app, operation.model_name)._meta.db_table))


def _operation(operation: Any, sql: str | None, table: str) -> Operation:
    kind = kind_of(operation)
    described = Operation(
        kind=type(operation).__name__,
        describes=operation.describe(),
        reversible=bool(operation.reversible) and kind not in _DROPS,
        from_sql=kind == "RunSQL",
    )
    if not kind:
        described.codes.append("unknown_operation")
    elif sql is None:
        described.codes.append("sql_unavailable")
    elif kind == "RunPython":
        described.effects = [Effect("run python", described.describes, reversible=described.reversible)]
    else:
        described.effects = [effect for text in statements.split(sql) for effect in statements.read(text)]
        _correct(described, kind, operation, table)
    return described


def _correct(described: Operation, kind: str, operation: Any, table: str) -> None:
    """What Django's class knows better than the SQL."""
    kinds = {effect.kind for effect in described.effects}
    if kind != "RunSQL" and kinds & {"add column", "set default"}:
        # Django adds a default for the rows that exist and drops it again: nobody counted on it.
        described.effects = [effect for effect in described.effects if effect.kind != "drop default"]
    if kind == "RunSQL" and operation.sql and all(not effect.old_code_ok for effect in described.effects):
        described.reversible = False
    if kind == "RemoveConstraint":
        # A conditional unique constraint is an index to the database, and a rule to the running code.
        described.effects = [
            dataclasses.replace(effect, table=table, phase=Phase.AFTER, code="drops", old_code_ok=False)
            if effect.kind == "drop index"
            else effect
            for effect in described.effects
        ]
    if kind == "AlterField":
        described.effects = [_as_one(effect, kinds) for effect in described.effects]
    required = kind == "AddField" and described.effects and _python_default_only(operation.field)
    if required or (kind == "AlterOrderWithRespectTo" and "add column" in kinds):
        described.codes.append("not_null_without_db_default")
    if kind in _TIGHTENS or (kind == "AlterField" and any(each.kind == "add unique" for each in described.effects)):
        described.codes.append("tightens")


def _as_one(effect: Effect, kinds: set[str]) -> Effect:
    """What an AlterField does on its way to something else: it says nothing about who can live with the field."""
    refounded = effect.kind == "drop constraint" and "add foreign key" in kinds
    filled = "set not null" in kinds and (
        effect.kind == "set default" or effect.describes.upper().startswith("UPDATE ")
    )
    if refounded or filled:
        return dataclasses.replace(effect, phase=Phase.NEUTRAL, old_code_ok=True, reversible=True, code="")
    return effect


def _python_default_only(field: Any) -> bool:
    """Whether the database has no value for rows that old code inserts."""
    from django.db.models import NOT_PROVIDED

    if field.many_to_many or field.null or getattr(field, "generated", False):
        return False
    if getattr(field, "db_default", NOT_PROVIDED) is not NOT_PROVIDED:  # Django 5
        return False
    return field.get_internal_type() not in ("AutoField", "BigAutoField", "SmallAutoField")
