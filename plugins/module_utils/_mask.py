# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take secrets out of what programs print, before it goes into an error, a result or a log. The one place for it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote, urlsplit

from ansible_collections.slipway.webapp.plugins.module_utils._ports import Completed

MASK = "********"
SHORTEST = 4  # masking shorter values would make the text unreadable without hiding much


def _password(value: str) -> str:
    """The password inside a value such as postgres://user:password@host/name, or ''."""
    if "://" not in value:
        return ""
    try:
        return urlsplit(value).password or ""
    except ValueError:
        return ""


def _shapes(value: str) -> Iterable[str]:
    """The forms in which programs print one value: as it is, by line, escaped, quoted for a URL."""
    yield value
    yield from value.splitlines()
    yield repr(value)[1:-1]
    yield json.dumps(value)[1:-1]
    yield quote(value, safe="")
    yield quote(value)


def mask(text: str, secrets: Mapping[str, str] | Iterable[str]) -> str:
    """``text`` with every secret value replaced by asterisks; a URL's password is also hidden on its own.

    ``secrets`` is a mapping whose values count, or the values. Values under four characters are left alone.
    """
    values = list(secrets.values() if isinstance(secrets, Mapping) else secrets)
    values += [_password(value) for value in values]
    shapes = {shape for value in values for shape in _shapes(value) if len(shape.strip()) >= SHORTEST}
    # The longest first: a secret that contains another one must not leave its rest behind.
    for shape in sorted(shapes, key=lambda one: (-len(one), one)):
        text = text.replace(shape, MASK)
    return text


def without_password(text: str) -> str:
    """The text with the user part of every address hidden."""
    return re.sub(r"(\w+://)[^/@\s]+@", r"\1***@", text)


def last_lines(completed: Completed, *, secrets: Mapping[str, str] | Iterable[str] = (), lines: int = 20) -> str:
    """The end of what a command printed, without secrets: its errors, or its output when it printed no errors."""
    text = completed.stderr.strip() or completed.stdout.strip()
    if completed.stderr.strip() and completed.stdout.strip():
        text = f"{completed.stdout.strip()}\n{completed.stderr.strip()}"
    return "\n".join(mask(text, secrets).splitlines()[-lines:])


def complaint(completed: Completed, *, secrets: Mapping[str, str] | Iterable[str] = (), lines: int = 20) -> str:
    """What a command that failed complained of: the line that says it, then the end of what it printed.

    A Python traceback and most other programs say it in the last line that is not indented.
    """
    end = last_lines(completed, secrets=secrets, lines=lines)
    said = [line for line in end.splitlines() if line.strip() and not line[0].isspace()]
    return end if not said or end == said[-1] else f"{said[-1]}\n{end}"
