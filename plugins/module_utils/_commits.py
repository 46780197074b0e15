# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies between the commit that is live and the one that shall be: for people who decide about a deploy."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils import _source
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError

COMMIT = r"[0-9a-f]{40}([0-9a-f]{24})?"
SHORT = 10  # digits of a commit that people see
LONGEST_SUBJECT = 100


@dataclass(frozen=True)
class Range:
    """The question: ``source`` as the operator's setting has it, ``cache`` is where mirrors are; commits in full."""

    source: str
    cache: str
    old: str
    new: str
    most: int = 20


def _unknown(asked: Range, why: str) -> dict[str, Any]:
    return {
        "known": False,
        "why": why,
        "from": asked.old,
        "to": asked.new,
        "count": 0,
        "taken_back": 0,
        "uncommitted": False,
        "subjects": [],
    }


@contextlib.contextmanager
def _repository(git: _source.Git, asked: Range) -> Iterator[tuple[tuple[str, ...], str]]:
    """The words and the directory with which Git finds the repository of a source; a refusal for one without."""
    # A directory that is a repository counts as one here, whichever way it was packed.
    kind = _source.kind_of(asked.source, asked.new)
    place = os.path.join(asked.source, ".git")
    if kind == _source.GIT and not os.path.exists(place):
        with contextlib.ExitStack() as stack:
            kept = os.path.isdir(asked.cache)
            cache = asked.cache if kept else stack.enter_context(tempfile.TemporaryDirectory(prefix=".commits-"))
            path, _commit = _source.mirror(git, asked.source, asked.new, cache=cache)
            yield ("--git-dir", path), ""
        return
    if kind not in (_source.GIT, _source.DIRECTORY):
        raise SlipwayError("the source is a packed archive")
    yield (), asked.source


def _printable(subject: str) -> str:
    """A subject as a terminal may show it: whoever writes a commit must not move its cursor."""
    text = "".join(letter if letter.isprintable() else "?" for letter in subject)
    return text if len(text) <= LONGEST_SUBJECT else f"{text[: LONGEST_SUBJECT - 3]}..."


def between(asked: Range, git: _source.Git) -> dict[str, Any]:
    """The commits from the old one to the new one, the newest first; never an error: then it says why it is unknown."""
    if not asked.new:
        return _unknown(asked, "the source is no Git repository")
    if not asked.old:
        return _unknown(asked, "no commit is known of the live release")
    if not re.fullmatch(COMMIT, asked.old) or not re.fullmatch(COMMIT, asked.new):
        return _unknown(asked, "that is no commit")
    try:
        with _repository(git, asked) as (words, directory):
            return _between(asked, git, words, directory)
    except (SlipwayError, OSError) as error:
        return _unknown(asked, error.summary if isinstance(error, SlipwayError) else str(error))


def _between(asked: Range, git: _source.Git, words: tuple[str, ...], directory: str) -> dict[str, Any]:
    for commit in (asked.old, asked.new):
        if not git.run(*words, "cat-file", "-e", f"{commit}^{{commit}}", cwd=directory).ok:
            return _unknown(asked, f"commit {commit[:SHORT]} is not in the repository")
    forth, back = f"{asked.old}..{asked.new}", f"{asked.new}..{asked.old}"
    said = git.need(*words, "log", "--format=%H%x09%s", f"--max-count={asked.most}", forth, "--", cwd=directory)
    lines = [line.partition("\t") for line in said.splitlines() if "\t" in line]
    state = git.run("status", "--porcelain", cwd=directory) if directory else None
    return {
        **_unknown(asked, ""),
        "known": True,
        "count": int(git.need(*words, "rev-list", "--count", forth, "--", cwd=directory)),
        "taken_back": int(git.need(*words, "rev-list", "--count", back, "--", cwd=directory)),
        "uncommitted": bool(state and state.ok and state.stdout.strip()),
        "subjects": [{"commit": commit, "subject": _printable(subject)} for commit, _tab, subject in lines],
    }
