# SPDX-License-Identifier: GPL-3.0-or-later
"""The project's own laws hold, and each of them notices when it is broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.checks import laws, tools

Law = Callable[[Path, str], Iterator[str]]


def breaches(law: Law, paths: Iterator[Path]) -> Iterator[str]:
    for path in paths:
        try:
            text = (tools.ROOT / path).read_text()
        except UnicodeDecodeError:
            continue
        yield from law(path, text)


@pytest.mark.parametrize("law", [laws.licence, laws.registries, laws.private_keys], ids=lambda law: law.__name__)
def test_every_file(law: Law) -> None:
    tools.refuse(breaches(law, iter(tools.source_files())))


def test_control_flow_of_playbooks_and_roles() -> None:
    places = ("playbooks", "roles", "molecule", "tests/scenarios", "tests/integration")
    paths = [path for path in tools.under(*places) if path.suffix in (".yml", ".yaml")]
    assert paths
    tools.refuse(breaches(laws.control_flow, iter(paths)))


@pytest.mark.parametrize("law", [laws.plugin_calls, laws.sizes], ids=lambda law: law.__name__)
def test_every_plugin(law: Law) -> None:
    paths = list(tools.under("plugins", suffix=".py"))
    assert paths
    tools.refuse(breaches(law, iter(paths)))


# Written in two halves: this file obeys the laws, too.
HOST = "deb.debian" + ".org"
KEY = "-----BEGIN OPENSSH PRIVATE" + " KEY-----"
FACT = "ansible_" + "distribution"

BROKEN: list[tuple[Law, str]] = [
    (laws.licence, "print('mine')\n"),
    (laws.licence, "\n" * 10 + f"# {laws.LICENCE}\n"),
    (laws.registries, f"# see http://{HOST}/debian\n"),
    (laws.registries, "index: https://files.pythonhosted" + ".org/x\n"),
    (laws.private_keys, f"key: |\n  {KEY}\n"),
    (laws.control_flow, "- ignore_errors: true\n"),
    (laws.control_flow, '  ignore_errors: "{{ x }}"\n'),
    (laws.control_flow, "- ansible.builtin.meta: end_play\n"),
    (laws.control_flow, "  when: __copy is changed\n"),
    (laws.control_flow, f"  when: {FACT} == 'Debian'\n"),
    (laws.control_flow, "  run_once: true\n"),
    (laws.control_flow, '  hosts: "{{ all | difference(lost) }}"\n'),
    (laws.control_flow, "- run_once: true # because\n"),
    (laws.plugin_calls, "import subprocess\n"),
    (laws.plugin_calls, "from subprocess import run\n"),
    (laws.plugin_calls, "import os\nos.system('x')\n"),
    (laws.plugin_calls, "import sys\nsys.exit(1)\n"),
    (laws.plugin_calls, "print('x')\n"),
    (laws.plugin_calls, "assert True\n"),
    (laws.sizes, "x = 1\n" * 401),
    (laws.sizes, "def f() -> None:\n" + "    x = 1\n" * 40),
]

KEPT: list[tuple[Law, str]] = [
    (laws.licence, f"---\n# {laws.LICENCE}\n"),
    (laws.registries, "package: docker.io\n"),
    (laws.control_flow, f"  run_once: true {laws.CONTROLLER_ONLY}\n"),
    (laws.control_flow, "# no ignore_errors: here\n  when: ansible_facts['distribution'] == 'Debian'\n"),
    (laws.control_flow, "  when: not (ansible_check_mode and __database is changed)\n"),
    (laws.plugin_calls, "import os\nos.rename('a', 'b')\n"),
    (laws.sizes, "def f() -> None:\n" + "    x = 1\n" * 39),
]


@pytest.mark.parametrize(("law", "text"), BROKEN, ids=lambda value: getattr(value, "__name__", None))
def test_a_breach_is_found(law: Law, text: str) -> None:
    assert list(law(Path("planted"), text))


@pytest.mark.parametrize(("law", "text"), KEPT, ids=lambda value: getattr(value, "__name__", None))
def test_what_is_allowed_is_not_found(law: Law, text: str) -> None:
    assert not list(law(Path("planted"), text))


def test_no_tasks_have_the_name_of_a_playbook() -> None:
    """Of two files of one name, Ansible takes the playbook where it was to include tasks, and ends without a rescue."""
    playbooks = {path.name for path in (tools.ROOT / "playbooks").glob("*.yml")}
    assert playbooks & {path.name for path in (tools.ROOT / "playbooks" / "tasks").glob("*.yml")} == set()
