# SPDX-License-Identifier: GPL-3.0-or-later
"""Free space, checked before anything is written. A full file system takes the application down with it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from .errors import BackupError

# Measured on mixed tables: an archive takes a sixth of the database, a restored copy as much as the database without
# its bloat. Binary data that does not compress takes its own size and a little.
_ARCHIVE_SHARE = 0.5
_COPY_SHARE = 1.3
_SMALLEST = 64 << 20  # bytes: an empty cluster with its write-ahead log
_AUTO_FACTOR, _AUTO_EXTRA = 2, 1 << 30
_REHEARSAL_FACTOR = 2  # a table that is rewritten, and rewritten once more when that is undone and done again


def scratch_limit(database_bytes: int, wanted: int, *, rehearse: bool) -> int:
    """Bytes that the throwaway server may take: as told, or a multiple of the database and a gigabyte for its log."""
    return wanted or database_bytes * (_AUTO_FACTOR + _REHEARSAL_FACTOR * rehearse) + _AUTO_EXTRA


def require(catalogue: Path, scratch: Path | None, database_bytes: int, *, archives: int = 1) -> None:
    """Raises BackupError no_space, naming the file system that is too small. ``scratch`` None: nothing is restored.

    ``archives``: as many times the catalogue has the archive's bytes at once; while it is encrypted, for example, two.
    """
    needs: dict[int, tuple[Path, int]] = {}
    wanted = [(catalogue, database_bytes * _ARCHIVE_SHARE * archives)]
    if scratch:
        wanted.append((scratch, database_bytes * _COPY_SHARE + _SMALLEST))
    for path, share in wanted:
        device = os.stat(path).st_dev
        needs[device] = (path, needs.get(device, (path, 0))[1] + int(share))
    for path, need in needs.values():
        require_free(path, need, f"a database of {database_bytes} bytes")


def require_free(path: Path, need: int, what: str) -> None:
    """Raises BackupError no_space where fewer than ``need`` bytes are free."""
    free = shutil.disk_usage(path).free
    if free < need:
        raise BackupError(
            "no_space",
            f"There is too little space on the file system of {path}",
            found=f"{free} bytes free",
            expected=f"{need} bytes for {what}",
            next_step="free or add space, or choose a directory on another file system",
        )
