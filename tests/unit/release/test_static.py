# SPDX-License-Identifier: GPL-3.0-or-later
"""The union of static files: what a retained release needs is there, the newest wins, nothing is ever half there."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils import _static


def plant(root: Path, files: dict[str, str]) -> str:
    root.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return str(root)


def content(root: str) -> dict[str, str]:
    return {name: Path(root, name).read_text() for name in _static.names(root)}


def test_two_releases_meet(tmp_path: Path) -> None:
    union = plant(tmp_path / "union", {})
    old = plant(
        tmp_path / "old", {"a.111.css": "a1", "robots.txt": "old", "same.txt": "same", "staticfiles.json": "{}"}
    )
    new = plant(tmp_path / "new", {"a.222.css": "a2", "robots.txt": "new", "same.txt": "same", "deep/x": "x"})
    assert _static.publish(old, union) == 3
    before = os.stat(f"{union}/same.txt")
    assert _static.missing(new, union) == ("a.222.css", "deep/x")
    assert _static.publish(new, union) == 3
    everything = {"a.111.css": "a1", "a.222.css": "a2", "robots.txt": "new", "same.txt": "same", "deep/x": "x"}
    assert content(union) == everything
    assert os.stat(f"{union}/same.txt") == before  # its ETag stays
    assert os.path.samefile(f"{new}/deep/x", f"{union}/deep/x")
    assert _static.publish(new, union) == 0
    assert _static.publish(old, union, replace=False) == 0
    assert content(union) == everything
    assert not os.path.exists(f"{union}/staticfiles.json")


def test_another_filesystem_gets_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_arguments: object, **_named: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", no_links)
    union, new = plant(tmp_path / "union", {}), plant(tmp_path / "new", {"deep/x": "x"})
    assert _static.publish(new, union) == 1
    assert content(union) == {"deep/x": "x"}
    assert _static.publish(new, union) == 0


@pytest.mark.parametrize(
    ("union", "kept", "lost", "remove", "replace"),
    [
        (["a", "b"], {"r2": ["a"]}, {"r1": ["b"]}, ("b",), ()),
        (["a"], {"r2": ["a"]}, {"r3": ["a"]}, (), (("r2", "a"),)),
        (["a"], {"r2": ["a"], "r1": ["a"]}, {"r3": ["a"]}, (), (("r2", "a"),)),
        (["a", "x.1234.new"], {"r2": ["a"]}, {}, ("x.1234.new",), ()),
        (["a"], {}, {}, ("a",), ()),
        ([], {"r1": ["a"]}, {}, (), ()),
    ],
)
def test_what_a_union_loses(
    union: list[str],
    kept: dict[str, list[str]],
    lost: dict[str, list[str]],
    remove: tuple[str, ...],
    replace: tuple[tuple[str, str], ...],
) -> None:
    assert _static.tidy_plan(union, kept=kept, lost=lost) == _static.Tidying(remove=remove, replace=replace)


def test_a_failed_newer_release_gives_its_names_back(tmp_path: Path) -> None:
    union = plant(tmp_path / "union", {})
    old = plant(tmp_path / "old", {"robots.txt": "old"})
    failed = plant(tmp_path / "failed", {"robots.txt": "failed", "deep/er/x": "x"})
    _static.publish(old, union)
    _static.publish(failed, union)
    has = {name: tuple(_static.names(str(tmp_path / name))) for name in ("old", "failed")}
    tidying = _static.tidy_plan(tuple(_static.names(union)), kept={"old": has["old"]}, lost={"failed": has["failed"]})
    _static.tidy(union, tidying, static_of={"old": old, "failed": failed})
    assert content(union) == {"robots.txt": "old"}
    assert os.listdir(union) == ["robots.txt"]
