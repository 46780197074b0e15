# SPDX-License-Identifier: GPL-3.0-or-later
"""Every kind of source, and archives that must not be trusted."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Callable

import pytest

from tests.integration.site import Site
from tests.integration.sources import device, escaping_path, git, outward_link
from tests.integration.test_redeploy import differences

HOSTILE: dict[str, tuple[Callable[[tarfile.TarFile], None], str]] = {
    "escaping-path": (escaping_path, "a path with '..'"),
    "outward-link": (outward_link, "outside the tree"),
    "device": (device, "a device"),
}


def edition(site: Site) -> str:
    """Which of the three releases of the example application visitors see."""
    found = re.search(r'data-edition="(\d)"', site.ask("/").body)
    assert found, site.ask("/").body
    return found.group(1)


def test_a_git_address_with_a_ref(board: Site, tell: Callable[[str], None]) -> None:
    repository = board.sources.repository(releases=(1, 2))
    address = f"file://{repository}"
    board.deploy(repository, webapp_source=address, webapp_source_ref="v1")
    first, seen = board.live(), edition(board)
    board.deploy(repository, webapp_source=address, webapp_source_ref="main")
    second = board.live()
    assert (seen, edition(board)) == ("1", "2")
    assert first.release != second.release
    commit = git(repository, "rev-parse", "v2").strip()
    again = board.deploy(repository, webapp_source=address, webapp_source_ref=commit)
    assert again.changed == 0
    tell(f"tag v1 gave {first.release}, branch main gave {second.release}, its commit changed=0")


def test_a_packed_artifact(board: Site, tell: Callable[[str], None]) -> None:
    path, sha256 = board.sources.packed(board.sources.tree(release=3))
    board.deploy(path, webapp_source_sha256=sha256)
    live, code = board.live(), board.host.sh(f"cat /srv/{board.app}/artifacts/{sha256}.tar.gz | sha256sum").split()[0]
    assert (edition(board), code) == ("3", sha256)
    tell(f"{path.stat().st_size} bytes, the same on the host, are release {live.release}")


def test_another_sha256_is_refused(board: Site, tell: Callable[[str], None]) -> None:
    path, sha256 = board.sources.packed(board.sources.tree())
    wrong = sha256[::-1]
    before, look = board.host.files(board.app), board.host.look(board.app)
    run = board.fail(path, webapp_source_sha256=wrong)
    assert f"found: sha256 {sha256}" in run.said
    assert f"expected: sha256 {wrong}" in run.said
    assert differences(before, board.host.files(board.app)) == []
    assert board.host.look(board.app) == look
    tell(f"refused in {run.seconds:.1f} s, {len(before)} files and units the same")


@pytest.mark.parametrize("planted", HOSTILE)
def test_a_hostile_archive_is_refused(board: Site, planted: str, tell: Callable[[str], None]) -> None:
    plant, reason = HOSTILE[planted]
    path, sha256 = board.sources.packed(board.sources.tree(), plant=plant)
    before, look = board.host.files(board.app), board.host.look(board.app)
    run = board.fail(path, webapp_source_sha256=sha256)
    assert reason in run.said, run.output
    assert "planted" in run.said, run.output
    assert differences(before, board.host.files(board.app)) == []
    assert board.host.look(board.app) == look
    tell(f"refused in {run.seconds:.1f} s, {len(before)} files and units the same")
