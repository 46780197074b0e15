# SPDX-License-Identifier: GPL-3.0-or-later
"""Room for the way back: really taken, given up where it is needed and nowhere else."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils import _reserve
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout("shop", prefix=str(tmp_path))


def files(layout: Layout) -> list[Path]:
    return sorted((Path(layout.state) / "reserve").iterdir())


def room(monkeypatch: pytest.MonkeyPatch, **said: int) -> None:
    """What the file system says of itself."""
    enough = {"f_files": 1000, "f_ffree": 1000, "f_bfree": 1 << 20, "f_frsize": 4096}
    monkeypatch.setattr(os, "statvfs", lambda _path: SimpleNamespace(**{**enough, **said}))


def test_it_takes_blocks_and_inodes_once(layout: Layout) -> None:
    _reserve.keep(layout)
    first = [(path.stat().st_ino, path.stat().st_blocks * 512) for path in files(layout)]
    assert len(first) == _reserve.FILES
    assert all(size >= _reserve.FILE_BYTES for _inode, size in first)
    _reserve.keep(layout)
    assert [(path.stat().st_ino, path.stat().st_blocks * 512) for path in files(layout)] == first


def test_a_copy_that_is_all_holes_is_filled(layout: Layout) -> None:
    _reserve.keep(layout)
    hollow = files(layout)[7]
    hollow.write_bytes(b"")
    os.truncate(hollow, _reserve.FILE_BYTES)
    assert hollow.stat().st_blocks == 0
    _reserve.keep(layout)
    assert hollow.stat().st_blocks * 512 >= _reserve.FILE_BYTES


@pytest.mark.parametrize("said", [{"f_bfree": 100}, {"f_ffree": 20}, {"f_bfree": 0, "f_ffree": 0}])
def test_it_is_given_up_where_little_is_left(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, said: dict[str, int]
) -> None:
    _reserve.keep(layout)
    room(monkeypatch)
    assert _reserve.give_up(layout) == []
    room(monkeypatch, **said)
    assert _reserve.give_up(layout) == [os.path.join(layout.state, "reserve")]
    assert not (Path(layout.state) / "reserve").exists()
    assert _reserve.give_up(layout) == []


def test_a_file_system_that_counts_no_inodes_has_enough_of_them(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    _reserve.keep(layout)
    room(monkeypatch, f_files=0, f_ffree=0)
    assert _reserve.give_up(layout) == []


def test_without_room_nothing_of_it_stays(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    real, left = os.posix_fallocate, [10]

    def full(descriptor: int, offset: int, length: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor, offset, length)

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(SlipwayError, match="no room to go back") as caught:
        _reserve.keep(layout)
    assert "No space left" in caught.value.found
    assert "64 inodes" in caught.value.expected
    assert not (Path(layout.state) / "reserve").exists()


def test_routes_on_a_disk_of_their_own_have_a_reserve_there(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.stat

    def stat(path: Any, **options: Any) -> Any:
        found = real(path, **options)
        return SimpleNamespace(st_dev=-1, st_mode=found.st_mode) if path == layout.home else found

    os.makedirs(layout.home)
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", stat)
        places = _reserve._places(layout)
    assert places == [os.path.join(layout.state, "reserve"), os.path.join(layout.home, "reserve")]
