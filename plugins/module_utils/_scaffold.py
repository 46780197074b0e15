# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writing the files of a new directory, without ever touching one that is there, and what its ansible.cfg must know."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._files import ensure_directory, write_atomically
from ansible_collections.slipway.webapp.plugins.module_utils._plan import Step

# What the playbooks are made of.
COLLECTIONS = ("slipway.webapp", "ansible.posix", "community.docker", "community.postgresql")


@dataclass(frozen=True)
class Draft:
    """A file to be: ``path`` is relative to the directory."""

    path: str
    content: str
    mode: int = 0o644


def drafts(files: dict[str, str], secret_files: dict[str, str]) -> tuple[Draft, ...]:
    """All files, the secret ones readable by their owner only. A path that leaves the directory is refused."""
    wanted = [Draft(path, content) for path, content in files.items()]
    wanted += [Draft(path, content, 0o600) for path, content in secret_files.items()]
    for draft in wanted:
        if not draft.path or os.path.isabs(draft.path) or ".." in draft.path.split("/"):
            raise SlipwayError(
                "That path leaves the directory", found=repr(draft.path), expected="a path below the directory"
            )
    return tuple(sorted(wanted, key=lambda draft: draft.path))


def probe(directory: str, wanted: Iterable[Draft]) -> frozenset[str]:
    """The paths that are taken, by whatever it is."""
    return frozenset(draft.path for draft in wanted if os.path.lexists(os.path.join(directory, draft.path)))


def plan(directory: str, wanted: Iterable[Draft], taken: frozenset[str]) -> tuple[Step, ...]:
    """A step for each file that is missing."""
    missing = (draft for draft in wanted if draft.path not in taken)
    return tuple(Step("write", f"write {os.path.join(directory, draft.path)}", {"draft": draft}) for draft in missing)


def apply(directory: str, step: Step) -> None:
    """Write one file, and the directories above it."""
    draft: Draft = step.data["draft"]
    path = os.path.join(directory, draft.path)
    try:
        ensure_directory(os.path.dirname(path))
        write_atomically(path, draft.content.encode(), mode=draft.mode)
    except OSError as error:
        raise SlipwayError(
            f"{path} cannot be written",
            found=error.strerror or str(error),
            expected="a directory that you may write to",
            next_step="choose another directory",
        ) from error


def collection_places(searched: Sequence[str], usual: Sequence[str]) -> list[str]:
    """Those of the ``searched`` directories without which a collection would not be found in the ``usual`` ones.

    Empty on a machine where the collections are installed; a checkout's directory where they are used from there.
    """

    def holds(place: str, name: str) -> bool:
        return os.path.isdir(os.path.join(os.path.expanduser(place), "ansible_collections", *name.split(".")))

    places = []
    absent = [name for name in COLLECTIONS if not any(holds(place, name) for place in usual)]
    for place in searched:
        if any(holds(place, name) for name in absent):
            places.append(place)
            absent = [name for name in absent if not holds(place, name)]
    return places
