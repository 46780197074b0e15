# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""File operations that are whole or not at all: write beside, fsync, rename, fsync the directory (rename(2))."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError


def fsync_directory(path: str) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _beside(path: str) -> str:
    return os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.{os.getpid()}.{secrets.token_hex(4)}")


def write_atomically(path: str, data: bytes, *, mode: int = 0o644, uid: int = -1, gid: int = -1) -> None:
    """Replace a file by one rename; a reader sees the old bytes or the new ones, also after a power cut."""
    temporary = _beside(path)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fchown(stream.fileno(), uid, gid)
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    fsync_directory(os.path.dirname(path))


def point_symlink(path: str, target: str) -> None:
    """Make ``path`` a symlink to ``target`` by one rename, whatever link was there before."""
    temporary = _beside(path)
    os.symlink(target, temporary)
    try:
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    fsync_directory(os.path.dirname(path))


def read_text(path: str) -> str | None:
    """The text of a file to the byte (a secret may hold carriage returns), or None when there is no such file."""
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            return stream.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UnicodeDecodeError as error:
        raise _damaged(path, f"no UTF-8: {error.reason} at position {error.start}") from error


def read_json(path: str) -> Any:
    """The JSON value of a file, or None when there is no such file; a damaged file is an error, never a guess."""
    text = read_text(path)
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        raise _damaged(path, f"not JSON: {error}") from error


def _damaged(path: str, found: str) -> SlipwayError:
    return SlipwayError(
        f"{path} is damaged",
        found=found,
        next_step="look at the file; move it away only when you know what it recorded",
    )


def read_link(path: str) -> str | None:
    """Where a symlink points, or None when there is none."""
    try:
        return os.readlink(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise SlipwayError(
                f"{path} is in the way",
                found="something that is not a symlink",
                expected="a symlink made by this collection",
                next_step="move it away",
            ) from error
        raise


def ensure_directory(path: str, *, mode: int = 0o755, uid: int = -1, gid: int = -1) -> bool:
    """Make a directory if it is missing; True when it was made. Parents that it makes are open to all.

    Each is given its mode, because what it is made with is less what the umask forbids.
    """
    if os.path.isdir(path):
        return False
    parent = os.path.dirname(path) or "."
    ensure_directory(parent)
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        if not os.path.isdir(path):  # another run may have made it by now
            raise
    os.chown(path, uid, gid)
    os.chmod(path, mode)
    fsync_directory(parent)
    return True


def fsync_file(path: str) -> None:
    """Make the bytes of a file durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_tree(path: str) -> None:
    """Make every file and directory below ``path`` durable."""
    for directory, _subdirectories, files in os.walk(path):
        for name in files:
            file = os.path.join(directory, name)
            if not os.path.islink(file):
                fsync_file(file)
        fsync_directory(directory)


@contextlib.contextmanager
def locked(path: str, *, wait_seconds: float = 0.0, what: str = "this work") -> Iterator[None]:
    """Hold an exclusive flock(2) on ``path``; the kernel frees it when the holder dies, so it cannot go stale."""
    ensure_directory(os.path.dirname(path))
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise SlipwayError(
                        f"Another process is doing {what} on this host",
                        found=f"{path} is locked",
                        next_step="wait until it has ended, then run the same command again",
                    ) from None
                time.sleep(0.1)
        yield
    finally:
        os.close(descriptor)
