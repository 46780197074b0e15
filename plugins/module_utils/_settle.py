# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of a run on one host: it stays with the new release, or goes back to what was live before.

The controller ends a run by the same code as the host itself, whose timer fires when nobody speaks to it any more.
Everything here can be cut off anywhere and done again.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Callable

from ansible_collections.slipway.webapp.plugins.module_utils import (
    _assignment,
    _handover,
    _lease,
    _ledger,
    _reserve,
    _route,
    _slot,
    _transaction,
)
from ansible_collections.slipway.webapp.plugins.module_utils._assignment import Assignment
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._files import fsync_directory, read_json
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout, other_slot
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Clock, Systemd
from ansible_collections.slipway.webapp.plugins.module_utils._stack import Stack
from ansible_collections.slipway.webapp.plugins.module_utils._transaction import (
    BACK,
    COMMITTED,
    COMMITTING,
    IN_DOUBT,
    RETURNED,
    STAY,
    Begun,
)

ASK_EVERY = 5.0  # seconds between two questions, while others do not answer
ASK_AT_LEAST_EVERY = 60.0  # seconds, when this host has gone back and the others are silent for long
LOOK_EVERY = 2.0  # seconds between two looks at whether the controller has spoken, or has ended the run

FORWARD, WAIT = "forward", "wait"

Answers = Mapping[str, "Mapping[str, Any] | None"]
Ask = Callable[[Begun], Answers]


@dataclass
class Settler:
    """What ends a run on this host. ``timeout`` is how long, in seconds, a process may take to start.

    Where a ``stack`` is given the engine of a swarm moves the processes, and units only where there is none.
    """

    layout: Layout
    systemd: Systemd
    clock: Clock
    timeout: float = 60.0
    check_mode: bool = False
    tell: Callable[[str], None] = lambda _line: None
    stack: Stack | None = None
    actions: list[str] = field(default_factory=list)
    before: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)

    # -- rounds --

    def arm(self, wish: Begun) -> None:
        """Write down what begins, and start the timer that ends it without a controller."""
        if self.check_mode:
            self.actions.append(f"Write down what begins: {_transaction.summary(wish)}")
            return
        with _transaction.alone(self.layout):
            _reserve.keep(self.layout)
            if _transaction.begin(self.layout, wish, clock=self.clock):
                self.actions.append(f"Write down what begins: {_transaction.summary(wish)}")
            self._ensure_timer(wish.hold)

    def wait_longer(self, run: str, *, seconds: int) -> None:
        """The controller will be silent for so long.

        A host that has ended the run by itself meanwhile refuses: it would begin anew with what it has gone back to,
        and then agree to stay there.
        """
        if self.check_mode:
            return
        with _transaction.alone(self.layout):
            begun = _transaction.extend(self.layout, run=run, clock=self.clock, seconds=seconds)
            self._ensure_timer(begun.hold)

    def _ensure_timer(self, seconds: int) -> None:
        timer = self.layout.settle_unit
        if not self.systemd.timer_active(timer):
            self.systemd.start_later(timer, seconds=seconds)
            self.actions.append(f"Go back in {seconds} s, unless the controller is heard of")

    def commit(self, run: str) -> None:
        """First round: this host is well, and so are all the others."""
        if self.check_mode:
            self.actions.append("Agree to stay")
            return
        with _transaction.alone(self.layout):
            begun = _transaction.extend(self.layout, run=run, clock=self.clock)
            if begun.state != COMMITTING:
                _transaction.write(self.layout, replace(begun, state=COMMITTING))
                self.actions.append("Agree to stay")

    def stay(self, begun: Begun) -> None:
        """Second round: the new release is what this host serves."""
        if not self.check_mode:
            _transaction.write(self.layout, replace(begun, state=COMMITTED))
        self._record(begun, outcome="succeeded")
        waits = bool((begun.database or {}).get("waiting"))
        # What waits for the old release to go makes it useless: then it goes at once, and its worker's last task, too.
        self._stop(other_slot(begun.slot), after=0 if waits else begun.warm, wait=waits)
        if waits and self.stack is not None:
            self.stack.await_gone()
        self._over()

    def back(self, begun: Begun, *, why: str) -> None:
        """To what was live before; traffic first. It is said before it is done, so that no other host stays."""
        if not self.check_mode:
            _transaction.write(self.layout, replace(begun, state=RETURNED))
        if begun.previous and begun.moves:
            self._to(begun.previous["slot"], begun)
            self._stop(begun.slot)
        elif not begun.previous and not (begun.first and self._in_traffic(begun.slot)):
            # A host that served nothing serves nothing again, and its neighbours take its share.
            self._withdraw()
            self._stop(begun.slot)
        self._record(begun, outcome="failed", detail=why)
        if not self.check_mode:
            _transaction.write(self.layout, replace(begun, state=RETURNED, done=True))

    def forward(self, begun: Begun) -> None:
        """To the new release after all, because another host has committed it."""
        if begun.moves:
            self._to(begun.slot, begun)
        self.stay(begun)

    # -- without a controller --

    def settle(self, ask: Ask, *, why: str, last: bool = False, hurried: bool = False) -> bool:
        """End what an earlier run has left; True when nothing is left to do.

        ``ask`` asks the other hosts. One that went back while some of them did not answer asks again, because they may
        have stayed; with ``last`` it does not. ``hurried`` says that its patience is not over: it was restarted.
        """
        with _transaction.alone(self.layout):
            begun = _transaction.read(self.layout)
            if begun is None:
                return True
            self._make_room()
            answers = ask(begun) if begun.state != COMMITTED else {}
            then = self._then(begun, answers, waits=not last and (hurried or not begun.votes))
            if then == WAIT:
                return False
            if then in (STAY, FORWARD):
                self.stay(begun) if then == STAY else self.forward(begun)
                return True
            if not begun.done:
                self.back(begun, why=why)
            over = last or not _transaction.silent(answers)
            if over:
                self._over()
            return over

    def _then(self, begun: Begun, answers: Answers, *, waits: bool) -> str:
        """STAY, FORWARD, BACK or WAIT, by what the others say.

        That all have agreed is not the controller's word: it may be about to take them back. Who loses his patience,
        as late as the others, concludes that it is dead. Who was restarted is early, and who has no voice must not
        decide what the others have not: they ``waits``.
        """
        states = _transaction.states_of(answers, run=begun.run)
        if COMMITTED in (begun.state, *states.values()):
            if begun.state in (COMMITTED, COMMITTING):
                return STAY
            # The others may have stayed without this host (exclude_host), before it was given the release.
            return FORWARD if self._has(begun) else BACK
        if begun.state not in IN_DOUBT:
            return BACK
        if _transaction.decide(begun.state, votes=begun.votes, peers=states) == BACK:
            return BACK
        heard = begun.votes or COMMITTING in states.values() or bool(_transaction.silent(answers))
        return WAIT if waits and heard else FORWARD

    def settle_now(self, ask: Ask) -> None:
        """What the next run does, which has the lease: the earlier one is dead, and nobody waits for it."""
        begun = _transaction.read(self.layout)
        if begun is None:
            return
        if self.check_mode:
            self.actions.append(f"Settle what is left of the {_transaction.summary(begun)}")
            return
        self.settle(ask, why="the run broke off, and the next one has settled it", last=True)

    def wait_and_settle(self, ask: Ask) -> None:
        """What the host's own timer does: wait for the controller's next word, then end the run without it."""
        pause, told, since = ASK_EVERY, "", self.clock.monotonic()
        while True:
            begun = _transaction.read(self.layout)
            if begun is None:
                return
            restarted = _transaction.restarted(self.layout, begun)
            left = 0.0 if restarted or begun.state not in IN_DOUBT else begun.until - self.clock.monotonic()
            if left > 0:
                self.clock.sleep(min(left, LOOK_EVERY))
                continue
            why = "the host was restarted" if restarted else f"no word from the controller for {begun.hold} s"
            line = f"{_transaction.summary(begun)}, {begun.state}: {why}"
            if not begun.done and line != told:
                self.tell(line)
                told = line
            hurried = restarted and self.clock.monotonic() - since < begun.hold
            if self._settled(begun, ask, why=f"{why}: the host has gone back by itself", hurried=hurried):
                return
            self.clock.sleep(pause)
            pause = min(2 * pause, ASK_AT_LEAST_EVERY) if begun.done else ASK_EVERY

    def _settled(self, begun: Begun, ask: Ask, *, why: str, hurried: bool) -> bool:
        """One attempt. A host that cannot go back now (its database is away, too) tries again."""
        try:
            over = self.settle(ask, why=why, hurried=hurried)
            # Where only this host was restarted, whoever conducts the run still needs the lease.
            if begun.lease and not _transaction.restarted(self.layout, begun):
                _lease.abandon(self.layout, owner=begun.run)
        except (SlipwayError, OSError) as error:
            self.tell(str(error))
            return False
        finally:
            for action in self.actions:
                self.tell(action)
            self.actions.clear()
        return over

    # -- steps --

    def _make_room(self) -> None:
        """A full disk must not keep the host from ending a run."""
        self.actions += [f"Give up {place}: the disk is full" for place in _reserve.give_up(self.layout)]

    def _to(self, slot: str, begun: Begun) -> None:
        """Traffic, worker and beat to a slot, whose processes are started where they are not up."""
        if self.stack is not None:
            self._done(self.stack.move(slot))
            return
        web = [self.layout.unit("web", slot)] if "web" in begun.processes else []
        movable = [process for process in begun.processes if process in _handover.MOVABLE]
        if not self.check_mode:
            self.systemd.begin([self.layout.unit(process, slot) for process in movable])
            self.systemd.start(web, timeout=self.timeout)
            self.systemd.enable(web)
        doer = _route.Doer(layout=self.layout, clock=self.clock, systemd=self.systemd)
        weights = _route.weights_of(slot=slot)
        self._done(_route.switch(doer, weights=weights, check_mode=self.check_mode))
        if movable:
            hand = _handover.Doer(layout=self.layout, systemd=self.systemd, clock=self.clock, timeout=self.timeout)
            self._done(_handover.hand_over(hand, slot=slot, processes=movable, check_mode=self.check_mode))

    def _stop(self, slot: str, *, after: int = 0, wait: bool = False) -> None:
        """Nobody waits for the tasks that a worker has begun, unless the schema is about to change."""
        doer = _slot.Doer(layout=self.layout, systemd=self.systemd, slot=slot, timeout=self.timeout)
        self._done(_slot.stop(doer, after=after, wait=wait, check_mode=self.check_mode))

    def _done(self, result: Mapping[str, Any]) -> None:
        """What a part has done, or would do."""
        self.actions += result["actions"]
        self.before.append(result["diff"]["before"])
        self.after.append(result["diff"]["after"])

    def _has(self, begun: Begun) -> bool:
        """Whether the run has come as far on this host as to give the slot its release, or found it there."""
        return not begun.moves or _assignment.assignment(self.layout, begun.slot)[0] == Assignment(
            begun.release, begun.config
        )

    def _in_traffic(self, slot: str) -> bool:
        route = _route.probe(self.layout)
        return route is not None and slot in route.buckets

    def _withdraw(self) -> None:
        if self.stack is not None:
            self._done(self.stack.remove())
        if _route.probe(self.layout) is None:
            return
        self.actions.append("Take the route away: this host served nothing before")
        if not self.check_mode:
            with _route.alone(self.layout):
                os.unlink(self.layout.route_link)
                fsync_directory(self.layout.home)

    def _record(self, begun: Begun, *, outcome: str, detail: str = "") -> None:
        fields = {name: getattr(begun, name) for name in ("action", "release", "config", "slot", "by", "run")}
        # The primary, which keeps the lease, finishes what has to wait; elsewhere it would wait for ever.
        database = dict(begun.database) if begun.lease else {**begun.database, "waiting": []}
        fields.update(outcome=outcome, previous=begun.previous or {}, detail=detail, database=database)
        entry = _ledger.entry(now=self.clock.now(), fields=fields)
        self._done(_ledger.record(self.layout, entry, check_mode=self.check_mode))

    def _over(self) -> None:
        if not self.check_mode:
            _transaction.forget(self.layout)
            self.systemd.cancel_timer(self.layout.settle_unit)


def end(settler: Settler, wish: Begun, *, state: str, why: str = "") -> str:
    """The controller's word on a run that was begun here: it stays, or it goes back; how the host had ended it itself.

    What the host has ended by itself is left as it is, except that the controller's word to stay wins. What another run
    has begun here since is not touched: a controller that slept may speak of what is long over.
    """
    with contextlib.nullcontext() if settler.check_mode else _transaction.alone(settler.layout):
        found = _transaction.read(settler.layout)
        ours = found if found is not None and found.run == wish.run else None
        if ours is not None and not settler.check_mode:
            settler._make_room()
        ended = "" if ours else _ended(settler.layout, wish.run)
        if state == COMMITTED and ours is None and not ended and not settler.check_mode:
            _transaction.refuse(settler.layout, found, run=wish.run)
        if state == COMMITTED:
            returned = ended == RETURNED or (ours is not None and ours.state == RETURNED)
            if returned:
                settler.forward(ours or wish)
            elif not ended:
                settler.stay(ours or wish)
        elif ours is not None:
            if not ours.done:
                settler.back(ours, why=why)
            settler._over()
        elif not ended:
            # It failed before anything was begun here.
            settler._record(wish, outcome="failed", detail=why)
    return ended


def _ended(layout: Layout, run: str) -> str:
    said = read_json(layout.transaction) or {}
    return str(said.get("state", "")) if said.get("run") == run else ""
