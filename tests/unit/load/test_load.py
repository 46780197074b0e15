# SPDX-License-Identifier: GPL-3.0-or-later
"""The generator against a site that misbehaves to order: the report must say exactly what the site did."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.load import LoadGenerator, Mix, Report
from tests.load.__main__ import main, parse
from tests.unit.load.site import Site

FAST: dict[str, Any] = {"clients": 8, "rate": 400.0, "slow_seconds": (0.01, 0.05), "upload_bytes": (10, 2000)}


def load(site: Site, **options: Any) -> Report:
    """A short run that ends by its number of requests."""
    given = {**FAST, "max_requests": 200, "timeout": 2.0, **options}
    with LoadGenerator(url=site.url, **given) as generator:
        generator._thread.join(30)
    return generator.report


def each(number: int, deed: str, *kinds: str) -> Callable[[str, int], str]:
    """Every so many requests of these kinds go wrong in one way."""
    return lambda kind, count: deed if kind in kinds and count % number == 0 else "well"


def test_a_good_site_fails_nothing() -> None:
    with Site() as site:
        report = load(site, max_requests=400, verify_posts=True)
    assert (report.sent, report.answered, report.failed) == (400, 400, 0)
    assert report.good
    assert report.stopped_by == "max-requests"
    assert sum(site.hits.values()) == 400
    sent = {kind: counts.sent for kind, counts in report.kinds.items()}
    assert sent["note"] + sent["upload"] == site.hits["note"] == len(report.posts.answered)
    assert sent["page"] == site.hits["page"]
    assert sent["asset"] == site.hits["asset"]
    assert sent["slow"] == site.hits["slow"]
    assert min(sent.values()) > 0
    assert report.posts.lost == ()
    assert report.posts.doubled == ()
    assert report.posts.doubtful == ()
    assert sorted(report.posts.answered) == sorted(site.tokens)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("page=40,asset=60", Mix(page=40, asset=60, note=0, slow=0, upload=0)),
        ("page=1", Mix(page=1, asset=0, note=0, slow=0, upload=0)),
    ],
)
def test_a_mix_of_the_command_line(text: str, found: Mix) -> None:
    assert parse(["--url", "http://127.0.0.1", "--mix", text]).mix == found


@pytest.mark.parametrize("text", ["pages=1", "page", "page=-1", ""])
def test_a_mix_that_cannot_be_meant(text: str) -> None:
    with pytest.raises(SystemExit):
        parse(["--url", "http://127.0.0.1", "--mix", text])


def test_clients_are_distinct_and_half_of_them_keep_their_connection() -> None:
    with Site() as site:
        load(site, max_requests=160)
    assert len(site.agents) == 8
    for agent, connections in site.connections.items():
        number = int(agent.rstrip(")")[-3:])
        assert len(connections) == (1 if number % 2 == 0 else site.agents[agent])


@pytest.mark.parametrize(
    ("deed", "kind", "failure"),
    [
        ("500", "page", "status-500"),
        ("502", "note", "status-502"),
        ("404", "asset", "status-404"),
        ("302", "page", "status-302"),
        ("reset", "page", "reset"),
        ("reset", "note", "reset"),
        ("abort", "slow", "reset"),
        ("cut", "asset", "cut-short"),
        ("hang", "slow", "timeout"),
        ("lie", "note", "wrong-body"),
        ("lie", "slow", "wrong-body"),
        ("lie", "page", "wrong-body"),
    ],
)
def test_each_failure_is_counted_exactly_once_and_never_retried(deed: str, kind: str, failure: str) -> None:
    with Site(plan=each(4, deed, kind)) as site:
        report = load(site, max_requests=150, timeout=0.5 if deed == "hang" else 3.0)
    planted = site.did[kind, deed]
    assert planted > 0
    assert report.failures == {failure: planted}
    assert (report.sent, report.answered, report.failed) == (150, 150 - planted, planted)
    # What the site received is what was sent: a client that retries quietly would show here.
    assert sum(site.hits.values()) == report.sent
    assert len(report.examples) == min(20, planted)
    assert report.examples[0].failure == failure
    assert not report.good


def test_many_failures_at_once_add_up() -> None:
    deeds = {"page": "500", "note": "reset", "asset": "cut", "slow": "hang"}
    with Site(plan=lambda kind, count: deeds[kind] if count % 5 == 0 else "well") as site:
        report = load(site, max_requests=300, timeout=2.0)
    planted = {kind: site.did[kind, deed] for kind, deed in deeds.items()}
    assert report.failures == {
        "status-500": planted["page"],
        "reset": planted["note"],
        "cut-short": planted["asset"],
        "timeout": planted["slow"],
    }
    assert report.sent == 300 == report.answered + report.failed == sum(site.hits.values())


def test_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with LoadGenerator(url=url, clients=3, rate=200.0, max_requests=20) as generator:
            generator._thread.join(10)
    report = generator.report
    assert (report.sent, report.answered, report.failures) == (20, 0, {"connect": 20})


def test_what_is_in_flight_at_the_end_is_awaited() -> None:
    mix = Mix(page=1, asset=0, note=0, slow=1000, upload=0)
    with (
        Site() as site,
        LoadGenerator(url=site.url, clients=6, rate=200.0, mix=mix, slow_seconds=(0.6, 0.6)) as generator,
    ):
        generator.wait_for(answers=6)
        while site.hits["slow"] < 6:
            time.sleep(0.01)
    report = generator.report
    assert report.stopped_by == "caller"
    assert report.kinds["slow"].sent == report.kinds["slow"].answered == site.hits["slow"] >= 6
    assert report.seconds > 0.6
    assert report.kinds["slow"].latency_ms.p50 < 300, "the time that was asked for is no latency"


def test_a_switch_is_seen_and_old_files_are_asked_for_after_it() -> None:
    with Site() as site, LoadGenerator(url=site.url, **FAST) as generator:
        generator.wait_for(answers=150)
        site.release, site.slot = "two", "green"
        generator.wait_for(answers=150)
        site.release, site.slot = "one", "blue"
        generator.wait_for(answers=150)
    report = generator.report
    assert report.failed == 0
    assert [(each.release, each.slot) for each in report.releases] == [("one", "blue"), ("two", "green")]
    assert [(each.before, each.after) for each in report.switches] == [
        ("one@blue", "two@green"),
        ("two@green", "one@blue"),
    ]
    assert all(each.late == 0 for each in report.switches)
    first, second = report.releases
    assert first.first < second.first < second.last < first.last


def test_lost_and_doubled_notes_are_named() -> None:
    with Site() as site, LoadGenerator(url=site.url, verify_posts=True, **FAST) as generator:
        generator.wait_for(answers=200)
        lost, doubled = site.tokens.pop(0), site.tokens[0]
        site.tokens.append(doubled)
    report = generator.report
    assert report.failed == 0
    assert not report.good
    assert (report.posts.lost, report.posts.doubled) == ((lost,), (doubled,))


def test_a_site_that_is_gone_at_the_end_keeps_the_counts() -> None:
    with Site() as site, LoadGenerator(url=site.url, verify_posts=True, **FAST) as generator:
        generator.wait_for(answers=100)
        site.listing_status = 503
    report = generator.report
    assert report.failed == 0
    assert not report.good
    assert "503" in report.posts.unverified
    assert any(line.startswith("notes: could not be verified") for line in report.lines())


def test_sockets_echo_and_a_polite_close_between_two_texts_is_no_failure() -> None:
    with Site(plan=each(3, "close-after", "echo")) as site:
        report = load(site, clients=1, websockets=4, rate=20.0, max_requests=60)
    assert report.failed == 0
    assert report.kinds["socket-echo"].sent == site.hits["echo"] > 0
    assert set(report.closed_sockets) == {"1012"}
    assert 0 < report.closed_sockets["1012"] <= site.did["echo", "close-after"]


@pytest.mark.parametrize(("echoes", "most"), [(1, 60), (1000, 4)])
def test_who_leaves_a_socket_by_himself_and_who_stays(echoes: int, most: int) -> None:
    with Site() as site:
        report = load(site, clients=1, websockets=4, rate=20.0, max_requests=60, socket_echoes=echoes)
    assert report.failed == 0
    assert 4 <= report.kinds["socket-open"].sent <= most
    assert (report.kinds["socket-open"].sent > 4) == (echoes == 1)
    assert report.closed_sockets == {}


@pytest.mark.parametrize(("deed", "failure"), [("close-instead", "socket-closed"), ("lie", "wrong-body")])
def test_sockets_that_do_not_echo_are_failures(deed: str, failure: str) -> None:
    with Site(plan=each(2, deed, "echo")) as site:
        report = load(site, clients=1, websockets=4, rate=20.0, max_requests=60)
    assert report.failures == {failure: site.did["echo", deed]}
    assert report.kinds["socket-echo"].sent == site.hits["echo"]


def test_the_rate_is_kept() -> None:
    with Site() as site:
        report = load(site, rate=50.0, max_requests=1000, seconds=2.0)
    assert report.stopped_by == "seconds"
    assert 60 <= report.sent <= 101


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    end, ready, out = tmp_path / "end", tmp_path / "ready", tmp_path / "report.json"
    common = ["--clients", "4", "--rate", "100", "--report", str(out)]
    with Site() as site:
        code = main(["--url", site.url, "--seconds", "1", "--verify-posts", "--ready-file", str(ready), *common])
        told = capsys.readouterr().out.splitlines()
        data = json.loads(out.read_text())
        assert code == 0
        assert ready.exists()
        assert told[-1] == f"load: sent={data['sent']} answered={data['sent']} failed=0"
        site.plan = each(3, "503", "page")
        assert main(["--url", site.url, "--seconds", "1", *common]) == 1
        assert "failed=0" not in capsys.readouterr().out.splitlines()[-1]
        end.touch()
        began = time.monotonic()
        site.plan = each(10**9, "503")
        assert main(["--url", site.url, "--until-file", str(end), *common]) == int(
            json.loads(out.read_text())["sent"] == 0
        )
        assert time.monotonic() - began < 5
        assert json.loads(out.read_text())["stopped_by"] == "file"


def test_the_command_line_refuses_the_world(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--url", "https://192.0.2.1", "--seconds", "1"]) == 2
    assert "neither loopback nor private" in capsys.readouterr().err
