# SPDX-License-Identifier: GPL-3.0-or-later
"""Python: ruff's rules and format, mypy's types."""

from __future__ import annotations

import pytest

from tests.checks import tools

PACKAGE = f"ansible_collections.{tools.COLLECTION}.plugins"


def test_ruff_check() -> None:
    tools.run("ruff", "check", "--no-cache", ".")


def test_ruff_format() -> None:
    tools.run("ruff", "format", "--no-cache", "--diff", ".")


# mypy knows the library as it is from 3.10 on; ansible-test compiles and imports everything with 3.9.
@pytest.mark.parametrize("target", ["3.10", "3.13"])
def test_mypy_on_what_runs_on_hosts(target: str) -> None:
    tools.run("mypy", f"--python-version={target}", "-p", f"{PACKAGE}.module_utils", "-p", f"{PACKAGE}.modules")


def test_mypy_on_what_runs_on_the_controller() -> None:
    tools.run("mypy", "--python-version=3.11", "-p", PACKAGE)


def test_mypy_on_the_programs() -> None:
    tools.run("mypy", "--python-version=3.11", "-p", "slipway_backup")
    tools.run("mypy", "--python-version=3.10", "-p", "slipway_migrate")
    tools.run("mypy", "--python-version=3.11", "-p", "slipway_settle")
    tools.run("mypy", "--python-version=3.11", "-p", "slipway_container")


def test_mypy_on_the_tools_of_the_tests() -> None:
    # The example application is a project of its own with its own dependencies, so it is not among them.
    places = sorted({path.parts[1] for path in tools.under("tests", suffix=".py") if len(path.parts) > 2} - {"app"})
    packages = [f"tests.{place}" for place in places if place not in ("unit", "property")]
    tools.run("mypy", "--python-version=3.11", *[word for name in packages for word in ("-p", name)])
    tools.run("mypy", "--python-version=3.11", "tests/conftest.py", "tests/stages.py")
