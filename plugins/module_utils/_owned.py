# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose the files of a release are when it is built: root's, for the application's group or for all to read."""

from __future__ import annotations

import os
import stat


def root_group() -> int:
    """The group of what is public: root's own."""
    return 0 if os.geteuid() == 0 else -1


def give_compiled(code: str, *, gid: int) -> None:
    """Let the application's group read what root has compiled; Python would compile it anew at each start."""
    for directory, _subdirectories, files in os.walk(code):
        if os.path.basename(directory) == "__pycache__":
            os.chown(directory, -1, gid)
            os.chmod(directory, 0o750)
            for name in files:
                path = os.path.join(directory, name)
                if name.endswith(".pyc") and not os.path.islink(path):
                    os.chown(path, -1, gid)
                    os.chmod(path, 0o640)


def own(root: str, *, gid: int, public: bool = False) -> None:
    """Give a tree that the application made to root: nothing in it stays writable for others, no set-id bit stays.

    The top is closed first, and everything is reached through open directories: a process of the application that
    still runs cannot put a link in the way.
    """
    uid = 0 if os.geteuid() == 0 else -1
    os.chown(root, uid, gid, follow_symlinks=False)
    os.chmod(root, 0o700)
    for _path, directories, files, descriptor in os.fwalk(root):
        for name in (*directories, *files):
            status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            os.chown(name, uid, gid, dir_fd=descriptor, follow_symlinks=False)
            if not stat.S_ISLNK(status.st_mode):
                readable = 0o755 if stat.S_ISDIR(status.st_mode) or status.st_mode & stat.S_IXUSR else 0o644
                mode = readable if public else (stat.S_IMODE(status.st_mode) & 0o755) | (readable & 0o550)
                if mode != stat.S_IMODE(status.st_mode):
                    os.chmod(name, mode, dir_fd=descriptor)
    os.chmod(root, 0o755 if public else 0o750)
