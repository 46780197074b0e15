# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run has begun on a host, written down before anything moves, and how long the host waits for its next word.

Two rounds end it: a host that is ``committing`` has been told that all hosts are well, one that is ``committed`` that
all of them know. Whoever waits in vain decides by what the other hosts say (``decide``): either every host that can be
asked goes back, or every one of them stays. It is two-phase commit in which those who are in doubt ask each other.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NoReturn

from ansible_collections.slipway.webapp.plugins.module_utils import _lease
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._files import (
    ensure_directory,
    fsync_directory,
    locked,
    read_json,
    read_text,
    write_atomically,
)
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Clock

ARMED, COMMITTING, COMMITTED, RETURNED = "armed", "committing", "committed", "returned"
STATES = (ARMED, COMMITTING, COMMITTED, RETURNED)
IN_DOUBT = (ARMED, COMMITTING)
BACK, STAY = "back", "stay"
_WAIT = 30.0  # seconds for the lock: going back takes a while


@dataclass(frozen=True)
class Begun:
    """One run on one host. ``previous`` is what was live (None: nothing), ``until`` when its patience ends, on the
    clock that never jumps. A host that is ``returned`` has said so before it does it, and is then ``done``.

    ``first`` says that no host of the fleet served anything before, so that there is nothing to go back to. ``hold``
    and ``warm`` are seconds, ``lease`` too (0 where this host does not keep it). ``peers`` are the addresses at which
    the hosts with a web process publish how far they are, ``domain`` is the name to ask for there.
    """

    run: str
    action: str
    release: str
    config: str
    slot: str
    by: str
    processes: tuple[str, ...]
    hold: int
    until: float = 0.0
    state: str = ARMED
    done: bool = False
    previous: Mapping[str, str] | None = None
    first: bool = False
    warm: int = 0
    lease: int = 0
    peers: tuple[str, ...] = ()
    domain: str = ""
    database: Mapping[str, Any] = field(default_factory=dict)

    @property
    def votes(self) -> bool:
        """Whether others can ask this host: those with a web process publish, the others follow them."""
        return "web" in self.processes

    @property
    def moves(self) -> bool:
        """Whether the run takes traffic from one slot to the other; else it finishes what is live where it is."""
        return not self.previous or self.previous["slot"] != self.slot


def decide(own: str, *, votes: bool, peers: Mapping[str, str]) -> str:
    """What a host does whose patience is over: ``back`` or ``stay``. ``peers``: address -> state, '' for no answer.

    Nobody commits while one that is not yet committing can be asked, and nobody goes back once one has committed. A
    host that nobody can ask does what the others do.
    """
    said = {state for state in peers.values() if state}
    if COMMITTED in said:
        return STAY
    if said & {ARMED, RETURNED}:
        return BACK
    if own == ARMED and (votes or not said):
        return BACK
    return STAY


def read(layout: Layout) -> Begun | None:
    """What was begun on this host and is not over; None when there is nothing."""
    value = read_json(layout.pending)
    if value is None:
        return None
    try:
        names = Begun.__dataclass_fields__
        given: dict[str, Any] = {
            name: tuple(one) if isinstance(one, list) else one for name, one in value.items() if name in names
        }
        return Begun(**given)
    except (TypeError, AttributeError) as error:
        raise SlipwayError(
            f"{layout.pending} is damaged",
            found=str(error),
            next_step="look at the file; move it away only when you know what it recorded",
        ) from error


def write(layout: Layout, begun: Begun) -> None:
    """Write it down, and publish how far this host is. What others rely on is durable here first."""
    write_atomically(layout.pending, json.dumps(asdict(begun), indent=1).encode() + b"\n")
    publish(layout, begun)


def publish(layout: Layout, begun: Begun) -> None:
    """Let the other hosts read it; the file stays when the run is over, for those that were away."""
    said = json.dumps({"run": begun.run, "state": begun.state}) + "\n"
    write_atomically(layout.transaction, said.encode())


def forget(layout: Layout) -> None:
    """The run is over here."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(layout.pending)
        fsync_directory(os.path.dirname(layout.pending))


def alone(layout: Layout) -> contextlib.AbstractContextManager[None]:
    """The lock under which a run goes on or ends on this host: its controller and its timer exclude each other."""
    return locked(layout.lock("transaction"), wait_seconds=_WAIT, what="the end of an earlier run")


def begin(layout: Layout, wish: Begun, *, clock: Clock) -> bool:
    """Write down what this run begins, or that it goes on; True when it is new. Another run's work is refused."""
    found = read(layout)
    if found is not None and found.run != wish.run:
        raise SlipwayError(
            "An earlier run has left something unfinished on this host",
            found=f"{found.action} of {found.release} by {found.by}, {found.state} (run {found.run})",
            expected="that it was settled before",
            next_step="run the same command again; it settles first what an earlier run has left",
        )
    if found is not None:
        _extend(layout, found, clock=clock, seconds=0)
        return False
    _hold_lease(layout, wish, clock=clock, seconds=0)
    # It lies in /run: who restarts has lost it, and does not wait for a controller that has lost him.
    ensure_directory(os.path.dirname(layout.awake))
    write_atomically(layout.awake, f"{wish.run}\n".encode())
    write(layout, replace(wish, until=clock.monotonic() + wish.hold, state=ARMED))
    return True


def restarted(layout: Layout, begun: Begun) -> bool:
    """Whether the host was restarted since the run began here."""
    return (read_text(layout.awake) or "").strip() != begun.run


def extend(layout: Layout, *, run: str, clock: Clock, seconds: int = 0) -> Begun:
    """The controller lives: the host waits for its next word from now on. Refused when this run is over here."""
    found = read(layout)
    if found is None or found.run != run or found.state not in IN_DOUBT or restarted(layout, found):
        refuse(layout, found, run=run)
    return _extend(layout, found, clock=clock, seconds=seconds)


def refuse(layout: Layout, found: Begun | None, *, run: str) -> NoReturn:
    """This run is over here; what is there instead is ``found``."""
    raise SlipwayError(
        "This host does not take part in this run any more",
        found=f"run {found.run}, {found.state}" if found else _published(layout),
        expected=f"run {run}, armed",
        next_step="nothing: a host that hears nothing for webapp_hold_seconds, or reboots, goes back by itself, and"
        " then the run cannot go on; run the same command again",
    )


def _extend(layout: Layout, found: Begun, *, clock: Clock, seconds: int) -> Begun:
    longer = replace(found, until=clock.monotonic() + max(found.hold, seconds))
    write_atomically(layout.pending, json.dumps(asdict(longer), indent=1).encode() + b"\n")
    _hold_lease(layout, found, clock=clock, seconds=seconds)
    return longer


def _hold_lease(layout: Layout, begun: Begun, *, clock: Clock, seconds: int) -> None:
    """Where this host keeps the lease: for as long as the host is patient, else another run would end this one."""
    if not begun.lease:
        return
    longest = min(_lease.LONGEST, max(begun.lease, begun.hold, seconds))
    if not _lease.extend(layout, owner=begun.run, seconds=longest, now=clock.now()):
        raise SlipwayError(
            "The lease was taken away from this run",
            expected=f"that {begun.run} holds it",
            next_step="nothing: every host goes back; lease.yml shows who works on the environment now",
        )


def alive(layout: Layout, *, run: str, clock: Clock, seconds: int = 0) -> None:
    """What every module that works within a run does first; without a ``run`` it works outside of any."""
    if run:
        with alone(layout):
            extend(layout, run=run, clock=clock, seconds=seconds)


def _published(layout: Layout) -> str:
    value = read_json(layout.transaction) or {}
    return f"run {value.get('run')}, {value.get('state')}" if value else "nothing was begun here"


def states_of(answers: Mapping[str, Mapping[str, Any] | None], *, run: str) -> dict[str, str]:
    """What peers said, as far as it is about this run."""
    return {
        peer: str(answer.get("state", "")) if answer and answer.get("run") == run else ""
        for peer, answer in answers.items()
    }


def silent(answers: Mapping[str, Mapping[str, Any] | None]) -> Sequence[str]:
    """The peers that did not answer at all."""
    return [peer for peer, answer in answers.items() if answer is None]


def summary(begun: Begun) -> str:
    """The run for people."""
    return f"{begun.action} of {begun.release} by {begun.by}"
