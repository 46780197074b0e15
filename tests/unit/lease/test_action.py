# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of `lease`: it waits for somebody else, as long as it may. Module and time are imitated."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.action import lease as action

REFUSED = {"failed": True, "lease": {"owner": "anna", "reason": "deploy of 1.4"}}
TAKEN = {"changed": True, "lease": {"owner": "berta"}}
BROKEN = {"failed": True, "msg": "is damaged"}


class Fake(action.ActionModule):
    """`answers` is what the module says in turn; the last one again and again."""

    def __init__(self, answers: list[dict[str, Any]], *, check: bool, **arguments: Any) -> None:
        self._task = SimpleNamespace(args=arguments, check_mode=check)
        self.answers, self.asked, self.said = answers, 0, [""]
        self._display = SimpleNamespace(display=self.said.append)

    def _execute_module(self, **_given: Any) -> dict[str, Any]:
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
def _time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(action, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    monkeypatch.setattr("ansible.plugins.action.ActionBase.run", lambda *_arguments: {})


@pytest.mark.usefixtures("_time")
@pytest.mark.parametrize(
    ("answers", "arguments", "check", "asked", "taken"),
    [
        ([TAKEN], {"wait": 60}, False, 1, True),
        ([REFUSED], {}, False, 1, False),
        ([REFUSED], {"wait": 0}, False, 1, False),
        ([REFUSED, REFUSED, TAKEN], {"wait": "60"}, False, 3, True),
        ([REFUSED], {"wait": 10}, False, 5, False),  # after 0, 3, 6, 9 and 10 s
        ([REFUSED], {"wait": 60}, True, 1, False),
        ([BROKEN], {"wait": 60}, False, 1, False),
        ([REFUSED, BROKEN], {"wait": 60}, False, 2, False),
        ([REFUSED], {"wait": 60, "state": "released"}, False, 1, False),
    ],
)
def test_how_often_it_asks(
    answers: list[dict[str, Any]], arguments: dict[str, Any], check: bool, asked: int, taken: bool
) -> None:
    fake = Fake(list(answers), check=check, **arguments)
    answer = fake.run()
    assert fake.asked == asked
    assert answer is not None
    assert bool(answer.get("failed")) is not taken


@pytest.mark.usefixtures("_time")
def test_who_is_waited_for_is_said_once() -> None:
    fake = Fake([REFUSED], check=False, wait=10)
    fake.run()
    assert fake.said[1:] == ["Waits up to 10 s for the lease of anna: deploy of 1.4"]


@pytest.mark.usefixtures("_time")
def test_it_does_not_wait_for_a_run_that_was_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake([REFUSED, REFUSED, TAKEN], check=False, wait=60)
    monkeypatch.setattr(action.os, "getppid", lambda: 4711 if fake.asked < 2 else 1)
    assert fake.run()["failed"]
    assert fake.asked == 2
