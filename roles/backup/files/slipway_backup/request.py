# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests: dataclasses read from JSON. An unknown or missing key and a value of the wrong type are refused by name."""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from dataclasses import dataclass, field
from typing import Any, TypeVar

from .errors import BackupError

LEVELS = ("archive", "data", "constraints", "full", "amcheck")
# How the source is asked for its rows, each more than the one before: see counting; count all; sum their hashes.
SOURCE_CHECKS = ("statistics", "counts", "checksums")
_APP = re.compile(r"[a-z][a-z0-9_-]{0,62}")

T = TypeVar("T")


def refused(name: str, *, found: str, expected: str) -> BackupError:
    """The error for a value that cannot be used."""
    return BackupError(
        "bad_request", f"The request's {name} cannot be used", found=found, expected=expected, next_step="correct it"
    )


def parse(kind: type[T], value: object, name: str = "document") -> T:
    """``value`` (what JSON gave) as the dataclass ``kind``. ``__post_init__`` of the class checks the rest."""
    if not isinstance(value, dict):
        raise refused(name, found=type(value).__name__, expected="an object")
    hints = typing.get_type_hints(kind)
    fields = {item.name: item for item in dataclasses.fields(typing.cast(Any, kind))}
    unknown = sorted(set(value) - set(fields))
    if unknown:
        raise refused(name, found=f"unknown key {', '.join(unknown)}", expected=f"only {', '.join(fields)}")
    required = {
        key
        for key, item in fields.items()
        if item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
    }
    missing = sorted(required - set(value))
    if missing:
        raise refused(name, found=f"no {', '.join(missing)}", expected="these keys")
    return kind(**{key: _typed(hints[key], item, f"{name}.{key}") for key, item in value.items()})


def _typed(hint: Any, value: object, name: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:  # X | None: an empty object says none
        inner = next(item for item in arguments if item is not types.NoneType)
        return None if value in ({}, None) else _typed(inner, value, name)
    if dataclasses.is_dataclass(hint):
        return parse(typing.cast("type[Any]", hint), value, name)
    if origin is tuple and isinstance(value, list):
        return tuple(_typed(arguments[0], item, f"{name}[{index}]") for index, item in enumerate(value))
    if origin is dict and isinstance(value, dict):
        return {str(key): _typed(arguments[1], item, f"{name}.{key}") for key, item in value.items()}
    return _plain(hint, value, name)


def _plain(hint: Any, value: object, name: str) -> Any:
    if hint is Any:
        return value
    # True is an int to isinstance, and no number of jobs.
    number = isinstance(value, int) and not isinstance(value, bool)
    if hint is float and number:
        return float(typing.cast(int, value))
    if number if hint is int else isinstance(value, hint):
        if isinstance(value, str) and "\0" in value:
            raise refused(name, found="a NUL character", expected="text without it")
        return value
    wanted = getattr(hint, "__name__", str(hint))
    raise refused(name, found=f"{type(value).__name__}", expected=f"a value of type {wanted}")


def check_app(app: str) -> None:
    """An application's name is part of paths."""
    if not _APP.fullmatch(app):
        raise refused("app", found=repr(app), expected="a lower case letter, then letters, digits, _ or -")


def check_absolute(**paths: str) -> None:
    """Paths are absolute, so that nothing depends on the directory that we were started in."""
    for name, path in paths.items():
        if not path.startswith("/"):
            raise refused(name, found=repr(path), expected="an absolute path")


def check_one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    """``value`` is one of ``choices``."""
    if value not in choices:
        raise refused(name, found=repr(value), expected=f"one of {', '.join(choices)}")


def check_range(name: str, value: int, low: int, high: int) -> None:
    """``low <= value <= high``."""
    if not low <= value <= high:
        raise refused(name, found=str(value), expected=f"{low} to {high}")


@dataclass(frozen=True, kw_only=True)
class Rehearse:
    """The program that runs the pending migrations on the restored copy, and what it is told.

    ``as_root``: it changes to ``user`` by itself, as the client of a container engine does.
    """

    user: str
    cwd: str
    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()  # names in ``environment`` whose values are never written down
    request: dict[str, Any] = field(default_factory=dict)
    as_root: bool = False

    def __post_init__(self) -> None:
        check_absolute(**{"rehearse.cwd": self.cwd})
        if not self.command:
            raise refused("rehearse.command", found="nothing", expected="a program and its arguments")


@dataclass(frozen=True, kw_only=True)
class Take:
    """Take a backup and prove it."""

    app: str
    database_url: str
    directory: str
    scratch_directory: str
    database_user: str = ""
    scratch_user: str = ""
    group: str = ""
    level: str = "full"
    source_check: str = "statistics"
    jobs: int = 0
    why: str = ""
    who: str = ""
    run: str = ""
    scratch_bytes: int = 0
    seconds: int = 3600
    lock_wait_seconds: int = 30
    binaries: str = ""  # where pg_dump and the server are; empty: the distribution's for the major version
    retention: dict[str, Any] = field(default_factory=dict)
    keep: tuple[str, ...] = ()
    ledger: str = ""  # backups that it names for what is in ``releases`` are kept, too
    releases: str = ""
    encryption: dict[str, Any] = field(default_factory=dict)
    offsite: dict[str, Any] = field(default_factory=dict)
    rehearse: Rehearse | None = None

    def __post_init__(self) -> None:
        check_app(self.app)
        check_absolute(directory=self.directory, scratch_directory=self.scratch_directory)
        check_one_of("level", self.level, LEVELS)
        check_one_of("source_check", self.source_check, SOURCE_CHECKS)
        check_range("jobs", self.jobs, 0, 64)
        check_range("seconds", self.seconds, 1, 7 * 86400)
        check_range("lock_wait_seconds", self.lock_wait_seconds, 1, 3600)
        check_range("scratch_bytes", self.scratch_bytes, 0, 2**60)
        if self.rehearse and self.level not in ("full", "amcheck"):
            raise refused("rehearse", found=f"level {self.level}", expected="level full: a rehearsal needs every index")


@dataclass(frozen=True, kw_only=True)
class Reap:
    """Remove what killed runs left behind."""

    directory: str
    scratch_directory: str

    def __post_init__(self) -> None:
        check_absolute(directory=self.directory, scratch_directory=self.scratch_directory)
