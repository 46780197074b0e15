# SPDX-License-Identifier: GPL-3.0-or-later
"""The actions of one ALTER TABLE, and what each does. Source: PostgreSQL's manual, ALTER TABLE, "Notes"."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

from .model import Created, Effect, Phase
from .names import IDENTIFIER, NAME, canonical, last, shown

AE, SRE, SUE = "ACCESS EXCLUSIVE", "SHARE ROW EXCLUSIVE", "SHARE UPDATE EXCLUSIVE"
Reader = Callable[[str, "re.Match[str]"], "list[Effect]"]
# A default that is the same for every row is stored once (PostgreSQL 11); a volatile one is computed for each row.
# The functions here are stable or immutable; any other call is taken for volatile.
_STABLE_CALL = re.compile(
    r"^(?:now|current_timestamp|statement_timestamp|transaction_timestamp|jsonb?|array|date)$", re.I
)
_CALL = re.compile(r"([\w.]+)\s*\(")


def alter_table(table: str, actions: str) -> list[Effect]:
    """The effects of all actions; empty if one of them is not understood, because then none can be trusted."""
    effects: list[Effect] = []
    for action in _split(actions):
        for pattern, reader in _READERS:
            match = pattern.match(action)
            if match:
                effects += reader(table, match)
                break
        else:
            return []
    return effects


def _split(actions: str) -> list[str]:
    """Cut at commas outside of brackets and quotes."""
    parts, current, depth = [], "", 0
    for token in re.findall(r'"(?:[^"]|"")*"|.', actions, re.DOTALL):
        depth += (token == "(") - (token == ")")
        if token == "," and depth == 0:
            parts.append(current.strip())
            current = ""
        else:
            current += token
    return [*parts, current.strip()]


def _add_column(table: str, match: re.Match[str]) -> list[Effect]:
    column, rest = canonical(match["column"]), match["rest"]
    default = re.search(r"\bDEFAULT\b(.*)", rest, re.I)
    generated = re.search(
        r"GENERATED ALWAYS AS\s*\(|GENERATED (?:ALWAYS|BY DEFAULT) AS IDENTITY|^\w*serial\d?\b", rest, re.I
    )
    not_null = bool(re.search(r"\bNOT NULL\b|\bPRIMARY KEY\b", rest, re.I)) and not default and not generated
    effects = [
        Effect(
            "add column",
            f"add column {shown(table)}.{shown(column)}",
            table,
            AE,
            rewrites=bool(generated) or bool(default and _volatile(default[1])),
            phase=Phase.UNSAFE if not_null else Phase.BEFORE,
            old_code_ok=not not_null,
            code="not_null_without_db_default" if not_null else "rewrite",
            column=column,
            new_type=_type_name(rest),
            creates=(Created("column", table, column, if_absent=bool(match["maybe"])),),
        )
    ]
    if re.search(r"\bUNIQUE\b|\bPRIMARY KEY\b", rest, re.I):
        effects.append(_effect("add unique", table, AE, code="unique_build", scans=True))
    if re.search(r"\bCHECK ?\(", rest, re.I):
        effects.append(_effect("add check", table, AE, code="constraint_scan", scans=True))
    referenced = re.search(rf"\bREFERENCES ({NAME})", rest, re.I)
    if referenced:
        # A new column without default holds only NULL: PostgreSQL checks no row, writers of both wait briefly.
        other = canonical(referenced[1])
        effects.append(_effect("references", other, SRE, code="foreign_key_scan", scans=bool(default)))
    return effects


def _type_name(rest: str) -> str:
    """The first word of a type without its schema: enough to find a domain, which has a name of one word."""
    found = re.match(NAME, rest)
    return last(canonical(found[0])) if found else ""


def _volatile(default: str) -> bool:
    before_constraints = re.split(r"\b(?:NOT NULL|CONSTRAINT|REFERENCES|CHECK|UNIQUE)\b", default, flags=re.I)[0]
    return any(not _STABLE_CALL.match(call.split(".")[-1]) for call in _CALL.findall(before_constraints))


def _effect(kind: str, table: str, lock: str, *, code: str = "", scans: bool = False) -> Effect:
    return Effect(kind, f"{kind} on {shown(table)}", table, lock, scans=scans, code=code)


def _add_constraint(table: str, match: re.Match[str]) -> list[Effect]:
    name, rest = canonical(match["name"] or '""'), match["rest"]
    created = (Created("constraint", table, name),) if match["name"] else ()
    valid = not re.search(r"\bNOT VALID\b", rest, re.I)
    what = f"add constraint {shown(name)} on {shown(table)}"

    def one(kind: str, on: str, lock: str, *, scans: bool, code: str) -> Effect:
        return Effect(kind, what, on, lock, scans=scans, code=code, creates=created)

    if re.match(r"FOREIGN KEY", rest, re.I):
        other = re.search(rf"\bREFERENCES ({NAME})", rest, re.I)
        effects = [one("add foreign key", table, SRE, scans=valid, code="foreign_key_scan")]
        return effects + ([_effect("references", canonical(other[1]), SRE)] if other else [])
    if re.match(r"CHECK", rest, re.I):
        return [one("add check", table, AE, scans=valid, code="constraint_scan")]
    if re.match(r"EXCLUDE", rest, re.I):
        return [one("add exclusion", table, AE, scans=True, code="constraint_scan")]
    if re.match(r"PRIMARY KEY USING INDEX", rest, re.I):
        # It makes its columns NOT NULL, which reads every row.
        return [one("add primary key using index", table, AE, scans=True, code="not_null_scan")]
    if re.match(r"UNIQUE USING INDEX", rest, re.I):
        return [one("add unique using index", table, AE, scans=False, code="")]
    if re.match(r"UNIQUE|PRIMARY KEY", rest, re.I):
        return [one("add unique", table, AE, scans=True, code="unique_build")]
    return []


def _type(table: str, match: re.Match[str]) -> list[Effect]:
    # Whether it rewrites depends on the old type, which only the catalogue knows: classify.judge looks.
    column = canonical(match["column"])
    new_type, _unused, using = match["rest"].strip().partition(" USING ")
    # Django writes USING "x"::type: the same cast as without it.
    plain = not using or using.replace('"', "") == f"{shown(column)}::{new_type}"
    new_type = new_type.lower() if plain and " COLLATE " not in new_type.upper() else ""
    what = f"change type of {shown(table)}.{shown(column)} to {match['rest']}"
    return [
        Effect(
            "change type",
            what,
            table,
            AE,
            rewrites=True,
            scans=True,
            phase=Phase.UNSAFE,  # whatever the size: values that the running code writes may no longer fit
            old_code_ok=False,
            code="rewrite",
            column=column,
            new_type=new_type,
        )
    ]


def _column(
    kind: str,
    phase: Phase = Phase.BEFORE,
    *,
    code: str = "",
    scans: bool = False,
    reversible: bool = True,
    lock: str = AE,
) -> Reader:
    def reader(table: str, match: re.Match[str]) -> list[Effect]:
        found = match.groupdict().get("column")
        column = canonical(found) if found else ""
        what = f"{kind} {shown(table)}{'.' + shown(column) if column else ''}"
        ok = phase is not Phase.AFTER and phase is not Phase.UNSAFE
        return [
            Effect(
                kind,
                what,
                table,
                lock,
                scans=scans,
                phase=phase,
                code=code,
                reversible=reversible,
                column=column,
                old_code_ok=ok,
            )
        ]

    return reader


def _rename_table(table: str, match: re.Match[str]) -> list[Effect]:
    (effect,) = _column("rename", Phase.UNSAFE, code="rename")(table, match)
    schema = table.rpartition(".")[0]
    new = canonical(match["new"])
    return [dataclasses.replace(effect, renamed_to=f"{schema}.{new}" if schema else new)]


_MAYBE = r"(?P<maybe>IF (?:NOT )?EXISTS )?"
_COLUMN = rf"(?P<column>{IDENTIFIER})"
_ALTER = rf"ALTER (?:COLUMN )?{_COLUMN} "
_SOURCE: list[tuple[str, Reader]] = [
    (
        rf"ADD (?:CONSTRAINT (?P<name>{IDENTIFIER}) )?(?P<rest>(?:FOREIGN KEY|CHECK|UNIQUE|PRIMARY KEY|EXCLUDE)\b.*)$",
        _add_constraint,
    ),
    (rf"ADD (?:COLUMN )?{_MAYBE}{_COLUMN} (?P<rest>.+)$", _add_column),
    (rf"DROP CONSTRAINT {_MAYBE}{_COLUMN}", _column("drop constraint", Phase.AFTER, code="drops")),
    (rf"DROP (?:COLUMN )?{_MAYBE}{_COLUMN}", _column("drop column", Phase.AFTER, code="drops", reversible=False)),
    (rf"{_ALTER}(?:SET DATA )?TYPE (?P<rest>.+)$", _type),
    (rf"{_ALTER}SET NOT NULL$", _column("set not null", Phase.AFTER, code="not_null_scan", scans=True)),
    (rf"{_ALTER}DROP NOT NULL$", _column("drop not null")),
    (rf"{_ALTER}SET DEFAULT .+$", _column("set default")),
    # Running code that leaves the column out counts on the default.
    (rf"{_ALTER}DROP DEFAULT$", _column("drop default", Phase.AFTER, code="drops")),
    (rf"{_ALTER}SET STATISTICS ", _column("set statistics", lock=SUE)),
    (rf"{_ALTER}(?:DROP EXPRESSION|DROP IDENTITY)", _column("drop expression", Phase.AFTER, code="drops")),
    (rf"{_ALTER}ADD GENERATED (?:ALWAYS|BY DEFAULT) AS IDENTITY", _column("add identity")),
    (rf"VALIDATE CONSTRAINT {_COLUMN}", _column("validate constraint", scans=True, lock=SUE)),
    (r"RENAME CONSTRAINT ", _column("rename constraint")),
    (rf"RENAME TO (?P<new>{IDENTIFIER})$", _rename_table),
    (rf"RENAME (?:COLUMN )?{_COLUMN} TO ", _column("rename", Phase.UNSAFE, code="rename")),
    (r"(?:ENABLE|DISABLE|FORCE|NO FORCE) ROW LEVEL SECURITY", _column("row level security", Phase.AFTER, code="drops")),
    (r"SET SCHEMA ", _column("set schema", Phase.UNSAFE, code="rename")),
    (r"(?:SET|RESET) \(", _column("storage options", lock=SUE)),
    (r"SET (?:LOGGED|UNLOGGED|TABLESPACE)", _column("rewrite", code="rewrite", scans=True)),
    (r"OWNER TO ", _column("owner", Phase.UNSAFE, code="owner")),
]
_READERS = [(re.compile(pattern, re.IGNORECASE), reader) for pattern, reader in _SOURCE]
