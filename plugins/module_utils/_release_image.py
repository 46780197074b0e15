# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How an image becomes a release on a host: pulled by its digest, looked at, its static files published."""

from __future__ import annotations

import platform
from collections.abc import Iterable

from ansible_collections.slipway.webapp.plugins.module_utils import _pulled
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._mask import complaint
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Completed, Engine
from ansible_collections.slipway.webapp.plugins.module_utils._release_build import Builder
from ansible_collections.slipway.webapp.plugins.module_utils._runtime import ImageRuntime

# What the engine calls the machines that the kernel calls otherwise.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}

_NOT_STARTED = 125  # what `docker run` ends with when it is the engine that failed


class ImageBuilder(Builder):
    """Carries out the steps for a release that is an image."""

    @property
    def _engine(self) -> Engine:
        if self.ports.engine is None:
            raise SlipwayError("No engine was given")  # a programming error: the module always gives one
        return self.ports.engine

    def _pull(self) -> None:
        username, password = self.wish.login
        _pulled.note(self.layout, [self.wish.image])
        self._engine.pull(self.wish.image, username=username, password=password)

    def _prepare(self) -> None:
        image = self._engine.image(self.wish.image)
        if image is None:
            raise SlipwayError(f"The engine has lost {self.wish.image}", next_step="run the same command again")
        ours = ARCHITECTURES.get(platform.machine(), platform.machine())
        if image.architecture != ours:
            raise SlipwayError(
                f"{self.wish.image} was built for other machines",
                found=image.architecture,
                expected=ours,
                next_step=f"build it for {ours}",
            )
        self.wish = self.wish.with_origin(image.labels)
        self._make_partial()

    def _python(self, words: Iterable[str], *, environment: dict[str, str]) -> Completed:
        image = ImageRuntime(self.layout, self.wish.release, self.wish.image)
        how = image.command(list(words), environment=environment, seconds=self.wish.timeout, writable=[self.static])
        answer = self.ports.runner.run(
            how.words, environment=how.environment, user=how.user, cwd=how.cwd, timeout=self.wish.timeout
        )
        if answer.code == _NOT_STARTED:
            raise SlipwayError(
                f"The engine could not run {self.wish.image}",
                found=complaint(answer, secrets=self.wish.secrets),
                next_step="mend what it says: the image, or webapp_container_... for what this host cannot do",
            )
        return answer

    def _seal(self) -> None:
        self._make_visible(kind="image")
