# SPDX-License-Identifier: GPL-3.0-or-later
"""What the story says, told without Ansible and with a clock that the test moves."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils._story import (
    HIDDEN,
    Story,
    listed,
    message_of,
    phase_of,
)


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def story(clock: Clock) -> Story:
    return Story(now=clock)


@pytest.mark.parametrize(
    ("name", "role", "phase"),
    [
        ("Stage | build the release", "", "stage"),
        ("nginx : Render | sites", "slipway.webapp.nginx", "nginx"),
        ("Bring it to its users", "", "Bring it to its users"),
    ],
)
def test_phases(name: str, role: str, phase: str) -> None:
    assert phase_of(name, role) == phase


def test_one_line_for_each_phase_with_the_worst_of_each_host(story: Story, clock: Clock) -> None:
    assert story.task("Stage | one") == []
    story.result("a", "ok")
    story.result("b", "changed")
    clock.seconds = 2
    assert story.task("Stage | two") == []
    story.result("a", "changed")
    story.result("b", "ok")
    clock.seconds = 3.25
    assert story.task("Migrate | all") == ["stage            3.2 s  changed: a b"]
    story.result("a", "ok")
    clock.seconds = 4
    assert story.end({"a": {"ok": 3, "changed": 1}, "b": {"ok": 2, "rescued": 1}}) == [
        "migrate          0.8 s  ok: a",
        "",
        "a  ok 3  changed 1  failed 0  unreachable 0",
        "b  ok 2  changed 0  failed 0  unreachable 0  rescued 1",
        "total  4.0 s",
    ]


def test_a_phase_that_every_host_skips_has_no_line(story: Story) -> None:
    story.task("Migrate | all")
    assert story.task("Start | slot") == []


def test_an_include_neither_opens_nor_closes_a_phase(story: Story) -> None:
    story.task("Stage | one")
    story.result("a", "ok")
    assert story.task("Bring it to its users", quiet=True) == []
    story.result("a", "ok")
    assert story.phase == "stage"


def test_a_failure_stands_after_its_phase_in_full_and_once_for_hosts_that_share_it(story: Story) -> None:
    story.task("Stage | build")
    story.result("a", "failed", message="one\n  two")
    story.result("b", "failed", message="one\n  two")
    story.result("c", "unreachable", message="gone")
    assert story.task("Revert | back") == [
        "stage            0.0 s  failed: a b   unreachable: c",
        "",
        "FAILED  Stage | build",
        "  on a b",
        "  one",
        "    two",
        "",
        "",
        "UNREACHABLE  Stage | build",
        "  on c",
        "  gone",
        "",
    ]
    assert [failure["hosts"] for failure in story.failures] == [["a", "b"], ["c"]]


def test_a_screen_is_printed_as_it_is(story: Story) -> None:
    story.task("Look | at it")
    story.result("a", "ok")
    story.task("show", quiet=True)
    story.screen("a", "x  y\n  z")
    assert story.end({}) == ["look             0.0 s  ok: a", "x  y", "  z"]


def test_screens_that_differ_name_their_hosts(story: Story) -> None:
    story.task("show", quiet=True)
    story.screen("a", "one")
    story.screen("b", "two")
    story.screen("c", "two")
    assert story.end({}) == ["a:", "one", "b c:", "two"]


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ({"msg": "why\nbecause"}, "why\nbecause"),
        ({"msg": ["a", "b"]}, "a\nb"),
        ({"msg": "rc 1", "stdout": "", "stderr": "err\n"}, "rc 1\nstderr:\nerr"),
        ({"msg": "says err", "stderr": "err"}, "says err"),
        ({"reason": "why"}, "why"),
        ({}, "it failed without a word"),
        ({"censored": "x", "msg": "planted"}, HIDDEN),
        ({"msg": "m", "invocation": {"module_args": {"x": "planted"}}}, "m"),
    ],
)
def test_messages(result: dict[str, Any], message: str) -> None:
    assert message_of(result) == message


def test_of_a_long_output_the_end_is_shown() -> None:
    lines = message_of({"msg": "m", "stdout": "\n".join(str(number) for number in range(100))}).splitlines()
    assert lines[:3] == ["m", "stdout:", "... 80 lines before"]
    assert lines[-1] == "99"
    assert len(lines) == 23


def test_many_hosts_are_counted() -> None:
    assert listed(["a", "b"]) == "a b"
    assert listed([str(number) for number in range(7)]) == "7 hosts"
