# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Room that is kept for the way back: a host whose disk has become full in the middle of a run can still end it.

Going back makes a route (a directory with some forty links) and writes down that it does: a few kilobytes, but as many
inodes. So the reserve is many small files, on each file system that has a part in it.
"""

from __future__ import annotations

import os
import shutil

from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._files import ensure_directory
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout

FILES = 64
FILE_BYTES = 16 * 1024
_STAT_BLOCK = 512  # of st_blocks, whatever the file system's own blocks are


def _places(layout: Layout) -> list[str]:
    """One on the disk of what is written down, and one on that of the routes, where it is another."""
    ensure_directory(layout.state, mode=0o750)
    ensure_directory(layout.home)
    apart = os.stat(layout.state).st_dev != os.stat(layout.home).st_dev
    return [os.path.join(layout.state, "reserve"), *([os.path.join(layout.home, "reserve")] if apart else [])]


def keep(layout: Layout) -> None:
    """Take the room, before anything is begun that may have to go back; an error where there is none."""
    for place in _places(layout):
        _keep(place)


def _keep(place: str) -> None:
    try:
        ensure_directory(place, mode=0o700)
        for number in range(FILES):
            _take(os.path.join(place, f"{number:02}"))
    except OSError as error:
        shutil.rmtree(place, ignore_errors=True)
        raise SlipwayError(
            "This host has no room to go back, should that be necessary",
            found=f"{place}: {error.strerror or error}",
            expected=f"{FILES * FILE_BYTES // 1024} KB and {FILES} inodes",
            next_step="make room on this host, then run the same command again",
        ) from error


def _take(path: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        # By its blocks and not its length: a copy of it may be all holes.
        if os.fstat(descriptor).st_blocks * _STAT_BLOCK < FILE_BYTES:
            os.posix_fallocate(descriptor, 0, FILE_BYTES)
    finally:
        os.close(descriptor)


def give_up(layout: Layout) -> list[str]:
    """Make the room free where little else is left; the places."""
    given = [place for place in _places(layout) if os.path.isdir(place) and _short(place)]
    for place in given:
        shutil.rmtree(place, ignore_errors=True)
    return given


def _short(place: str) -> bool:
    """Whether root itself has less than the reserve. A file system without a limit of inodes tells 0 of them."""
    room = os.statvfs(place)
    inodes = room.f_files > 0 and room.f_ffree < FILES
    return inodes or room.f_bfree * room.f_frsize < FILES * FILE_BYTES
