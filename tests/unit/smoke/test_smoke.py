# SPDX-License-Identifier: GPL-3.0-or-later
"""What a smoke check may be, how an answer is judged, that all of them are over in time, and that nothing leaks."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._health import Answer
from ansible_collections.slipway.webapp.plugins.module_utils._host import HostClock
from ansible_collections.slipway.webapp.plugins.module_utils._smoke import (
    AT_ONCE,
    FAILED,
    PASSED,
    SKIPPED,
    Check,
    Outcome,
    ask_all,
    command_outcome,
    faults,
    judge,
    read_checks,
)

HOME = {"name": "home", "path": "/"}
TOKEN = "Bearer tok-0123456789abcdef"


@dataclasses.dataclass
class Asked:
    """Answers after some seconds, and remembers how long it might have taken."""

    answer: Answer
    seconds: float = 0.0
    timeouts: list[float] = dataclasses.field(default_factory=list)
    asked: Callable[[], None] = lambda: None

    def ask(self, *, timeout: float) -> Answer:
        self.timeouts.append(timeout)
        self.asked()
        time.sleep(self.seconds)
        return self.answer


def run(*pairs: tuple[Mapping[str, Any], Asked], deadline: float = 5.0) -> list[Outcome]:
    checks = read_checks([given for given, _asked in pairs])
    askers = {given["name"]: asked for given, asked in pairs}
    return ask_all(
        checks, asker_of=lambda check: askers[check.name], clock=HostClock(), deadline=deadline, release="r2"
    )


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({"path": "/"}, "name"),
        ({"name": "home"}, "path"),
        ({**HOME, "name": ""}, "name"),
        ({**HOME, "name": 7}, "name"),
        ({**HOME, "name": "a\nb"}, "name"),
        ({**HOME, "path": "health"}, "path"),
        ({**HOME, "path": "/a b"}, "path"),
        ({**HOME, "path": "/a#b"}, "path"),
        ({**HOME, "path": "/\u00fc"}, "path"),
        ({**HOME, "method": "get"}, "method"),
        ({**HOME, "method": ["GET"]}, "method"),
        ({**HOME, "methode": "GET"}, "methode"),
        ({**HOME, "host": "Shop.example"}, "host"),
        ({**HOME, "headers": ["a"]}, "headers"),
        ({**HOME, "headers": {"X A": "b"}}, "headers.X A"),
        ({**HOME, "headers": {"X-A": 7}}, "headers.X-A"),
        ({**HOME, "headers": {"X-A": "b\r\nX-B: c"}}, "headers.X-A"),
        ({**HOME, "headers": {"Host": "shop.example"}}, "headers.Host"),
        ({**HOME, "body": "x"}, "body"),
        ({**HOME, "method": "POST", "body": {"a": 1}}, "body"),
        ({**HOME, "status": "200"}, "status"),
        ({**HOME, "status": []}, "status"),
        ({**HOME, "status": [200, 600]}, "status"),
        ({**HOME, "status": True}, "status"),
        ({**HOME, "json": "ok"}, "json"),
        ({**HOME, "text": ""}, "text"),
        ({**HOME, "text": ["a", 7]}, "text"),
        ({**HOME, "deadline": 0}, "deadline"),
        ({**HOME, "deadline": "5"}, "deadline"),
        ({**HOME, "method": "HEAD", "text": "a"}, "method"),
    ],
)
def test_what_is_no_check(given: dict[str, Any], part: str) -> None:
    found = faults(given)
    assert [fault[0] for fault in found] == [part]
    with pytest.raises(SlipwayError, match="Smoke check 2 cannot be asked"):
        read_checks([HOME, given])


def test_a_secret_is_not_in_what_is_wrong_with_it() -> None:
    planted = {**HOME, "headers": {"A": f"{TOKEN}\n"}, "method": "GET", "body": 12345678}
    assert "tok-" not in str(faults(planted))
    assert "12345678" not in str(faults(planted))


def test_two_of_one_name() -> None:
    with pytest.raises(SlipwayError, match="Two smoke checks are called home"):
        read_checks([HOME, {**HOME, "path": "/b"}])


def test_one_value_is_a_list_of_it() -> None:
    (check,) = read_checks([{**HOME, "status": 204, "text": "a"}])
    assert (check.status, check.text, check.method) == ([204], ["a"], "GET")


GOOD = Answer(status=200, headers={"x-slipway-release": "r2"}, body='{"status": "ok", "parts": {"a": 1, "b": 2}}')


@pytest.mark.parametrize(
    ("change", "answer", "why"),
    [
        ({}, GOOD, ""),
        ({"json": {"parts": {"a": 1}}}, GOOD, ""),
        ({"json": {"parts": {"a": 2}}}, GOOD, "parts.a is 1, not 2"),
        ({"json": {"c": 1}}, GOOD, "no JSON field c"),
        ({"text": ("status", "parts")}, GOOD, ""),
        ({"text": ("status", "Welcome")}, GOOD, "the text 'Welcome' is not in the answer"),
        ({"status": (201, 204)}, GOOD, "status 200, not 201 or 204"),
        ({}, Answer(error="nobody listens there"), "nobody listens there"),
        ({}, dataclasses.replace(GOOD, headers={"x-slipway-release": "r1"}), "answered by release r1, not r2"),
        # What Nginx itself serves names no release, and a field of the application's own is none.
        ({}, Answer(status=200, headers={}, body='{"release": "elsewhere"}'), ""),
    ],
)
def test_judgement(change: dict[str, Any], answer: Answer, why: str) -> None:
    assert judge(dataclasses.replace(Check("home", "/"), **change), answer, release="r2") == why


def test_every_result_is_reported_in_the_order_of_the_list() -> None:
    bad = Answer(status=500, headers={}, body="no")
    names = [f"check {number}" for number in range(3 * AT_ONCE)]
    found = run(
        *(({"name": name, "path": "/"}, Asked(bad if number % 2 else GOOD)) for number, name in enumerate(names))
    )
    assert [one.name for one in found] == names
    assert [one.verdict for one in found] == [PASSED, FAILED] * (len(names) // 2)
    assert (found[1].why, found[1].output, found[0].output) == ("status 500, not 200", "no", "")


def test_they_are_asked_side_by_side() -> None:
    barrier = threading.Barrier(AT_ONCE, timeout=10)
    askers = [Asked(GOOD, asked=lambda: barrier.wait() and None) for _number in range(AT_ONCE)]
    found = run(*(({"name": str(number), "path": "/"}, asker) for number, asker in enumerate(askers)), deadline=10)
    assert {one.verdict for one in found} == {PASSED}


def test_the_deadline_of_one_and_of_all() -> None:
    one, two = Asked(GOOD), Asked(GOOD)
    run(({**HOME, "deadline": 2}, one), ({**HOME, "name": "b", "deadline": 60}, two), deadline=5)
    assert one.timeouts == [2]
    assert 4 < two.timeouts[0] <= 5


def test_who_hangs_where_no_timeout_reaches_is_left_behind() -> None:
    begin = time.monotonic()
    found = run((HOME, Asked(GOOD)), ({**HOME, "name": "hangs"}, Asked(GOOD, seconds=30)), deadline=0.2)
    assert time.monotonic() - begin < 20
    assert [one.verdict for one in found] == [PASSED, FAILED]
    assert found[1].why == "no answer within the 0.2 s for all smoke checks"


def test_what_could_not_be_asked_in_time_says_so() -> None:
    slow = [({"name": str(number), "path": "/"}, Asked(GOOD, seconds=0.5)) for number in range(AT_ONCE)]
    found = run(*slow, ({**HOME, "name": "last"}, Asked(GOOD)), deadline=0.3)
    assert (found[-1].verdict, found[-1].why) == (FAILED, "not asked: the 0.3 s for all smoke checks were over")


def test_an_answer_that_repeats_a_secret() -> None:
    body = f"you sent {TOKEN}, that is {TOKEN.split()[1]} and hunter-two"
    given = {**HOME, "method": "POST", "headers": {"Authorization": TOKEN}, "body": "hunter-two"}
    (found,) = run((given, Asked(Answer(status=403, body=body))))
    assert "tok-" not in found.output
    assert "hunter" not in found.output
    assert found.output.startswith("you sent ****")
    (found,) = run(({**given, "json": {"echo": 1}}, Asked(Answer(status=200, body=f'{{"echo": "{TOKEN}"}}'))))
    assert found.why == "echo is '********', not 1"


@pytest.mark.parametrize(
    ("ended", "verdict", "why"),
    [
        (None, SKIPPED, "not run, because a check failed"),
        ({"rc": 0, "delta": "0:01:02.500000", "stdout": "fine"}, PASSED, ""),
        ({"rc": 1, "stdout": "out", "stderr": "err"}, FAILED, "ended with 1"),
        ({"rc": 124}, FAILED, "took longer than 9 s"),
        ({"rc": 137}, FAILED, "took longer than 9 s"),
        ({"rc": None, "msg": "no such file\nand more"}, FAILED, "no such file"),
        ({}, FAILED, "it could not be started"),
    ],
)
def test_the_operators_own_command(ended: dict[str, Any] | None, verdict: str, why: str) -> None:
    found = command_outcome(["/usr/bin/pytest", "tests/smoke"], ended, deadline=9)
    assert (found.name, found.verdict, found.why) == ("pytest", verdict, why)
    if ended and ended.get("stdout") == "fine":
        assert (found.seconds, found.output) == (62.5, "fine")
    if ended and ended.get("stderr"):
        assert found.output == "out\nerr"
