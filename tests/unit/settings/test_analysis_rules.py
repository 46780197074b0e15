# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of the judgement on real traffic: whom queries go to, and what they must have."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils._settings import Setting, check_type
from ansible_collections.slipway.webapp.plugins.module_utils._settings_rules import check_rules

URL = "http://prometheus.internal:9090"
QUERY = {"name": "queue", "query": "celery_queue_length", "max": 500}


def say(url: str, *queries: Any) -> list[str]:
    values = {"webapp_prometheus_url": url, "webapp_prometheus_queries": list(queries)}
    return [f"{problem.name}: {problem.found}" for problem in check_rules(values, host="web1")]


@pytest.mark.parametrize("url", ["", URL, "https://example.org/prometheus/"])
def test_good_ones(url: str) -> None:
    assert say(url, *([QUERY, {"name": "up", "query": "up", "min": 1, "max": 1.5}] if url else [])) == []


@pytest.mark.parametrize(
    ("url", "queries", "said"),
    [
        ("", [QUERY], "webapp_prometheus_url: nothing"),
        (URL, [], "webapp_prometheus_queries: no query"),
        ("prometheus:9090", [QUERY], "webapp_prometheus_url: 'prometheus:9090'"),
        ("http://me:secret@host", [QUERY], "webapp_prometheus_url: a URL with a password"),
        (URL, [{**QUERY, "name": ""}], "webapp_prometheus_queries[0].name: ''"),
        (URL, [QUERY, {"name": "x", "max": 1}], "webapp_prometheus_queries[1].query: nothing"),
        (URL, [{"name": "x", "query": "x"}], "webapp_prometheus_queries[0]: no bound"),
        (URL, [{**QUERY, "max": "500"}], "webapp_prometheus_queries[0].max: '500'"),
        (URL, [{**QUERY, "max": True}], "webapp_prometheus_queries[0].max: true"),
        (URL, [{**QUERY, "maximum": 1}], "webapp_prometheus_queries[0].maximum: a name that does not exist"),
    ],
)
def test_refused(url: str, queries: list[Any], said: str) -> None:
    assert say(url, *queries) == [said]


def test_an_unknown_policy() -> None:
    setting = Setting("webapp_analysis_inconclusive", "str", choices=("probe", "wait", "stop", "pass"))
    _value, problems = check_type(setting, "prob", host="web1")
    assert [problem.expected for problem in problems] == ["one of probe, wait, stop, pass; did you mean probe?"]
