# SPDX-License-Identifier: GPL-3.0-or-later
"""What a module is told about what begins, and the gate after it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils import _gate
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._health import Wish
from ansible_collections.slipway.webapp.plugins.modules import slot
from tests.unit.fakes import FakeClock, FakeSystemd, host

GIVEN = {
    "run": "20261127T110500Z-00000001",
    "action": "deploy",
    "release": "r2",
    "config": "0123456789ab",
    "slot": "green",
    "by": "anna@ci",
}
LIVE = {"slot": "blue", "release": "r1", "config": "0123456789ab"}


TASK = {name: GIVEN[name] for name in slot.ALIKE}


def test_what_begins_is_what_was_said() -> None:
    words = {"previous": {**LIVE, "created": "now"}, "processes": ["web", "beat"], "peers": ["a"], "hold": "40"}
    begun = slot.begun_by({**TASK, "begun": {**GIVEN, **words}})
    assert begun.previous == LIVE
    assert (begun.processes, begun.peers, begun.hold, begun.first) == (("web", "beat"), ("a",), 40, False)


def test_a_host_that_served_nothing_has_nothing_to_go_back_to() -> None:
    assert slot.begun_by({**TASK, "begun": {**GIVEN, "previous": {}}}).previous is None


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"run": None}, "missing required arguments: run"),
        ({"action": "think"}, "value of action must be one of"),
        ({"hold": "long"}, "'hold' is of type"),
        ({"tomorrow": 1}, "tomorrow"),
        ({"slot": "blue"}, "slot blue, not green"),
        ({"run": "another"}, "run another, not 2026"),
        ({"release": "r3"}, "release r3, not r2"),
    ],
)
def test_what_cannot_begin_is_named(wrong: dict[str, Any], says: str) -> None:
    given = {name: value for name, value in {**GIVEN, **wrong}.items() if value is not None}
    with pytest.raises(SlipwayError, match="The option begun cannot be used") as refused:
        slot.begun_by({**TASK, "begun": given})
    assert says in str(refused.value)
    assert "next: correct begun; nothing was begun" in str(refused.value)


def test_a_gate_that_asks_for_nothing_known_is_refused() -> None:
    with pytest.raises(SlipwayError, match="The option health cannot be used"):
        slot.checked("health", {"patience": 3}, options=_gate.OPTIONS)
    assert slot.checked("health", {"deadline": "3"}, options=_gate.OPTIONS)["deadline"] == 3.0


def test_without_a_web_process_nobody_is_asked_and_the_others_are_waited_for(tmp_path: Path) -> None:
    layout, systemd, clock = host(tmp_path, "r2", processes=("worker",)), FakeSystemd(), FakeClock(tick=0.1)
    worker = layout.unit("worker", "green")
    words: dict[str, Any] = {"socket": "", "path": "/", "host": "", "clock": clock, "check_mode": False}
    watch = _gate.watch_of(layout, "green", ["worker"], systemd=systemd)
    with pytest.raises(SlipwayError, match=r"was not ready within 2 s"):
        _gate.pass_gate(watch, Wish(deadline=2.0), **words)
    systemd.begin([worker])
    systemd.active[worker] = "active"
    passed = _gate.pass_gate(watch, Wish(deadline=2.0), **words)
    assert (passed["asked"], passed["actions"]) == (0, [f"Looked at {worker}"])


def test_in_check_mode_the_gate_only_says_whom_it_would_ask(tmp_path: Path) -> None:
    layout = host(tmp_path, "r2")
    watch = _gate.watch_of(layout, "green", ["web", "worker"], systemd=FakeSystemd())
    socket = layout.socket("green")
    told = _gate.pass_gate(
        watch, Wish(), socket=socket, path="/health", host="shop.example", clock=FakeClock(), check_mode=True
    )
    assert told["actions"] == [f"Would ask /health at {socket}", f"Would look at {layout.unit('worker', 'green')}"]
