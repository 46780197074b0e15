# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a release may go live: asked of people, or answered beforehand, but only for this very release."""

from __future__ import annotations

import re
from dataclasses import dataclass

SHORTEST_PREFIX = 12  # digits of an artifact's SHA-256


@dataclass(frozen=True)
class Asked:
    """The release that it is about."""

    release: str
    version: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class Decision:
    """Whether it may; ``how`` that was answered, and what to say when it may not."""

    approved: bool
    how: str
    refusal: str = ""


def _means(asked: Asked, answer: str) -> bool:
    """Does the answer name this release: by its id, its version, or enough of its artifact's SHA-256?"""
    if answer in (asked.release, asked.version):
        return bool(answer)
    return bool(re.fullmatch(rf"[0-9a-f]{{{SHORTEST_PREFIX},64}}", answer)) and asked.sha256.startswith(answer)


def _refused(asked: Asked, how: str, found: str) -> Decision:
    lines = [
        f"Release {asked.release} was not approved; traffic and database are as they were",
        f"found: {found}",
        f"expected: yes or {asked.release} on a terminal, or -e approve={asked.release}",
        "next: look at the plan (plan.yml), then run the same command again and approve it",
    ]
    return Decision(False, how, "\n".join(lines))


def given(asked: Asked, answer: str) -> Decision:
    """``-e approve=ANSWER``: it must name the release, because a later commit is another one."""
    how = f"approve={answer}"
    if _means(asked, answer):
        return Decision(True, how)
    return _refused(asked, how, f"{how}, which is another release")


def typed(asked: Asked, answer: str) -> Decision:
    """What somebody typed on a terminal."""
    answer = answer.strip()
    if answer == "yes" or _means(asked, answer):
        return Decision(True, "on a terminal")
    return _refused(asked, "on a terminal", f"the answer {answer!r}" if answer else "an empty answer")


def late(asked: Asked, seconds: int) -> Decision:
    """Nobody has answered in time."""
    return _refused(asked, "on a terminal", f"no answer within {seconds} s")


def interrupted(asked: Asked) -> Decision:
    """Somebody has pressed Ctrl-C."""
    return _refused(asked, "on a terminal", "an interruption")


def silent(asked: Asked) -> Decision:
    """There is nobody to ask."""
    return _refused(asked, "nobody", "neither an answer nor a terminal to ask on")


def question(asked: Asked, seconds: int) -> str:
    """What is asked."""
    return f"Shall {asked.release} go live? Type yes or its id within {seconds} s; anything else refuses:"
