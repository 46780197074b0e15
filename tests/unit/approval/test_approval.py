# SPDX-License-Identifier: GPL-3.0-or-later
"""What approves a release and what refuses it: by itself, without a terminal, and on one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from ansible_collections.slipway.webapp.plugins.module_utils import _approval
from tests.terminal import Terminal
from tests.unit.ansible_runs import ROOT, local, playbook, prepared

SHA256 = "0123456789abcdef" * 4
ASKED = _approval.Asked("1.4.2-5f1d3c9a0b", "1.4.2", SHA256)
PLAIN = _approval.Asked("5f1d3c9a0b12", "", SHA256)
INVENTORY = {"all": {"hosts": {name: local() for name in "abc"}}}


@pytest.mark.parametrize(
    ("asked", "answer", "approved"),
    [
        (ASKED, "1.4.2-5f1d3c9a0b", True),
        (ASKED, "1.4.2", True),
        (ASKED, SHA256, True),
        (ASKED, SHA256[:12], True),
        (ASKED, SHA256[:11], False),
        (ASKED, SHA256[1:20], False),
        (ASKED, SHA256 + "0", False),
        (ASKED, SHA256[:12].upper(), False),
        (ASKED, "1.4.1-5f1d3c9a0b", False),
        (ASKED, "1.4", False),
        (ASKED, "5f1d3c9a0b", False),
        (ASKED, "yes", False),
        (ASKED, "true", False),
        (PLAIN, "5f1d3c9a0b12", True),
        (PLAIN, "5f1d3c9a0b", False),
    ],
)
def test_an_answer_given_beforehand_names_the_release(asked: _approval.Asked, answer: str, approved: bool) -> None:
    found = _approval.given(asked, answer)
    assert found.approved is approved
    assert found.how == f"approve={answer}"
    if not approved:
        assert f"-e approve={asked.release}" in found.refusal
        assert f"found: approve={answer}, which is another release" in found.refusal


@pytest.mark.parametrize(
    ("answer", "approved"),
    [
        ("yes", True),
        (" yes ", True),
        ("1.4.2-5f1d3c9a0b", True),
        ("1.4.2", True),
        ("", False),
        ("y", False),
        ("YES", False),
        ("no", False),
        ("yes, but later", False),
    ],
)
def test_an_answer_that_was_typed(answer: str, approved: bool) -> None:
    assert _approval.typed(ASKED, answer).approved is approved
    assert _approval.typed(PLAIN, "").approved is False


PLAY = {
    "hosts": "all",
    "gather_facts": False,
    "any_errors_fatal": True,
    "vars": {
        "__run_release": ASKED.release,
        "__webapp_artifact": {"version": ASKED.version, "sha256": ASKED.sha256},
        "webapp_approval_seconds": "{{ limit | default(60) }}",
    },
}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A play with the question of a deploy, and what goes on when it is answered."""
    tasks = yaml.safe_load((ROOT / "playbooks" / "tasks" / "approve.yml").read_text())
    asking = [task for task in tasks if task["name"] in ("Approve | ask", "Approve | it may go live")]
    assert len(asking) == 2
    said = {"name": "Say it", "ansible.builtin.debug": {"msg": "{{ inventory_hostname }} goes on"}}
    back = {"name": "Go back", "ansible.builtin.debug": {"msg": "{{ inventory_hostname }} goes back"}}
    fail = {"name": "Fail", "ansible.builtin.fail": {"msg": "refused"}}
    play = {**PLAY, "tasks": [{"block": [*asking, said], "rescue": [back, fail]}]}
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    return tmp_path


def hosts_that(what: str, text: str) -> list[str]:
    """The hosts of which it was said."""
    return sorted(set(re.findall(rf"([abc]) goes {what}", text)))


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ((), 2, "neither an answer nor a terminal"),
        (("-e", "approve="), 2, "neither an answer nor a terminal"),
        (("-e", "approve=1.4.1"), 2, "approve=1.4.1, which is another release"),
        (("-e", '{"approve": 1.4}'), 2, "approve=1.4, which is another release"),
        (("-e", "approve=1.4.2"), 0, "goes on"),
        (("--check", "-v"), 0, f"Would ask whether {ASKED.release} may go live"),
        (("--check", "-e", "approve=1.4.1"), 2, "approve=1.4.1, which is another release"),
    ],
)
def test_without_a_terminal(here: Path, options: tuple[str, ...], code: int, words: str) -> None:
    done = playbook("play.yml", *options, cwd=here, inventory=INVENTORY, callback="default")
    assert done.code == code, done.everything
    assert words in done.everything
    # All hosts go the same way, into their rescue too.
    assert hosts_that("on", done.everything) == ([] if code else ["a", "b", "c"])
    assert hosts_that("back", done.everything) == (["a", "b", "c"] if code else [])


def asked(here: Path, *options: str) -> Terminal:
    """The play on a terminal, up to the question."""
    command, environment = prepared("play.yml", *options, cwd=here, inventory=INVENTORY)
    terminal = Terminal(command, cwd=here, environment={**environment, "TERM": "xterm"})
    terminal.wait_for("anything else refuses:")
    return terminal


@pytest.mark.parametrize(
    ("keys", "code"),
    [("yes\r", 0), (f"{ASKED.release}\r", 0), ("no\r", 2), ("\r", 2), ("\x03", 2)],
)
def test_on_a_terminal(here: Path, keys: str, code: int) -> None:
    terminal = asked(here)
    terminal.type(keys)
    assert terminal.ended() == code, terminal.text
    assert terminal.text.count("Shall 1.4.2-5f1d3c9a0b go live?") == 1, "one question for all hosts"
    assert hosts_that("on", terminal.text) == ([] if code else ["a", "b", "c"])
    assert hosts_that("back", terminal.text) == (["a", "b", "c"] if code else [])


def test_no_answer_in_time_is_a_refusal_whatever_was_typed(here: Path) -> None:
    terminal = asked(here, "-e", "limit=3")
    terminal.type("yes")  # and no Enter
    assert terminal.ended() == 2, terminal.text
    assert "no answer within 3 s" in " ".join(terminal.text.split())
