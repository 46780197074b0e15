# SPDX-License-Identifier: GPL-3.0-or-later
"""What is taken from Docker's disk, and what never is."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PROGRAM = Path(__file__).parents[3] / "roles" / "docker_host" / "files" / "slipway_docker_clean.py"
DAY = 86400
NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z
OLD, YOUNG = "2026-12-01T00:00:00.123456789Z", "2027-01-14T00:00:00Z"
ID = "sha256:" + "a" * 64


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("slipway_docker_clean", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


clean = load()


def image(**said: Any) -> dict[str, Any]:
    return {"Id": ID, "RepoTags": [], "RepoDigests": [], "Created": OLD, "Config": {"Labels": None}, **said}


@pytest.mark.parametrize(
    ("said", "goes"),
    [
        ({}, True),
        ({"RepoTags": ["<none>:<none>"], "RepoDigests": ["<none>@<none>"]}, True),
        ({"Config": None}, True),
        ({"Config": {"Labels": {"maintainer": "x"}}}, True),
        ({"Metadata": {"LastTagTime": "0001-01-01T00:00:00Z"}}, True),
        ({"Metadata": {"LastTagTime": OLD}}, True),
        # A name, a digest, a label of ours, youth: each of them keeps an image.
        ({"RepoTags": ["app:1"]}, False),
        ({"RepoDigests": ["r.example:5000/app@sha256:" + "b" * 64]}, False),
        ({"Config": {"Labels": {"slipway.release": "1"}}}, False),
        ({"Created": YOUNG}, False),
        ({"Metadata": {"LastTagTime": YOUNG}}, False),
        ({"Metadata": {"LastTagTime": "2027-01-14T09:00:00.5+01:00"}}, False),
    ],
)
def test_removable(said: dict[str, Any], goes: bool) -> None:
    assert clean.removable([image(**said)], used=set(), now=NOW, days=14) == ([ID] if goes else [])


def test_an_image_of_a_container_stays() -> None:
    assert clean.removable([image()], used={ID}, now=NOW, days=14) == []


def test_days_are_days() -> None:
    made = image(Created="2027-01-01T08:00:00Z")
    assert clean.removable([made], used=set(), now=NOW + 1, days=14) == [ID]
    assert clean.removable([made], used=set(), now=NOW - 1, days=14) == []


@pytest.mark.parametrize("moment", ["", "yesterday", "0001-01-01T00:00:00Z"])
def test_a_time_that_says_nothing(moment: str) -> None:
    assert clean.seconds(moment) == 0.0


class Engine:
    """Answers as docker does; keeps what it was asked."""

    def __init__(self, images: dict[str, dict[str, Any]], containers: dict[str, str], *, broken: str = "") -> None:
        self.images, self.containers, self.broken = images, containers, broken
        self.asked: list[str] = []

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        line = " ".join(words)
        self.asked.append(line)
        if self.broken and line.startswith(self.broken):
            return subprocess.CompletedProcess(words, 1, "", "no such thing\n")
        return subprocess.CompletedProcess(words, 0, self.answer(words), "")

    def answer(self, words: tuple[str, ...]) -> str:
        if words[0] == "ps":
            return "\n".join(self.containers)
        if words[:2] == ("container", "inspect"):
            return json.dumps([{"Image": self.containers[words[2]]}])
        if words[:2] == ("image", "ls"):
            return "\n".join([*self.images, *self.images])
        if words[:2] == ("image", "inspect"):
            return json.dumps([self.images[words[2]]])
        return "Total reclaimed space: 0B"


def test_it_removes_by_id_without_force_and_prunes_only_the_cache() -> None:
    engine = Engine(
        {"one": image(Id="one"), "two": image(Id="two"), "three": image(Id="three", RepoTags=["a:1"])}, {"c": "two"}
    )
    lines = list(clean.clean(engine, now=NOW, days=7))
    assert [line for line in engine.asked if "rm" in line.split() or "prune" in line] == [
        "image rm one",
        "builder prune --force --filter until=168h",
    ]
    assert lines[0] == "image one: removed"


def test_what_the_engine_refuses_is_kept_and_said() -> None:
    engine = Engine({"one": image(Id="one")}, {}, broken="image rm")
    assert next(clean.clean(engine, now=NOW, days=7)) == "image one: kept, no such thing"


def test_an_image_that_has_gone_meanwhile_is_nothing() -> None:
    engine = Engine({"one": image(Id="one")}, {}, broken="image inspect")
    list(clean.clean(engine, now=NOW, days=7))
    assert not [line for line in engine.asked if line.startswith("image rm")]


@pytest.mark.parametrize("broken", ["ps", "image ls", "builder prune"])
def test_an_engine_that_does_not_answer_is_a_failure(broken: str) -> None:
    with pytest.raises(RuntimeError, match="no such thing"):
        list(clean.clean(Engine({}, {}, broken=broken), now=NOW, days=7))
