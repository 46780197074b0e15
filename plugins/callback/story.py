# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: story
type: stdout
short_description: Tells a deploy to people, calmly
version_added: "0.1.0"
author: The slipway.webapp contributors (@slipway-webapp)
description:
  - Prints one line for each phase of a run, with its duration and what happened on each host.
    A phase is what stands before the bar in the names of tasks, or the role; what a role includes of another one
    belongs to its own phase.
  - Prints failures in full, with the host and the message, and never the arguments of a module.
  - Prints the message of C(ansible.builtin.debug) as plain text.
  - With C(-e format=json) the standard output is exactly one JSON document, and all else goes to the standard error.
  - With C(--check) it also says what each task would do, with C(--diff) it shows the differences.
  - With C(-v) every task of every host has a line, with C(-vv) its result.
  - Ends a run that is interrupted (Ctrl-C, SIGTERM) while it holds the lease of its environment as if it had failed, by
    C(slipway.webapp.settle) with the same arguments. A second Ctrl-C leaves that to the hosts, which also can.
options: {}
requirements:
  - Set C(stdout_callback = slipway.webapp.story) in C(ansible.cfg).
"""

import json
import signal
import subprocess
import sys
import time
from types import FrameType
from typing import Any

from ansible import context
from ansible.plugins.callback import CallbackBase

from ansible_collections.slipway.webapp.plugins.module_utils._interruption import SETTLE, Holder, ending
from ansible_collections.slipway.webapp.plugins.module_utils._story import (
    CHANGED,
    FAILED,
    HIDDEN,
    OK,
    UNREACHABLE,
    Story,
    message_of,
)

# They have no phase of their own, and nobody asks how long they took.
QUIET = ("debug", "include_tasks", "include_role", "include_vars", "meta", "group_by", "set_fact", "add_host")
FACTS = ("setup", "gather_facts")
# Never shown, however verbose the run: arguments may hold secrets that no argument specification knows.
NEVER_SHOWN = ("invocation", "ansible_facts", "diff", "environment", "secrets")


class CallbackModule(CallbackBase):
    """Feeds a Story with what Ansible reports, and prints what it says."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "slipway.webapp.story"

    def __init__(self) -> None:
        super().__init__()
        self._story = Story(now=time.monotonic)
        self._json = False
        self._documents = 0
        self._waiting = ""
        self._items: dict[tuple[str, str], list[str]] = {}
        self._holder = Holder()
        self._handlers: dict[int, Any] = {}

    # -- printing --

    def _say(self, lines: list[str], *, stderr: bool = False) -> None:
        self._clear()
        for line in lines:
            self._display.display(line, stderr=stderr or self._json)

    def _on_terminal(self) -> bool:
        return sys.stdout.isatty() and not self._json and not self._display.verbosity

    def _wait(self, text: str) -> None:
        """On a terminal, name the phase that runs; the finished line overwrites it."""
        if text and text != self._waiting and self._on_terminal():
            self._clear()
            self._display.display(f"{text} ...", newline=False, screen_only=True)
            self._waiting = text

    def _clear(self) -> None:
        if self._waiting:
            self._display.display("\r" + " " * (len(self._waiting) + 4) + "\r", newline=False, screen_only=True)
            self._waiting = ""

    # -- interruptions --

    def v2_playbook_on_start(self, playbook: Any) -> None:  # noqa: ARG002 - Ansible's signature
        # In the controller's main process; Ansible has set its own handlers already, and sets others in its workers.
        if SETTLE in context.CLIARGS["args"] or context.CLIARGS["check"]:
            return
        self._handlers = {
            number: signal.signal(number, self._interrupted) for number in (signal.SIGINT, signal.SIGTERM)
        }

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        run, self._holder.run = self._holder.run, ""
        if run:
            self._say(["", f"INTERRUPTED  {run} ends as if it had failed; once more leaves that to the hosts", ""])
            words = ending(sys.argv[1:], playbooks=context.CLIARGS["args"], run=run)
            # By number: Ansible has made its own not inheritable.
            subprocess.run([sys.executable, sys.argv[0], *words], stdin=0, stdout=1, stderr=2, check=False)
        self._handlers[number](number, frame)

    # -- plays and tasks --

    def v2_playbook_on_play_start(self, play: Any) -> None:
        manager = play.get_variable_manager()
        self._json = self._json or (manager.extra_vars if manager else {}).get("format") == "json"
        if self._display.verbosity:
            self._say([*self._story.flush(), f"PLAY {play.get_name()}"])

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:  # noqa: ARG002 - Ansible's signature
        self._begin(task)

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        self._begin(task)

    def _begin(self, task: Any) -> None:
        action = str(task.action).rpartition(".")[2]
        self._holder.begin(action)
        name = "facts" if action in FACTS else str(task.get_name()).strip()
        role = "" if action in FACTS else outer_role(task)
        screens = action == "debug"
        lines = self._story.task(name, role=role, quiet=action in QUIET)
        self._say(lines)
        if self._display.verbosity:
            self._say([f"TASK {name}"])
        elif not screens:
            self._wait(self._story.phase)

    # -- results --

    def _host(self, result: Any) -> str:
        return "controller" if result.task.run_once is True else str(result.host.get_name())

    def v2_runner_on_ok(self, result: Any) -> None:
        host, data = self._host(result), result.result
        self._handle_warnings(data)
        action = str(result.task.action).rpartition(".")[2]
        if action == "debug":
            self._show(host, data)
            return
        self._holder.learn(action, data)
        status = CHANGED if result.is_changed() else OK
        self._story.result(host, status)
        self._wait(self._story.phase)
        self._detail(host, status, data)

    def _show(self, host: str, data: dict[str, Any]) -> None:
        shown = {name: value for name, value in data.items() if not name.startswith("_") and name != "changed"}
        text = HIDDEN if "censored" in data else shown.get("msg", shown)
        text = text if isinstance(text, str) else json.dumps(text, indent=2, default=str, ensure_ascii=False)
        if not self._json:
            self._story.screen(host, text)
        elif self._documents == 0:
            self._documents += 1
            self._display.display(text)

    def _detail(self, host: str, status: str, data: dict[str, Any]) -> None:
        """What a check says that it would do; what a verbose run has to tell."""
        verbosity = self._display.verbosity
        if verbosity:
            self._say([f"  {host}: {status}"])
        if (verbosity or context.CLIARGS.get("check")) and isinstance(data.get("actions"), list):
            self._say([f"  {host}: {action}" for action in data["actions"]])
        if verbosity > 1:
            self._say(json.dumps(clean(data), indent=2, default=str, ensure_ascii=False).splitlines())

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        host, data = self._host(result), result.result
        self._handle_warnings(data)
        items = self._items.pop((result.host.get_name(), result.task._uuid), [])
        message = "\n".join(items) if items else message_of(data)
        self._story.result(host, OK if ignore_errors else FAILED, message="" if ignore_errors else message)
        self._detail(host, FAILED, data)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        host = self._host(result)
        expected = bool(result.task.ignore_unreachable)
        self._story.result(host, UNREACHABLE, message="" if expected else message_of(result.result))
        self._detail(host, UNREACHABLE, {})

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._handle_warnings(result.result)
        if self._display.verbosity:
            self._say([f"  {self._host(result)}: skipped"])

    def v2_runner_retry(self, result: Any) -> None:
        if self._display.verbosity:
            data = result.result
            self._say([f"  {self._host(result)}: again ({data.get('attempts')} of {data.get('retries')})"])

    def v2_runner_item_on_ok(self, result: Any) -> None:
        self._handle_warnings(result.result)

    def v2_runner_item_on_failed(self, result: Any) -> None:
        data = result.result
        self._handle_warnings(data)
        label = "an item" if "censored" in data else self._get_item_label(data)
        # The result of the whole loop does not say which of its items failed.
        failures = self._items.setdefault((result.host.get_name(), result.task._uuid), [])
        failures.append(f"{label}: {message_of(data)}")

    def v2_on_file_diff(self, result: Any) -> None:
        data = result.result
        entries = data.get("results") if result.task.loop else [data]
        for entry in entries or []:
            if isinstance(entry, dict) and entry.get("diff") and "censored" not in entry:
                text = self._get_diff(entry["diff"])
                if text:
                    self._say([f"  {self._host(result)}: {result.task.get_name()}", *text.splitlines()])

    # -- ends --

    def v2_playbook_on_no_hosts_matched(self) -> None:
        # After a play that looked at the hosts, it is the play for those of them that have something to do.
        self._say(["No host has anything to do." if self._story.phase else "No host matches this play."], stderr=True)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        hosts = {host: dict(stats.summarize(host)) for host in sorted(stats.processed)}
        for counts in hosts.values():
            counts["failed"] = counts.pop("failures", 0)
        lines = self._story.end(hosts)
        self._say(lines)
        if self._json and not self._documents:
            self._display.display(json.dumps({"failures": self._story.failures}, indent=2, ensure_ascii=False))


def outer_role(task: Any) -> str:
    """The name of the outermost role that the task stands in, by what imports or includes what; '' for none."""
    name, place = "", task
    while place is not None:
        name = place._role.get_name() if place._role else name
        place = place._parent
    return name


def clean(data: dict[str, Any]) -> dict[str, Any]:
    """A result without what is never shown."""
    if "censored" in data:
        return {"censored": HIDDEN}
    return {name: value for name, value in data.items() if name not in NEVER_SHOWN and not name.startswith("_")}
