# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller half of ``lease``: waits for somebody else's lease.

Not on the host, where a module would go on waiting for a controller that died, and then take the lease for nobody. This
runs in a process with a session of its own, which outlives a killed ansible-playbook: it looks whether that is there.
"""

from __future__ import annotations

import os
import time
from typing import Any

from ansible_collections.slipway.webapp.plugins.plugin_utils.installed import InstalledModules

MODULE = "slipway.webapp.lease"
SECONDS_BETWEEN = 3.0


class ActionModule(InstalledModules):
    """Runs the module, and again while somebody else holds the lease and there is time to wait."""

    _supports_check_mode = True
    _supports_async = False
    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        conductor = os.getppid()
        arguments = dict(self._task.args)
        answer = self._ask(arguments, task_vars)
        if self._refused(answer):
            seconds = int(arguments.get("wait") or 0)  # the module has seen that it is a number
            end = time.monotonic() + seconds
            if seconds > 0:
                holder = answer["lease"]
                said = f"Waits up to {seconds} s for the lease of {holder['owner']}: {holder['reason']}"
                self._display.display(said)
            while self._refused(answer) and time.monotonic() < end:
                time.sleep(min(SECONDS_BETWEEN, max(0.0, end - time.monotonic())))
                if os.getppid() != conductor:
                    break
                answer = self._ask(arguments, task_vars)
        result.update(answer)
        return result

    def _ask(self, arguments: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        answer: dict[str, Any] = self._execute_module(module_name=MODULE, module_args=arguments, task_vars=task_vars)
        return answer

    def _refused(self, answer: dict[str, Any]) -> bool:
        """Does somebody else hold what this run wants to hold?"""
        wants = self._task.args.get("state", "held") == "held" and not self._task.check_mode
        return bool(wants and answer.get("failed") and answer.get("lease"))
