# SPDX-License-Identifier: GPL-3.0-or-later
"""manage.py runs as the application's user, with nothing but the application's environment, and shows no secret."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils import _assignment, _manage, _route, _slot
from ansible_collections.slipway.webapp.plugins.module_utils._config import config_id
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._host import CLEAN_PATH
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Completed
from tests.unit.fakes import FakeClock, FakeRunner, FakeSystemd, host

OPEN = {"A": "1"}
SECRETS = {"PASSWORD": "hunter2-hunter2"}
CONFIG = config_id(app="shop", environment=OPEN, secrets=SECRETS)
LEAK = Completed(1, "said hunter2-hunter2\n", "failed: hunter2-hunter2\n")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return host(tmp_path, "r1", processes=())


def run(layout: Layout, runner: FakeRunner, *, check_mode: bool = False, **options: Any) -> dict[str, Any]:
    given = {"release": "r1", "config": "", "environment": OPEN, "secrets": SECRETS, "timeout": 9, **options}
    command, unless = given.pop("command", ["createcachetable"]), given.pop("unless", [])
    manager = _manage.manager_of(layout, runner, given)
    return _manage.manage(manager, command=command, unless=unless, check_mode=check_mode)


def test_who_and_with_what(layout: Layout) -> None:
    runner = FakeRunner({"createcachetable": Completed(0, "done\n", "")})
    result = run(layout, runner)
    assert (result["changed"], result["rc"], result["stdout"]) == (True, 0, "done\n")
    here = layout.release("r1")
    assert runner.ran == [(f"{here}/venv/bin/python", "manage.py", "createcachetable")]
    assert runner.users == ["shop"]
    assert runner.environments == [
        {
            "A": "1",
            "PASSWORD": "hunter2-hunter2",
            "MEDIA_ROOT": layout.media,
            "STATIC_ROOT": f"{here}/static",
            "SLIPWAY_RELEASE": "r1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PATH": f"{here}/venv/bin:{CLEAN_PATH}",
        }
    ]
    assert "hunter2" not in str(runner.ran)


@pytest.mark.parametrize("check_mode", [False, True])
def test_unless_says_that_there_is_nothing_to_do(layout: Layout, check_mode: bool) -> None:
    runner = FakeRunner({"--deploy": Completed(0, "", "")})
    result = run(layout, runner, unless=["check", "--deploy"], check_mode=check_mode)
    assert (result["changed"], result["actions"]) == (False, [])
    assert [command[-1] for command in runner.ran] == ["--deploy"]


def test_unless_says_that_there_is_something_to_do(layout: Layout) -> None:
    runner = FakeRunner({"--deploy": Completed(1, "", "")})
    assert run(layout, runner, unless=["check", "--deploy"])["changed"]
    assert [command[-1] for command in runner.ran] == ["--deploy", "createcachetable"]
    checked = FakeRunner({"--deploy": Completed(1, "", "")})
    assert run(layout, checked, unless=["check", "--deploy"], check_mode=True)["changed"]
    assert [command[-1] for command in checked.ran] == ["--deploy"]


def test_a_question_without_an_answer_is_not_a_yes(layout: Layout) -> None:
    runner = FakeRunner({"--deploy": Completed(124, "", "", timed_out=True)})
    with pytest.raises(SlipwayError, match="check --deploy of release r1 took longer than 9 s"):
        run(layout, runner, unless=["check", "--deploy"])


def test_a_failure_shows_its_end_and_no_secret(layout: Layout) -> None:
    with pytest.raises(SlipwayError, match=r"manage\.py createcachetable of release r1 ended with 1") as failure:
        run(layout, FakeRunner({"createcachetable": LEAK}))
    assert "failed: ********" in str(failure.value)
    assert "hunter2" not in str(failure.value) + str(failure.value.details)
    assert failure.value.details["rc"] == 1


def test_output_is_masked_and_bounded(layout: Layout) -> None:
    long = "x" * 200_000 + " hunter2-hunter2"
    result = run(layout, FakeRunner({"createcachetable": Completed(0, long, long)}))
    for stream in ("stdout", "stderr"):
        assert len(result[stream]) == _manage.LONGEST
        assert result[stream].endswith(" ********")


def test_the_live_release_and_its_configuration(layout: Layout) -> None:
    runner, systemd = FakeRunner(), FakeSystemd()
    with pytest.raises(SlipwayError, match="No release of shop is live"):
        run(layout, runner, release="", environment=None, secrets=None)
    wish = _slot.wish_of(
        layout, assignment=_assignment.Assignment("r1", CONFIG), environment=OPEN, secrets=SECRETS, processes=()
    )
    _slot.start(_slot.Doer(layout=layout, systemd=systemd, slot="green"), wish=wish)
    doer = _route.Doer(layout=layout, clock=FakeClock(), systemd=systemd)
    _route.switch(doer, weights=_route.weights_of(slot="green"))
    assert run(layout, runner, release="", environment=None, secrets=None)["release"] == "r1"
    assert runner.environments[0]["PASSWORD"] == "hunter2-hunter2"
    with pytest.raises(SlipwayError) as failure:
        run(layout, FakeRunner({"createcachetable": LEAK}), environment=None, secrets=None, config=CONFIG)
    assert "hunter2" not in str(failure.value)


def test_a_release_that_is_not_built(layout: Layout) -> None:
    runner = FakeRunner()
    assert run(layout, runner, release="r9", check_mode=True)["changed"]
    for gone in ("release.json", "venv/bin/python", "code/manage.py"):
        os.rename(f"{layout.release('r1')}/{gone}", f"{layout.release('r1')}/away")
        with pytest.raises(SlipwayError, match=gone):
            run(layout, runner)
        os.rename(f"{layout.release('r1')}/away", f"{layout.release('r1')}/{gone}")
    assert not runner.ran


def test_a_configuration_that_is_not_there(layout: Layout) -> None:
    with pytest.raises(SlipwayError, match="is not on this host"):
        run(layout, FakeRunner(), environment=None, secrets=None, config="0" * 12)
