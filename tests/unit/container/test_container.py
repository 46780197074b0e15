# SPDX-License-Identifier: GPL-3.0-or-later
"""How containers are started: limits on by default, nothing secret in what the engine shows."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils._container import (
    Container,
    Options,
    once,
    read_options,
    serving,
)
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout

IMAGE = "registry.example/shop@sha256:" + "a" * 64


def pairs(words: list[str], name: str) -> list[str]:
    return [value for word, value in itertools.pairwise(words) if word == name]


def arguments(container: Container, **options: object) -> list[str]:
    return container.arguments(Options(**options))  # type: ignore[arg-type]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout("shop", prefix=str(tmp_path))
    for path in (layout.library, layout.home, os.path.dirname(layout.slot_env("blue")), layout.run):
        os.makedirs(path)
    Path(layout.slot_env("blue")).write_text('SECRET_KEY="planted"\n')
    return layout


def web(layout: Layout) -> Container:
    return serving(
        layout, process="web", slot="blue", image=IMAGE, owner=(7, 8), words=["python", "-m", "x"], given={"A": "1"}
    )


def test_limits_are_on_by_default(layout: Layout) -> None:
    words = arguments(web(layout))
    assert pairs(words, "--cap-drop") == ["ALL"]
    assert pairs(words, "--security-opt") == ["no-new-privileges"]
    assert pairs(words, "--memory") == ["1g"]
    assert pairs(words, "--pids-limit") == ["512"]
    assert len(pairs(words, "--cpus")) == 1
    assert "--read-only" in words
    assert pairs(words, "--restart") == ["no"]
    assert pairs(words, "--user") == ["7:8"]


def test_limits_can_be_relaxed(layout: Layout) -> None:
    words = arguments(
        web(layout),
        memory="",
        cpus=0.0,
        pids=0,
        read_only=False,
        capabilities=("NET_BIND_SERVICE",),
        no_new_privileges=False,
        mounts=("/a:/a",),
    )
    assert not {"--memory", "--cpus", "--pids-limit", "--read-only"} & set(words)
    assert pairs(words, "--cap-add") == ["NET_BIND_SERVICE"]
    assert pairs(words, "--security-opt") == ["no-new-privileges=false"]
    assert "/a:/a" in pairs(words, "--volume")


@pytest.mark.parametrize(("driver", "bounds"), [("journald", []), ("local", ["50m", "5"]), ("json-file", ["50m", "5"])])
def test_what_is_printed_is_bounded(layout: Layout, driver: str, bounds: list[str]) -> None:
    words = arguments(web(layout), log_driver=driver)
    options = dict(option.split("=") for option in pairs(words, "--log-opt"))
    assert pairs(words, "--log-driver") == [driver]
    assert options.pop("tag") == "shop-web-blue"
    assert list(options.values()) == bounds


def test_no_more_cores_than_there_are(layout: Layout) -> None:
    (cores,) = pairs(arguments(web(layout), cpus=1000.0), "--cpus")
    assert float(cores) == os.cpu_count()


def test_what_the_engine_shows_of_a_slot_holds_no_secret(layout: Layout) -> None:
    words = arguments(web(layout))
    assert "planted" not in " ".join(words)
    assert words[-5:] == ["launch", layout.slot_env("blue"), "python", "-m", "x"]
    assert "A=1" in pairs(words, "--env")
    assert f"{layout.slot_env('blue')}:{layout.slot_env('blue')}:ro" in pairs(words, "--volume")


def test_what_is_not_there_is_not_mounted(layout: Layout) -> None:
    assert not [mount for mount in pairs(arguments(web(layout)), "--volume") if "gunicorn" in mount]


def test_no_container_pulls_its_image_or_has_users_of_its_own(layout: Layout) -> None:
    for container in (web(layout), one_command(layout)):
        words = arguments(container)
        assert pairs(words, "--pull") == ["never"]
        assert pairs(words, "--userns") == ["host"]


def one_command(layout: Layout) -> Container:
    return once(
        layout,
        image=IMAGE,
        name="shop-once",
        owner=(7, 8),
        words=["python", "x"],
        environment={"KEY": "planted"},
        seconds=6.5,
    )


def test_one_command_inherits_its_variables(layout: Layout) -> None:
    words = arguments(one_command(layout))
    assert pairs(words, "--env") == ["KEY"]
    assert "planted" not in " ".join(words)
    assert words[-2:] == ["python", "x"]


def test_one_command_has_a_deadline_that_needs_no_client(layout: Layout) -> None:
    words = arguments(one_command(layout))
    assert words[-7:] == ["python", IMAGE, layout.container_program, "once", "37", "python", "x"]


def test_options_are_read_from_the_host(layout: Layout) -> None:
    os.makedirs(layout.etc, exist_ok=True)
    with pytest.raises(SlipwayError, match="not ready for containers"):
        read_options(layout)
    Path(layout.container_options).write_text(json.dumps({"memory": "2g", "mounts": ["/a:/a"], "unknown": 1}))
    assert read_options(layout) == Options(memory="2g", mounts=("/a:/a",))
