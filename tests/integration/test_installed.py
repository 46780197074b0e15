# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection as its users get it: from its tarball, with only the directories that it needs, used from anywhere."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.controller import ROOT, Controller
from tests.integration.site import Site

NEEDED = {"meta", "playbooks", "plugins", "roles"}


@pytest.fixture
def installed(board: Site, tmp_path: Path) -> tuple[Site, Path]:
    """The operator with the installed collection, in an empty directory, without any configuration of Ansible."""
    build = ("ansible-galaxy", "collection", "build", str(ROOT), "--output-path", str(tmp_path))
    built = Controller().run(*build).ended(0)
    (tarball,) = tmp_path.glob("slipway-webapp-*.tar.gz")
    place, others, empty = tmp_path / "installed", tmp_path / "others", tmp_path / "empty"
    install = ("ansible-galaxy", "collection", "install", str(tarball), "-p", str(place), "--no-deps", "--offline")
    Controller(collections=place).run(*install).ended(0)
    collection = place / "ansible_collections" / "slipway" / "webapp"
    assert {one.name for one in collection.iterdir()} >= NEEDED, built.output
    for one in collection.iterdir():
        if one.name not in NEEDED:
            shutil.rmtree(one) if one.is_dir() else one.unlink()
    # What it depends on, as ansible-galaxy would install it.
    (others / "ansible_collections").mkdir(parents=True)
    for namespace in ("ansible", "community"):
        (others / "ansible_collections" / namespace).symlink_to(
            board.controller.collections.resolve() / "ansible_collections" / namespace
        )
    empty.mkdir()
    controller = Controller(
        collections=Path(f"{place}{os.pathsep}{others}"), directory=empty, settings={"ANSIBLE_CONFIG": ""}
    )
    return dataclasses.replace(board, controller=controller), collection


def test_the_installed_collection(board: Site, installed: tuple[Site, Path], tell: Callable[[str], None]) -> None:
    site, collection = installed
    tree = board.sources.tree()
    board.deploy(tree)
    before = board.live()
    idle = site.deploy(tree)
    assert idle.changed == 0, idle.output
    assert site.live() == before
    redeploy = site.deploy(site.sources.tree(release=2), "-v")
    assert str(collection) in redeploy.output or str(ROOT) not in redeploy.output
    assert redeploy.changed > 0
    assert site.live().release != before.release
    site.play("rollback").ended(0)
    assert site.live().release == before.release
    files = sum(path.is_file() for path in collection.rglob("*"))
    (collection / "playbooks" / "deploy.yml").unlink()
    assert site.play("deploy", webapp_source=str(tree)).code != 0
    tell(f"{files} files: no-op changed=0 in {idle.seconds:.1f} s, redeploy changed={redeploy.changed}, rolled back")
