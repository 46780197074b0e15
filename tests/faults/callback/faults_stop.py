# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: faults_stop
type: aggregate
short_description: Stops a run before one of its tasks
author: The slipway.webapp contributors (@slipway-webapp)
description:
  - For tests. Writes down each task as it begins; says when a certain one is reached, and keeps it from beginning until
    it is told to go on. Nothing of the task has been done by then, on any host.
requirements:
  - Name C(faults_stop) in C(ANSIBLE_CALLBACKS_ENABLED) and give the variables that are read below.
"""

LONGEST_SECONDS = 300
POLL_SECONDS = 0.005


class CallbackModule(CallbackBase):
    """Called in Ansible's main process, which waits for it."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "faults_stop"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._directory = Path(os.environ["SLIPWAY_FAULTS_DIRECTORY"])
        self._task = re.compile(os.environ["SLIPWAY_FAULTS_TASK"])
        # Which of the tasks with such a name.
        self._left = int(os.environ["SLIPWAY_FAULTS_NTH"])
        self._blocks = os.environ["SLIPWAY_FAULTS_BLOCKS"] == "1"

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:  # noqa: ARG002 - Ansible's signature
        name = str(task.get_name()).rpartition(" : ")[2].strip()
        with (self._directory / "tasks").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps([time.time(), name]) + "\n")
        if self._task.search(name):
            self._left -= 1
            if self._left == 0:
                self._reached(name)

    def _reached(self, name: str) -> None:
        partial = self._directory / "reached.partial"
        partial.write_text(name, encoding="utf-8")
        partial.rename(self._directory / "reached")
        end = time.monotonic() + LONGEST_SECONDS
        while self._blocks and not (self._directory / "go").exists() and time.monotonic() < end:
            time.sleep(POLL_SECONDS)
