# SPDX-License-Identifier: GPL-3.0-or-later
"""Who reigned, and how cleanly one side took over from another."""

from __future__ import annotations

import pytest

from tests.load.options import Mix, Options, OptionsError
from tests.load.report import Kind, Latency, Posts, Report, latency
from tests.load.timeline import Sighting, presences, switches


def seen(side: str, *, start: float, count: int, gap: float = 0.01, takes: float = 0.005) -> list[Sighting]:
    """Some answers in a row."""
    release, slot = side.split("@")
    return [
        Sighting(release=release, slot=slot, started=start + gap * n, ended=start + gap * n + takes)
        for n in range(count)
    ]


def test_nothing_seen() -> None:
    assert switches([]) == []
    assert presences([]) == []


def test_one_side_only() -> None:
    sightings = seen("a@blue", start=0, count=100)
    assert switches(sightings) == []
    (presence,) = presences(sightings)
    assert (presence.answers, presence.first) == (100, 0.005)


def test_a_clean_switch_with_one_drained_request() -> None:
    drained = Sighting(release="a", slot="blue", started=0.9, ended=2.5)
    (switch,) = switches([*seen("a@blue", start=0, count=100), drained, *seen("b@green", start=1, count=100)])
    assert (switch.before, switch.after, switch.late, switch.drained, switch.settled) == ("a@blue", "b@green", 0, 1, 0)
    assert switch.at == pytest.approx(1.005)


def test_late_answers_of_the_old_side_are_counted() -> None:
    late = seen("a@blue", start=1.1, count=3, gap=0.1)
    (switch,) = switches([*seen("a@blue", start=0, count=100), *seen("b@green", start=1, count=100), *late])
    assert (switch.late, switch.drained) == (3, 0)
    assert switch.settled == pytest.approx(0.3)


def test_back_again_is_a_second_switch_and_not_a_late_answer() -> None:
    first, second, third = (seen(side, start=n, count=100) for n, side in enumerate(("a@blue", "b@green", "a@blue")))
    found = switches([*first, *second, *third])
    assert [(each.before, each.after, each.late) for each in found] == [
        ("a@blue", "b@green", 0),
        ("b@green", "a@blue", 0),
    ]


def test_another_configuration_of_one_release_is_a_switch_too() -> None:
    (switch,) = switches([*seen("a@blue", start=0, count=50), *seen("a@green", start=1, count=50)])
    assert (switch.before, switch.after) == ("a@blue", "a@green")


def test_latency_by_nearest_rank() -> None:
    assert latency([]) == Latency(p50=0, p95=0, p99=0, max=0)
    assert latency([n / 1000 for n in range(1, 101)]) == Latency(p50=50, p95=95, p99=99, max=100)


@pytest.mark.parametrize("counts", [(10, 9, 0, {}), (10, 9, 2, {"reset": 2}), (10, 9, 1, {})])
def test_books_that_do_not_balance_are_refused(counts: tuple[int, int, int, dict[str, int]]) -> None:
    sent, answered, failed, failures = counts
    none = Latency(p50=0, p95=0, p99=0, max=0)
    with pytest.raises(ValueError, match="do not balance"):
        Report(
            target="http://127.0.0.1",
            run="x",
            began_at="",
            seconds=1,
            stopped_by="seconds",
            sent=sent,
            answered=answered,
            failed=failed,
            latency_ms=none,
            kinds={"page": Kind(sent=sent, answered=answered, failed=failed, latency_ms=none)},
            failures=failures,
            examples=(),
            failed_spans=(),
            releases=(),
            switches=(),
            closed_sockets={},
            posts=Posts(answered=(), doubtful=()),
        )


@pytest.mark.parametrize(
    "wrong",
    [
        {"clients": 0},
        {"rate": 0},
        {"rate": 1e9},
        {"max_seconds": 1e9},
        {"max_requests": 10**9},
        {"seconds": -1},
        {"websockets": -1},
        {"socket_echoes": 0},
        {"mix": Mix(page=0)},
    ],
)
def test_options_beyond_the_bounds_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(OptionsError):
        Options(url="http://127.0.0.1", **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url", ["https://192.0.2.1", "http://8.8.8.8:80", "ftp://127.0.0.1", "127.0.0.1", "http://[2001:db8::1]/"]
)
def test_targets_that_are_not_ours_are_refused(url: str) -> None:
    with pytest.raises(OptionsError):
        Options(url=url).target()


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("https://10.1.2.3", "https://demo.example"),
        ("https://172.17.0.2:8443", "https://demo.example:8443"),
        ("http://[::1]:81", "http://demo.example:81"),
    ],
)
def test_a_target_is_asked_by_its_name_and_reached_by_its_address(url: str, base: str) -> None:
    assert Options(url=url, host="demo.example").target().base == base
