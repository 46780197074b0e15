# SPDX-License-Identifier: GPL-3.0-or-later
"""Queries to a server that speaks Prometheus' API, and what comes of everything that it may say or not say."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from ansible_collections.slipway.webapp.plugins.action.canary_analysis import readings_of
from ansible_collections.slipway.webapp.plugins.module_utils._canary import Reading


def success(kind: str, result: Any) -> tuple[int, Any]:
    return 200, {"status": "success", "data": {"resultType": kind, "result": result}}


ANSWERS: dict[str, tuple[int, Any]] = {
    "vector(3)": success("vector", [{"metric": {}, "value": [1800000000.1, "3"]}]),
    'sum by (queue) (length{queue!=""})': success(
        "vector",
        [{"metric": {"queue": name}, "value": [1800000000, value]} for name, value in (("a", "7"), ("b", "1"))],
    ),
    "scalar(vector(5))": success("scalar", [1800000000, "5"]),
    "absent": success("vector", []),
    "0/0": success("vector", [{"metric": {}, "value": [1800000000, "NaN"]}]),
    "1/0": success("vector", [{"metric": {}, "value": [1800000000, "+Inf"]}]),
    "up[5m]": success("matrix", []),
    "up{": (400, {"status": "error", "errorType": "bad_data", "error": "parse error"}),
    "proxy": (200, "<html>"),
}


class Server(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        assert parts.path == "/prometheus/api/v1/query"
        status, body = ANSWERS[parse_qs(parts.query)["query"][0]]
        self.send_response(status)
        self.end_headers()
        self.wfile.write((body if isinstance(body, str) else json.dumps(body)).encode())

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/prometheus/"
    server.shutdown()
    thread.join()
    server.server_close()


def ask(url: str, query: str, **bounds: float) -> Reading:
    (found,) = readings_of(url, [{"name": "q", "query": query, **bounds}])
    return found


@pytest.mark.parametrize(
    ("query", "bounds", "said", "failure", "gap"),
    [
        ("vector(3)", {"max": 3}, "q: 3", "", ""),
        ("vector(3)", {"max": 2.5}, "", "q: 3 is above 2.5", ""),
        ("vector(3)", {"min": 3.5}, "", "q: 3 is below 3.5", ""),
        ("scalar(vector(5))", {"min": 1, "max": 9}, "q: 5", "", ""),
        ('sum by (queue) (length{queue!=""})', {"max": 9}, "q: 7, 1", "", ""),
        # Each of several series must be good.
        ('sum by (queue) (length{queue!=""})', {"max": 5}, "", "q: 7 is above 5", ""),
        ('sum by (queue) (length{queue!=""})', {"min": 5}, "", "q: 1 is below 5", ""),
        ("1/0", {"max": 5}, "", "q: inf is above 5", ""),
        ("absent", {"max": 5}, "", "", "q: no data"),
        ("0/0", {"max": 5}, "", "", "q: no data"),
        ("up[5m]", {"max": 5}, "", "", "q: a result of type matrix, not vector or scalar"),
        ("up{", {"max": 5}, "", "", "q: bad_data: parse error"),
        ("proxy", {"max": 5}, "", "", "q: status 200 and no answer of Prometheus"),
    ],
)
def test_answers(url: str, query: str, bounds: dict[str, float], said: str, failure: str, gap: str) -> None:
    found = ask(url, query, **bounds)
    shown = [text.removeprefix("Prometheus, ") for text in (found.said, found.failure, found.gap)]
    assert shown == [said, failure, gap]


@pytest.mark.parametrize(
    ("address", "gap"),
    [
        ("http://127.0.0.1:1", "Prometheus, q: nobody listens there (connection refused)"),
        ("http://prometheus.invalid", "Prometheus, q: the name prometheus.invalid cannot be resolved"),
        ("gopher://x", "Prometheus: That is not a URL that can be asked: gopher://x"),
    ],
)
def test_one_that_cannot_be_asked(address: str, gap: str) -> None:
    assert ask(address, "vector(3)", max=5).gap.startswith(gap)


def test_without_an_address_nobody_is_asked() -> None:
    assert readings_of("", [{"name": "q", "query": "vector(3)", "max": 1}]) == []
