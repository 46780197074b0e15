# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run that somebody interrupts ends as if it had failed: every host goes back, the lease is given back.

Ansible runs neither `rescue` nor `always` then, so another run does it, with the words of the interrupted one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

SETTLE = "slipway.webapp.settle"
# Once one of these has begun, the run is more than a transaction: nobody ends it while a host may still be at it. The
# lease expires, the timers of the hosts do their work, and what was begun is for the next command to finish.
BEYOND = ("postgres_restore", "rotation", "manage")


def ending(words: Sequence[str], *, playbooks: Sequence[str], run: str) -> list[str]:
    """The arguments of the run that ends another: the same inventory, hosts and secrets, another playbook.

    ``words``: the interrupted run's arguments, ``playbooks``: those of them that were its playbooks, ``run``: its name.
    """
    kept = list(words)
    # From behind: what looks like a playbook's name before it is the value of an option.
    for name in reversed(playbooks):
        del kept[len(kept) - 1 - kept[::-1].index(name)]
    return [*kept, "-e", f"run={run}", SETTLE]


class Holder:
    """Whether this run holds the lease of its environment, and is one that settle can end."""

    def __init__(self) -> None:
        self._own = ""
        self._transaction = False
        self.run = ""  # its name while settle could end it, else ''

    def begin(self, action: str) -> None:
        """A task with the module ``action`` begins."""
        self._transaction = self._transaction or action == "transaction"
        # A transaction turns the rotation of its own: it goes on without hosts that failed, and settle can end it.
        if action in BEYOND and not (action == "rotation" and self._transaction):
            self._own = self.run = ""

    def learn(self, action: str, result: Mapping[str, Any]) -> None:
        """One host's good result of the module ``action``."""
        if action == "preflight":
            self._own = str(result.get("run") or "")
        elif action == "lease":
            lease = result.get("lease")
            held = bool(self._own) and isinstance(lease, Mapping) and lease.get("owner") == self._own
            self.run = self._own if held else ""
