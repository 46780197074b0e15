# SPDX-License-Identifier: GPL-3.0-or-later
"""Packing is a function of the tree alone; unpacking trusts nothing."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.slipway.webapp.plugins.module_utils._archive import (
    Entry,
    Limits,
    inspect,
    pack,
    sha256_of,
    unpack,
)
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._source import walk

LIMITS = Limits()


def packed(root: Path, *, limits: Limits = LIMITS, reverse: bool = False) -> bytes:
    entries = walk(str(root), exclude=(), defaults=()).entries
    stream = io.BytesIO()
    pack(entries[::-1] if reverse else entries, stream, limits=limits)
    return stream.getvalue()


def listing(root: Path) -> dict[str, tuple[str, bytes, bool]]:
    """name -> (kind, content or target, executable) of every file and link."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = ("link", os.readlink(path).encode(), False)
        elif path.is_file():
            found[name] = ("file", path.read_bytes(), bool(path.stat().st_mode & stat.S_IXUSR))
    return found


# What an honest tree holds -------------------------------------------------------------------------------------------

NAMES = st.text(alphabet="abcäß中 .-_~", min_size=1, max_size=8).filter(lambda name: name not in (".", ".."))
CONTENT = st.one_of(st.binary(max_size=40), st.sampled_from([512, 1024, 100_000]).map(lambda size: b"x" * size))
TREES = st.recursive(
    st.tuples(st.just("file"), CONTENT, st.booleans()),
    lambda inner: st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
).filter(lambda tree: isinstance(tree, dict))


def plant(root: Path, tree: dict[str, Any]) -> None:
    root.mkdir(exist_ok=True)
    for name, what in tree.items():
        if isinstance(what, dict):
            plant(root / name, what)
        else:
            _kind, content, executable = what
            (root / name).write_bytes(content)
            (root / name).chmod(0o755 if executable else 0o644)


@settings(max_examples=60, deadline=None)
@given(tree=TREES)
def test_unpacked_is_what_was_packed_and_the_bytes_depend_on_nothing_else(tree: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        one, two = Path(scratch, "one"), Path(scratch, "two")
        plant(one, tree)
        old = os.umask(0o077)
        try:
            plant(two, dict(reversed(list(tree.items()))))
        finally:
            os.umask(old)
        for number, path in enumerate(two.rglob("*")):
            os.utime(path, (number, number))
            if path.is_file():
                path.chmod(0o700 if path.stat().st_mode & stat.S_IXUSR else 0o600)
        data = packed(one)
        assert packed(two, reverse=True) == data
        Path(scratch, "a.tar.gz").write_bytes(data)
        count = unpack(str(Path(scratch, "a.tar.gz")), str(Path(scratch, "out")), limits=LIMITS)
        assert listing(Path(scratch, "out")) == listing(one)
        assert count == len(listing(one)) == len(inspect(str(Path(scratch, "a.tar.gz")), limits=LIMITS))


def test_bytes_of_a_known_tree_never_change(tmp_path: Path) -> None:
    """An id means the same in every version of the collection: these bytes are an interface."""
    plant(
        tmp_path / "t", {"manage.py": ("file", b"#!/usr/bin/env python\n", True), "a": {"b.txt": ("file", b"b", False)}}
    )
    (tmp_path / "t/link").symlink_to("a/b.txt")
    path = tmp_path / "a.tar.gz"
    path.write_bytes(packed(tmp_path / "t"))
    with tarfile.open(path) as archive:
        facts = [(i.name, i.mode, i.mtime, i.uid, i.gid, i.uname, i.gname) for i in archive]
    assert facts == [
        ("a/b.txt", 0o644, 0, 0, 0, "", ""),
        ("link", 0o777, 0, 0, 0, "", ""),
        ("manage.py", 0o755, 0, 0, 0, "", ""),
    ]
    assert path.read_bytes()[:10] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"


def test_unpacked_modes_let_the_group_read_and_nobody_else_write(tmp_path: Path) -> None:
    plant(tmp_path / "t", {"d": {"run": ("file", b"", True), "read": ("file", b"", False)}})
    (tmp_path / "a").write_bytes(packed(tmp_path / "t"))
    unpack(str(tmp_path / "a"), str(tmp_path / "out"), limits=LIMITS)
    modes = {name: stat.S_IMODE((tmp_path / "out" / name).stat().st_mode) for name in (".", "d", "d/run", "d/read")}
    assert modes == {".": 0o750, "d": 0o750, "d/run": 0o750, "d/read": 0o640}


# What is refused while packing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target", ["/etc/passwd", "../outside", "a/../../outside", "a/..", "./../x", "", "a/../b"], ids=repr
)
def test_links_that_could_leave_are_not_packed(tmp_path: Path, target: str) -> None:
    with pytest.raises(SlipwayError, match=r"member 'link'"):
        pack([Entry("link", str(tmp_path), link=target or "/")], io.BytesIO(), limits=LIMITS)


def test_pipes_are_not_packed_and_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SlipwayError, match=r"'pipe'(.|\n)*a named pipe"):
        packed(tmp_path)


def test_too_many_and_too_large_are_not_packed(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / str(number)).write_bytes(b"x" * 10)
    with pytest.raises(SlipwayError, match="more than 2 members"):
        packed(tmp_path, limits=Limits(files=2))
    with pytest.raises(SlipwayError, match="more than 29 bytes"):
        packed(tmp_path, limits=Limits(total_bytes=29))
    packed(tmp_path, limits=Limits(files=3, total_bytes=30))


# What is refused while unpacking -------------------------------------------------------------------------------------

Make = Callable[[tarfile.TarFile], None]


def member(name: str, *, kind: bytes = tarfile.REGTYPE, link: str = "", data: bytes = b"", **more: object) -> Make:
    def make(archive: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.size = kind, link, len(data)
        for key, value in more.items():
            setattr(info, key, value)
        archive.addfile(info, io.BytesIO(data))

    return make


LINK, HARD = {"kind": tarfile.SYMTYPE}, {"kind": tarfile.LNKTYPE}
HOSTILE: dict[str, tuple[list[Make], str]] = {
    "absolute": ([member("/etc/cron.d/x")], "an absolute path"),
    "absolute after dot": ([member(".//etc/x")], "an absolute path"),
    "root": ([member("/")], "an absolute path"),
    "dotdot": ([member("../x")], "'..'"),
    "dotdot inside": ([member("a/../../x")], "'..'"),
    "dotdot after dot": ([member("./../x")], "'..'"),
    "empty part": ([member("a//b")], "empty parts"),
    "newline": ([member("a\nb")], "control character"),
    "link out": ([member("l", **LINK, link="../x")], "outside the tree"),
    "link out from below": ([member("a/l", **LINK, link="../../x")], "outside the tree"),
    "link absolute": ([member("l", **LINK, link="/etc")], "absolute"),
    "link tricky": ([member("l", **LINK, link="a/../../x")], "'..' after a name"),
    "file through link": ([member("l", **LINK, link="a"), member("l/x")], "lies below 'l'"),
    "file through absolute link": ([member("l", **LINK, link="/tmp"), member("l/x")], "absolute"),
    "link chain": (
        [member("a/b/up", **LINK, link="../.."), member("l", **LINK, link="a/b/up/../x")],
        "'..' after a name",
    ),
    "link replaces directory": ([member("d/x"), member("d", **LINK, link="e")], "there twice"),
    "directory replaces link": ([member("d", **LINK, link="e"), member("d", kind=tarfile.DIRTYPE)], "there twice"),
    "twice": ([member("a"), member("a")], "there twice"),
    "twice by another spelling": ([member("a"), member("./a")], "there twice"),
    "below a file": ([member("a"), member("a/b")], "lies below 'a'"),
    "hard link out": ([member("h", **HARD, link="/etc/shadow")], "an absolute path"),
    "hard link up": ([member("h", **HARD, link="../x")], "'..'"),
    "hard link to nothing": ([member("h", **HARD, link="later"), member("later")], "no file before it"),
    "hard link to a link": ([member("l", **LINK, link="x"), member("h", **HARD, link="l")], "no file before it"),
    "device": ([member("null", kind=tarfile.CHRTYPE, devmajor=1, devminor=3)], "a device"),
    "block device": ([member("sda", kind=tarfile.BLKTYPE)], "a device"),
    "pipe": ([member("p", kind=tarfile.FIFOTYPE)], "a named pipe"),
    "unknown type": ([member("c", kind=b"7")], "type b'7'"),
    "sparse": ([member("s", kind=tarfile.GNUTYPE_SPARSE)], "type b'S'"),
    "long name": ([member("/".join(["x" * 200] * 6))], "too long"),
    "long part": ([member("x" * 256)], "too long"),
    "size": ([member("a", data=b"x" * 600), member("b", data=b"x" * 600)], "more than 1000 bytes"),
    "members": ([member(str(n)) for n in range(21)], "more than 20 members"),
}
SMALL = Limits(files=20, total_bytes=1000)


def archive_of(path: Path, makes: list[Make]) -> str:
    with tarfile.open(path, "w:gz", format=tarfile.GNU_FORMAT) as archive:
        for make in makes:
            make(archive)
    return str(path)


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_archives_are_refused_by_name_and_touch_nothing_outside(tmp_path: Path, case: str) -> None:
    makes, reason = HOSTILE[case]
    path = archive_of(tmp_path / "a.tar.gz", makes)
    (tmp_path / "in").mkdir()
    with pytest.raises(SlipwayError) as refusal:
        inspect(path, limits=SMALL)
    assert reason in str(refusal.value)
    with pytest.raises(SlipwayError) as refusal:
        unpack(path, str(tmp_path / "in" / "out"), limits=SMALL)
    assert reason in str(refusal.value)
    assert sorted(os.listdir(tmp_path)) == ["a.tar.gz", "in"]
    assert os.listdir(tmp_path / "in") == ["out"]


def test_a_sparse_file_in_pax_clothing_is_refused(tmp_path: Path) -> None:
    """Its header promises gigabytes that the archive does not hold."""
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("big")
        info.pax_headers = {"GNU.sparse.map": "0,0", "GNU.sparse.size": str(1 << 30)}
        archive.addfile(info)
    with pytest.raises(SlipwayError, match="'big'"):
        inspect(str(tmp_path / "a.tar.gz"), limits=LIMITS)


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "a.tar.gz", [member("caf\udce9")])
    with pytest.raises(SlipwayError, match="not UTF-8"):
        inspect(path, limits=LIMITS)


def test_honest_archives_of_others_are_accepted(tmp_path: Path) -> None:
    makes = [
        member("./", kind=tarfile.DIRTYPE),
        member("./a/", kind=tarfile.DIRTYPE),
        member("./a/file", data=b"content"),
        member("./hard", **HARD, link="./a/file"),
        member("./a/link", **LINK, link="../hard"),
        member("./empty/", kind=tarfile.DIRTYPE),
    ]
    path = archive_of(tmp_path / "a.tar.gz", makes)
    assert unpack(path, str(tmp_path / "out"), limits=LIMITS) == 3
    assert (tmp_path / "out/hard").read_bytes() == (tmp_path / "out/a/link").read_bytes() == b"content"
    assert (tmp_path / "out/empty").is_dir()


def test_an_absurd_header_is_not_read_into_memory(tmp_path: Path) -> None:
    """A pax header may claim any size; ours is 3 MB of nothing that compresses to 3 kB."""
    path = archive_of(tmp_path / "a.tar.gz", [member("pax", kind=tarfile.XHDTYPE, data=b"\0" * (3 << 20))])
    with pytest.raises(SlipwayError, match="header of absurd size"):
        inspect(path, limits=LIMITS)


def test_data_without_end_is_refused(tmp_path: Path) -> None:
    import gzip

    whole = Path(archive_of(tmp_path / "a.tar.gz", [member("a")]))
    plain = gzip.decompress(whole.read_bytes())
    whole.write_bytes(gzip.compress(plain + b"\0" * (3 << 20)))
    with pytest.raises(SlipwayError, match="unpacks to more than"):
        inspect(str(whole), limits=Limits(files=1, total_bytes=1))


@pytest.mark.parametrize("cut", [5, 20, 100, 400, -9, -4, -1])
def test_a_cut_archive_is_refused(tmp_path: Path, cut: int) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t/a").write_bytes(os.urandom(700))
    data = packed(tmp_path / "t")
    (tmp_path / "cut").write_bytes(data[:cut])
    with pytest.raises(SlipwayError, match="cannot be read"):
        inspect(str(tmp_path / "cut"), limits=LIMITS)


@pytest.mark.parametrize("position", [12, 200, -6])
def test_a_flipped_bit_is_refused_or_at_least_changes_the_sha(tmp_path: Path, position: int) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t/a").write_bytes(os.urandom(700))
    data = bytearray(packed(tmp_path / "t"))
    (tmp_path / "good").write_bytes(data)
    data[position] ^= 1
    (tmp_path / "bad").write_bytes(data)
    assert sha256_of(str(tmp_path / "good")) != sha256_of(str(tmp_path / "bad"))
    with pytest.raises(SlipwayError):
        inspect(str(tmp_path / "bad"), limits=LIMITS)
