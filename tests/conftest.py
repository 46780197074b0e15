# SPDX-License-Identifier: GPL-3.0-or-later
"""How the collection is imported by tests, and what a skipped test means in CI."""

from __future__ import annotations

import fnmatch
import importlib.util
import os
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
# Each environment has the collections that fit it: .build/venv-oldest goes with .build/collections-oldest.
COLLECTIONS = ROOT / ".build" / Path(sys.prefix).name.replace("venv", "collections")
ALLOWED_SKIPS = ROOT / "tests" / "skips.yml"

# A plain namespace package: `ansible_collections` has no __init__.py, so this checkout and its neighbours share it
# without Ansible's own import machinery. First on the path, so that no installed copy is tested by mistake.
sys.path.insert(0, str(COLLECTIONS))


def pytest_configure() -> None:
    """Refuse to test another copy of the collection than this one."""
    found = importlib.util.find_spec("ansible_collections.slipway.webapp")
    places = [Path(place).resolve() for place in (found.submodule_search_locations or [])] if found else []
    if places != [ROOT]:
        raise pytest.UsageError(
            f"ansible_collections.slipway.webapp is {places or 'not found'}, expected {ROOT}. Run: make env"
        )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skipped test into a failed one in CI."""
    report = yield
    _judge(report, nodeid=item.nodeid)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a module that skips itself while it is collected."""
    report = yield
    _judge(report, nodeid=collector.nodeid)
    return report


def _judge(report: Any, *, nodeid: str) -> None:
    """Make a skip a failure if this is CI and no reason for it was agreed on in tests/skips.yml."""
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CI", "").lower() in ("1", "true"):
        agreed = yaml.safe_load(ALLOWED_SKIPS.read_text()) or {}
        if not any(fnmatch.fnmatchcase(nodeid, pattern) for pattern in agreed):
            report.outcome = "failed"
            report.longrepr = f"{nodeid} was skipped, which CI does not accept: {_reason(report)}"


def _reason(report: Any) -> str:
    return str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
