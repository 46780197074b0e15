# SPDX-License-Identifier: GPL-3.0-or-later
"""SQL cut into statements, and each statement read for what it does: a recogniser, not a parser.

It knows the statements that migrations are made of. What it does not know it says so of (code ``unparsed``), and
that is unsafe. Locks: https://www.postgresql.org/docs/current/sql-altertable.html and explicit-locking.html.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from .altertable import alter_table
from .model import Created, Effect, Phase
from .names import NAME, canonical, last, shown

_TOKEN = re.compile(
    r"""--[^\n]*|/\*.*?\*/                       # comments
    |\$([A-Za-z_]\w*)?\$.*?\$(?(1)\1)\$          # dollar quotes
    |[eE]'(?:[^'\\]|''|\\.)*'|'(?:[^']|'')*'     # strings
    |"(?:[^"]|"")*"                              # quoted names
    |;|[^-/$eE'";]+|.""",
    re.DOTALL | re.VERBOSE,
)

Reader = Callable[["re.Match[str]", str], "list[Effect]"]


def split(sql: str) -> list[str]:
    """The statements of ``sql`` without comments; quotes of every kind stay whole."""
    statements, current = [], ""
    for match in _TOKEN.finditer(sql):
        token = match.group()
        if token == ";":
            statements.append(current.strip())
            current = ""
        else:
            current += " " if token.startswith(("--", "/*")) else token
    return [text for text in [*statements, current.strip()] if text]


def read(statement: str) -> list[Effect]:
    """What one statement does. The answer is never empty."""
    text = " ".join(_without_literals(statement).split())
    for pattern, reader in _READERS:
        match = pattern.match(text)
        if match:
            return reader(match, text)
    return [_unparsed(text)]


def _without_literals(statement: str) -> str:
    def blank(match: re.Match[str]) -> str:
        token = match.group()
        return "''" if token.startswith(("'", "$", "e'", "E'")) and len(token) > 1 else token

    return _TOKEN.sub(blank, statement)


def _unparsed(text: str) -> Effect:
    return Effect("unparsed", text[:200], phase=Phase.UNSAFE, old_code_ok=False, reversible=False, code="unparsed")


def _plain(
    phase: Phase = Phase.BEFORE, *, lock: str = "none", code: str = "", old_code_ok: bool = True, scans: bool = False
) -> Reader:
    def reader(match: re.Match[str], text: str) -> list[Effect]:
        found: str | None = match.groupdict().get("table")
        table = canonical(found) if found else ""
        describes = text[:200]
        return [
            Effect(
                _verb(text),
                describes,
                table,
                lock,
                scans=scans,
                phase=phase,
                code=code,
                old_code_ok=old_code_ok,
                reversible=old_code_ok,
            )
        ]

    return reader


def _verb(text: str) -> str:
    return " ".join(text.split("(")[0].split()[:2]).lower()


def _create_table(match: re.Match[str], _text: str) -> list[Effect]:
    table = canonical(match["table"])
    created = (Created("table", table, table, if_absent=bool(match["maybe"])),)
    return [Effect("create table", f"create table {shown(table)}", table, creates=created)]


def _create_index(match: re.Match[str], _text: str) -> list[Effect]:
    table, name = canonical(match["table"]), canonical(match["index"] or '""')
    online, unique = bool(match["online"]), bool(match["unique"])
    return [
        Effect(
            "create index concurrently" if online else "create index",
            f"create {'unique ' if unique else ''}index {shown(name)} on {shown(table)}",
            table,
            "SHARE UPDATE EXCLUSIVE" if online else "SHARE",
            scans=True,
            code="" if online else "index_blocks_writes",
            creates=(Created("index", table, name, if_absent=bool(match["maybe"])),) if match["index"] else (),
        )
    ]


def _create_domain(match: re.Match[str], text: str) -> list[Effect]:
    return [Effect("create domain", text[:200], new_type=last(canonical(match["domain"])))]


def _drop_index(match: re.Match[str], _text: str) -> list[Effect]:
    online = bool(match["online"])
    lock = "SHARE UPDATE EXCLUSIVE" if online else "ACCESS EXCLUSIVE"
    kind = "drop index concurrently" if online else "drop index"
    return [Effect(kind, f"drop index {shown(canonical(match['index']))}", lock=lock)]


def _drop_table(match: re.Match[str], _text: str) -> list[Effect]:
    table = canonical(match["table"])
    return [
        Effect(
            "drop table",
            f"drop table {shown(table)}",
            table,
            "ACCESS EXCLUSIVE",
            phase=Phase.AFTER,
            old_code_ok=False,
            reversible=False,
            code="drops",
        )
    ]


def _alter(match: re.Match[str], text: str) -> list[Effect]:
    return alter_table(canonical(match["table"]), match["actions"]) or [_unparsed(text)]


_MAYBE = r"(?P<maybe>IF (?:NOT )?EXISTS )?"
_TABLE = rf"(?P<table>{NAME})"
_AE = "ACCESS EXCLUSIVE"
# What guard.py sets, and what changes who we are, which tables names mean, or whether triggers run.
_OVERRIDES = (
    r"(?:lock_timeout|statement_timeout|transaction_timeout|idle_in_transaction_session_timeout|application_name"
    r"|client_connection_check_interval|role|session[ _]authorization|search_path|session_replication_role)\b"
)
_SOURCE: list[tuple[str, Reader]] = [
    (rf"CREATE (?:UNLOGGED )?TABLE {_MAYBE}{_TABLE} ?\(", _create_table),
    (
        (
            rf"CREATE (?P<unique>UNIQUE )?INDEX (?P<online>CONCURRENTLY )?{_MAYBE}(?:(?!ON )(?P<index>{NAME}) )?"
            rf"ON (?:ONLY )?{_TABLE}"
        ),
        _create_index,
    ),
    (rf"DROP INDEX (?P<online>CONCURRENTLY )?{_MAYBE}(?P<index>{NAME})(?: CASCADE| RESTRICT)?$", _drop_index),
    (rf"DROP TABLE {_MAYBE}{_TABLE}(?: CASCADE| RESTRICT)?$", _drop_table),
    (rf"ALTER TABLE {_MAYBE}(?:ONLY )?{_TABLE} (?P<actions>.+)$", _alter),
    (rf"ALTER INDEX {_MAYBE}{NAME} RENAME TO", _plain()),
    (
        rf"ALTER (?:VIEW|MATERIALIZED VIEW|SEQUENCE) {_MAYBE}{NAME} (?:RENAME|SET SCHEMA)\b",
        _plain(Phase.UNSAFE, code="rename", old_code_ok=False),
    ),
    (
        rf"ALTER (?:VIEW|MATERIALIZED VIEW|SEQUENCE) {_MAYBE}{NAME} OWNER TO ",
        _plain(Phase.UNSAFE, code="owner", old_code_ok=False),
    ),
    (r"ALTER TYPE .* ADD VALUE", _plain()),
    (rf"ALTER SEQUENCE {_MAYBE}{NAME} ", _plain()),
    (rf"UPDATE (?:ONLY )?{_TABLE} ", _plain(lock="ROW EXCLUSIVE")),
    (rf"DELETE FROM (?:ONLY )?{_TABLE}", _plain(lock="ROW EXCLUSIVE")),
    (rf"INSERT INTO {_TABLE}", _plain(lock="ROW EXCLUSIVE")),
    (rf"TRUNCATE (?:TABLE )?(?:ONLY )?{_TABLE}", _plain(Phase.AFTER, lock=_AE, code="drops", old_code_ok=False)),
    (rf"REFRESH MATERIALIZED VIEW CONCURRENTLY {_TABLE}", _plain(lock="EXCLUSIVE")),
    (rf"REFRESH MATERIALIZED VIEW {_TABLE}", _plain(lock=_AE, scans=True, code="table_scan")),
    (rf"CREATE (?:OR REPLACE )?TRIGGER .*? ON {_TABLE} ", _plain(lock="SHARE ROW EXCLUSIVE")),
    (rf"DROP TRIGGER {_MAYBE}{NAME} ON {_TABLE}", _plain(Phase.AFTER, lock=_AE, code="drops", old_code_ok=False)),
    (r"CREATE (?:OR REPLACE )?(?:FUNCTION|PROCEDURE|VIEW|AGGREGATE) ", _plain()),
    (rf"CREATE DOMAIN (?P<domain>{NAME})", _create_domain),
    (r"CREATE (?:EXTENSION|TYPE|SEQUENCE|SCHEMA|COLLATION|MATERIALIZED VIEW|STATISTICS|PUBLICATION) ", _plain()),
    (
        r"DROP (?:EXTENSION|TYPE|DOMAIN|SEQUENCE|SCHEMA|COLLATION|(?:MATERIALIZED )?VIEW|FUNCTION|PROCEDURE) ",
        _plain(Phase.AFTER, code="drops", old_code_ok=False),
    ),
    (r"DROP STATISTICS ", _plain()),
    (rf"COMMENT ON TABLE {_TABLE} ", _plain(lock="SHARE UPDATE EXCLUSIVE")),
    (r"COMMENT ON ", _plain()),
    (r"GRANT ", _plain()),
    (rf"ANALYZE {_TABLE}$", _plain(lock="SHARE UPDATE EXCLUSIVE")),
    # Data may be read; a call of a function may do anything, so SELECT passes only with the ones Django itself emits.
    (r"SELECT (?:pg_catalog\.)?setval\(", _plain()),
    (r"SET CONSTRAINTS .* (?:IMMEDIATE|DEFERRED)$", _plain(Phase.NEUTRAL)),
    (rf"(?:SET (?:SESSION |LOCAL )?|RESET ){_OVERRIDES}", _plain(Phase.UNSAFE, code="overrides_guard")),
    (r"SET (?:SESSION |LOCAL )?[\w.]+ (?:=|TO) ", _plain(Phase.NEUTRAL)),
    (r"(?:BEGIN|COMMIT|ROLLBACK|START TRANSACTION|END)\b", _plain(Phase.UNSAFE, code="transaction_control")),
]
_READERS = [(re.compile(pattern, re.IGNORECASE), reader) for pattern, reader in _SOURCE]
