# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a deploy, as a table: which task of the playbook each of them is."""

from __future__ import annotations

from dataclasses import dataclass

BEFORE = ("planted",)
AFTER = ("planted", "planted_gone")


@dataclass(frozen=True, kw_only=True)
class Step:
    """A moment of a deploy: before the ``nth`` task of such a name begins, or ``after`` so many seconds of it."""

    name: str
    task: str
    nth: int = 1
    after: float | None = None
    # What must be pending, or the task does nothing: names of PLANTED in fleet.py.
    migrations: tuple[str, ...] = ()
    # The application is served by Uvicorn, and some visitors keep a WebSocket open.
    sockets: bool = False


# In the order in which they happen. "in" is in the middle of it: modules take some tenths of a second to start.
STEPS = (
    Step(name="preflight", task=r"^Preflight \| see what every host serves"),
    Step(name="lease", task=r"^Lease \| take it"),
    Step(name="stage", task=r"^Stage \|"),
    Step(name="in_stage", task=r"^Stage \|", after=1.0),
    Step(name="plan", task=r"^Plan \| what is pending", migrations=BEFORE),
    Step(name="in_protect", task=r"^Protect \| a backup", after=2.0, migrations=BEFORE),
    Step(name="migrate", task=r"^Migrate \| what must come before", migrations=BEFORE),
    Step(name="in_migrate", task=r"^Migrate \| what must come before", after=0.6, migrations=BEFORE),
    # What begins is written down, the release runs, it is asked whether it is well.
    Step(name="start", task=r"^Start \|"),
    Step(name="in_start", task=r"^Start \|", after=0.5),
    Step(name="in_start_late", task=r"^Start \|", after=2.0),
    # Two batches: the canary, and all others with the worker.
    Step(name="switch_1", task=r"^Switch \|"),
    Step(name="in_switch_1", task=r"^Switch \|", after=0.3),
    Step(name="judge", task=r"^Judge \| look at the traffic"),
    Step(name="in_judge", task=r"^Judge \| look at the traffic", after=2.0),
    Step(name="switch_2", task=r"^Switch \|", nth=2),
    Step(name="in_switch_2", task=r"^Switch \|", nth=2, after=0.3),
    Step(name="hand_over", task=r"^Hand over \|", nth=2),
    Step(name="in_hand_over", task=r"^Hand over \|", nth=2, after=0.5),
    Step(name="prove", task=r"^Prove \|"),
    Step(name="smoke", task=r"^Smoke \| ask"),
    Step(name="bake", task=r"^Judge \| look at the traffic: watched"),
    Step(name="committing", task=r"^Commit \| every host agrees"),
    Step(name="in_committing", task=r"^Commit \| every host agrees", after=0.3),
    Step(name="agreed", task=r"^Commit \| they have agreed"),
    Step(name="committed", task=r"^Commit \| the release stays"),
    Step(name="in_committed", task=r"^Commit \| the release stays", after=0.3),
    Step(name="prune", task=r"^Commit \| remove"),
    Step(name="migrate_after", task=r"^Migrate \| what had to wait", migrations=AFTER),
    Step(name="in_migrate_after", task=r"^Migrate \| what had to wait", after=0.6, migrations=AFTER),
    Step(name="lease_given_back", task=r"^Lease \| give it back"),
    Step(name="switch_with_websockets", task=r"^Switch \|", sockets=True),
)
BY_NAME = {step.name: step for step in STEPS}
