# SPDX-License-Identifier: GPL-3.0-or-later
"""The request: one JSON object on standard input, each unknown key or bad value refused by its name."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from .errors import MigrateError

ADAPTERS = ("django", "alembic", "command")
PHASES = ("before", "after", "all")


@dataclasses.dataclass(frozen=True)
class Scratch:
    """The throwaway server that a rehearsal runs on; ``host`` is the directory of its socket."""

    host: str
    port: int = 5432
    user: str = "postgres"
    database: str = ""


@dataclasses.dataclass(frozen=True)
class Request:
    """What is asked. Times carry their unit in the name; ``lock_budget_seconds`` is for each migration."""

    app: str = ""
    release: str = ""
    adapter: str = "django"
    database: str = "default"
    settings_module: str = ""
    phase: str = "all"
    accept: tuple[str, ...] = ()
    squawk: str = ""
    small_table_rows: int = 10000
    lock_timeout_ms: int = 500
    lock_budget_seconds: float = 120
    statement_timeout_seconds: float = 900
    advisory_wait_seconds: float = 0
    run: str = ""
    journal: str = ""
    scratch: Scratch | None = None
    alembic: dict[str, str] = dataclasses.field(default_factory=dict)
    command: dict[str, list[str]] = dataclasses.field(default_factory=dict)


def parse(text: str) -> Request:
    """The request in ``text``; MigrateError ``bad_request`` names the key that does not fit."""
    try:
        given = json.loads(text)
    except ValueError as error:
        raise _bad("the request", str(error), "one JSON object on standard input") from error
    if not isinstance(given, dict):
        raise _bad("the request", type(given).__name__, "one JSON object on standard input")
    fields = {field.name for field in dataclasses.fields(Request)}
    for key in given:
        if key not in fields:
            raise _bad(key, "an unknown key", f"one of {', '.join(sorted(fields))}")
    request = Request(**{key: _value(key, value) for key, value in given.items()})
    _check(request)
    return request


def _value(key: str, value: Any) -> Any:
    if key == "accept":
        return tuple(_strings(key, value))
    if key == "scratch":
        return _scratch(value) if value else None
    if key == "alembic":
        return _texts(key, value, {"config"})
    if key == "command":
        commands = _mapping(key, value, {"apply", "pending"})
        return {name: _strings(f"command.{name}", argv) for name, argv in commands.items()}
    wanted = type(getattr(Request, key))
    if wanted is str:
        return _text(key, value)
    if isinstance(value, bool) or not isinstance(value, (int, float) if key.endswith("_seconds") else int):
        raise _bad(key, repr(value), "a number")
    return value


def _scratch(value: Any) -> Scratch:
    given = _mapping("scratch", value, {field.name for field in dataclasses.fields(Scratch)})
    port = given.get("port", 5432)
    if isinstance(port, bool) or not isinstance(port, int):
        raise _bad("scratch.port", repr(port), "a number")
    texts = {key: _text(f"scratch.{key}", item) for key, item in given.items() if key != "port"}
    if not texts.get("host", "").startswith("/"):
        raise _bad("scratch.host", repr(given.get("host")), "the absolute path of a socket's directory")
    return Scratch(port=port, **texts)


def _check(request: Request) -> None:
    for key, allowed in (("adapter", ADAPTERS), ("phase", PHASES)):
        if getattr(request, key) not in allowed:
            raise _bad(key, repr(getattr(request, key)), f"one of {', '.join(allowed)}")
    # Zero means "no limit" to PostgreSQL, so a guard of zero would be no guard.
    for key in ("lock_timeout_ms", "statement_timeout_seconds"):
        if getattr(request, key) <= 0:
            raise _bad(key, str(getattr(request, key)), "more than 0")
    for key in ("small_table_rows", "lock_budget_seconds", "advisory_wait_seconds"):
        if getattr(request, key) < 0:
            raise _bad(key, str(getattr(request, key)), "0 or more")


def _mapping(key: str, value: Any, allowed: set[str]) -> dict[str, Any]:
    if not isinstance(value, dict) or set(value) - allowed:
        raise _bad(key, repr(value), f"an object with {', '.join(sorted(allowed))}")
    return value


def _texts(key: str, value: Any, allowed: set[str]) -> dict[str, str]:
    return {name: _text(f"{key}.{name}", item) for name, item in _mapping(key, value, allowed).items()}


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _bad(key, repr(value), "a string")
    return value


def _strings(key: str, value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _bad(key, repr(value), "a list of strings")
    return value


def _bad(key: str, found: str, expected: str) -> MigrateError:
    return MigrateError(
        "bad_request", f"The request does not fit: {key}", found=found, expected=expected, next_step="correct that key"
    )
