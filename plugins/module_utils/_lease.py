# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lease: who works on this environment, why and until when. It expires, so nobody has to break it."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._files import (
    fsync_directory,
    locked,
    read_json,
    write_atomically,
)
from ansible_collections.slipway.webapp.plugins.module_utils._host import iso_time
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout

LONGEST = 24 * 3600
_WAIT = 10.0


@dataclass(frozen=True)
class Lease:
    """A held lease; times in seconds since the epoch."""

    owner: str
    reason: str
    since: float
    until: float

    def shown(self) -> dict[str, Any]:
        return {
            "owner": self.owner,
            "reason": self.reason,
            "since": iso_time(self.since),
            "until": iso_time(self.until),
        }


def probe(layout: Layout, *, now: float) -> Lease | None:
    """The lease that is held now; an expired one is none. A damaged file is an error."""
    value = read_json(layout.lease)
    if value is None:
        return None
    try:
        lease = Lease(str(value["owner"]), str(value["reason"]), float(value["since"]), float(value["until"]))
    except (KeyError, TypeError, ValueError) as error:
        raise SlipwayError(
            f"{layout.lease} is damaged",
            found=f"no lease: {error!r}",
            next_step="make sure that nobody deploys, then remove the file",
        ) from error
    return lease if lease.until > now else None


def _bounded(text: str, *, name: str, longest: int) -> str:
    if not text or len(text) > longest or not text.isprintable():
        raise SlipwayError(f"The lease's {name} cannot be used", expected=f"one line of 1 to {longest} characters")
    return text


def taken(current: Lease | None, *, owner: str, reason: str, seconds: int, now: float) -> Lease:
    """The lease as ``owner`` holds it from now on, for as long as was asked last; or a refusal."""
    _bounded(owner, name="owner", longest=200)
    _bounded(reason, name="reason", longest=500)
    if not 1 <= seconds <= LONGEST:
        raise SlipwayError("A lease cannot be held that long", found=f"{seconds} s", expected=f"1 to {LONGEST} s")
    if current is not None and current.owner != owner:
        raise SlipwayError(
            "Somebody else works on this environment",
            found=f"{current.owner} holds the lease since {iso_time(current.since)}: {current.reason}",
            next_step=f"wait until it is released; it expires at {iso_time(current.until)}",
            details={"lease": current.shown()},
        )
    return Lease(owner=owner, reason=reason, since=current.since if current else now, until=now + seconds)


def _alone(layout: Layout, *, check_mode: bool) -> contextlib.AbstractContextManager[None]:
    if check_mode:
        return contextlib.nullcontext()
    return locked(layout.lock("lease"), wait_seconds=_WAIT, what="something with the lease")


def _text(lease: Lease | None) -> str:
    return "".join(f"{name}: {value}\n" for name, value in lease.shown().items()) if lease else "nobody\n"


def _result(before: Lease | None, after: Lease | None, action: str) -> dict[str, Any]:
    return {
        "changed": after != before,
        "actions": [action] if after != before else [],
        "lease": after.shown() if after else None,
        "diff": {"before": _text(before), "after": _text(after)},
    }


def hold(
    layout: Layout, *, owner: str, reason: str, seconds: int, now: float, check_mode: bool = False
) -> dict[str, Any]:
    """Take or extend the lease; a module's result."""
    with _alone(layout, check_mode=check_mode):
        before = probe(layout, now=now)
        lease = taken(before, owner=owner, reason=reason, seconds=seconds, now=now)
        if not check_mode and lease != before:
            write_atomically(layout.lease, json.dumps(asdict(lease)).encode() + b"\n")
    verb = "Extend" if before else "Take"
    return _result(before, lease, f"{verb} the lease until {iso_time(lease.until)}")


def release(layout: Layout, *, owner: str, now: float, check_mode: bool = False) -> dict[str, Any]:
    """Give the lease back if ``owner`` holds it; a module's result.

    Somebody else's lease is left alone without an error: a run whose lease had expired must not end another one's.
    """
    with _alone(layout, check_mode=check_mode):
        before = probe(layout, now=now)
        if before is None or before.owner != owner:
            return _result(before, before, "")
        if not check_mode:
            os.unlink(layout.lease)
            fsync_directory(os.path.dirname(layout.lease))
    return _result(before, None, "Give the lease back")
