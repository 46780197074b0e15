# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a release's manage.py as the application's user, with the application's environment, whatever the release is."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils import _route
from ansible_collections.slipway.webapp.plugins.module_utils._assignment import Assignment, assignment
from ansible_collections.slipway.webapp.plugins.module_utils._config import merged, read_env
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._files import read_text
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout
from ansible_collections.slipway.webapp.plugins.module_utils._manage_words import refuse
from ansible_collections.slipway.webapp.plugins.module_utils._mask import complaint, mask
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Completed, Runner
from ansible_collections.slipway.webapp.plugins.module_utils._runtime import Runtime, runtime_of

LONGEST = 64 * 1024  # characters of output that are returned


@dataclass(frozen=True)
class Manager:
    """The manage.py of one release. ``environment`` is all that its processes get, ``secrets`` the values to mask."""

    layout: Layout
    runner: Runner
    release: str
    environment: Mapping[str, str]
    secrets: Sequence[str]
    timeout: float
    needs: Sequence[str] = ("code/manage.py",)

    @property
    def runtime(self) -> Runtime:
        return runtime_of(self.layout, self.release)

    def problem(self) -> str:
        """Why the program cannot be run here, or ''. An unfinished release has not been shown to work at all."""
        record = os.path.join(self.layout.release(self.release), "release.json")
        return self.runtime.problem(self.needs) if os.path.exists(record) else f"no {record}"

    def variables(self) -> dict[str, str]:
        """The whole environment of a command: the application's, and what a slot would add to it."""
        own = {
            "SLIPWAY_RELEASE": self.release,
            "STATIC_ROOT": os.path.join(self.layout.release(self.release), "static"),
            "MEDIA_ROOT": self.layout.media,
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        return {**own, **self.environment}

    def run(self, command: Sequence[str]) -> Completed:
        """One command, its output masked and cut to its end."""
        how = self.runtime.command(["manage.py", *command], environment=self.variables(), seconds=self.timeout)
        answer = self.runner.run(
            how.words, environment=how.environment, user=how.user, cwd=how.cwd, timeout=self.timeout
        )
        return Completed(
            code=answer.code,
            stdout=mask(answer.stdout, self.secrets)[-LONGEST:],
            stderr=mask(answer.stderr, self.secrets)[-LONGEST:],
            timed_out=answer.timed_out,
        )

    def needed(self, unless: Sequence[str]) -> bool:
        """False when ``unless`` says that there is nothing to do; a question that cannot be asked is an error."""
        answer = self.run(unless)
        if answer.timed_out:
            raise self._failed(unless, answer)
        return not answer.ok

    def must(self, command: Sequence[str]) -> Completed:
        """One command that has to end well."""
        answer = self.run(command)
        if not answer.ok:
            raise self._failed(command, answer)
        return answer

    def _failed(self, command: Sequence[str], answer: Completed) -> SlipwayError:
        how = f"took longer than {self.timeout:g} s" if answer.timed_out else f"ended with {answer.code}"
        return SlipwayError(
            f"manage.py {' '.join(command)} of release {self.release} {how}",
            found=complaint(answer, secrets=self.secrets, lines=30),
            next_step="mend what it says, then run the same command again",
            details={"rc": answer.code, "stdout": answer.stdout, "stderr": answer.stderr},
        )


def manager_of(layout: Layout, runner: Runner, given: Mapping[str, Any]) -> Manager:
    """The manage.py of the named release or the live one, with the given, the named or the live environment.

    ``given``: a module's parameters ``release``, ``config``, ``environment``, ``secrets`` and ``timeout``.
    """
    release, config, environment = given["release"] or "", given.get("config") or "", given["environment"]
    live = _live(layout) if not release or (environment is None and not config) else None
    if environment is not None:
        values, secret = merged(environment=environment, secrets=given["secrets"] or {})
    else:
        path = layout.config_env(config or (live.config if live else ""))
        text = read_text(path)
        if text is None:
            raise SlipwayError(
                f"The configuration for manage.py of {layout.app} is not on this host", found=f"no {path}"
            )
        values, secret = read_env(text, where=path)
    hidden = [values[name] for name in sorted(secret)]
    return Manager(layout, runner, release or (live.release if live else ""), values, hidden, given["timeout"])


def _live(layout: Layout) -> Assignment:
    route = _route.probe(layout)
    pair = assignment(layout, route.live)[0] if route and route.live else None
    if pair is None:
        raise SlipwayError(
            f"No release of {layout.app} is live on this host",
            next_step="name a release and its environment, or deploy one",
        )
    return pair


def manage(
    manager: Manager, *, command: Sequence[str], unless: Sequence[str], check_mode: bool = False
) -> dict[str, Any]:
    """Run the command if it is needed; a module's result. What cannot be run here is refused, also in check mode."""
    refuse(command)
    said = f"Run manage.py {' '.join(command)}"
    result = {"release": manager.release, "rc": 0, "stdout": "", "stderr": "", "changed": True, "actions": [said]}
    result["diff"] = {"before": "", "after": f"{said}\n"}
    if not manager.problem():
        if unless and not manager.needed(unless):
            return {**result, "changed": False, "actions": [], "diff": {"before": "", "after": ""}}
        if not check_mode:
            answer = manager.must(command)
            result.update(stdout=answer.stdout, stderr=answer.stderr)
    elif not check_mode:
        raise SlipwayError(
            f"manage.py of release {manager.release} cannot be run on this host",
            found=manager.problem(),
            next_step="build the release first with slipway.webapp.release",
        )
    return result
