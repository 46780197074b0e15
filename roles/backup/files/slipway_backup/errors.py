# SPDX-License-Identifier: GPL-3.0-or-later
"""The one error type: it has a code for programs, and says what was found, what was expected and what to do next."""

from __future__ import annotations

from typing import Any


class BackupError(Exception):
    """A refusal or a failure that an operator can act on.

    ``code`` is stable snake_case; ``details`` is plain data (never a secret).
    """

    def __init__(
        self,
        code: str,
        summary: str,
        *,
        found: str = "",
        expected: str = "",
        next_step: str = "",
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(summary)
        self.code = code
        self.summary = summary
        self.found = found
        self.expected = expected
        self.next_step = next_step
        self.details: dict[str, Any] = dict(details or {})

    def as_dict(self) -> dict[str, Any]:
        """The error as the program prints it."""
        return {
            "code": self.code,
            "summary": self.summary,
            "found": self.found,
            "expected": self.expected,
            "next_step": self.next_step,
            "details": self.details,
        }

    def __str__(self) -> str:
        lines = [self.summary]
        if self.found:
            lines.append(f"found: {self.found}")
        if self.expected:
            lines.append(f"expected: {self.expected}")
        if self.next_step:
            lines.append(f"next: {self.next_step}")
        return "\n".join(lines)
