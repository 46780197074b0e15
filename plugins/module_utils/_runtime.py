# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How commands of a release are run on its host: in its environment, or in a container of its image.

A release of source has an environment on the host, whose Python runs as the application's user. A release that is an
image runs in containers. What a process of a slot runs stands in its unit (roles/processes/templates); here is what
modules run once: manage.py, migrations, the build's own checks. What else a runtime must be able to do, and where each
of them does it, is a table in docs/architecture.md.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ansible_collections.slipway.webapp.plugins.module_utils import _container
from ansible_collections.slipway.webapp.plugins.module_utils._host import CLEAN_PATH, ids_of
from ansible_collections.slipway.webapp.plugins.module_utils._installed import read_installed
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout


@dataclass(frozen=True)
class Command:
    """A command as the host runs it. ``user`` is '' for root, who may talk to the engine."""

    words: tuple[str, ...]
    user: str
    cwd: str
    environment: Mapping[str, str]


class Runtime(Protocol):
    """Runs the Python of one release."""

    def problem(self, needs: Sequence[str]) -> str:
        """Why it cannot be run here, or ''. ``needs`` are files of its code."""

    def command(
        self, words: Sequence[str], *, environment: Mapping[str, str], seconds: float, writable: Sequence[str] = ()
    ) -> Command:
        """Its Python with these words, among its code. ``writable`` are directories besides the shared one.

        ``seconds`` is how long whoever runs it waits for it. Nothing of it runs on for long when that one is gone.
        """


@dataclass(frozen=True)
class EnvironmentRuntime:
    """A virtual environment on the host."""

    layout: Layout
    release: str

    @property
    def here(self) -> str:
        return self.layout.release(self.release)

    def problem(self, needs: Sequence[str]) -> str:
        for needed in ("venv/bin/python", *needs):
            if not os.path.exists(os.path.join(self.here, needed)):
                return f"no {self.here}/{needed}"
        return ""

    def command(
        self, words: Sequence[str], *, environment: Mapping[str, str], seconds: float, writable: Sequence[str] = ()
    ) -> Command:
        del writable  # the user's own rights decide
        del seconds  # it dies with the one that started it
        python = os.path.join(self.here, "venv", "bin", "python")
        path = f"{os.path.dirname(python)}:{CLEAN_PATH}"
        return Command(
            (python, *words), self.layout.app, os.path.join(self.here, "code"), {**environment, "PATH": path}
        )


@dataclass(frozen=True)
class ImageRuntime:
    """An image, by its digest. Its working directory holds the code."""

    layout: Layout
    release: str
    reference: str

    def problem(self, needs: Sequence[str]) -> str:
        del needs  # they are in the image
        there = os.path.exists(self.layout.container_options)
        return "" if there else f"no {self.layout.container_options}"

    def command(
        self, words: Sequence[str], *, environment: Mapping[str, str], seconds: float, writable: Sequence[str] = ()
    ) -> Command:
        container = _container.once(
            self.layout,
            image=self.reference,
            name=f"{self.layout.app}-once-{secrets.token_hex(4)}",
            owner=ids_of(self.layout.app),
            words=["python", *words],
            environment=environment,
            seconds=seconds,
            writable=writable,
        )
        arguments = container.arguments(_container.read_options(self.layout))
        return Command(("docker", "run", "--rm", "--interactive", *arguments), "", os.sep, environment)


def runtime_of(layout: Layout, release: str) -> Runtime:
    """The back end of a release, by what the host has recorded of it."""
    there = read_installed(layout, release)
    if there is not None and there.record is not None and there.record.image:
        return ImageRuntime(layout, release, there.record.image)
    return EnvironmentRuntime(layout, release)
