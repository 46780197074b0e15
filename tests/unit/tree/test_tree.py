# SPDX-License-Identifier: GPL-3.0-or-later
"""The directories of an application: what is planned, and that a link planted in their place is not followed."""

from __future__ import annotations

import dataclasses
import grp
import os
import pwd
from pathlib import Path

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils import _tree
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout
from ansible_collections.slipway.webapp.plugins.module_utils._plan import Step


def mine(prefix: Path) -> tuple[_tree.Directory, ...]:
    """The wanted tree below ``prefix``, owned by whoever runs the test."""
    owner, group = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
    layout = Layout("shop", prefix=str(prefix))
    directories = _tree.wanted(layout=layout, programs=str(prefix / "usr/lib/slipway"))
    return tuple(dataclasses.replace(wish, owner=owner, group=group) for wish in directories)


def converge(directories: tuple[_tree.Directory, ...]) -> list[str]:
    steps = _tree.plan(directories=directories, found=_tree.probe(directories=directories))
    for step in steps:
        _tree.apply(step)
    return [step.name for step in steps]


def test_everything_is_made_once(tmp_path: Path) -> None:
    directories = mine(tmp_path)
    assert converge(directories) == ["make"] * len(directories)
    assert converge(directories) == []


def test_a_wrong_mode_is_corrected_and_named(tmp_path: Path) -> None:
    directories = mine(tmp_path)
    converge(directories)
    os.chmod(tmp_path / "srv/shop/shared/media", 0o777)
    (step,) = _tree.plan(directories=directories, found=_tree.probe(directories=directories))
    assert "0777" in step.summary
    assert step.summary.endswith("2750")
    _tree.apply(step)
    assert converge(directories) == []


def test_a_mounted_disk_behind_a_link_is_left_alone(tmp_path: Path) -> None:
    directories = mine(tmp_path)
    converge(directories)
    disk = tmp_path / "disk"
    disk.mkdir(mode=0o700)
    (tmp_path / "srv/shop/shared/media").rmdir()
    (tmp_path / "srv/shop/shared/media").symlink_to(disk)
    assert converge(directories) == []


def test_a_link_planted_between_probe_and_apply_is_not_followed(tmp_path: Path) -> None:
    directories = mine(tmp_path)
    converge(directories)
    target, media = tmp_path / "target", tmp_path / "srv/shop/shared/media"
    target.mkdir(mode=0o700)
    media.rmdir()
    media.symlink_to(target)
    wish = next(wish for wish in directories if wish.path == str(media))
    with pytest.raises(OSError):
        _tree.apply(Step("correct", "", {"directory": wish}))
    assert target.stat().st_mode & 0o777 == 0o700


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "srv").mkdir()
    (tmp_path / "srv/shop").write_text("")
    with pytest.raises(SlipwayError, match="in the way"):
        _tree.probe(directories=mine(tmp_path))


def test_only_shared_belongs_to_the_application() -> None:
    owned = {wish.path for wish in _tree.wanted(layout=Layout("shop")) if wish.owner == "shop"}
    assert owned == {"/srv/shop/shared", "/srv/shop/shared/media"}
