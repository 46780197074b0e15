# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an image is called: where its registry is, the tags and labels that a build gives it, its name by digest.

Rules: https://distribution.github.io/distribution/spec/api/ (names, tags) and, for what Docker Hub is called by whom,
``splitReposName`` and ``FamiliarName`` of https://github.com/distribution/reference.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils._container import LABEL
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._files import read_json
from ansible_collections.slipway.webapp.plugins.module_utils._layout import VERSION_PATTERN
from ansible_collections.slipway.webapp.plugins.module_utils._plan import Step, carry_out
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Engine

HUB = "docker.io"
HUB_LOGIN = "https://index.docker.io/v1/"  # by this name Docker's files know a login of Docker Hub
TITLE, VERSION, REVISION = (f"org.opencontainers.image.{name}" for name in ("title", "version", "revision"))
DIGITS = 12  # of a hash, in a tag
_LONGEST_TAG = 128
_COMMIT = r"[0-9a-f]{40}|[0-9a-f]{64}"


def split(repository: str) -> tuple[str, str]:
    """The registry's host and the name there, as the engine understands them."""
    first, slash, rest = repository.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        host, name = first, rest
    else:  # no host: acme/shop is on Docker Hub
        host, name = HUB, repository
    host = HUB if host == f"index.{HUB}" else host
    return host, f"library/{name}" if host == HUB and "/" not in name else name


def familiar(repository: str) -> str:
    """The name that the engine lists it under, whichever way it was written: acme/shop for docker.io/acme/shop."""
    host, name = split(repository)
    return name.removeprefix("library/") if host == HUB else f"{host}/{name}"


def login_host(repository: str) -> str:
    """What a login for this repository is stored under."""
    host, _name = split(repository)
    return HUB_LOGIN if host == HUB else host


def tag_of(text: str) -> str:
    """A version as a tag: whatever a tag may not hold, such as the plus sign of 2.0.0+build, is a hyphen."""
    tag = re.sub(r"[^A-Za-z0-9_.-]", "-", text)
    return re.sub(r"^[.-]", "_", tag)[:_LONGEST_TAG]


@dataclass(frozen=True)
class Built:
    """The names and labels of an image that is about to be built. ``tags`` are names for people, the last one ours."""

    repository: str
    tags: tuple[str, ...]
    labels: Mapping[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"{self.repository}:{tag}" for tag in self.tags)


def built(*, app: str, repository: str, version: str, commit: str, uncommitted: bool, sha256: str) -> Built:
    """What a build is called. ``sha256`` is the packed source's; ``uncommitted``: it is not what ``commit`` holds."""
    revision = "" if uncommitted else commit
    mark = (revision or sha256)[:DIGITS]
    tags = (version, f"{version}-{mark}") if version else (mark,)
    # No time of the build: the same source gives the same labels. Those without a value are there all the same, since
    # an image would take over what its base says of itself.
    labels = {TITLE: app, VERSION: version, REVISION: revision, LABEL: app}
    return Built(repository=familiar(repository), tags=tuple(tag_of(tag) for tag in tags), labels=labels)


def reference(digests: Iterable[str], repository: str) -> str:
    """The name by digest in ``repository``, of all that the engine knows; '' when it knows none there."""
    wanted = familiar(repository)
    for one in digests:
        name, at, digest = one.partition("@")
        if at and familiar(name) == wanted:
            return f"{repository}@{digest}"
    return ""


def origin(labels: Mapping[str, str]) -> tuple[str, str]:
    """The version and the commit that an image says it was built from; '' for what it does not say, or no such."""
    version, revision = str(labels.get(VERSION) or ""), str(labels.get(REVISION) or "")
    commit = revision if re.fullmatch(_COMMIT, revision) else ""
    # A version without a commit is likely that of the base image (Ubuntu's are labelled so), unless we have built it.
    believed = bool(commit or LABEL in labels) and re.fullmatch(VERSION_PATTERN, version)
    return version if believed else "", commit


def needed_by(digest: str, *, prefix: str = "", but: str = "") -> tuple[str, ...]:
    """The releases on this host that are this image, as 'shop 1.4-0f1e2d3c4b': of every application ``but`` one."""
    found = []
    for path in sorted(glob.glob(f"{prefix}/srv/*/releases/*/release.json")):
        try:
            record = read_json(path) or {}
            needed = str(record.get("image", "")).endswith(f"@{digest}")
        except (SlipwayError, AttributeError):
            needed = True  # nobody knows what it is: an image too many is better than a way back too few
        parts = path.split(os.sep)
        if needed and parts[-4] != but:
            found.append(f"{parts[-4]} {parts[-2]}")
    return tuple(found)


def forget(engine: Engine, names: Sequence[str], *, prefix: str = "", check_mode: bool = False) -> dict[str, Any]:
    """Take the names of a build from the engine, but for those of an image that a release on this host is.

    With its last tag an image loses its name by digest too, by which the release knows it. That of a release goes with
    the release: ``HostEngine.remove`` takes the names of builds along.
    """
    there = {name: image for name in names if (image := engine.image(name))}
    digests = {one.rpartition("@")[2] for image in there.values() for one in image.digests}
    needed = {digest: needed_by(digest, prefix=prefix) for digest in sorted(digests)}
    going = [name for name, image in there.items() if not any(needed[one.rpartition("@")[2]] for one in image.digests)]

    def take(step: Step) -> None:
        engine.forget([str(step.data["name"])])

    steps = [Step("forget", f"forget the name {name}", {"name": name}) for name in going]
    actions = carry_out(steps, take, check_mode=check_mode)
    return {
        "changed": bool(actions),
        "actions": actions,
        "needed_by": [one for each in needed.values() for one in each],
    }
