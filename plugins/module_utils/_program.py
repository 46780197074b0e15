# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask a program that provisioning has installed: one request in JSON, one answer in JSON.

The programs are the same that systemd's timers call, so that there is one way to do a thing with and without Ansible.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._mask import complaint, mask
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Completed, Runner


@dataclass(frozen=True)
class Program:
    """A program, what it runs as and with, and the secrets that its words must not give away.

    ``words`` come before the verb; the last of them is the program's own file. ``timeout`` in seconds.
    """

    runner: Runner
    words: Sequence[str]
    timeout: float
    secrets: Sequence[str] = ()
    user: str = ""
    environment: Mapping[str, str] | None = None
    cwd: str = "/"

    def ask(self, verb: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """The result that the program gives; its refusal as a SlipwayError."""
        if not os.path.exists(self.words[-1]):
            raise SlipwayError(
                f"{os.path.basename(self.words[-1])} is not on this host",
                found=f"no {self.words[-1]}",
                next_step="run provision.yml for the whole environment",
            )
        answer = self.runner.run(
            [*self.words, verb],
            environment=self.environment,
            user=self.user,
            cwd=self.cwd,
            timeout=self.timeout,
            stdin=json.dumps(request),
        )
        return self._read(verb, answer)

    def _read(self, verb: str, answer: Completed) -> dict[str, Any]:
        document = None if answer.timed_out else _last_document(answer.stdout)
        if document is None:
            raise self._broken(verb, answer)
        if document["ok"]:
            return dict(document["result"])
        raise _refusal(document["error"], self.secrets)

    def _broken(self, verb: str, answer: Completed) -> SlipwayError:
        how = f"took longer than {self.timeout:g} s" if answer.timed_out else f"ended with {answer.code} and no answer"
        return SlipwayError(
            f"{os.path.basename(self.words[-1])} {verb} {how}",
            found=complaint(answer, secrets=self.secrets, lines=30),
            next_step="mend what it says, then run the same command again",
        )


def _last_document(stdout: str) -> dict[str, Any] | None:
    """The answer is the last line: what an application prints before it does no harm."""
    lines = stdout.strip().splitlines()
    try:
        document = json.loads(lines[-1]) if lines else None
    except ValueError:
        return None
    return document if isinstance(document, dict) and "ok" in document else None


def _refusal(error: Mapping[str, Any], secrets: Sequence[str]) -> SlipwayError:
    texts = {name: mask(str(error.get(name) or ""), secrets) for name in ("summary", "found", "expected", "next_step")}
    details = json.loads(mask(json.dumps(error.get("details") or {}), secrets))
    return SlipwayError(
        texts["summary"],
        found=texts["found"],
        expected=texts["expected"],
        next_step=texts["next_step"],
        details={"code": str(error.get("code", "")), **details},
    )
