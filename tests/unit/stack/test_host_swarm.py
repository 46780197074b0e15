# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine of this host as a manager of a swarm: what it says, and what is said without the package that asks it."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import docker.errors
import pytest

from ansible_collections.slipway.webapp.plugins.module_utils import _engine, _swarm
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._swarm import HostSwarm


@pytest.mark.parametrize(
    "ask",
    [
        lambda swarm: swarm.services("shop"),
        lambda swarm: swarm.nodes(),
        lambda swarm: swarm.log("shop-web", "t1"),
        lambda swarm: swarm.forget_secret("s1"),
    ],
    ids=["services", "nodes", "log", "forget"],
)
def test_without_the_package_it_is_named(monkeypatch: pytest.MonkeyPatch, ask: Callable[[HostSwarm], object]) -> None:
    monkeypatch.setattr(_engine, "PROBLEM", "No module named 'docker'")
    monkeypatch.delattr(_swarm, "docker")
    with pytest.raises(SlipwayError, match="package docker is not on this host") as caught:
        ask(HostSwarm())
    assert "provision.yml" in caught.value.next_step


def test_a_node_and_its_cores() -> None:
    said = {
        "ID": "n1",
        "Version": {"Index": 7},
        "Status": {"State": "ready"},
        "Spec": {"Role": "worker", "Labels": {}},
        "Description": {"Resources": {"NanoCPUs": 2_000_000_000, "MemoryBytes": 1 << 30}},
    }
    swarm = HostSwarm()
    swarm._found = SimpleNamespace(nodes=lambda: [said, {**said, "ID": "n2", "Description": {}}])
    assert [(node.id, node.cores) for node in swarm.nodes()] == [("n1", 2.0), ("n2", 0.0)]


def test_what_the_engine_says_is_told() -> None:
    def refuse() -> object:
        raise docker.errors.APIError("boom", explanation="This node is not a swarm manager.")

    swarm = HostSwarm()
    swarm._found = SimpleNamespace(nodes=refuse)
    with pytest.raises(SlipwayError, match="nodes cannot be seen") as caught:
        swarm.nodes()
    assert caught.value.expected == "a manager of the swarm"
