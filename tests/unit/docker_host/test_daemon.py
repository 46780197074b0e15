# SPDX-License-Identifier: GPL-3.0-or-later
"""daemon.json: merged, never lost; and what a command line of the engine says."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils import _docker_daemon as daemon
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError

Document = dict[str, Any]
NOFILE = {"Name": "nofile", "Soft": 65536, "Hard": 65536}

# What is there, what we want, what we wanted the last time, what comes of it.
MERGES: list[tuple[Document, Document, Document, Document]] = [
    ({}, {}, {}, {}),
    ({}, {"icc": False}, {}, {"icc": False}),
    ({"dns": ["192.0.2.1"]}, {"icc": False}, {}, {"dns": ["192.0.2.1"], "icc": False}),
    ({"icc": True, "dns": []}, {"icc": False}, {}, {"icc": False, "dns": []}),
    # Objects key by key.
    (
        {"default-ulimits": {"core": {"Name": "core", "Soft": 0, "Hard": 0}}},
        {"default-ulimits": {"nofile": NOFILE}},
        {},
        {"default-ulimits": {"core": {"Name": "core", "Soft": 0, "Hard": 0}, "nofile": NOFILE}},
    ),
    ({"features": {"buildkit": True}}, {"features": {"cdi": True}}, {}, {"features": {"buildkit": True, "cdi": True}}),
    # Lists element by element, in the order that was there.
    ({"labels": ["a=1"]}, {"labels": ["b=2"]}, {}, {"labels": ["a=1", "b=2"]}),
    ({"labels": ["b=2", "a=1"]}, {"labels": ["b=2"]}, {}, {"labels": ["b=2", "a=1"]}),
    # What we no longer want goes, and only that.
    ({"icc": False, "dns": []}, {}, {"icc": False}, {"dns": []}),
    ({"registry-mirrors": ["ours", "theirs"]}, {}, {"registry-mirrors": ["ours"]}, {"registry-mirrors": ["theirs"]}),
    ({"registry-mirrors": ["ours"]}, {}, {"registry-mirrors": ["ours"]}, {}),
    (
        {"registry-mirrors": ["old", "theirs"]},
        {"registry-mirrors": ["new"]},
        {"registry-mirrors": ["old"]},
        {"registry-mirrors": ["theirs", "new"]},
    ),
    (
        {"log-opts": {"max-size": "50m", "tag": "t"}},
        {"log-driver": "journald"},
        {"log-opts": {"max-size": "50m"}},
        {"log-opts": {"tag": "t"}, "log-driver": "journald"},
    ),
    # Somebody has changed it since: then it is theirs.
    ({"icc": True}, {}, {"icc": False}, {"icc": True}),
    ({"log-opts": {"max-size": "9m"}}, {}, {"log-opts": {"max-size": "50m"}}, {"log-opts": {"max-size": "9m"}}),
    # Of another kind than ours.
    ({"log-opts": None}, {"log-opts": {"tag": "t"}}, {}, {"log-opts": {"tag": "t"}}),
]


@pytest.mark.parametrize(("existing", "wish", "owned", "result"), MERGES)
def test_merged(existing: Document, wish: Document, owned: Document, result: Document) -> None:
    merged = daemon.merged(existing, wish, owned)
    assert merged == result
    assert daemon.merged(merged, wish, wish) == merged


@pytest.mark.parametrize(("existing", "wish", "owned", "result"), MERGES)
def test_no_key_of_others_is_lost(existing: Document, wish: Document, owned: Document, result: Document) -> None:
    assert {key: value for key, value in existing.items() if key not in wish | owned}.items() <= result.items()


@pytest.mark.parametrize("text", [None, "", " \n"])
def test_no_document_is_an_empty_one(text: str | None) -> None:
    assert daemon.parsed(text) == {}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"icc": false,}', "no JSON"),
        ("icc: false\n", "no JSON"),
        ('# comment\n{"icc": false}', "no JSON"),
        ('["icc"]', "a list"),
        ("null", "a NoneType"),
    ],
)
def test_what_cannot_be_merged_is_refused_by_name(text: str, found: str) -> None:
    with pytest.raises(SlipwayError) as error:
        daemon.parsed(text)
    assert "/etc/docker/daemon.json" in str(error.value)
    assert found in error.value.found
    assert "mv /etc/docker/daemon.json" in error.value.next_step


def test_a_document_keeps_its_order_and_comes_back() -> None:
    document = {"zeta": 1, "alpha": {"ü": [1]}}
    assert list(daemon.parsed(daemon.rendered(document))) == ["zeta", "alpha"]
    assert daemon.parsed(daemon.rendered(document)) == document


@pytest.mark.parametrize(
    ("line", "flags"),
    [
        ("-H fd:// --containerd=/run/c.sock", [("hosts", "fd://"), ("containerd", "/run/c.sock")]),
        ("--host tcp://0.0.0.0:2375 -D", [("hosts", "tcp://0.0.0.0:2375"), ("debug", "")]),
        ("-Htcp://0.0.0.0:2375", [("hosts", "tcp://0.0.0.0:2375")]),
        ("-H=tcp://0.0.0.0:2375", [("hosts", "tcp://0.0.0.0:2375")]),
        ("--icc=false --live-restore --dns 192.0.2.1", [("icc", "false"), ("live-restore", ""), ("dns", "192.0.2.1")]),
        ("--log-opt max-size=1m --label a=b", [("log-opts", "max-size=1m"), ("labels", "a=b")]),
        ("--debug --icc", [("debug", ""), ("icc", "")]),
    ],
)
def test_flags(line: str, flags: list[tuple[str, str]]) -> None:
    assert list(daemon.flags(line.split())) == flags


def test_what_is_in_two_places_keeps_an_engine_from_starting() -> None:
    words = ["-H", "fd://", "--log-driver=syslog", "--dns", "192.0.2.1"]
    assert daemon.conflicts(words, {"log-driver": "journald", "icc": False}) == ["log-driver"]
    assert daemon.conflicts(words, {"hosts": ["unix:///run/docker.sock"], "dns": []}) == ["dns", "hosts"]
    assert daemon.conflicts(words, {"icc": False}) == []


@pytest.mark.parametrize(
    ("words", "document", "listens", "count"),
    [
        ("-H fd://", {}, ["/run/docker.sock"], 0),
        ("-H unix:///run/docker.sock", {"hosts": ["unix:///run/other.sock"]}, [], 0),
        ("-H fd:// -H tcp://127.0.0.1:2375", {}, [], 1),
        ("--host=0.0.0.0:2375", {}, [], 1),
        ("", {"hosts": ["tcp://0.0.0.0:2376", "fd://"]}, [], 1),
        ("", {"hosts": ["0.0.0.0"]}, [], 1),
        ("-H fd://", {}, ["/run/docker.sock", "[::]:2375"], 1),
    ],
)
def test_an_engine_on_the_network_is_seen(words: str, document: Document, listens: list[str], count: int) -> None:
    assert len(daemon.exposed(words.split(), document, listens)) == count


@pytest.mark.parametrize(
    ("driver", "options", "foreign"),
    [
        ("journald", {"tag": "t"}, []),
        ("journald", {"max-size": "1m", "max-file": "2"}, ["max-file", "max-size"]),
        ("local", {"max-size": "1m"}, []),
        ("json-file", {"gelf-address": "x"}, ["gelf-address"]),
        ("gelf", {"gelf-address": "x"}, []),
    ],
)
def test_options_that_a_log_driver_does_not_know(driver: str, options: Document, foreign: list[str]) -> None:
    assert daemon.foreign_log_opts({"log-driver": driver, "log-opts": options}) == foreign
