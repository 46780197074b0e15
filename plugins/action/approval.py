# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of slipway.webapp.approval, and the only one: it asks on the terminal of the run."""

from __future__ import annotations

import time
from typing import Any

from ansible.errors import AnsiblePromptInterrupt, AnsiblePromptNoninteractive
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.slipway.webapp.plugins.module_utils import _approval


class ActionModule(ActionBase):
    """Returns the decision and never fails: a task that runs once would take only one host with it."""

    BYPASS_HOST_LOOP = True
    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _unused, params = self.validate_argument_spec(
            argument_spec={
                "release": {"type": "str", "required": True},
                "version": {"type": "str", "default": ""},
                "sha256": {"type": "str", "default": ""},
                "answer": {"type": "str", "default": ""},
                "seconds": {"type": "int", "default": 600},
            }
        )
        asked = _approval.Asked(params["release"], params["version"], params["sha256"])
        if self._task.check_mode and not params["answer"]:
            said = [f"Would ask whether {asked.release} may go live"]
            return {**result, "changed": False, "approved": True, "how": "", "refusal": "", "actions": said}
        found = _approval.given(asked, params["answer"]) if params["answer"] else _ask(asked, params["seconds"])
        return {
            **result,
            "changed": False,
            "approved": found.approved,
            "how": found.how,
            "refusal": found.refusal,
            "actions": [],
        }


def _ask(asked: _approval.Asked, seconds: int) -> _approval.Decision:
    """Ask on the terminal. What was typed when the time is over is no answer: nobody has confirmed it."""
    begin = time.monotonic()
    try:
        # The line before is the story's, and has no end yet.
        answer = Display().prompt_until(f"\n{_approval.question(asked, seconds)}", seconds=seconds)
    except AnsiblePromptInterrupt:
        return _approval.interrupted(asked)
    except AnsiblePromptNoninteractive:
        return _approval.silent(asked)
    if time.monotonic() - begin >= seconds:
        return _approval.late(asked, seconds)
    return _approval.typed(asked, answer.decode("utf-8", "replace"))
