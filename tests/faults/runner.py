# SPDX-License-Identifier: GPL-3.0-or-later
"""One cell: a deploy under load, a fault at one of its steps, how the fleet comes to rest, what the next run does."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.faults import outside
from tests.faults.eyes import Eyes, Watched, watch
from tests.faults.faults import Fault, NoFaultError, Scene
from tests.faults.feeder import Feeder
from tests.faults.fleet import Fleet, timers
from tests.faults.hook import Stopped
from tests.faults.record import Cell, excused
from tests.faults.steps import Step
from tests.integration.controller import Run
from tests.load import LoadGenerator
from tests.load.generator import LoadError

REACH_SECONDS = 180
REST_SECONDS = 150
NEXT_RUN_SECONDS = 300
# An outage ends for visitors some seconds after its cause: connections are made anew, health is asked for.
GRACE_SECONDS = 5.0
SOCKETS = 4
# Of runs that only have to heal the fleet: half of a deploy's time, else.
UNJUDGED: dict[str, Any] = {"webapp_canary_analysis": False, "webapp_bake_seconds": 0}


def _nobody() -> bool:
    """No run is alive."""
    return False


class FleetLostError(Exception):
    """The fleet does not come back by what an operator has."""


@dataclass(kw_only=True)
class Story:
    """What happened, by the clock of the load."""

    at: float
    watched: Watched
    back: Watched
    ended_at: float
    ended: str
    run: Run
    healed: bool
    healed_by: str
    note: str = ""


class Runner:
    """Breaks one fleet."""

    def __init__(self, broken: Fleet, *, say: Callable[[str], None] = print, logs: Path | None = None) -> None:
        self.fleet = broken
        self.site = broken.site
        self.eyes = Eyes(self.site)
        self._say = say
        self._logs = logs
        self._settings = timers()
        self._sockets = 0

    def cell(self, step: Step, fault: Fault) -> Cell | None:
        """Count one; None when the deploy has no such step."""
        self.restore()
        if step.sockets != bool(self._sockets):
            self._serve(sockets=SOCKETS if step.sockets else 0)
        began = time.monotonic()
        release = self.fleet.release(fault=fault.source, migrations=step.migrations)
        mended = self.fleet.release() if fault.source else release
        load = self._load()
        with ExitStack() as stack:
            scene = Scene(site=self.site, eyes=self.eyes)
            stack.callback(self._right)
            stack.callback(fault.tidy, scene)
            fault.prepare(scene)
            stack.enter_context(load)
            feeder = stack.enter_context(self.fleet.feeder(self.site))
            self._warm_up(load)
            story = self._break(step, fault, scene=scene, releases=(release, mended), load=load)
            if story is None:
                return None
            # When there are none, that is among what is counted.
            with suppress(LoadError):
                load.wait_for(answers=10)
        cell = self._counted(step, fault, story=story, load=load, feeder=feeder)
        return replace(cell, seconds=round(time.monotonic() - began, 1))

    def _serve(self, *, sockets: int) -> None:
        """By Uvicorn, which knows WebSockets, or by Gunicorn."""
        self._sockets = sockets
        self._settings = {**timers(), **({"webapp_server": "uvicorn"} if sockets else {})}
        self.site.play("provision", **self._settings).ended(0)
        self.site.play("deploy", webapp_source=self.fleet.release(), **self._settings).ended(0)

    def _load(self) -> LoadGenerator:
        """Steady and mixed: every other visitor keeps the connection; pages, files, notes, uploads, slow answers."""
        url = f"https://{self.site.hosts[self.site.edge].address}"
        return LoadGenerator(
            url=url,
            host=self.site.domain,
            insecure=True,
            clients=10,
            websockets=self._sockets,
            rate=12.0,
            timeout=25.0,
            max_seconds=1200,
            verify_posts=True,
        )

    def _warm_up(self, load: LoadGenerator) -> None:
        try:
            load.wait_for(answers=20)
        except LoadError as error:
            raise FleetLostError(f"visitors get no answers before the fault: {error}") from error

    def _break(
        self, step: Step, fault: Fault, *, scene: Scene, releases: tuple[str, str], load: LoadGenerator
    ) -> Story | None:
        release, mended = releases
        settings = {"webapp_source": release, **self._settings, **fault.settings}
        scene.run = run = Stopped(self.site, "deploy", step=step, settings=settings)
        watched = None
        try:
            if run.reach(limit=REACH_SECONDS):
                at, moment = load.now(), time.monotonic()
                note = self._inject(fault, scene)
                run.go_on()
                watched = watch(self.eyes, since=moment, limit=REST_SECONDS, active=lambda: run.running)
            hung = run.running
        finally:
            told = run.end()
        if watched is None:
            self._not_reached(step, told)
            return None
        self._log(step, fault, told)
        moment = time.monotonic()
        fault.heal(scene)
        back = watch(self.eyes, since=moment, limit=REST_SECONDS, active=_nobody)
        ended_at = load.now()
        after = self._next_run(fault, mended)
        self._log(step, fault, after, name="next")
        last = watch(self.eyes, since=time.monotonic(), limit=REST_SECONDS, active=_nobody)
        healed = after.code == 0 and last.seconds is not None
        problems = (note, *(f"never uniform: {one.verdict.problem}" for one in (watched, last) if one.seconds is None))
        return Story(
            at=at,
            watched=watched,
            back=back,
            ended_at=ended_at,
            ended="did not end" if hung else "killed" if told.code < 0 else str(told.code),
            run=told,
            healed=healed,
            healed_by=fault.after,
            note="; ".join(problem for problem in problems if problem),
        )

    def _not_reached(self, step: Step, told: Run) -> None:
        if told.code != 0:
            tail = "\n".join(told.output.splitlines()[-30:])
            raise FleetLostError(f"the deploy ended with {told.code} before {step.name}:\n{tail}")

    def _inject(self, fault: Fault, scene: Scene) -> str:
        try:
            fault.inject(scene)
        except NoFaultError as nothing:
            return str(nothing)
        return ""

    def _next_run(self, fault: Fault, release: str) -> Run:
        """What the operator types next, once: the same again, a rollback, or a mended release."""
        settings: dict[str, Any] = {**self._settings, **UNJUDGED}
        if fault.after != "rollback":
            settings["webapp_source"] = release
        playbook = "rollback" if fault.after == "rollback" else "deploy"
        return self.site.start(playbook, **settings).wait(limit=NEXT_RUN_SECONDS)

    def _counted(self, step: Step, fault: Fault, *, story: Story, load: LoadGenerator, feeder: Feeder) -> Cell:
        report, tasks, beats = load.report, feeder.tasks(), feeder.beats()
        window = story.at - 0.5, self._excused_until(fault, story)
        posts = report.posts
        notes = [story.note, posts.unverified, *(f"{one.kind}: {one.detail[:160]}" for one in report.examples[:2])]
        return Cell(
            step=step.name,
            fault=fault.name,
            requests_sent=report.sent,
            requests_failed=report.failed,
            requests_excused=excused(report.failed_spans, window=window) if fault.excuse else 0,
            sockets=self._sockets,
            notes_lost=len(posts.lost or ()),
            notes_doubled=len(posts.doubled or ()),
            tasks_sent=tasks.sent,
            tasks_lost=tasks.lost,
            tasks_excused=min(tasks.lost, fault.tasks_at_risk),
            tasks_doubled=tasks.doubled,
            beats_overlapping=beats.overlaps,
            seconds_without_beat=beats.longest_gap,
            seconds_to_uniform=story.watched.seconds,
            seconds_after_return=story.back.seconds,
            served=story.watched.verdict.release,
            ended=story.ended,
            healed=story.healed,
            healed_by=story.healed_by,
            note="; ".join(note for note in notes if note),
        )

    def _excused_until(self, fault: Fault, story: Story) -> float:
        """By the clock of the load."""
        if fault.excused_seconds is not None:
            return story.at + fault.excused_seconds
        if fault.source is not None:
            # Until the new release was taken back; not for as long as it was kept by mistake.
            return story.at + (story.watched.seconds or 0.0) + GRACE_SECONDS
        return story.ended_at + GRACE_SECONDS

    def _log(self, step: Step, fault: Fault, run: Run, *, name: str = "run") -> None:
        if self._logs is not None:
            self._logs.mkdir(parents=True, exist_ok=True)
            path = self._logs / f"{step.name}-{fault.name}-{name}.log"
            path.write_text(f"{run.output}\nended with {run.code} after {run.seconds:.1f} s\n")

    def _right(self) -> None:
        """Whatever was taken from hosts is there again."""
        for host in self.site.hosts.values():
            outside.right(host)
        self.eyes.absent.clear()
        self.eyes.mute.clear()
        self.eyes.waiting.clear()
        self.eyes.public = True

    def close(self) -> None:
        """The fleet stays as it is."""
        self.eyes.close()

    def restore(self) -> None:
        """A uniform fleet on a proven release, by what operators have; FleetLostError if that does not help."""
        self._right()
        if self.eyes.verdict().release and not self.eyes.verdict().pending:
            return
        self._say("  the fleet is not uniform: deploy")
        for _attempt in range(2):
            settings = {**self._settings, **UNJUDGED}
            run = self.site.start("deploy", webapp_source=self.fleet.release(), **settings)
            run.wait(limit=NEXT_RUN_SECONDS)
            if watch(self.eyes, since=time.monotonic(), limit=REST_SECONDS, active=_nobody).seconds is not None:
                return
        raise FleetLostError(self.eyes.verdict().problem)
