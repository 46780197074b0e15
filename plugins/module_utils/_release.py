# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Releases on a host: what is there, what a wish needs, in which steps. Carried out by ``_release_build``.

A release is complete when its directory has its final name (it gets that by one rename, as the last step of its build),
its ``release.json`` says so, and the environment that it points at is complete too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ansible_collections.slipway.webapp.plugins.module_utils import _static
from ansible_collections.slipway.webapp.plugins.module_utils._archive import Limits, sha256_of
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._frontend import ASSETS, Frontend
from ansible_collections.slipway.webapp.plugins.module_utils._image_names import origin
from ansible_collections.slipway.webapp.plugins.module_utils._installed import Installed, assigned, read_installed
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout
from ansible_collections.slipway.webapp.plugins.module_utils._plan import Step
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Engine

PRESENT, ABSENT, DAMAGED = "present", "absent", "damaged"


@dataclass(frozen=True)
class Wish:
    """The release that is wanted, and all that its build needs.

    ``environment`` and ``build_environment`` hold every variable, secrets too; ``secrets`` are the values to hide.
    ``upload`` is a file on the host that claims to be the artifact, ``size`` its size in bytes (0: not known).
    ``image`` is what is released instead of an artifact, by its digest, ``login`` the registry's user and password.
    ``frontend`` comes beside either; alone, its ``sha256`` is that of the release.
    """

    release: str
    sha256: str
    version: str = ""
    commit: str = ""
    python: str = "/usr/bin/python3"
    settings_module: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    build_environment: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    collectstatic: bool = True
    check_deploy: bool = True
    upload: str = ""
    size: int = 0
    timeout: float = 900.0
    limits: Limits = field(default_factory=Limits)
    image: str = ""
    login: tuple[str, str] = ("", "")
    frontend: Frontend | None = None

    @property
    def alone(self) -> bool:
        """Whether there is nothing but a front end."""
        return self.frontend is not None and self.frontend.sha256 == self.sha256

    @property
    def packed_frontend(self) -> Frontend | None:
        """The front end, where it is an artifact."""
        return self.frontend if self.frontend and not self.frontend.image else None

    def with_origin(self, labels: Mapping[str, str]) -> Wish:
        """The same, with the version and the commit that an image says of itself where nobody has given one."""
        version, commit = origin(labels)
        return replace(self, version=self.version or version, commit=self.commit or commit)


@dataclass(frozen=True)
class State:
    """What a host has of the wanted release."""

    installed: Installed | None
    partial: bool
    artifact: str
    unpublished: tuple[str, ...] = ()
    slots: tuple[str, ...] = ()
    image: bool = False
    frontend: str = ABSENT


def probe(layout: Layout, wish: Wish, engine: Engine | None = None) -> State:
    """Look; the artifact's bytes are read only when a build would need them. An image needs an ``engine``."""
    there = read_installed(layout, wish.release)
    unpublished: tuple[str, ...] = ()
    if there is not None:
        unpublished = tuple(name for part, union in unions(there.path, layout) for name in _static.missing(part, union))
    front = wish.packed_frontend
    return State(
        installed=there,
        partial=os.path.lexists(layout.partial(wish.release)),
        artifact=_artifact(layout, wish.sha256, needed=there is None),
        frontend=_artifact(layout, front.sha256, needed=there is None) if front else ABSENT,
        unpublished=unpublished,
        slots=tuple(slot for slot, release in assigned(layout).items() if release == wish.release),
        image=bool(wish.image and engine and engine.image(wish.image)),
    )


def _artifact(layout: Layout, sha256: str, *, needed: bool) -> str:
    path = layout.artifact(sha256)
    if not os.path.exists(path):
        return ABSENT
    return PRESENT if not needed or sha256_of(path) == sha256 else DAMAGED


def unions(release: str, layout: Layout) -> tuple[tuple[str, str], ...]:
    """What of a release is published under the common roof of all: (its directory, the roof)."""
    return ((os.path.join(release, "static"), layout.static), (os.path.join(release, ASSETS), layout.assets))


def plan(state: State, wish: Wish) -> tuple[Step, ...]:
    """The steps that make the wanted release complete; none when it is."""
    if state.installed is None:
        return _build(state, wish)
    if state.installed.record is None:
        return _replace_damaged(state, wish)
    if state.installed.record.sha256 != wish.sha256:
        raise SlipwayError(
            f"Release {wish.release} is here with another artifact",
            found=f"sha256 {state.installed.record.sha256}",
            expected=f"sha256 {wish.sha256}",
            next_step="give the new artifact another version; a release never changes",
        )
    steps = []
    if wish.image and not state.image:
        steps.append(Step("pull", f"pull {wish.image} again"))
    if not state.installed.complete:
        steps.append(Step("environment", f"make the environment of release {wish.release} again"))
        steps.append(Step("repoint", f"point release {wish.release} at its environment"))
    if state.unpublished:
        steps.append(Step("republish", f"publish {len(state.unpublished)} static files that are missing"))
    return tuple(steps)


def _replace_damaged(state: State, wish: Wish) -> tuple[Step, ...]:
    problem = state.installed.problem if state.installed else ""
    if state.slots:
        raise SlipwayError(
            f"Release {wish.release} is damaged",
            found=f"{problem}; slot {', '.join(state.slots)} is assigned to it",
            next_step="deploy another release first, or the same one with another version",
        )
    return (Step("discard", f"set the damaged release {wish.release} aside"), *_build(state, wish, clean=True))


def _build(state: State, wish: Wish, *, clean: bool = False) -> tuple[Step, ...]:
    django = " and ".join(
        (["check --deploy"] if wish.check_deploy else []) + (["collectstatic"] if wish.collectstatic else [])
    )
    source = not wish.image and not wish.alone
    django = django if not wish.alone else ""
    front = wish.packed_frontend
    steps = [
        (state.partial or clean, "clean", f"remove the unfinished build of {wish.release}"),
        (bool(wish.image) and not state.image, "pull", f"pull {wish.image}"),
        (bool(wish.image), "prepare", "see whether this host can run the image"),
        (wish.alone, "prepare", f"make a place for release {wish.release}"),
        (source and state.artifact != PRESENT, "receive", f"take the artifact {wish.sha256[:12]} in"),
        (source, "unpack", f"unpack the artifact {wish.sha256[:12]}"),
        (source, "environment", "install the locked requirements, unless an environment with them is here"),
        (source, "compile", "compile the code"),
        (bool(django), "django", f"run {django}"),
        (
            front is not None and state.frontend != PRESENT,
            "receive_frontend",
            f"take the front end {front.sha256[:12] if front else ''} in",
        ),
        (wish.frontend is not None, "frontend", "lay the front end's files out"),
        (True, "publish", "publish the static files"),
        (True, "seal", f"make release {wish.release} visible"),
    ]
    return tuple(Step(name, summary) for wanted, name, summary in steps if wanted)


def needs_artifact(steps: Sequence[Step], wish: Wish) -> bool:
    """True when the plan cannot begin before somebody brings the artifact."""
    front = wish.packed_frontend
    brought = {"receive": wish.upload, "receive_frontend": front.upload if front else ""}
    return any(step.name in brought and not brought[step.name] for step in steps)
