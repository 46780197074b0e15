# SPDX-License-Identifier: GPL-3.0-or-later
"""An entry of the catalogue while it is made: one run at a time, unfinished until one rename."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from . import manifest, toc
from .errors import BackupError
from .manifest import Manifest
from .processes import Account, group_id

_LOCK = ".take.lock"
PARTIAL = ".partial"
ARCHIVE = "archive"


@contextlib.contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Hold the catalogue against other runs that take a backup; raises BackupError backup_running at once."""
    try:
        handle = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise unusable(directory, error) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise BackupError(
            "backup_running",
            "Another backup of this application is being taken",
            found=f"{directory / _LOCK} is locked",
            next_step="wait until it has ended (fuser tells its process), then repeat",
        ) from error
    try:
        yield
    finally:
        os.close(handle)


def unusable(path: Path, error: OSError) -> BackupError:
    """The error for a catalogue, or another place, that cannot be read or written to."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return BackupError(
            "no_space", f"{path} is full", expected="free space", next_step="free or add space, or keep fewer backups"
        )
    read_only = error.errno in (errno.EROFS, errno.EACCES, errno.EPERM)
    return BackupError(
        "catalogue_read_only" if read_only else "catalogue_unusable",
        f"{path} cannot be used",
        found=error.strerror or str(error),
        expected="a directory that this program may read and write",
        next_step=f"see `findmnt --target {path}` and `namei -l {path}`",
    )


@contextlib.contextmanager
def worded(place: Path) -> Iterator[None]:
    """What the system refuses as a BackupError: about the file that it names, else about ``place``."""
    try:
        yield
    except OSError as error:
        named = error.filename if isinstance(error.filename, str) else place
        raise unusable(Path(named), error) from error


def remove_unfinished(directory: Path) -> list[str]:
    """Remove what killed runs left; returns the names. Only while holding the catalogue (``alone``)."""
    found = sorted(directory.glob(f"*{PARTIAL}"))
    for path in found:
        shutil.rmtree(path, ignore_errors=True)
    return [path.name for path in found]


def _claim(path: Path, kind: int, gid: int, mode: int) -> None:
    """Take over what another user made. By an open file, so that a link it has put there leads nowhere else."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise toc.damaged(f"{path.name} is no regular file") from error
        raise
    try:
        found = os.fstat(handle)
        if stat.S_IFMT(found.st_mode) != kind or (kind == stat.S_IFREG and found.st_nlink != 1):
            raise toc.damaged(f"{path.name} is no regular file, or has other names")
        os.fchown(handle, os.geteuid(), gid)
        os.fchmod(handle, mode)
    finally:
        os.close(handle)


def give(directory: Path, names: Iterable[str], gid: int) -> None:
    """Let the group read an entry that came from elsewhere with the owners and modes of there, as one made here."""
    files = {directory / name for name in names}
    folders = {directory, *(path.parent for path in files)}
    wanted = [(path, stat.S_IFDIR, 0o750) for path in folders] + [(path, stat.S_IFREG, 0o640) for path in files]
    with worded(directory):
        for path, kind, mode in sorted(wanted):
            found, needed = os.lstat(path), mode >> 3 & 7
            if (found.st_mode >> 3 if found.st_gid == gid else found.st_mode) & needed != needed:
                _claim(path, kind, gid, mode)


class Workspace:
    """``<id>.partial``, with an ``archive`` directory that pg_dump's user may write to."""

    def __init__(self, directory: Path, made: Manifest, *, account: Account, group: str) -> None:
        self.final = directory / made.id
        self.path = directory / (made.id + PARTIAL)
        self.archive = self.path / ARCHIVE
        self.manifest = made
        self._gid = group_id(group) if group else -1
        try:
            self.path.mkdir(mode=0o750)
            os.chmod(self.path, 0o750)
            os.chown(self.path, -1, self._gid)
            self.archive.mkdir(mode=0o700)
            if account.other:
                os.chown(self.archive, account.entry.pw_uid, account.entry.pw_gid)
        except OSError as error:
            shutil.rmtree(self.path, ignore_errors=True)
            raise unusable(directory, error) from error

    def empty(self) -> None:
        """Remove what a dump that is repeated has left."""
        for path in self.archive.iterdir():
            path.unlink()

    def claim(self) -> None:
        """After the dump the archive is ours: its writer has no more rights on it, and the group may read it."""
        try:
            _claim(self.archive, stat.S_IFDIR, self._gid, 0o750)
            for path in self.archive.iterdir():
                _claim(path, stat.S_IFREG, self._gid, 0o640)
        except OSError as error:
            raise unusable(self.archive, error) from error

    def publish(self) -> None:
        """Write the manifest and make the entry visible, through to disk."""
        try:
            if self.archive.exists():
                manifest.sync(self.archive)
            manifest.write(self.path, self.manifest.as_dict())
            os.rename(self.path, self.final)
            manifest.sync(self.final.parent)
        except OSError as error:
            raise unusable(self.path, error) from error

    def fail(self, error: BackupError) -> None:
        """Keep the manifest, which says why it failed, and nothing else. When even that fails, keep nothing."""
        self.manifest.status = "failed"
        self.manifest.error = error.as_dict()
        try:
            for path in self.path.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            self.manifest.files, self.manifest.archive_bytes = [], 0
            self.publish()
        except (OSError, BackupError):
            shutil.rmtree(self.path, ignore_errors=True)
