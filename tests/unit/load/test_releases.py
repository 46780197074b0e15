# SPDX-License-Identifier: GPL-3.0-or-later
"""The source trees of the example application."""

from __future__ import annotations

import ast
import itertools
from pathlib import Path

import pytest

from tests.app import releases


def tree(root: Path) -> dict[str, tuple[int, bytes]]:
    """Mode and content of each file."""
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): (path.stat().st_mode & 0o777, path.read_bytes()) for path in files}


def made(
    where: Path, *, release: int, fault: str | None = None, plain_lock: bool = False
) -> dict[str, tuple[int, bytes]]:
    """A tree in a fresh directory."""
    name = f"{release}-{fault}-{plain_lock}-{len(list(where.iterdir()))}"
    return tree(releases.make(release=release, destination=where / name, fault=fault, plain_lock=plain_lock))


def test_releases_differ_and_the_same_one_is_the_same(tmp_path: Path) -> None:
    one, two, three = (made(tmp_path, release=number) for number in releases.RELEASES)
    assert made(tmp_path, release=2) == two
    for name in ("notes/static/notes/board.css", "notes/models.py", "notes/templates/notes/_edition.html"):
        assert len({each[name] for each in (one, two, three)}) == 3
    assert one["requirements.txt"] == three["requirements.txt"], "one virtual environment for all releases"
    assert one["manage.py"][0] == 0o755
    assert not [name for name in three if "__pycache__" in name or name.startswith((".", "overlays", "releases"))]


def test_migrations_only_grow(tmp_path: Path) -> None:
    trees = [made(tmp_path, release=number) for number in releases.RELEASES]
    migrations = [{name: each[name] for name in each if "/migrations/0" in name} for each in trees]
    for earlier, later in itertools.pairwise(migrations):
        assert earlier.items() < later.items()


@pytest.mark.parametrize("release", releases.RELEASES)
@pytest.mark.parametrize("fault", releases.FAULTS)
def test_every_fault_can_be_planted_in_every_release(tmp_path: Path, release: int, fault: str) -> None:
    bad = made(tmp_path, release=release, fault=fault)
    assert bad != made(tmp_path, release=release)
    for name, (_code, content) in bad.items():
        if name.endswith(".py"):
            ast.parse(content)


def test_a_failing_migration_follows_the_last_one(tmp_path: Path) -> None:
    for release, last in ((1, "0001_initial"), (2, "0002_note_mood"), (3, "0004_notes_on_board")):
        bad = made(tmp_path, release=release, fault="failing-migration")
        assert f'("notes", "{last}")' in bad["notes/migrations/0099_planted.py"][1].decode()


def test_a_plain_lock_pins_the_same_without_hashes(tmp_path: Path) -> None:
    def pins(text: str) -> list[str]:
        return [line.split()[0] for line in text.splitlines() if "==" in line and not line.startswith(" ")]

    hashed = made(tmp_path, release=1)["requirements.txt"][1].decode()
    plain = made(tmp_path, release=1, plain_lock=True)["requirements.txt"][1].decode()
    assert pins(hashed) == pins(plain) != []
    assert "--hash" not in plain
    assert "\\" not in plain


def test_what_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for wrong in ({"release": 4}, {"release": 1, "fault": "sunshine"}, {"release": 1}):
        with pytest.raises(releases.ReleasesError):
            releases.make(destination=tmp_path, **wrong)  # type: ignore[arg-type]
