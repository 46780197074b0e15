# SPDX-License-Identifier: GPL-3.0-or-later
"""YAML: its form, and that Ansible can read every playbook."""

from __future__ import annotations

import pytest

from tests.checks import tools


def test_yamllint() -> None:
    files = [path for path in tools.source_files() if path.suffix in (".yml", ".yaml")]
    tools.run("yamllint", "--strict", *files)


@pytest.mark.parametrize("playbook", tools.playbooks())
def test_syntax_of_playbooks(playbook: str) -> None:
    """The directory from which operators call them is playbooks/, without any name of the collection."""
    tools.run("ansible-playbook", "--syntax-check", f"{playbook}.yml", cwd=tools.ROOT / "playbooks")


@pytest.mark.slow
def test_ansible_lint() -> None:
    tools.run("ansible-lint", "--offline", "--profile", "production", "--strict", "-q")
