# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading an archive to its end: the hash of each file, and of the COPY stream or large object that it holds.

Each file is decoded once, in pieces, so that memory does not depend on its size. Gzip has a checksum of its own, and a
COPY stream an end mark, so a file that was cut off or changed is noticed here already.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import toc
from .processes import Deadline
from .toc import damaged

CHUNK = 1 << 18  # bytes; a decoded piece is at most a few times as large
_LARGEST_PIECE = 1 << 20
END_OF_COPY = b"\\.\n\n\n"
SUFFIXES = ("", ".gz")


@dataclass(frozen=True)
class Stream:
    """What a file holds, decoded."""

    rows: int
    bytes: int
    sha256: str


@dataclass
class Contents:
    """A whole archive that was read to its end."""

    entries: list[toc.Entry]
    files: list[dict[str, Any]] = field(default_factory=list)
    tables: dict[tuple[str, str], Stream] = field(default_factory=dict)
    large_objects: dict[int, str] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(file["bytes"] for file in self.files)


class _File:
    """A file of the archive, hashed as it is read and written through to disk at the end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes = 0
        self._hash = hashlib.sha256()

    def pieces(self, deadline: Deadline) -> Iterator[bytes]:
        try:
            with open(self.path, "rb", buffering=0) as file:
                while piece := file.read(CHUNK):
                    deadline.left()
                    self._hash.update(piece)
                    self.bytes += len(piece)
                    yield piece
                os.fsync(file.fileno())
        except OSError as error:
            raise damaged(f"{self.path.name}: {error.strerror}") from error

    def entry(self, archive: Path) -> dict[str, Any]:
        relative = self.path.relative_to(archive.parent)
        return {"path": str(relative), "bytes": self.bytes, "sha256": self._hash.hexdigest()}


def _decoded(file: _File, deadline: Deadline) -> Iterator[bytes]:
    """The decoded pieces of a file, none larger than a megabyte."""
    return _gunzipped(file, deadline) if file.path.suffix == ".gz" else file.pieces(deadline)


def _gunzipped(file: _File, deadline: Deadline) -> Iterator[bytes]:
    decoder = zlib.decompressobj(wbits=31)
    try:
        for piece in file.pieces(deadline):
            data = piece
            while data and not decoder.eof:
                yield decoder.decompress(data, _LARGEST_PIECE)
                data = decoder.unconsumed_tail
            if decoder.eof and (data or decoder.unused_data):
                raise damaged(f"{file.path.name}: bytes after its end")
        while not decoder.eof and (rest := decoder.decompress(b"", _LARGEST_PIECE)):
            yield rest
    except zlib.error as error:
        raise damaged(f"{file.path.name}: {error}") from error
    if not decoder.eof:
        raise damaged(f"{file.path.name}: it ends too early")


def _stream(pieces: Iterator[bytes], *, copy: bool, name: str) -> Stream:
    """Hash decoded pieces; of a COPY stream without its end mark, and its rows counted."""
    digest, rows, size, held = hashlib.sha256(), 0, 0, b""
    kept = len(END_OF_COPY) if copy else 0
    for piece in pieces:
        held += piece
        body, held = (held[:-kept], held[-kept:]) if copy else (held, b"")
        digest.update(body)
        rows += body.count(b"\n") if copy else 0
        size += len(body)
    if copy and held != END_OF_COPY:
        raise damaged(f"{name}: a COPY stream that ends with {held!r} instead of its end mark")
    return Stream(rows, size, digest.hexdigest())


def compression_suffix(archive: Path, file: str) -> str:
    """The suffix under which a file of the table of contents lies there; raises BackupError archive_damaged."""
    for suffix in SUFFIXES:
        if (archive / (file + suffix)).exists():
            return suffix
    raise damaged(f"{file}: there is no such file")


def _named_files(archive: Path, entries: list[toc.Entry]) -> Iterator[tuple[Path, toc.Entry, int]]:
    """Each file with its entry; the number is a large object's oid, 0 for a table."""
    for entry in entries:
        if not entry.file:
            continue
        if entry.kind != "BLOBS":
            yield archive / (entry.file + compression_suffix(archive, entry.file)), entry, 0
            continue
        for line in _large_object_list(archive / entry.file):
            oid, _unused, name = line.partition(" ")
            yield archive / (name + compression_suffix(archive, name)), entry, int(oid)


def _large_object_list(path: Path) -> list[str]:
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise damaged(f"{path.name}: {error}") from error
    for line in lines:
        oid, _unused, name = line.partition(" ")
        if not oid.isdigit() or "/" in name or not name.startswith("blob_"):
            raise damaged(f"{path.name}: {line!r}")
    return lines


def decode(archive: Path, *, jobs: int, deadline: Deadline) -> Contents:
    """Read every file to its end, ``jobs`` at once; raises BackupError archive_damaged."""
    contents = Contents(toc.read(archive))
    named = sorted(_named_files(archive, contents.entries), key=lambda item: -item[0].stat().st_size)
    paths = [item[0] for item in named]
    plain = sorted({archive / toc.NAME, *(archive / e.file for e in contents.entries if e.kind == "BLOBS")})
    _refuse_strangers(archive, {*paths, *plain})
    with ThreadPoolExecutor(jobs) as pool:
        work = [pool.submit(_read, path, archive, entry.kind, deadline) for path, entry, _unused in named]
        work += [pool.submit(_read, path, archive, "", deadline) for path in plain]
        try:
            found = [item.result() for item in work]
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    contents.files = sorted((file for file, _unused in found), key=lambda file: str(file["path"]))
    for (_path, entry, oid), (_file, stream) in zip(named, found, strict=False):
        if entry.kind == "BLOBS":
            contents.large_objects[oid] = stream.sha256
        else:
            contents.tables[entry.schema, entry.name] = stream
    return contents


def _read(path: Path, archive: Path, kind: str, deadline: Deadline) -> tuple[dict[str, Any], Stream]:
    file = _File(path)
    pieces = _decoded(file, deadline) if kind else file.pieces(deadline)
    stream = _stream(pieces, copy=kind == "TABLE DATA", name=path.name)
    return file.entry(archive), stream


def _refuse_strangers(archive: Path, known: set[Path]) -> None:
    strangers = sorted(path.name for path in archive.iterdir() if path not in known)
    if strangers:
        raise damaged(f"files that its table of contents does not name: {', '.join(strangers[:5])}")


def large_objects_digest(hashes: dict[int, str]) -> str:
    """One hash for all large objects: SHA-256 over lines of oid and hash, by oid."""
    digest = hashlib.sha256()
    for oid in sorted(hashes):
        digest.update(f"{oid} {hashes[oid]}\n".encode())
    return digest.hexdigest()
