# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of contents of an archive in directory format, as pg_dump writes it (pg_backup_archiver.c).

``pg_restore --list`` prints names without quoting them, so that names with blanks or line ends cannot be told apart.
This reads what that program reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .errors import BackupError

NAME = "toc.dat"
# Of PostgreSQL 12 to 15, 16, and 17 with 18. Another format means another PostgreSQL: to be looked at, not guessed.
_VERSIONS = ((1, 14), (1, 15), (1, 16))
_POST_DATA = 4
_AS_IN_TAR = 3  # pg_dump writes the number of the tar format into the file of a directory


@dataclass(frozen=True)
class Entry:
    """An item of an archive. ``file`` is '' for items without data; ``copy`` is the COPY statement of a table's."""

    id: int
    oid: int
    kind: str
    schema: str
    name: str
    owner: str
    definition: str
    copy: str
    file: str
    depends: tuple[int, ...]
    post_data: bool  # keys, indexes, triggers: what comes after the data


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self.int_size = 4

    def take(self, count: int) -> bytes:
        if count > len(self._data) - self._at:
            raise ValueError(f"it ends after {len(self._data)} bytes, in the middle of an item")
        found = self._data[self._at : self._at + count]
        self._at += count
        return found

    def byte(self) -> int:
        return self.take(1)[0]

    def integer(self) -> int:
        sign = self.byte()
        if sign not in (0, 1):
            raise ValueError(f"the sign {sign} before byte {self._at}")
        value = int.from_bytes(self.take(self.int_size), "little")
        return -value if sign else value

    def text(self) -> str | None:
        length = self.integer()
        return None if length < 0 else self.take(length).decode("utf-8", "surrogateescape")

    def words(self) -> str:
        return self.text() or ""

    def at_end(self) -> bool:
        return self._at == len(self._data)


def read(archive: Path) -> list[Entry]:
    """All items; raises BackupError archive_damaged or archive_unknown_format."""
    path = archive / NAME
    try:
        return parse(path.read_bytes())
    except OSError as error:
        raise damaged(f"{NAME}: {error.strerror}") from error
    except ValueError as error:
        raise damaged(f"{NAME}: {error}") from error


def damaged(found: str) -> BackupError:
    """The error for an archive that is not as pg_dump left it."""
    return BackupError(
        "archive_damaged",
        "The archive is damaged",
        found=found,
        expected="what pg_dump has written",
        next_step="look for errors of the disk and of memory (dmesg), then take another backup",
    )


def parse(data: bytes) -> list[Entry]:
    """All items of a table of contents; raises ValueError, or BackupError archive_unknown_format."""
    reader = _Reader(data)
    if reader.take(5) != b"PGDMP":
        raise ValueError("it does not begin with PGDMP")
    version = _header(reader)
    count = reader.integer()
    if count < 0:
        raise ValueError(f"{count} items")
    entries = [_entry(reader, version) for _unused in range(count)]
    if not reader.at_end():
        raise ValueError("more bytes than items")
    return entries


def _header(reader: _Reader) -> tuple[int, int]:
    version = (reader.byte(), reader.byte())
    if version not in _VERSIONS:
        raise BackupError(
            "archive_unknown_format",
            "The archive's format is not known",
            found=".".join(map(str, version)),
            expected=", ".join(".".join(map(str, known)) for known in _VERSIONS),
            next_step="use a PostgreSQL that this version supports",
        )
    reader.byte()  # revision
    reader.int_size = reader.byte()
    if reader.int_size != 4:
        raise ValueError(f"integers of {reader.int_size} bytes")
    reader.byte()  # size of file offsets
    if (kind := reader.byte()) != _AS_IN_TAR:
        raise ValueError(f"format {kind}, not that of a directory")
    if version >= (1, 15):
        reader.byte()  # compression algorithm
    else:
        reader.integer()  # compression level
    for _unused in range(7):
        reader.integer()  # when: seconds to years, and daylight saving time
    for _unused_name in ("database", "server version", "pg_dump version"):
        reader.text()
    return version


def _entry(reader: _Reader, version: tuple[int, int]) -> Entry:
    id_ = reader.integer()
    reader.integer()  # whether it has data
    reader.text()  # oid of the catalogue
    oid = int(reader.words() or 0)
    name, kind = reader.words(), reader.words()
    section = reader.integer()
    definition, _drop, copy = reader.words(), reader.text(), reader.words()
    schema = reader.words()
    reader.text()  # tablespace
    reader.text()  # access method
    if version >= (1, 16):
        reader.integer()  # kind of relation
    owner = reader.words()
    reader.text()  # whether it has oids
    depends = []
    while (item := reader.text()) is not None:
        depends.append(int(item))
    return Entry(
        id_, oid, kind, schema, name, owner, definition, copy, reader.words(), tuple(depends), section == _POST_DATA
    )


def without(entries: list[Entry], excluded: set[int]) -> list[Entry]:
    """The entries that neither are excluded nor need one that is."""
    gone = set(excluded)
    while more := {entry.id for entry in entries if entry.id not in gone and gone.intersection(entry.depends)}:
        gone |= more
    return [entry for entry in entries if entry.id not in gone]
