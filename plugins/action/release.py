# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller half of ``release``: ships what is packed to a host that has neither it nor the release."""

from __future__ import annotations

import os
import shlex
from typing import Any

from ansible.errors import AnsibleActionFail

from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout
from ansible_collections.slipway.webapp.plugins.plugin_utils.installed import InstalledModules

MODULE = "slipway.webapp.release"
PARTS = {"artifact": "sha256", "frontend": "frontend_sha256"}  # what may be shipped, and what names its bytes


class ActionModule(InstalledModules):
    """Asks by a cheap command whether a part is missing, ships it if so, then runs the module once."""

    _supports_check_mode = True
    _supports_async = False
    TRANSFERS_FILES = False  # whether it does is decided below; else a temporary directory would always be made

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        del tmp
        arguments = dict(self._task.args)
        for name in (f"{part}_{what}" for part in PARTS for what in ("upload", "size")):
            if name in arguments:
                raise AnsibleActionFail(f"{name} is set by the module itself")
        packed = {part: os.path.expanduser(str(arguments.get(part) or "")) for part in PARTS}
        here = {part: path for part, path in packed.items() if os.path.isfile(path)}
        arguments.update({f"{part}_size": os.path.getsize(path) for part, path in here.items()})
        try:
            for part, path in here.items():
                if not self._task.check_mode and self._is_missing(arguments, PARTS[part]):
                    arguments[f"{part}_upload"] = self._ship(path)
            answer = self._execute_module(module_name=MODULE, module_args=arguments, task_vars=task_vars)
            if answer.get("needs_artifact"):  # it was there, but damaged
                self._need(packed)
                arguments.update({f"{part}_upload": self._ship(path) for part, path in here.items()})
                answer = self._execute_module(module_name=MODULE, module_args=arguments, task_vars=task_vars)
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)
        answer.pop("needs_artifact", None)
        result.update(answer)
        return result

    def _is_missing(self, arguments: dict[str, Any], sha256: str) -> bool:
        """True when the host has neither; what cannot be asked this way the module will judge."""
        if arguments.get("state", "present") != "present":
            return False
        try:
            layout = Layout(app=str(arguments.get("app")))
            release = layout.release(str(arguments.get("release") or ""))
        except SlipwayError:
            return False
        places = (os.path.join(release, "release.json"), layout.artifact(str(arguments.get(sha256))))
        command = " || ".join(f"test -e {shlex.quote(place)}" for place in places)
        return int(self._low_level_execute_command(command, sudoable=True).get("rc", 0)) == 1

    def _need(self, packed: dict[str, str]) -> None:
        gone = [path for path in packed.values() if path and not os.path.isfile(path)]
        if gone or not any(packed.values()):
            raise AnsibleActionFail(
                "The host needs the artifact, and it is not on the controller\n"
                f"found: {', '.join(gone) or 'no `artifact` given'}\n"
                "next: run slipway.webapp.artifact in the same play before"
            )

    def _ship(self, artifact: str) -> str:
        """Transfer to a temporary place; the module verifies the SHA-256 before anything trusts the bytes."""
        directory = self._connection._shell.tmpdir or self._make_tmp_path()
        place: str = self._connection._shell.join_path(directory, os.path.basename(artifact))
        self._transfer_file(artifact, place)
        self._fixup_perms2((directory, place), execute=False)
        return place
