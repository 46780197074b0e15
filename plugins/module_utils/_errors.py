# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one error type of the domain: it names the thing, what was found, what was expected and what to do next."""

from __future__ import annotations

from typing import Any


class SlipwayError(Exception):
    """A refusal or a failure that an operator can act on.

    ``details`` holds plain data that a module returns beside the message (never a secret).
    """

    def __init__(
        self,
        summary: str,
        *,
        found: str = "",
        expected: str = "",
        next_step: str = "",
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(summary)
        self.summary = summary
        self.found = found
        self.expected = expected
        self.next_step = next_step
        self.details: dict[str, Any] = dict(details or {})

    def __str__(self) -> str:
        lines = [self.summary]
        if self.found:
            lines.append(f"found: {self.found}")
        if self.expected:
            lines.append(f"expected: {self.expected}")
        if self.next_step:
            lines.append(f"next: {self.next_step}")
        return "\n".join(lines)
