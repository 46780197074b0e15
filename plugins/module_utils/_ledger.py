# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledger: one line of JSON for each thing that happened to a release, appended and never changed.

A line is one write(2), made durable under a lock. A crash can leave the last line torn: it is kept, passed over by
readers, and closed by a newline before the next line.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._files import ensure_directory, fsync_directory, locked
from ansible_collections.slipway.webapp.plugins.module_utils._host import iso_time
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout

ACTIONS = ("deploy", "rollback")
PROVEN_SHOWN = 200
OUTCOMES = ("started", "succeeded", "failed")
_READ = 1024 * 1024  # bytes from the end: some two thousand lines
_LONGEST = 300
_LONGEST_DETAIL = 2000
_PAIR = ("release", "config", "slot")

Entry = dict[str, Any]


def _short(text: Any, longest: int) -> str:
    whole = str(text)
    return whole if len(whole) <= longest else whole[: longest - 1] + "…"


def entry(*, now: float, fields: Mapping[str, Any]) -> Entry:
    """A ledger entry: known fields only, each of bounded length, so that no output of a program slips in whole."""
    previous = fields.get("previous") or {}
    short = {
        name: _short(fields.get(name) or "", _LONGEST)
        for name in ("action", "outcome", "release", "config", "slot", "by", "run")
    }
    return {
        "time": iso_time(now),
        **short,
        "previous": {name: _short(previous[name], _LONGEST) for name in _PAIR if previous.get(name)} or None,
        "detail": _short(fields.get("detail") or "", _LONGEST_DETAIL),
    }


def _decode(line: bytes) -> Entry | None:
    with contextlib.suppress(ValueError):
        value = json.loads(line)
        if isinstance(value, dict) and {"action", "outcome", "release"} <= value.keys():
            return value
    return None


def read(layout: Layout) -> list[Entry]:
    """The entries, oldest first. Lines that are no entry (torn by a crash) are passed over."""
    try:
        with open(layout.ledger, "rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - _READ))
            lines = stream.read().split(b"\n")
    except (FileNotFoundError, NotADirectoryError):
        return []
    # The end of an older line, when we did not begin at the beginning, is no entry either.
    return [value for value in map(_decode, lines) if value is not None]


def recorded(entries: Iterable[Entry], wanted: Mapping[str, Any]) -> Entry | None:
    """The entry that already says this: same run, action and outcome."""
    same = ("run", "action", "outcome")
    for old in entries:
        if all(old.get(name) == wanted[name] for name in same):
            return old
    return None


def proven(entries: Iterable[Entry]) -> list[Entry]:
    """What ended well, newest first, ``PROVEN_SHOWN`` at most; a pair stands there as often as it was proven."""
    names = ("release", "config", "slot", "time", "by", "action", "previous")
    good = [old for old in entries if old["outcome"] == "succeeded" and old["action"] in ACTIONS]
    return [{name: old.get(name) for name in names} for old in reversed(good[-PROVEN_SHOWN:])]


def record(layout: Layout, wanted: Entry, *, check_mode: bool = False) -> dict[str, Any]:
    """Append the entry unless the same run, action and outcome are recorded already; a module's result."""
    with contextlib.nullcontext() if check_mode else _alone(layout):
        old = recorded(read(layout), wanted)
        line = json.dumps(wanted, ensure_ascii=False, separators=(",", ":")) + "\n"
        if old is None and not check_mode:
            _write(layout.ledger, line.encode())
    said = f"Write down {wanted['action']} of {wanted['release']}: {wanted['outcome']}"
    return {
        "changed": old is None,
        "actions": [said] if old is None else [],
        "entry": old or wanted,
        "diff": {"before": "", "after": line if old is None else ""},
    }


def _alone(layout: Layout) -> contextlib.AbstractContextManager[None]:
    return locked(layout.lock("ledger"), wait_seconds=10, what="the writing of the ledger")


def _write(path: str, line: bytes) -> None:
    ensure_directory(os.path.dirname(path))
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        data = b"\n" + line if torn else line
        written = os.write(descriptor, data)
        if written != len(data):
            os.ftruncate(descriptor, size)
            raise SlipwayError(
                f"{path} could not be written", found="the disk is full", next_step="make room, then run again"
            )
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    fsync_directory(os.path.dirname(path))
