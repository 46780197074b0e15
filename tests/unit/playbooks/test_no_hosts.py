# SPDX-License-Identifier: GPL-3.0-or-later
"""An inventory without hosts, as a mistyped -i gives, is a failure instead of a success that did nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.ansible_runs import playbook

PLAYBOOKS = (
    "provision",
    "deploy",
    "rollback",
    "status",
    "history",
    "maintenance",
    "rotation",
    "restart",
    "lease",
    "settle",
)


@pytest.mark.parametrize("name", PLAYBOOKS)
def test_it_fails_and_says_why(tmp_path: Path, name: str) -> None:
    done = playbook(f"slipway.webapp.{name}", "-i", "mistyped", "-l", "production", cwd=tmp_path)
    assert done.code != 0, done.everything
    assert "The inventory has no host" in done.stderr
    assert "expected: those of production" in done.stderr


def test_a_file_without_hosts_is_no_better(tmp_path: Path) -> None:
    inventory: dict[str, Any] = {"production": {"hosts": {}}}
    done = playbook(f"slipway.webapp.{PLAYBOOKS[0]}", "-l", "production", cwd=tmp_path, inventory=inventory)
    assert done.code != 0, done.everything
    assert "The inventory has no host" in done.stderr


@pytest.mark.parametrize("name", PLAYBOOKS)
def test_the_syntax_can_be_checked_without_an_inventory(tmp_path: Path, name: str) -> None:
    done = playbook(f"slipway.webapp.{name}", "--syntax-check", cwd=tmp_path)
    assert done.code == 0, done.everything
