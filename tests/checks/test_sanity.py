# SPDX-License-Identifier: GPL-3.0-or-later
"""ansible-test sanity, on every Python that hosts may have, without a single ignored finding.

Pylint takes longer than all other tests together, and has a file of its own: test_pylint.py.
"""

from __future__ import annotations

import pytest

from tests.checks import tools
from tests.checks.ansible_test import TARGETS, Outcome, sanity

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """One run of all tests but Pylint."""
    return sanity(tmp_path_factory.mktemp("sanity"), "--skip-test", "pylint")


def test_no_finding(outcome: Outcome) -> None:
    outcome.refuse()


@pytest.mark.parametrize("version", TARGETS)
def test_plugins_compile_and_import_on_target(outcome: Outcome, version: str) -> None:
    """That these two ran; whether they found something is told above."""
    if version not in tools.pythons(TARGETS):
        pytest.skip(f"there is no Python {version} on this machine")
    for name in ("compile", "import"):
        assert f'Running sanity test "{name}" on Python {version}' in outcome.output


def test_nothing_is_ignored() -> None:
    assert not list(tools.under("tests/sanity"))
