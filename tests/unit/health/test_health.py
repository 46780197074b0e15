# SPDX-License-Identifier: GPL-3.0-or-later
"""Healthy means: so many good answers in a row, seen with our own eyes, before the deadline."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.slipway.webapp.plugins.module_utils import _health
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._health import Answer, Watch, Wish
from tests.unit.fakes import FakeClock, FakeSystemd

GOOD = Answer(
    status=200, headers={"x-slipway-release": "r1"}, body='{"database": "ok", "queue": {"depth": 3, "up": true}}'
)
BAD = Answer(status=503, body="no database")
WORKER, BEAT = "shop-worker@green.service", "shop-beat@green.service"
GONE = Answer(error="the socket does not exist")


@dataclass
class Script:
    """Answers one after the other, the last one for ever; each takes ``takes`` seconds."""

    answers: Sequence[Answer]
    clock: FakeClock
    takes: float = 0.01
    asked: int = 0
    timeouts: list[float] = field(default_factory=list)

    def ask(self, *, timeout: float) -> Answer:
        self.clock.sleep(min(self.takes, timeout))
        self.timeouts.append(timeout)
        self.asked += 1
        return self.answers[min(self.asked, len(self.answers)) - 1]


def check(*answers: Answer, wish: Wish | None = None, watch: Watch | None = None, **options: Any) -> dict[str, Any]:
    clock = FakeClock()
    script = Script(answers, clock, **options)
    wish = wish or Wish(successes=3, interval=0.2, deadline=10)
    watch = watch or Watch(FakeSystemd())
    return _health.ask_until_healthy(wish, asker=script, clock=clock, watch=watch, where="green")


@pytest.mark.parametrize(
    ("wish", "answer", "reason"),
    [
        ({}, GOOD, ""),
        ({}, GONE, "the socket does not exist"),
        ({}, BAD, "status 503, not 200"),
        ({"status": [200, 503]}, BAD, ""),
        ({"status": [204, 301]}, GOOD, "status 200, not 204 or 301"),
        ({"release": "r1"}, GOOD, ""),
        ({"release": "r2"}, GOOD, "answered by release r1, not r2"),
        ({"release": "r2"}, Answer(status=200), "answered by release (it does not say which), not r2"),
        ({"release": "r1"}, Answer(status=200, body='{"release": "r1"}'), ""),
        ({"release": "r1"}, Answer(status=200, headers={"x-slipway-release": "r0"}, body='{"release": "r1"}'), "r0"),
        ({"json": {"database": "ok"}}, GOOD, ""),
        ({"json": {"database": "fine", "cache": 1}}, GOOD, "database is 'ok', not 'fine'; no JSON field cache"),
        ({"json": {"queue": {"up": True}}}, GOOD, ""),
        ({"json": {"queue": {"depth": 4}}}, GOOD, "queue.depth is 3, not 4"),
        ({"json": {"queue": 3}}, GOOD, "queue is {'depth': 3, 'up': True}, not 3"),
        ({"json": {"a": 1}}, Answer(status=200, body="<html>"), "no JSON field a"),
        ({"json": {"a": 1}}, Answer(status=200, body="[1]"), "no JSON field a"),
    ],
)
def test_judgement(wish: dict[str, Any], answer: Answer, reason: str) -> None:
    found = _health.judge(answer, Wish(**wish))
    assert reason in found
    assert bool(found) == bool(reason)


def test_three_in_a_row() -> None:
    result = check(GOOD)
    assert (result["asked"], result["successes"], result["changed"]) == (3, 3, False)
    assert result["last"] == {"status": 200, "release": "r1", "body": GOOD.body}


def test_a_bad_answer_begins_the_count_anew() -> None:
    assert check(GONE, GOOD, GOOD, BAD, GOOD, GOOD, GOOD)["asked"] == 7
    with pytest.raises(SlipwayError):
        check(*([GOOD, GOOD, BAD] * 100))


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 5))
def test_never_healthy_without_so_many_in_a_row(good: list[bool], successes: int) -> None:
    answers = [GOOD if one else BAD for one in [*good, False]]
    runs = max((len(run) for run in "".join("x" if one else " " for one in good).split()), default=0)
    wish = Wish(successes=successes, interval=0.1, deadline=60)
    if runs < successes:
        with pytest.raises(SlipwayError):
            check(*answers, wish=wish)
    else:
        result = check(*answers, wish=wish)
        assert result["successes"] == successes
        assert all(good[result["asked"] - successes : result["asked"]])


def test_the_deadline_counts_and_the_last_question_keeps_to_it() -> None:
    clock = FakeClock()
    script = Script([GONE], clock, takes=4)
    begin = clock.time
    with pytest.raises(SlipwayError, match="did not become healthy within 10 s"):
        _health.ask_until_healthy(
            Wish(successes=1, interval=0.5, deadline=10, timeout=4),
            asker=script,
            clock=clock,
            watch=Watch(FakeSystemd()),
            where="green",
        )
    assert clock.time - begin <= 10
    assert script.timeouts == [4, 4, 1]


def test_a_failure_shows_the_last_answers_and_the_log_without_secrets() -> None:
    long = Answer(status=500, body="hunter2-hunter2 " + "x" * 5000)
    systemd = FakeSystemd(says=["Traceback", "password hunter2-hunter2 refused"])
    watch = Watch(systemd, unit="shop-web@green.service", secrets=["hunter2-hunter2"])
    with pytest.raises(SlipwayError) as failure:
        check(*[BAD] * 30, GONE, long, watch=watch)
    said = str(failure.value)
    assert "hunter2" not in said + str(failure.value.details)
    assert "found: status 500, not 200\nthe last of" in said
    assert "password ******** refused" in said
    assert len(failure.value.details["answers"]) == _health.KEPT
    assert failure.value.details["log"] == ["Traceback", "password ******** refused"]
    assert all(len(answer.get("body", "")) <= _health.SHOWN for answer in failure.value.details["answers"])
    assert len(said) < 3000


@pytest.mark.parametrize("asked", [True, False])
def test_units_beside_it_are_waited_for(asked: bool) -> None:
    clock, systemd = FakeClock(), FakeSystemd(active={WORKER: "activating", BEAT: "active"})

    class Later(FakeClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            if self.time - clock.time > 3:
                systemd.active[WORKER] = "active"

    later = Later()
    watch = Watch(systemd, units=[WORKER, BEAT])
    asker = Script([GOOD], clock) if asked else None
    result = _health.ask_until_healthy(Wish(deadline=10), asker=asker, clock=later, watch=watch, where="green")
    assert result["asked"] == (1 if asked else 0)
    assert result["actions"] == [*(["Asked green"] if asked else []), f"Looked at {WORKER}", f"Looked at {BEAT}"]
    assert ("last" in result) is asked
    assert 3 < result["seconds"] < 4


@pytest.mark.parametrize(
    ("active", "sub", "seconds", "said"),
    [
        ("activating", "", 10, "was not ready within 10 s"),
        ("inactive", "", 10, "was not ready within 10 s"),
        ("activating", "auto-restart", 0, "has failed"),
        ("failed", "", 0, "has failed"),
    ],
)
def test_units_that_do_not_come(active: str, sub: str, seconds: float, said: str) -> None:
    systemd = FakeSystemd(active={WORKER: active, BEAT: "active"}, subs={WORKER: sub}, says=["no hunter2-hunter2"])
    watch, clock = Watch(systemd, units=[BEAT, WORKER], secrets=["hunter2-hunter2"]), FakeClock()
    began = clock.time
    with pytest.raises(SlipwayError, match=f"{WORKER} {said}") as failure:
        _health.ask_until_healthy(Wish(deadline=10), asker=None, clock=clock, watch=watch, where="green")
    assert "hunter2" not in str(failure.value) + str(failure.value.details)
    assert seconds <= clock.time - began < seconds + 1


def test_a_unit_that_has_failed_is_not_waited_for() -> None:
    unit = "shop-web@green.service"
    watch = Watch(FakeSystemd(active={unit: "failed"}), unit=unit)
    clock = FakeClock()
    begin = clock.time
    with pytest.raises(SlipwayError, match=re.escape(f"will not: {unit} has failed")):
        _health.ask_until_healthy(
            Wish(deadline=60, interval=0.2), asker=Script([GONE], clock), clock=clock, watch=watch, where="green"
        )
    assert clock.time - begin < 5


def test_check_mode_asks_nobody_and_says_nothing_is_healthy() -> None:
    clock = FakeClock()
    script = Script([GOOD], clock)
    result = _health.ask_until_healthy(
        Wish(), asker=script, clock=clock, watch=Watch(FakeSystemd()), where="green", check_mode=True
    )
    assert (script.asked, result["asked"], result["successes"]) == (0, 0, 0)
    assert result["actions"] == ["Would ask green"]


@pytest.mark.parametrize("bad", [{"successes": 0}, {"deadline": 0}, {"timeout": 0}, {"interval": -1}])
def test_a_check_that_could_never_fail_or_end_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(SlipwayError, match="could never end well"):
        check(GOOD, wish=Wish(**bad))
