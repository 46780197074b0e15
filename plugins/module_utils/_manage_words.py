# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The words after manage.py, as somebody gives them, and which of them cannot be run without a terminal or a gate."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from typing import Any, Callable

from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError

_EXAMPLE = "a management command and its words, such as clearsessions, or [shell, -c, 'print(1)']"
_LIST = 'a list as JSON: ["shell", "-c", "..."]'
_TEXT = "quotes that are closed, as in a shell"
# What asks somebody at a terminal, and the words with which it asks nobody. Without a terminal some of them end well
# and have done nothing.
_ASKS: dict[str, tuple[str, ...]] = {
    "shell": ("-c", "--command"),
    "shell_plus": ("-c", "--command"),
    "dbshell": ("-c", "--command", "-f", "--file"),
    "createsuperuser": ("--noinput", "--no-input"),
    "changepassword": (),
    "flush": ("--noinput", "--no-input"),
}
_SERVES = ("runserver", "runserver_plus", "testserver")
# With these `migrate` only says what it would do.
_LOOKS = ("--plan", "--check")


def words_of(given: Any) -> list[str]:
    """The command as words: a list as it is, a text split as a shell does, or the JSON of a list."""
    if isinstance(given, str):
        listed = given.lstrip().startswith("[")
        words = _read(json.loads, given, expected=_LIST) if listed else _read(shlex.split, given, expected=_TEXT)
    else:
        words = given if isinstance(given, (list, tuple)) else [given]
    if not words or not all(isinstance(word, (str, int, float)) and not isinstance(word, bool) for word in words):
        raise SlipwayError("That is no management command", found=repr(given), expected=_EXAMPLE)
    return [str(word) for word in words]


def _read(read: Callable[[str], Any], text: str, *, expected: str) -> Any:
    try:
        return read(text)
    except ValueError as error:
        raise SlipwayError("The command cannot be read", found=f"{text!r}: {error}", expected=expected) from error


def refuse(words: Sequence[str]) -> None:
    """Raise for what cannot be run here, before anything is run."""
    name, said = words[0], " ".join(words)
    if not re.fullmatch(r"[A-Za-z_][\w.-]*", name) or name in ("manage.py", "python", "python3"):
        raise SlipwayError("That is no management command", found=said, expected=_EXAMPLE)
    if name in _SERVES:
        raise SlipwayError(f"manage.py {name} never ends", found=said, expected="a command that ends by itself")
    if name in _ASKS and not _has(words, _ASKS[name]):
        instead = " or ".join(_ASKS[name])
        raise SlipwayError(
            f"manage.py {name} asks at a terminal, and there is none",
            found=said,
            expected=f"it with {instead}" if instead else "a command that asks nobody",
            next_step="" if instead else "say it in code: shell -c '...'",
        )
    if name == "migrate" and not _has(words, _LOOKS):
        raise SlipwayError(
            "Migrations are run by a deploy, behind its gate",
            found=said,
            expected="a backup that was verified, and old code that can live with the change: here is neither",
            next_step="deploy.yml, which runs what is pending; migrate --plan shows it",
        )


def _has(words: Sequence[str], options: Sequence[str]) -> bool:
    """Is one of the options given, also as --option=value or -ovalue?"""
    return any(
        word == option
        or word.startswith(f"{option}=")
        or (not option.startswith("--") and word.startswith(option) and not word.startswith("--"))
        for word in words[1:]
        for option in options
    )
