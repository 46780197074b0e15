# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lease: who works on this environment, why and until when. It expires, so nobody has to break it."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._files import (
    fsync_directory,
    locked,
    read_json,
    read_text,
    write_atomically,
)
from ansible_collections.slipway.webapp.plugins.module_utils._host import iso_time
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout

LONGEST = 24 * 3600
_WAIT = 10.0
_BEATS = 4  # in the time after which a lease expires


@dataclass(frozen=True)
class Lease:
    """A lease as it was written; times in seconds since the epoch.

    ``by`` is who started the run that owns it, where that is known; ``beat`` the last time the owner was seen.
    """

    owner: str
    reason: str
    since: float
    until: float
    beat: float
    by: str = ""

    def shown(self, now: float) -> dict[str, Any]:
        return {**self.lasting(), "silent_seconds": self.silent(now)}

    def lasting(self) -> dict[str, Any]:
        """What can be said without looking at a clock."""
        return {
            "owner": self.owner,
            "by": self.by,
            "reason": self.reason,
            "since": iso_time(self.since),
            "until": iso_time(self.until),
            "beat": iso_time(self.beat),
        }

    def silent(self, now: float) -> int:
        return max(0, round(now - self.beat))

    def told(self, now: float) -> str:
        """Who holds it, for a refusal."""
        who = f"{self.owner} ({self.by})" if self.by else self.owner
        since = f"since {iso_time(self.since)}: {self.reason}"
        return f"{who} holds the lease {since}; last sign of life {self.silent(now)} s ago"


def read(layout: Layout) -> Lease | None:
    """The lease as it stands there, expired or not. A damaged file is an error."""
    value = read_json(layout.lease)
    if value is None:
        return None
    try:
        since = float(value["since"])
        return Lease(
            owner=str(value["owner"]),
            reason=str(value["reason"]),
            since=since,
            until=float(value["until"]),
            beat=float(value.get("beat", since)),  # an older version did not write it
            by=str(value.get("by", "")),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SlipwayError(
            f"{layout.lease} is damaged",
            found=f"no lease: {error!r}",
            next_step="make sure that nobody deploys, then remove the file",
        ) from error


def _current(lease: Lease | None, now: float) -> Lease | None:
    return lease if lease and lease.until > now else None


def probe(layout: Layout, *, now: float) -> Lease | None:
    """The lease that is held now; an expired one is none."""
    return _current(read(layout), now)


def turn(layout: Layout, *, now: float) -> str:
    """Whose turn it was last, for ``hold``: whoever has looked meanwhile has seen what was left by that one.

    While somebody is at work it is nobody's that could be named: what was seen now may be another thing a moment later.
    """
    last = _last(layout)
    return f"{last}, at work" if probe(layout, now=now) else last


def _last(layout: Layout) -> str:
    return (read_text(layout.lease_turn) or "").strip()


def _require_turn(layout: Layout, *, owner: str, after: str) -> None:
    """Nobody else has had the lease since ``owner`` looked at what there is."""
    last = _last(layout)
    if last not in (owner, after):
        raise SlipwayError(
            "Somebody else has worked on this environment since this run looked at it",
            found=f"{last} held the lease meanwhile",
            expected="that what this run has planned is still about what there is",
            next_step="run the same command again",
        )


def _bounded(text: str, *, name: str, longest: int) -> str:
    if not text or len(text) > longest or not text.isprintable():
        raise SlipwayError(f"The lease's {name} cannot be used", expected=f"one line of 1 to {longest} characters")
    return text


def taken(current: Lease | None, *, owner: str, reason: str, seconds: int, now: float, by: str = "") -> Lease:
    """The lease as ``owner`` holds it from now on, for as long as was asked last; or a refusal."""
    _bounded(owner, name="owner", longest=200)
    _bounded(reason, name="reason", longest=500)
    if by:
        _bounded(by, name="by", longest=200)
    if not 1 <= seconds <= LONGEST:
        raise SlipwayError("A lease cannot be held that long", found=f"{seconds} s", expected=f"1 to {LONGEST} s")
    if current is not None and current.owner != owner:
        raise SlipwayError(
            "Somebody else works on this environment",
            found=current.told(now),
            next_step=f"wait (-e webapp_lease_wait=600 does); it expires at {iso_time(current.until)}",
            details={"lease": current.shown(now)},
        )
    since, by = (current.since, by or current.by) if current else (now, by)
    return Lease(owner=owner, by=by, reason=reason, since=since, until=now + seconds, beat=now)


def _alone(layout: Layout, *, check_mode: bool = False) -> contextlib.AbstractContextManager[None]:
    if check_mode:
        return contextlib.nullcontext()
    return locked(layout.lock("lease"), wait_seconds=_WAIT, what="something with the lease")


def _write(layout: Layout, lease: Lease) -> None:
    write_atomically(layout.lease, json.dumps(asdict(lease)).encode() + b"\n")


def _remove(layout: Layout) -> None:
    os.unlink(layout.lease)
    fsync_directory(os.path.dirname(layout.lease))


def _text(lease: Lease | None) -> str:
    return "".join(f"{name}: {value}\n" for name, value in lease.lasting().items()) if lease else "nobody\n"


def _result(before: Lease | None, after: Lease | None, action: str, now: float) -> dict[str, Any]:
    return {
        "changed": after != before,
        "actions": [action] if after != before else [],
        "lease": after.shown(now) if after else None,
        "diff": {"before": _text(before), "after": _text(after)},
    }


def hold(
    layout: Layout,
    *,
    owner: str,
    reason: str,
    seconds: int,
    now: float,
    by: str = "",
    after: str | None = None,
    check_mode: bool = False,
) -> dict[str, Any]:
    """Take or extend the lease; a module's result. Who takes over another's expired lease is told so by a warning.

    ``after`` is the ``turn`` of when the run looked; refused when it is over.
    """
    with _alone(layout, check_mode=check_mode):
        old = read(layout)
        before = _current(old, now)
        lease = taken(before, owner=owner, reason=reason, seconds=seconds, now=now, by=by)
        if after is not None:
            _require_turn(layout, owner=owner, after=after)
        if not check_mode and lease != before:
            if _last(layout) != owner:
                write_atomically(layout.lease_turn, f"{owner}\n".encode())
            _write(layout, lease)
    verb = "Extend" if before else "Take"
    result = _result(before, lease, f"{verb} the lease until {iso_time(lease.until)}", now)
    if before is None and old is not None and old.owner != owner:
        said = (
            f"took over the expired lease of {old.owner} ({old.reason}), without a sign of life for {old.silent(now)} s"
        )
        result.update(took_over=old.shown(now), warnings=[said])
    return result


def extend(layout: Layout, *, owner: str, seconds: int, now: float) -> bool:
    """Renew the lease of ``owner``, also one that has expired and that nobody has taken.

    False when it is theirs no more: somebody else has it, or it was given back or taken away.
    """
    with _alone(layout):
        lease = read(layout)
        if lease is None or lease.owner != owner:
            return False
        _write(layout, replace(lease, until=now + seconds, beat=now))
        return True


@contextlib.contextmanager
def kept(layout: Layout, *, owner: str) -> Iterator[None]:
    """While the block lasts the lease of ``owner`` does not expire, for as long at a time as was asked for last.

    So a lease can be short, however long the work takes: it ends soon after the work does, also when nobody is left who
    waits for that. Where the owner has no lease on this host nothing is done.
    """
    lease = read(layout) if owner else None
    if lease is None or lease.owner != owner:
        yield
        return
    seconds, over = max(1, round(lease.until - lease.beat)), threading.Event()

    def beat() -> None:
        theirs = True
        while theirs:
            with contextlib.suppress(OSError, SlipwayError):  # the next beat may do better
                theirs = extend(layout, owner=owner, seconds=seconds, now=time.time())
            if over.wait(seconds / _BEATS):
                return

    beating = threading.Thread(target=beat, daemon=True)
    beating.start()
    try:
        yield
    finally:
        over.set()
        beating.join()


def abandon(layout: Layout, *, owner: str) -> bool:
    """Give back what a run has left behind, expired or not; False when somebody else, or nobody, has the lease."""
    with _alone(layout):
        lease = read(layout)
        if lease is None or lease.owner != owner:
            return False
        _remove(layout)
        return True


def _end(layout: Layout, *, now: float, check_mode: bool, action: str, may: Callable[[Lease], bool]) -> dict[str, Any]:
    with _alone(layout, check_mode=check_mode):
        before = probe(layout, now=now)
        if before is None or not may(before):
            return _result(before, before, "", now)
        if not check_mode:
            _remove(layout)
    return _result(before, None, action, now)


def release(layout: Layout, *, owner: str, now: float, check_mode: bool = False) -> dict[str, Any]:
    """Give the lease back if ``owner`` holds it; a module's result.

    Somebody else's lease is left alone without an error: a run whose lease had expired must not end another one's.
    """

    def may(lease: Lease) -> bool:
        return lease.owner == owner

    return _end(layout, now=now, check_mode=check_mode, action="Give the lease back", may=may)


def give_back(layout: Layout, *, by: str, now: float, check_mode: bool = False) -> dict[str, Any]:
    """Give back the lease that this person, or a run that this person started, holds; a refusal for another's."""

    def may(lease: Lease) -> bool:
        if by in (lease.by, lease.owner):
            return True
        raise SlipwayError(
            "This lease is not yours to give back",
            found=lease.told(now),
            expected=f"a lease of {by}",
            next_step=f"ask who holds it; if that run is dead: lease.yml -e lease=force -e confirm={lease.owner}",
            details={"lease": lease.shown(now)},
        )

    return _end(layout, now=now, check_mode=check_mode, action="Give the lease back", may=may)


def revoke(layout: Layout, *, owner: str, now: float, check_mode: bool = False) -> dict[str, Any]:
    """Take the lease away from ``owner``, whoever that is; a refusal when another holds it."""

    def may(lease: Lease) -> bool:
        if lease.owner == owner:
            return True
        raise SlipwayError(
            "A lease is taken away only from the owner that is named",
            found=f"{owner or 'no name'}, while {lease.told(now)}",
            expected=f"-e confirm={lease.owner}",
            next_step="make sure that its run has ended, then name it",
            details={"lease": lease.shown(now)},
        )

    return _end(layout, now=now, check_mode=check_mode, action=f"Take the lease away from {owner}", may=may)
