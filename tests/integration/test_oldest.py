# SPDX-License-Identifier: GPL-3.0-or-later
"""The oldest supported ansible-core on the oldest supported Python does everything that the newest does."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from tests.integration.conftest import MakeSite
from tests.integration.controller import BUILD, ROOT, Controller
from tests.integration.site import Site
from tests.integration.test_redeploy import differences

OLDEST = Controller(name="-oldest", collections=BUILD / "collections-oldest")
VERSIONS = "import sys, ansible.release as core; print(core.__version__, *sys.version_info[:2])"


@pytest.fixture
def elder(board: Site, staging_site: MakeSite) -> Site:
    """An application of its own, operated with the oldest pair."""
    done = subprocess.run(
        [str(ROOT / "requirements" / "environment.sh"), "test", "-oldest", "3.11"],
        capture_output=True,
        text=True,
        check=False,
    )
    if "no Python of 3.11" in done.stderr:
        pytest.skip("SKIPPED LOUDLY: there is no Python 3.11 here, so the oldest supported pair was not tested")
    assert done.returncode == 0, done.stderr
    core, *python = subprocess.check_output([str(OLDEST.programs / "python"), "-c", VERSIONS], text=True).split()
    assert (core.split(".")[:2], python) == (["2", "19"], ["3", "11"])
    assert board.app != "elder"
    return staging_site("elder", controller=OLDEST)


def test_the_oldest_pair(elder: Site, tell: Callable[[str], None]) -> None:
    bare = elder.host.files(elder.app)
    check = elder.play("provision", "--check", "--diff").ended(0)
    assert differences(bare, elder.host.files(elder.app)) == []
    first = elder.play("provision").ended(0)
    second = elder.play("provision").ended(0)
    assert (first.changed > 0, second.changed) == (True, 0), second.output
    tree = elder.sources.tree(release=1)
    elder.deploy(tree)
    one = elder.live()
    assert elder.deploy(tree).changed == 0
    elder.deploy(elder.sources.tree(release=2))
    two = elder.live()
    assert two.release != one.release
    refused = elder.play("deploy", webapp_retian=1).refused()
    assert "webapp_retian" in refused.said
    elder.play("rollback").ended(0)
    assert elder.live().release == one.release
    for run in (check, first, second):
        assert "DEPRECATION" not in run.output, run.output
    tell(f"provision changed={first.changed}, again {second.changed}; {one.release} -> {two.release} -> {one.release}")
