# SPDX-License-Identifier: GPL-3.0-or-later
"""The commits between two releases, by real repositories."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils._commits import Range, between
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Completed
from ansible_collections.slipway.webapp.plugins.module_utils._source import Git

WHO = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.org", "-c", "commit.gpgsign=false")


class Runner:
    """Runs programs on this machine."""

    def run(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        user: str = "",
        cwd: str = "",
        timeout: float = 0.0,
        stdin: str = "",
    ) -> Completed:
        del environment, user, timeout, stdin
        done = subprocess.run(list(command), cwd=cwd or None, capture_output=True, text=True, check=False)
        return Completed(done.returncode, done.stdout, done.stderr)


def git(where: Path, *words: str) -> str:
    return subprocess.run(["git", *WHO, *words], cwd=where, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A work tree with five commits; the last one's subject plays with the terminal."""
    path = tmp_path / "work"
    path.mkdir()
    git(path, "init", "--quiet", "--initial-branch=main")
    for subject in ("one", "two", "three", "four", "five \x1b[2Jgone"):
        git(path, "commit", "--quiet", "--allow-empty", "--message", subject)
    return path


def commit(work: Path, name: str) -> str:
    return git(work, "rev-parse", name)


def test_a_work_tree(work: Path, tmp_path: Path) -> None:
    asked = Range(str(work), str(tmp_path / "cache"), commit(work, "HEAD~3"), commit(work, "HEAD"), most=2)
    found = between(asked, Git(Runner()))
    assert (found["known"], found["count"], found["taken_back"], found["uncommitted"]) == (True, 3, 0, False)
    assert [one["subject"] for one in found["subjects"]] == ["five ?[2Jgone", "four"]
    assert found["subjects"][0]["commit"] == asked.new
    (work / "new.py").write_text("")
    assert between(asked, Git(Runner()))["uncommitted"] is True


@pytest.mark.parametrize("cache", [True, False])
def test_a_repository_of_others(work: Path, tmp_path: Path, cache: bool) -> None:
    """With the cache of artifacts, and before there is one."""
    bare = tmp_path / "bare.git"
    git(tmp_path, "clone", "--quiet", "--bare", str(work), str(bare))
    place = tmp_path / "cache"
    if cache:
        place.mkdir()
    found = between(Range(str(bare), str(place), commit(work, "HEAD~1"), commit(work, "HEAD")), Git(Runner()))
    assert (found["known"], found["count"]) == (True, 1), found
    assert place.exists() is cache


def test_back_and_aside(work: Path, tmp_path: Path) -> None:
    newest = commit(work, "HEAD")
    git(work, "checkout", "--quiet", "-b", "aside", "HEAD~2")
    git(work, "commit", "--quiet", "--allow-empty", "--message", "aside")
    found = between(Range(str(work), str(tmp_path), newest, commit(work, "HEAD")), Git(Runner()))
    assert (found["count"], found["taken_back"]) == (1, 2)
    same = between(Range(str(work), str(tmp_path), newest, newest), Git(Runner()))
    assert (same["known"], same["count"], same["subjects"]) == (True, 0, [])


def test_what_is_not_known_says_why(work: Path, tmp_path: Path) -> None:
    new, gone, packed = commit(work, "HEAD"), "0" * 40, tmp_path / "a.tar.gz"
    packed.touch()
    for source, old, commit_, why in (
        (work, "", new, "no commit is known of the live release"),
        (work, new, "", "the source is no Git repository"),
        (work, gone, new, "commit 0000000000 is not in the repository"),
        (work, "--output=/tmp/x", new, "that is no commit"),
        (packed, new, new, "the source is a packed archive"),
        (tmp_path / "none", new, new, "The source is not there"),
    ):
        found = between(Range(str(source), str(tmp_path), old, commit_), Git(Runner()))
        assert (found["known"], found["why"]) == (False, why)
