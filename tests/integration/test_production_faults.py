# SPDX-License-Identifier: GPL-3.0-or-later
"""Some cells of the matrix of faults, on the fleet that test_production.py leaves; `make faults` runs all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.faults import faults, fleet, steps
from tests.faults.__main__ import told
from tests.faults.runner import Runner
from tests.integration.site import Site

CELLS = (
    ("committing", "controller_killed_then_rollback"),
    ("switch_1", "host_stopped"),
)


@pytest.fixture(scope="module")
def runner(production: Site) -> Iterator[Runner]:
    """The fleet, with a release and one to go back to."""
    broken = fleet.Fleet(production)
    if not production.hosts["app1"].sh(f"ls -d /srv/{production.app}/route 2>/dev/null || true"):
        broken.provision()
        production.deploy(broken.tree(), **fleet.timers())
    # What other tests leave may be the first release of all.
    production.deploy(broken.tree(), **fleet.timers())
    made = Runner(broken)
    yield made
    made.close()


@pytest.mark.parametrize(("step", "fault"), CELLS)
def test_nothing_is_lost_and_the_next_run_heals(
    runner: Runner, step: str, fault: str, tell: Callable[[str], None]
) -> None:
    cell = runner.cell(steps.BY_NAME[step], faults.BY_NAME[fault])
    assert cell is not None, f"the deploy has no step {step}"
    assert cell.good, told(cell)
    tell(told(cell))
