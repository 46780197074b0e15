# SPDX-License-Identifier: GPL-3.0-or-later
"""squawk reads the SQL of a migration. Optional; but where it is configured and does not work, that is an error.

https://squawkhq.com/docs/rules. Rules of style, and of timeouts that this program sets itself, are left out. What
depends on the size of a table squawk cannot know, so its rules inform; only the ones in BLOCKS decide, and only about
SQL that people wrote, because Django's own operations are known better from their classes.
"""

from __future__ import annotations

import json
import subprocess
from typing import Any

from .errors import MigrateError
from .model import Migration, Phase, Problem

LEFT_OUT = (
    "prefer-", "require-lock-timeout", "require-statement-timeout", "require-timeout-settings", "ban-char-field",
    "ban-drop-default", "ban-drop-not-null", "identifier-too-long", "require-table-schema",
)  # fmt: skip
BLOCKS = frozenset(
    {
        "syntax-error", "renaming-column", "renaming-table", "adding-required-field", "ban-drop-database",
        "ban-concurrent-index-creation-in-transaction", "ban-truncate-cascade", "transaction-nesting",
    }
)  # fmt: skip
SECONDS = 30


def lint(migration: Migration, *, program: str, server_version: int) -> None:
    """Add squawk's findings to the migration; ``server_version`` is server_version_num."""
    if not migration.sql.strip():
        return
    found = _run(program, migration.sql, atomic=migration.atomic, server_version=server_version)
    problems = {each["rule_name"]: _problem(each, migration) for each in found if _matters(each["rule_name"])}
    migration.problems += problems.values()
    written = any(operation.from_sql for operation in migration.operations)
    if written and BLOCKS & set(problems):
        migration.phase = Phase.UNSAFE


def _matters(rule: str) -> bool:
    return not rule.startswith(LEFT_OUT)


def _problem(found: dict[str, Any], migration: Migration) -> Problem:
    return Problem(
        code=found["rule_name"],
        message=f"{migration.id}, line {found['line'] + 1} of its SQL: {found['message']}",
        advice=found.get("help") or "",
        source="squawk",
    )


def _run(program: str, sql: str, *, atomic: bool, server_version: int) -> list[dict[str, Any]]:
    version = f"{server_version // 10000}.{server_version % 10000}"
    argv = [program, "--reporter", "json", "--pg-version", version, "--stdin-filepath", "migration.sql"]
    argv.append("--assume-in-transaction" if atomic else "--no-assume-in-transaction")
    try:
        done = subprocess.run(argv, input=sql, capture_output=True, text=True, timeout=SECONDS, check=False)
        found = json.loads(done.stdout or "[]")
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        raise _unusable(program, str(error)) from error
    # 0: nothing found, 1: something found. Anything else, or 1 without a word, means that it did not look.
    if done.returncode not in (0, 1) or (done.returncode == 1 and not found):
        raise _unusable(program, f"exit code {done.returncode}: {done.stderr.strip()[:500]}")
    return list(found)


def _unusable(program: str, found: str) -> MigrateError:
    return MigrateError(
        "squawk_unusable",
        f"squawk does not work: {program}",
        found=found,
        expected="JSON with its findings",
        next_step=f"run {program} --version on the host, or leave `squawk` empty to do without",
    )
