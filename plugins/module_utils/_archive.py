# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Archives: packed so that one tree always gives the same bytes, unpacked without trusting what is inside.

The rules for links are ours, because Python 3.9 lacks the filters of PEP 706, and stricter: a link may point only at
``../`` ... followed by plain names, and nothing may lie below a link. So no chain of links can leave the tree.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import posixpath
import stat
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError

CHUNK = 1 << 20
LONGEST_NAME = 1024
LARGEST_HEADER = 1 << 20  # no header of an honest archive is larger; tarfile would read it into memory whole


@dataclass(frozen=True)
class Limits:
    """What an archive may hold at most: members, and bytes once unpacked."""

    files: int = 100_000
    total_bytes: int = 4 << 30


@dataclass(frozen=True)
class Entry:
    """One file or link of a tree: ``name`` relative and with slashes, ``link`` the target of a link or ''."""

    name: str
    source: str
    link: str = ""


def refused(name: str, reason: str) -> SlipwayError:
    """The refusal of one member."""
    return SlipwayError(
        f"The artifact is refused because of its member {name!r}",
        found=reason,
        expected="files and links that stay inside the tree",
        next_step="remove it from the source, or name it in webapp_source_exclude",
    )


def checked_name(name: str) -> str:
    """A member's name as a plain relative path; names that could lead elsewhere are refused."""
    plain = name[2:] if name.startswith("./") else name
    plain = plain.rstrip("/") if plain != "/" else plain
    if plain.startswith("/"):
        raise refused(name, "an absolute path")
    if plain in ("", "."):
        return ""
    parts = plain.split("/")
    if ".." in parts:
        raise refused(name, "a path with '..'")
    if "" in parts or "." in parts:
        raise refused(name, "a path with empty parts")
    if any(ord(character) < 32 or ord(character) == 127 for character in plain):
        raise refused(name, "a control character in its name")
    try:
        size = len(plain.encode("utf-8"))
    except UnicodeEncodeError:
        raise refused(name, "a name that is not UTF-8") from None
    if size > LONGEST_NAME or max(len(part.encode("utf-8")) for part in parts) > 255:
        raise refused(name, "a name that is too long")
    return plain


def checked_link(name: str, target: str) -> None:
    """Refuse a link that could lead out of the tree, alone or through other links."""
    parts = target.split("/")
    ups = next((number for number, part in enumerate(parts) if part != ".."), len(parts))
    if not target or target.startswith("/") or "\0" in target:
        raise refused(name, f"a link to {target!r}, an absolute path")
    if ".." in parts[ups:]:
        raise refused(name, f"a link to {target!r}, with '..' after a name")
    if ups > name.count("/"):
        raise refused(name, f"a link to {target!r}, outside the tree")


@dataclass
class Census:
    """What has been seen of an archive so far; each new member is checked against it."""

    limits: Limits
    kinds: dict[str, str] = field(default_factory=dict)
    total_bytes: int = 0
    members: int = 0

    def admit(self, name: str, kind: str, *, size: int = 0, link: str = "") -> None:
        """Take note of a member (kind: file, link, hardlink, directory), or refuse it."""
        self.members += 1
        self.total_bytes += size
        if self.members > self.limits.files:
            raise refused(name, f"the archive has more than {self.limits.files} members")
        if self.total_bytes > self.limits.total_bytes:
            raise refused(name, f"the archive unpacks to more than {self.limits.total_bytes} bytes")
        known = self.kinds.get(name)
        if known is not None and not (known == kind == "directory"):
            raise refused(name, "it is there twice")
        for parent in _parents(name):
            if self.kinds.setdefault(parent, "directory") != "directory":
                raise refused(name, f"it lies below {parent!r}, which is not a directory")
        if kind == "link":
            checked_link(name, link)
        if kind == "hardlink" and self.kinds.get(link) != "file":
            raise refused(name, f"a hard link to {link!r}, which is no file before it in this archive")
        self.kinds[name] = "file" if kind == "hardlink" else kind


def _parents(name: str) -> Iterator[str]:
    parent = posixpath.dirname(name)
    while parent:
        yield parent
        parent = posixpath.dirname(parent)


class _Hashing:
    """A file that counts and hashes what is written through it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self.size += len(data)
        return self._stream.write(data)

    def flush(self) -> None:
        self._stream.flush()


@dataclass(frozen=True)
class Packed:
    """What was packed: SHA-256 and size of the archive, number of files and links in it."""

    sha256: str
    size: int
    files: int


def pack(entries: Iterable[Entry], stream: BinaryIO, *, limits: Limits) -> Packed:
    """Write the entries as .tar.gz: by name, modes 0644 or 0755, no times, no owners."""
    hashing = _Hashing(stream)
    census = Census(limits)
    with contextlib.ExitStack() as stack:
        packed = stack.enter_context(gzip.GzipFile("", "wb", compresslevel=6, fileobj=cast(Any, hashing), mtime=0))
        tar = stack.enter_context(
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT, encoding="utf-8", errors="strict")
        )
        for entry in sorted(entries, key=lambda one: one.name.encode("utf-8", "surrogateescape")):
            _add(tar, entry, census)
    return Packed(sha256=hashing.digest.hexdigest(), size=hashing.size, files=census.members)


def _add(archive: tarfile.TarFile, entry: Entry, census: Census) -> None:
    info = tarfile.TarInfo(checked_name(entry.name))
    status = os.lstat(entry.source)
    if entry.link or stat.S_ISLNK(status.st_mode):
        info.type, info.mode = tarfile.SYMTYPE, 0o777
        info.linkname = entry.link or os.readlink(entry.source)
        census.admit(info.name, "link", link=info.linkname)
        archive.addfile(info)
        return
    if not stat.S_ISREG(status.st_mode):
        raise refused(entry.name, _kind_of(status.st_mode))
    info.mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
    with open(entry.source, "rb") as content:
        info.size = os.fstat(content.fileno()).st_size
        census.admit(info.name, "file", size=info.size)
        archive.addfile(info, content)
        if content.read(1):
            raise refused(entry.name, "it grew while it was packed")


def _kind_of(mode: int) -> str:
    device = "a device"
    kinds = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: device, stat.S_IFBLK: device}
    return kinds.get(stat.S_IFMT(mode), "not a file")


class _Forward:
    """A decompressed archive for tarfile: never back but for one byte, no huge header, and an end."""

    def __init__(self, stream: gzip.GzipFile, *, limit: int) -> None:
        self._stream = stream
        self._limit = limit
        self._position = 0
        self._last = b""
        self._pushed = b""

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= LARGEST_HEADER:
            raise SlipwayError("The artifact is refused", found="a header of absurd size in the archive")
        data = self._pushed + self._stream.read(size - len(self._pushed)) if size else b""
        self._pushed = b"" if size else self._pushed
        self._position += len(data)
        self._last = data[-1:] or self._last
        if self._position > self._limit:
            raise SlipwayError("The artifact is refused", found=f"it unpacks to more than {self._limit} bytes")
        return data

    def seek(self, offset: int, _whence: int = 0) -> int:
        if offset == self._position - 1 and self._last and not self._pushed:
            self._pushed, self._position = self._last, offset
        elif offset < self._position:
            raise SlipwayError("The artifact is refused", found="an archive that cannot be read from start to end")
        while self._position < offset:
            if not self.read(min(CHUNK, offset - self._position)):
                raise EOFError("the archive ends in the middle of a member")
        return self._position

    def tell(self) -> int:
        return self._position

    def finish(self) -> None:
        """Read what follows the last member: a cut or damaged archive must not pass because tarfile stops early."""
        while self.read(CHUNK):
            pass


@contextlib.contextmanager
def _refusing_damage(path: str) -> Iterator[None]:
    """Damage becomes a refusal that names the file."""
    try:
        yield
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise SlipwayError(
            f"{path} cannot be read as an artifact",
            found=str(error) or type(error).__name__,
            expected="a whole .tar.gz archive",
            next_step="pack it again, or transfer it again",
        ) from error


@contextlib.contextmanager
def _reading(path: str, limits: Limits) -> Iterator[tarfile.TarFile]:
    """The archive opened for reading; damage is refused."""
    with _refusing_damage(path), gzip.open(path, "rb") as stream:
        # Headers and padding come on top of what the members hold: at most some blocks for each.
        forward = _Forward(stream, limit=limits.total_bytes + limits.files * 8192 + LARGEST_HEADER)
        archive = tarfile.open(  # noqa: SIM115 - closed below, also when the generator is left early
            fileobj=cast(Any, forward), mode="r:", encoding="utf-8", errors="surrogateescape", errorlevel=2
        )
        try:
            yield archive
            forward.finish()
        finally:
            archive.close()


def members(path: str, *, limits: Limits) -> Iterator[tuple[str, str, tarfile.TarInfo, tarfile.TarFile]]:
    """Every checked member of an archive as (name, kind, header, archive), in its order."""
    with _reading(path, limits) as archive:
        census = Census(limits)
        for info in archive:
            name = checked_name(info.name)
            kind = _member_kind(info)
            if not name:
                continue
            link = checked_name(info.linkname) if kind == "hardlink" else info.linkname
            census.admit(name, kind, size=info.size if kind == "file" else 0, link=link)
            yield name, kind, info, archive


def _member_kind(info: tarfile.TarInfo) -> str:
    # Sparse files promise more bytes than they bring; type 7 (contiguous) and unknown types are not ours either.
    if info.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and info.sparse is None:
        return "file"
    kinds = {tarfile.SYMTYPE: "link", tarfile.LNKTYPE: "hardlink", tarfile.DIRTYPE: "directory"}
    try:
        return kinds[info.type]
    except KeyError:
        names = {tarfile.FIFOTYPE: "a named pipe", tarfile.CHRTYPE: "a device", tarfile.BLKTYPE: "a device"}
        raise refused(info.name, names.get(info.type, f"a member of type {info.type!r}")) from None


def inspect(path: str, *, limits: Limits) -> list[str]:
    """Check every member of an archive without unpacking; the names of its files and links."""
    return [name for name, kind, _info, _archive in members(path, limits=limits) if kind != "directory"]


def unpack(path: str, target: str, *, limits: Limits, uid: int = -1, gid: int = -1) -> int:
    """Unpack into the new directory ``target``: files 0640 or 0750, directories 0750; the number of files and links."""
    count = 0
    made = {""}
    os.mkdir(target, 0o700)
    for name, kind, info, archive in members(path, limits=limits):
        parent = name if kind == "directory" else posixpath.dirname(name)
        _make_directories(target, parent, made, uid=uid, gid=gid)
        place = os.path.join(target, name)
        if kind == "directory":
            continue
        count += 1
        if kind == "link":
            os.symlink(info.linkname, place)
            os.chown(place, uid, gid, follow_symlinks=False)
        elif kind == "hardlink":
            os.link(os.path.join(target, checked_name(info.linkname)), place, follow_symlinks=False)
        else:
            _write_file(archive, info, place, uid=uid, gid=gid)
    os.chown(target, uid, gid)
    os.chmod(target, 0o750)
    return count


def _make_directories(target: str, name: str, made: set[str], *, uid: int, gid: int) -> None:
    if name in made:
        return
    _make_directories(target, posixpath.dirname(name), made, uid=uid, gid=gid)
    place = os.path.join(target, name)
    os.mkdir(place, 0o750)
    os.chmod(place, 0o750)
    os.chown(place, uid, gid)
    made.add(name)


def _write_file(archive: tarfile.TarFile, info: tarfile.TarInfo, place: str, *, uid: int, gid: int) -> None:
    content = archive.extractfile(info)
    if content is None:
        raise refused(info.name, "it has no content")
    descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with content, os.fdopen(descriptor, "wb") as stream:
        while chunk := content.read(CHUNK):
            stream.write(chunk)
        if stream.tell() != info.size:
            raise refused(info.name, "the archive ends in the middle of it")
        os.fchown(descriptor, uid, gid)
        os.fchmod(descriptor, 0o750 if info.mode & stat.S_IXUSR else 0o640)


def sha256_of(path: str) -> str:
    """The SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
