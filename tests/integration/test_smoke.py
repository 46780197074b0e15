# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked before and after the traffic moves: the plan, the approval, and smoke tests at the public address."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from junitparser import JUnitXml

from tests.integration.controller import ROOT
from tests.integration.site import Site
from tests.integration.test_revert import as_before, deploys
from tests.terminal import Terminal

TOKEN = "tok-0123456789abcdef"
CHECKS: list[dict[str, Any]] = [
    {"name": "home", "path": "/", "text": "<html"},
    {"name": "health", "path": "/health", "json": {"status": "ok", "database": "ok"}},
    {"name": "notes", "path": "/notes?token=none", "headers": {"Accept": "application/json", "X-Token": TOKEN}},
]
# A smoke test of the operator's own, which the release does not pass.
BASKET = """#!/bin/sh
echo "$SMOKE_RELEASE keeps no basket" >&2
exit 3
"""


def results(path: Path) -> dict[str, list[str]]:
    """By name, what the report says is not well."""
    (suite,) = JUnitXml.fromfile(str(path))
    return {case.name: [type(one).__name__ for one in case.result] for case in suite}


def planned(site: Site, **settings: Any) -> dict[str, Any]:
    """What plan.yml says to programs: one JSON document on its standard output, and nothing else there."""
    story = {"ANSIBLE_STDOUT_CALLBACK": "slipway.webapp.story"}
    program = dataclasses.replace(site.controller, settings=story, errors=subprocess.DEVNULL)
    run = site.play("plan", controller=program, format="json", **settings).ended(0)
    found: dict[str, Any] = json.loads(run.output)
    return found


def test_smoke_tests_of_the_live_release(board: Site, tmp_path: Path, tell: Callable[[str], None]) -> None:
    before, report = board.host.files(board.app), tmp_path / "smoke.xml"
    command = ["sh", "-c", f'echo "$SMOKE_URL $SMOKE_RELEASE $SMOKE_ADDRESS" >{tmp_path}/said']
    settings: dict[str, Any] = {
        "webapp_smoke_checks": CHECKS,
        "webapp_smoke_junit": str(report),
        "webapp_smoke_command": command,
    }
    run = board.play("smoke", "-vvv", **settings).ended(0)
    assert results(report) == {"home": [], "health": [], "notes": [], "sh": []}
    said = (tmp_path / "said").read_text().split()
    assert said == [f"https://{board.domain}", board.live().release, board.hosts[board.edge].address]
    assert TOKEN not in run.output
    wrong = [*CHECKS[:2], {"name": "gone", "path": "/none"}]
    failed = board.play("smoke", **{**settings, "webapp_smoke_checks": wrong}).refused()
    assert "1 of 4 smoke tests" in failed.said
    assert "gone: status 404, not 200" in failed.said
    assert results(report) == {"home": [], "health": [], "gone": ["Failure"], "sh": ["Skipped"]}
    nothing = board.play("smoke").refused()
    assert "There is no smoke test" in nothing.said
    assert board.host.files(board.app) == before
    tell(f"4 passed in {run.seconds:.0f} s, 1 of 4 failed in {failed.seconds:.0f} s; nothing on the host was changed")


@pytest.mark.parametrize(
    ("name", "at", "why"),
    [
        pytest.param("gone", "Smoke | ask what users ask", "gone: status 404, not 200", id="a-check"),
        pytest.param("basket", "Smoke | report", "basket: ended with 3", id="the-command", marks=pytest.mark.long),
    ],
)
def test_a_deploy_whose_smoke_test_fails_is_taken_back(
    board: Site, tmp_path: Path, name: str, at: str, why: str, tell: Callable[[str], None]
) -> None:
    live, tree, report, program = board.live(), board.sources.tree(), tmp_path / "smoke.xml", tmp_path / "basket"
    program.write_text(BASKET)
    program.chmod(0o755)
    wrong: dict[str, dict[str, Any]] = {
        "gone": {"webapp_smoke_checks": [*CHECKS, {"name": "gone", "path": "/none"}]},
        "basket": {"webapp_smoke_checks": CHECKS, "webapp_smoke_command": [str(program)]},
    }
    run = board.play("deploy", webapp_source=str(tree), webapp_smoke_junit=str(report), **wrong[name])
    release = as_before(board, run, live=live, at=at)
    assert why in run.said
    assert results(report) == {"home": [], "health": [], "notes": [], name: ["Failure"]}
    told = f"{release} keeps no basket"
    assert [told in text for text in (report.read_text(), run.said)] == [name == "basket"] * 2
    again = board.deploy(tree, webapp_smoke_checks=CHECKS, webapp_smoke_command=["test", "-n", "x"])
    assert board.live().release == release
    tell(f"{release} went back in {run.seconds:.0f} s, then was deployed in {again.seconds:.0f} s")


def terminal(site: Site, *words: str) -> Terminal:
    """A playbook on a terminal, told by our own story."""
    program = dataclasses.replace(site.controller, settings={"ANSIBLE_STDOUT_CALLBACK": "slipway.webapp.story"})
    playbook = str(program.programs / "ansible-playbook")
    command = [playbook, "-i", str(site.inventory), *words, "-l", site.environment]
    return Terminal(command, cwd=ROOT, environment={**program.environment(), "TERM": "xterm"})


@pytest.fixture
def repository(board: Site) -> Path:
    """A repository with the live release's commit and a second one."""
    repository = board.sources.repository(releases=(1, 2))
    board.deploy(repository, webapp_source_ref="v1")
    return repository


def test_a_deploy_is_planned_and_approved(board: Site, repository: Path, tell: Callable[[str], None]) -> None:
    live, before = board.live(), board.host.files(board.app)
    plan = planned(board, webapp_source=str(repository), webapp_source_ref="v2")
    release = plan["release"]["id"]
    assert [one["subject"] for one in plan["commits"]["subjects"]] == ["release 2"]
    assert (plan["commits"]["count"], plan["commits"]["taken_back"]) == (1, 0)
    assert [one["release"] for one in plan["live"]] == [live.release]
    assert plan["hosts"]["staging1"]["serves"]["slot"] == live.slot
    assert plan["hosts"]["staging1"]["will_serve"] == {
        "release": release,
        "config": live.config,
        "slot": "blue" if live.slot == "green" else "green",
    }
    assert plan["batches"] == [["staging1"]]
    # Nobody can know what it does to the database before it is there; but its file is named.
    assert plan["migrations"]["known"] is False
    assert plan["migrations"]["candidates"], plan["migrations"]
    assert board.host.files(board.app) == before

    asking: dict[str, Any] = {"webapp_source": str(repository), "webapp_source_ref": "v2", "webapp_approval": True}
    refusals: list[tuple[dict[str, Any], str]] = [
        ({}, "neither an answer nor a terminal"),
        ({"approve": live.release}, "which is another release"),
    ]
    for options, words in refusals:
        run = board.play("deploy", **asking, **options).refused()
        assert words in run.said, run.output[-4000:]
        assert f"-e approve={release}" in run.said
        assert board.live() == live
        assert board.host.look(board.app)["lease"] is None
    checked = board.play("deploy", "--check", "-v", **asking).ended(0)
    assert f"Would ask whether {release} may go live" in checked.output

    # The release is there now, so that its migrations can be asked; they have not run.
    staged = planned(board, webapp_source=str(repository), webapp_source_ref="v2")
    assert staged["migrations"]["known"] is True
    assert {one["class"] for one in staged["migrations"]["pending"]} <= {"before"}, staged["migrations"]
    assert staged["backup"]["needed"] is bool(staged["migrations"]["pending"])

    somebody = terminal(board, "slipway.webapp.deploy", "-e", json.dumps(asking))
    somebody.wait_for("anything else refuses:")
    assert f"1 from {plan['commits']['from'][:10]} to {plan['commits']['to'][:10]}" in somebody.text
    somebody.type("yes\r")
    assert somebody.ended() == 0, somebody.text[-4000:]
    assert board.live().release == release
    assert deploys(board.host.look(board.app))[-1] == "succeeded"
    tell(f"{release}: refused without an answer and with another one's, live after yes on a terminal")
