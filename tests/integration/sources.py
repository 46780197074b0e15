# SPDX-License-Identifier: GPL-3.0-or-later
"""Sources of the example application, each different from every other one of this run."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.app.releases import make

CHANGED = Path("board") / "urls.py"
LOCK = Path("requirements.txt")


class Sources:
    """Makes trees in a directory of the run."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def tree(self, *, release: int = 1, fault: str | None = None, new_lock: bool = False) -> Path:
        """A tree that differs from the others in a comment of its code, and if wanted in one of its lock."""
        serial = time.time_ns()
        path = make(release=release, destination=self._directory / str(serial), fault=fault)
        for name in (CHANGED, LOCK) if new_lock else (CHANGED,):
            with (path / name).open("a", encoding="utf-8") as stream:
                stream.write(f"\n# build {serial}\n")
        return path

    def repository(self, *, releases: tuple[int, ...]) -> Path:
        """A bare Git repository with one commit for each release, tagged v1, v2 ...; its branch is at the last one."""
        serial = time.time_ns()
        bare, work = self._directory / f"{serial}.git", self._directory / f"{serial}-work"
        work.mkdir()
        git(work, "init", "--quiet", "--bare", "--initial-branch=main", str(bare))
        git(work, "init", "--quiet", "--initial-branch=main")
        for release in releases:
            shutil.copytree(self.tree(release=release), work, dirs_exist_ok=True)
            git(work, "add", "--all")
            git(work, "commit", "--quiet", "--message", f"release {release}")
            git(work, "tag", f"v{release}")
        git(work, "push", "--quiet", str(bare), "main", "--tags")
        return bare

    def packed(self, tree: Path, *, plant: Callable[[tarfile.TarFile], None] | None = None) -> tuple[Path, str]:
        """A tree as an archive that somebody else packed, and its SHA-256; ``plant`` adds what should not be there."""
        path = self._directory / f"{time.time_ns()}.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            for file in sorted(tree.rglob("*")):
                archive.add(file, arcname=str(file.relative_to(tree)), recursive=False)
            if plant:
                plant(archive)
        return path, hashlib.sha256(path.read_bytes()).hexdigest()


def git(tree: Path, *words: str) -> str:
    """Run Git in a tree, as nobody in particular."""
    who = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.org", "-c", "commit.gpgsign=false")
    return subprocess.run(["git", *who, *words], cwd=tree, check=True, capture_output=True, text=True).stdout


def escaping_path(archive: tarfile.TarFile) -> None:
    """A file above the tree."""
    content = b"planted\n"
    member = tarfile.TarInfo("notes/../../planted")
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def outward_link(archive: tarfile.TarFile) -> None:
    """A link to a directory of the system."""
    member = tarfile.TarInfo("notes/planted")
    member.type, member.linkname = tarfile.SYMTYPE, "../../../../etc"
    archive.addfile(member)


def device(archive: tarfile.TarFile) -> None:
    """A character device: the memory of the machine."""
    member = tarfile.TarInfo("notes/planted")
    member.type, member.devmajor, member.devminor = tarfile.CHRTYPE, 1, 1
    archive.addfile(member)
