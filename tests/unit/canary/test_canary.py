# SPDX-License-Identifier: GPL-3.0-or-later
"""What each kind of look is judged as, and what follows from it by each policy."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils._canary import (
    POLICIES,
    Limits,
    Reading,
    gather,
    judge,
    numbers,
    told,
)
from ansible_collections.slipway.webapp.plugins.module_utils._sample import Sample, step_of

LOG = {"state": "ok", "said": "", "lines": 1000, "broken": 0, "whole": True}
QUICK, SLOW = step_of(0.05), step_of(0.4)


def sample(requests: int, errors: int = 0, *, slow: int = 0) -> dict[str, Any]:
    return Sample(requests=requests, errors=errors, times={QUICK: requests - slow, SLOW: slow}).data()


def info(new: dict[str, Any] | None = None, old: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """What a host says whose new slot is green."""
    slots = {"green": new or sample(0), "blue": old or sample(0)}
    return {"slot": "green", "log": LOG, "slots": slots, "before": {}, "same": {}, "probes": {}, **more}


def say(
    *infos: dict[str, Any], policy: str = "wait", final: bool = True, whole: bool = False, **more: Any
) -> tuple[str, str, str]:
    """Verdict, decision, and the reasons in one text."""
    hosts = {f"app{number}": one for number, one in enumerate(infos, start=1)}
    found = judge(gather(hosts, list(hosts)), limits=Limits(), policy=policy, final=final, whole=whole, **more)
    return found.verdict, found.decision, "; ".join(found.reasons)


GOOD = info(sample(200), sample(300))
LEAKS = info(sample(500, 15), sample(500))
DRAGS = info(sample(200, slow=100), sample(300, slow=3))
FEW = info(sample(20), sample(300))
DOUBTFUL = info(sample(150, 2), sample(300))


@pytest.mark.parametrize(
    ("given", "verdict", "reason"),
    [
        (GOOD, "pass", "0 of 200 (0.00 %) failed on the new side, 0 of 300 (0.00 %) on the old one; p95 "),
        (LEAKS, "fail", "users (at the same time): 15 of 500 (3.00 %) failed on the new side, 0 of 500"),
        (DRAGS, "fail", "on the new side, 54 ms on the old one, chance"),
        (info(sample(200, slow=100), sample(300, slow=150)), "pass", ""),
        # As bad on both sides; better; a rise that is too small to count.
        (info(sample(500, 15), sample(500, 15)), "pass", ""),
        (info(sample(500), sample(500, 50)), "pass", ""),
        (info(sample(10**6, 1200), sample(10**6, 100)), "pass", ""),
        # All of them fail, so that a few are enough.
        (info(sample(12, 12), sample(300)), "fail", ""),
        (FEW, "inconclusive", "the new side has answered 20 requests of users, not 100"),
        (info(sample(300), sample(20)), "inconclusive", "the old side has answered 20 requests of users, not 100"),
        (info(), "inconclusive", ""),
        # The old side has no traffic any more.
        (info(sample(500), before=sample(500)), "pass", "users (before)"),
        (info(sample(500, 15), before=sample(500)), "fail", "users (before): 15 of 500"),
        # The canary's clients had it as bad before.
        (info(sample(500, 15), sample(500), same=sample(200, 6)), "pass", ""),
        (info(sample(500, 15), sample(500), same=sample(200)), "fail", ""),
        (info(sample(500, 15), sample(500), same=sample(20, 6)), "fail", ""),
        (info(sample(200, slow=100), sample(300, slow=3), same=sample(200, slow=90)), "pass", ""),
    ],
)
def test_verdicts(given: dict[str, Any], verdict: str, reason: str) -> None:
    found, _decision, reasons = say(given)
    assert (found, reason in reasons) == (verdict, True), reasons


def test_hosts_add_up_whatever_slot_is_the_new_one() -> None:
    """The new slot is green on one host and blue on the other; neither has enough alone."""
    other = {**info(), "slot": "blue", "slots": {"blue": sample(60, 1), "green": sample(70)}}
    fleet = gather({"app1": info(sample(50), sample(80)), "app2": other}, ["app1", "app2"])
    assert numbers(fleet)["new"] == {"requests": 110, "errors": 1, "p95_ms": pytest.approx(54, abs=2)}
    assert (numbers(fleet)["old"]["requests"], fleet.gaps) == (150, ())


GAPS = [
    ({}, "app2 gave no answer"),
    ({"skipped": True}, "app2 gave no answer"),
    ({"unreachable": True, "msg": "timed out"}, "app2 gave no answer"),
    ({"slot": "green", "log": {"state": "missing", "said": "it was taken away"}}, "app2 has no log that can be read"),
    ({**GOOD, "log": {**LOG, "broken": 60}}, "app2: 60 of 1000 lines of its log are no requests"),
    ({**GOOD, "log": {**LOG, "whole": False}}, "app2: a part of its log was rotated away"),
]


@pytest.mark.parametrize(("gap", "said"), GAPS)
@pytest.mark.parametrize("policy", POLICIES)
def test_missing_data_never_passes(gap: dict[str, Any], said: str, policy: str) -> None:
    probes = {"blue": sample(30), "green": sample(30)}
    for good in (GOOD, info(probes=probes)):
        verdict, decision, reasons = say(good, gap, policy=policy)
        assert (verdict, decision) == ("inconclusive", "stop")
        assert said in reasons
    # What is plain without it is plain.
    assert say(LEAKS, gap, policy=policy)[:2] == ("fail", "stop")


@pytest.mark.parametrize(
    ("given", "decision"),
    [
        (info(sample(0), sample(300)), "stop"),
        (info(sample(1), sample(300)), "go_on"),
        (info(sample(0), sample(300), probes={"green": sample(1)}), "go_on"),
        (info(sample(0), sample(300), probes={"green": sample(1, 1)}), "stop"),
        (info(sample(0), sample(300), probes={"blue": sample(1)}), "stop"),
    ],
)
def test_a_release_that_nobody_has_asked_never_passes(given: dict[str, Any], decision: str) -> None:
    found = say(given, policy="pass")
    assert found[1] == decision
    assert ("the new side has answered no request" in found[2]) == (decision == "stop")
    assert say(given, policy="pass", final=False)[1] == "look_again"


def test_nobody_at_all() -> None:
    assert say(policy="pass") == ("inconclusive", "stop", say()[2])
    assert "no host was asked" in say()[2]


@pytest.mark.parametrize(
    ("given", "policy", "final", "decision"),
    [
        (GOOD, "wait", False, "go_on"),
        (LEAKS, "pass", False, "stop"),
        (FEW, "wait", False, "look_again"),
        (FEW, "wait", True, "stop"),
        (FEW, "probe", False, "look_again"),
        (FEW, "probe", True, "stop"),
        (FEW, "stop", False, "stop"),
        (FEW, "pass", False, "look_again"),
        (FEW, "pass", True, "go_on"),
        # More errors, maybe by chance: looked at again, and no reason to go back.
        (DOUBTFUL, "wait", False, "look_again"),
        (DOUBTFUL, "stop", False, "look_again"),
        (DOUBTFUL, "stop", True, "go_on"),
    ],
)
def test_policies(given: dict[str, Any], policy: str, final: bool, decision: str) -> None:
    assert say(given, policy=policy, final=final)[1] == decision


def test_all_of_the_time_is_watched() -> None:
    assert say(GOOD, final=False, whole=True)[1] == "look_again"
    assert say(GOOD, final=True, whole=True)[1] == "go_on"
    assert say(LEAKS, final=False, whole=True)[1] == "stop"


@pytest.mark.parametrize(
    ("new", "old", "decision"),
    [
        (sample(30), sample(30), "go_on"),
        (sample(30, 30), sample(30), "stop"),
        (sample(30, 2), sample(30), "stop"),
        (sample(30, 2), sample(30, 2), "go_on"),
        (sample(30, slow=30), sample(30), "stop"),
        (sample(30), None, "go_on"),
        (sample(30, 1), None, "stop"),
        (sample(5), sample(5), "stop"),
        (None, sample(30), "stop"),
    ],
)
def test_our_own_requests(new: dict[str, Any] | None, old: dict[str, Any] | None, decision: str) -> None:
    probes = {slot: given for slot, given in (("green", new), ("blue", old)) if given}
    assert say(info(sample(20), sample(30), probes=probes), policy="probe")[1] == decision
    # They replace users for the one policy only.
    assert say(info(sample(20), sample(30), probes=probes), policy="wait")[1] == "stop"


def test_where_users_come_probes_do_not_count() -> None:
    probes = {"green": sample(30, 30), "blue": sample(30)}
    assert say({**GOOD, "probes": probes}, policy="probe")[1] == "go_on"


@pytest.mark.parametrize(
    ("reading", "verdict", "decision"),
    [
        (Reading("queue", said="queue: 3"), "pass", "go_on"),
        (Reading("queue", failure="queue: 900 is above 500"), "fail", "stop"),
        (Reading("queue", gap="queue: no data"), "inconclusive", "stop"),
    ],
)
def test_readings(reading: Reading, verdict: str, decision: str) -> None:
    found = say(GOOD, policy="pass", readings=[reading])
    assert found[:2] == (verdict, decision)
    assert "queue" in found[2]


def test_what_people_read() -> None:
    found = judge(gather({"app1": LEAKS}, ["app1"]), limits=Limits(), policy="wait", final=True)
    lines = told(found).splitlines()
    assert lines[0] == "The new release does worse than the old one"
    assert lines[1].startswith("found: users (at the same time): 15 of 500 (3.00 %) failed on the new side, ")
    assert lines[2].startswith("next: ")
