# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host has: releases, complete or not. Only looking; the building is elsewhere, so that readers stay small."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._files import read_json, read_link
from ansible_collections.slipway.webapp.plugins.module_utils._layout import RELEASE_PATTERN, SLOTS, Layout

PARTIAL = ".partial"
RECORD = "release.json"
MARKER = "slipway.json"  # the last file of a complete environment
SCHEMA = 1


@dataclass(frozen=True)
class Record:
    """The content of ``release.json``. ``lock_hash`` names the environment; ``created`` is ISO 8601 in UTC.

    ``commit`` is what was packed, or ''. ``image`` is what a release is that is no source: a reference by digest, whose
    digest is ``sha256``; it has neither code nor an environment on the host. ``frontend`` is the SHA-256 of its front
    end, or ''; where there is nothing else it is ``sha256``, too.
    """

    id: str
    version: str
    sha256: str
    created: str
    python: str
    lock_kind: str
    lock_hash: str
    files: int
    collection: str
    commit: str = ""
    image: str = ""
    frontend: str = ""

    @property
    def has_code(self) -> bool:
        """Whether there are code and an environment on the host."""
        return not self.image and self.frontend != self.sha256

    def as_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "id": self.id,
            "version": self.version,
            "sha256": self.sha256,
            "created": self.created,
            "python": self.python,
            "lock": {"kind": self.lock_kind, "hash": self.lock_hash},
            "files": self.files,
            "collection": self.collection,
            "commit": self.commit,
            **({"image": self.image} if self.image else {}),
            **({"frontend": self.frontend} if self.frontend else {}),
        }


def read_record(path: str) -> Record | None:
    """The record in a release's directory, or None when there is none. A damaged one is an error."""
    try:
        value = read_json(os.path.join(path, RECORD))
    except OSError as error:
        raise SlipwayError(
            f"{path}/{RECORD} cannot be read",
            found=error.strerror or str(error),
            next_step="look at the file, and at the disk that it is on",
        ) from error
    if value is None:
        return None
    try:
        return Record(
            id=str(value["id"]),
            version=str(value["version"]),
            sha256=str(value["sha256"]),
            created=str(value["created"]),
            python=str(value["python"]),
            lock_kind=str(value["lock"]["kind"]),
            lock_hash=str(value["lock"]["hash"]),
            files=int(value["files"]),
            collection=str(value["collection"]),
            commit=str(value.get("commit", "")),  # earlier versions did not record it
            image=str(value.get("image", "")),
            frontend=str(value.get("frontend", "")),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise SlipwayError(f"{path}/{RECORD} is damaged", found=f"{type(error).__name__}: {error}") from error


@dataclass(frozen=True)
class Installed:
    """A release directory under its final name; ``problem`` says why it is not complete, or is ''."""

    id: str
    path: str
    record: Record | None
    problem: str = ""

    @property
    def complete(self) -> bool:
        return not self.problem


def venv_problem(layout: Layout, lock_hash: str) -> str:
    """Why an environment cannot be used, or ''."""
    venv = layout.venv(lock_hash)
    if not os.path.exists(os.path.join(venv, MARKER)):
        return (
            f"its environment {lock_hash} is not there" if not os.path.isdir(venv) else "its environment is half made"
        )
    if not os.access(os.path.join(venv, "bin", "python"), os.X_OK):
        return "the Python of its environment is gone"
    return ""


def venv_link(lock_hash: str) -> str:
    """What the link ``venv`` in a release's directory says."""
    return os.path.join("..", "..", "venvs", lock_hash)


def read_installed(layout: Layout, release: str) -> Installed | None:
    """A release under its final name, or None when there is none."""
    path = layout.release(release)
    if not os.path.isdir(path):
        return None
    try:
        record = read_record(path)
    except SlipwayError as error:
        return Installed(id=release, path=path, record=None, problem=error.summary)
    whole = record is not None and (not record.has_code or os.path.isdir(os.path.join(path, "code")))
    if record is None or record.id != release or not whole:
        return Installed(id=release, path=path, record=None, problem=f"no {RECORD} of this release with its code")
    if not record.has_code:  # whether the engine still has an image is for the engine to say
        return Installed(id=release, path=path, record=record)
    problem = venv_problem(layout, record.lock_hash)
    if not problem and read_link(os.path.join(path, "venv")) != venv_link(record.lock_hash):
        problem = "it does not point at its environment"
    return Installed(id=release, path=path, record=record, problem=problem)


def installed(layout: Layout, *, needed: Collection[str] = ()) -> tuple[Installed, ...]:
    """Every release under its final name, the newest first.

    What a slot is assigned to, or ``needed`` names, is one whatever its record says. Anything else without a record of
    its own name was not made here (lost+found, a copy of a release): it is nobody's business.
    """
    meant = {*assigned(layout).values(), *needed}
    names = _listing(layout.releases)
    found = [read_installed(layout, name) for name in names if name in meant or _has_record(layout.release(name), name)]
    there = [one for one in found if one is not None]
    return tuple(sorted(there, key=lambda one: (one.record.created if one.record else "", one.id), reverse=True))


def _has_record(path: str, release: str) -> bool:
    """Whether there is a record of this release. A damaged one is one: no build makes a directory without."""
    try:
        record = read_record(path)
    except SlipwayError:
        return True
    return record is not None and record.id == release


def partials(layout: Layout) -> tuple[str, ...]:
    """The ids of releases that somebody began to build or to remove."""
    names = _listing(layout.releases, ending=PARTIAL)
    return tuple(name for name in names if os.path.isdir(layout.partial(name)))


def _listing(path: str, *, ending: str = "") -> list[str]:
    """What has a name that a release can have, and this ending, which is taken off."""
    try:
        found = [name[: len(name) - len(ending)] for name in os.listdir(path) if name.endswith(ending)]
    except FileNotFoundError:
        return []
    return sorted(name for name in found if re.fullmatch(RELEASE_PATTERN, name) and not name.endswith(PARTIAL))


def assigned(layout: Layout) -> dict[str, str]:
    """Which release each slot is assigned to; slots without one are not in the answer."""
    links = {slot: read_link(layout.slot_link(slot)) for slot in SLOTS}
    return {slot: os.path.basename(link) for slot, link in links.items() if link}


def describe(one: Installed | None) -> dict[str, Any] | None:
    """A release for a module's result."""
    if one is None:
        return None
    record = one.record
    return {
        "id": one.id,
        "path": one.path,
        "complete": one.complete,
        "problem": one.problem,
        "version": record.version if record else "",
        "sha256": record.sha256 if record else "",
        "created": record.created if record else "",
        "python": record.python if record else "",
        "lock": {"kind": record.lock_kind, "hash": record.lock_hash} if record else None,
        "venv": os.path.normpath(os.path.join(one.path, venv_link(record.lock_hash))) if record else "",
        "files": record.files if record else 0,
        "commit": record.commit if record else "",
        "frontend": record.frontend if record else "",
    }


def listing(layout: Layout, *, only: str = "") -> dict[str, Any]:
    """The releases of a host, and what is unfinished, for a module's result; with ``only`` a single release."""
    slots = assigned(layout)
    there = [one for one in installed(layout) if only in ("", one.id)]
    return {
        "releases": [
            {**(describe(one) or {}), "slots": [slot for slot, release in slots.items() if release == one.id]}
            for one in there
        ],
        "unfinished": [release for release in partials(layout) if only in ("", release)],
    }
