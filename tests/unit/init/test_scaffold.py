# SPDX-License-Identifier: GPL-3.0-or-later
"""Writing files that are missing, and never one that is there."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils import _scaffold
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._plan import carry_out


def scaffold(
    directory: Path, files: dict[str, str], secret_files: dict[str, str], *, check_mode: bool = False
) -> list[str]:
    wanted = _scaffold.drafts(files, secret_files)
    steps = _scaffold.plan(str(directory), wanted, _scaffold.probe(str(directory), wanted))
    return carry_out(steps, lambda step: _scaffold.apply(str(directory), step), check_mode=check_mode)


def test_it_writes_what_is_missing_with_its_mode(tmp_path: Path) -> None:
    done = scaffold(tmp_path / "new", {"a/b/c": "text"}, {".password": "ü"})
    assert done == [f"write {tmp_path}/new/.password", f"write {tmp_path}/new/a/b/c"]
    assert (tmp_path / "new/a/b/c").read_text() == "text"
    assert stat.S_IMODE((tmp_path / "new/a/b/c").stat().st_mode) == 0o644
    assert stat.S_IMODE((tmp_path / "new/.password").stat().st_mode) == 0o600


def test_it_touches_nothing_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("mine")
    (tmp_path / "link").symlink_to("nowhere")
    assert scaffold(tmp_path, {"a": "theirs", "link": "theirs", "b": "new"}, {}) == [f"write {tmp_path}/b"]
    assert (tmp_path / "a").read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()
    assert scaffold(tmp_path, {"a": "theirs", "link": "theirs", "b": "new"}, {}) == []


def test_check_mode_writes_nothing(tmp_path: Path) -> None:
    assert scaffold(tmp_path, {"a": ""}, {}, check_mode=True) == [f"write {tmp_path}/a"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["/etc/x", "../x", "a/../../x", ""])
def test_a_path_that_leaves_the_directory_is_refused(path: str) -> None:
    with pytest.raises(SlipwayError, match="leaves the directory"):
        _scaffold.drafts({path: ""}, {})


def test_a_directory_that_cannot_be_made_says_which(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SlipwayError, match=f"{tmp_path}/file/a cannot be written"):
        scaffold(tmp_path / "file", {"a": ""}, {})


def place(directory: Path, *names: str) -> str:
    for name in names:
        directory.joinpath("ansible_collections", *name.split(".")).mkdir(parents=True)
    return str(directory)


def test_only_places_that_are_needed_are_named(tmp_path: Path) -> None:
    ours, theirs = ("slipway.webapp",), ("ansible.posix", "community.docker", "community.postgresql")
    checkout, everything = place(tmp_path / "checkout", *ours), place(tmp_path / "all", *ours, *theirs)
    usual, other = place(tmp_path / "usual", *theirs), place(tmp_path / "other", "some.thing")
    assert _scaffold.collection_places([checkout, usual], [usual]) == [checkout]
    assert _scaffold.collection_places([everything, usual], [everything]) == []
    assert _scaffold.collection_places([other, checkout, everything], []) == [checkout, everything]
    assert _scaffold.collection_places([everything, checkout], []) == [everything]
    assert _scaffold.collection_places([other], [usual]) == []


def test_the_home_directory_is_a_usual_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    place(tmp_path / "own", *_scaffold.COLLECTIONS)
    assert _scaffold.collection_places([str(tmp_path / "own")], ["~/own"]) == []
