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
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._files import ensure_directory, fsync_directory, locked
from ansible_collections.slipway.webapp.plugins.module_utils._host import iso_time
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout

PROVING = ("deploy", "rollback")  # what ends with a release in front of its users
ACTIONS = (*PROVING, "migrate", "restore")
PROVEN_SHOWN = 200
OUTCOMES = ("started", "succeeded", "failed")
_READ = 1024 * 1024  # bytes from the end: some two thousand lines
_LONGEST = 300
_LONGEST_DETAIL = 2000
_PAIR = ("release", "config", "slot")
_MOST_MIGRATIONS = 500

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
        "database": _database(fields.get("database") or {}),
    }


def _database(given: Mapping[str, Any]) -> dict[str, Any] | None:
    """What happened to the database: the backup behind it, and of a plan's migrations those that were applied.

    ``waiting`` are those that come when the old release is gone; ``restored`` is the time of the snapshot that a
    restore went back to.
    """
    applied, waiting = (_ids(given.get(name)) for name in ("applied", "waiting"))
    told = {
        name: [one for one in applied if one in _ids(given.get(name))] for name in ("breaks_old_code", "irreversible")
    }
    texts = {name: _short(given.get(name) or "", _LONGEST) for name in ("backup", "restored")}
    if not (applied or waiting or any(texts.values())):
        return None
    return {"applied": applied, "waiting": waiting, **told, **texts}


def _ids(given: Any) -> list[str]:
    return [_short(name, _LONGEST) for name in given or []][:_MOST_MIGRATIONS]


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
    good = [old for old in entries if old["outcome"] == "succeeded" and old["action"] in PROVING]
    return [{name: old.get(name) for name in names} for old in reversed(good[-PROVEN_SHOWN:])]


def schema_changes(entries: Iterable[Entry]) -> list[Entry]:
    """What changed the schema and still holds, oldest first: a restore undoes what is newer than its backup."""
    return _replay(entries)[0]


def undone(entries: Iterable[Entry]) -> list[Entry]:
    """What a restore has undone and nobody has applied again since, oldest first."""
    return _replay(entries)[1]


def needed(changes: Iterable[Entry], proven_entries: Iterable[Entry], release: str) -> list[Entry]:
    """The changes that a release was written for: its own, and those that were there when it was first deployed."""
    ours = (old for old in proven_entries if old["release"] == release and old["action"] == "deploy")
    deployed = [str(old["time"]) for old in ours if old.get("time")]
    since = min(deployed, default="")
    return [change for change in changes if change["release"] == release or str(change["time"]) <= since]


def _replay(entries: Iterable[Entry]) -> tuple[list[Entry], list[Entry]]:
    """What holds, and what a restore has undone.

    What a run meant to apply counts as applied until the same run says what it has applied: it may have died between.
    """
    held: list[Entry] = []
    gone: list[Entry] = []
    for old in entries:
        database = old.get("database") or {}
        if old["outcome"] != "started":
            held = [one for one in held if not (one["meant"] and one["run"] == old.get("run"))]
        if database.get("restored"):
            gone += [one for one in held if one["time"] > database["restored"]]
            held = [one for one in held if one["time"] <= database["restored"]]
        if database.get("applied"):
            meant = old["outcome"] == "started"
            gone = [one for one in (_without(one, database["applied"]) for one in gone) if one["applied"]]
            held.append(
                {"time": old["time"], "release": old["release"], "run": old.get("run"), "meant": meant, **database}
            )
    return held, gone


def _without(change: Entry, applied: Iterable[str]) -> Entry:
    again = set(applied)
    return {**change, "applied": [name for name in change["applied"] if name not in again]}


def waiting(entries: Sequence[Entry]) -> list[str]:
    """The migrations that the newest proven release still has to run, because a run ended before it came to them."""
    left: list[str] = []
    for number, old in enumerate(entries):
        database = old.get("database") or {}
        if old["action"] in PROVING and old["outcome"] == "succeeded":
            left = list(database.get("waiting") or [])
        elif old["action"] == "migrate" and old["outcome"] == "failed":
            left = list(database.get("waiting") or left)
        elif old["action"] == "migrate" and old["outcome"] == "succeeded":
            left = [name for name in left if name not in (database.get("applied") or [])]
        elif database.get("restored"):
            # What the live release had, and has lost by going back to a backup of before it.
            before = entries[: number + 1]
            lost = needed(undone(before), proven(before), old["release"])
            left += [name for change in lost for name in change["applied"] if name not in left]
    return left


def backups(entries: Iterable[Entry], releases: Iterable[str]) -> list[str]:
    """The backups that stand behind what these releases did to the database."""
    kept = set(releases)
    named = [(old.get("database") or {}).get("backup") for old in entries if old["release"] in kept]
    return list(dict.fromkeys(name for name in named if name))


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
