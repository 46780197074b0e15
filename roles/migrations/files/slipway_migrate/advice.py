# SPDX-License-Identifier: GPL-3.0-or-later
"""Each risk by its code: what happens, and the safe way to write it."""

from __future__ import annotations

from .model import Problem

# code -> (what happens, the safe way)
ADVICE = {
    "rewrite": (
        "rewrites the table under an ACCESS EXCLUSIVE lock: nobody reads or writes until it is done",
        "add a new nullable column, write both, copy in batches (RunPython, atomic = False), drop the old",
    ),
    "index_blocks_writes": (
        "builds an index under a SHARE lock: nobody writes until it is done",
        (
            "use AddIndexConcurrently in a migration of its own with atomic = False (db_index=False on the field), "
            "in SQL CREATE INDEX CONCURRENTLY"
        ),
    ),
    "constraint_scan": (
        "checks every row under an ACCESS EXCLUSIVE lock",
        "AddConstraintNotValid, and ValidateConstraint in the next migration",
    ),
    "foreign_key_scan": (
        "checks every row while writers of both tables wait (SHARE ROW EXCLUSIVE)",
        "ADD CONSTRAINT ... FOREIGN KEY ... NOT VALID, and VALIDATE CONSTRAINT in the next migration",
    ),
    "unique_build": (
        "builds a unique index under an ACCESS EXCLUSIVE lock",
        "CREATE UNIQUE INDEX CONCURRENTLY, then ADD CONSTRAINT ... UNIQUE USING INDEX (SeparateDatabaseAndState)",
    ),
    "not_null_scan": (
        "checks every row for NULL under an ACCESS EXCLUSIVE lock",
        "CHECK (x IS NOT NULL) NOT VALID, VALIDATE CONSTRAINT, then SET NOT NULL, then drop the check",
    ),
    "table_scan": (
        "works through the whole table while users wait for its lock",
        "do it in a maintenance window, or in batches",
    ),
    "not_null_without_db_default": (
        "adds a NOT NULL column without a default in the database: INSERTs of the running code fail",
        "give it db_default (Django 5), or add it nullable, fill it, and make it NOT NULL in a later release",
    ),
    "rename": (
        "renames what the running code uses by its old name",
        "keep the old name in the database (db_column, db_table), or add the new one, copy, and drop the old one later",
    ),
    "owner": (
        "gives an object to another owner: the running code and later migrations may lose their rights on it",
        "change owners by hand in a maintenance window, and accept it by name",
    ),
    "drops": (
        "removes what the running code still uses",
        "this runs after the old release is gone; it cannot be undone without a backup",
    ),
    "drops_required": (
        "drops a column that new code leaves out of its INSERTs, which fail until then: NOT NULL without a default",
        "make it nullable (null=True) or give it db_default in a migration before this one; one release may have both",
    ),
    "tightens_column": (
        "refuses NULL, which a validated CHECK refuses already",
        "nothing: it reads no row; drop the check afterwards",
    ),
    "tightens": (
        "refuses rows that the running code may still write",
        "mark the migration after_deploy if the running code does not keep the rule already",
    ),
    "split": (
        "holds operations that must run before the switch and others that must run after it",
        "split it into two migrations",
    ),
    "unparsed": (
        "holds SQL that is not understood, so its locks are unknown",
        "write it as operations, or in simpler statements; or accept it by name after reading it",
    ),
    "unknown_operation": (
        "uses an operation class that is not known here, so its effects are unknown",
        "use Django's own operations, or accept it by name after reading it",
    ),
    "sql_unavailable": (
        "cannot be written as SQL before it runs, so its locks are unknown",
        "rehearse it on a copy, then accept it by name",
    ),
    "overrides_guard": (
        "sets timeouts, the role or other settings of the session itself and so undoes the guards of this run",
        "remove the SET; the run sets lock_timeout and statement_timeout",
    ),
    "transaction_control": (
        "holds BEGIN, COMMIT or ROLLBACK: a failure half-way could not be rolled back",
        "use atomic = False and let each statement stand alone",
    ),
    "needs_no_transaction": (
        "runs CONCURRENTLY inside a transaction, which PostgreSQL refuses",
        "set atomic = False in the migration (Alembic: autocommit_block)",
    ),
    "marker_contradicts": (
        "is marked to run before the switch, but removes what the running code still uses",
        "mark it after_deploy",
    ),
    "depends_on_after": (
        "must run before the switch, but needs a migration that runs after it",
        "deploy the other one first, in a release of its own; or accept that one by name, to run before the switch",
    ),
    "works_under_lock": (
        "locks a large table and then works through rows in the same transaction: users wait until all of it is done",
        "put the change of the table and the work on rows into two migrations",
    ),
}


def problem(code: str, subject: str = "") -> Problem:
    """The problem of this code; ``subject`` begins the sentence."""
    message, advice = ADVICE[code]
    return Problem(code=code, message=f"{subject or 'this migration'} {message}", advice=advice)
