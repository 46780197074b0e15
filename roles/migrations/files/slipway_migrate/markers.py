# SPDX-License-Identifier: GPL-3.0-or-later
"""What the author says about the phase of a migration: django-safemigrate's ``safe``, or a plain string.

Read by its shape, so that it works whether or not that package is installed: ``safe = Safe.after_deploy()`` has a
``when`` whose ``value`` is the word.
"""

from __future__ import annotations

from typing import Any

from .errors import MigrateError

MARKERS = ("before_deploy", "after_deploy", "always")


def read(migration: Any, *, of: str) -> str:
    """The marker of a migration's class or module, '' without one; an unknown one is refused, never overlooked."""
    given = getattr(migration, "safe", None)
    if given is None:
        return ""
    if callable(given) and not isinstance(given, type):  # `safe = Safe.after_deploy`, its brackets forgotten
        given = given()
    word = getattr(given, "when", given)
    word = str(getattr(word, "value", word)).replace("-", "_").lower()
    if word not in MARKERS:
        raise MigrateError(
            "unknown_marker",
            f"The marker `safe` of migration {of} is not understood",
            found=repr(given),
            expected=f"one of {', '.join(MARKERS)}",
            next_step="correct `safe` in the migration",
        )
    return word
