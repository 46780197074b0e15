# SPDX-License-Identifier: GPL-3.0-or-later
"""Pylint with the rules of ansible-test sanity, beside the others of which it would be the longest."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.checks.ansible_test import sanity

pytestmark = pytest.mark.slow


def test_no_finding(tmp_path: Path) -> None:
    outcome = sanity(tmp_path, "--test", "pylint")
    assert 'Running sanity test "pylint"' in outcome.output, outcome.output[-5000:]
    outcome.refuse()
