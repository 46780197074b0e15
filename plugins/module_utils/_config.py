# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An application's environment: its id, and the environment file that systemd reads (systemd.exec(5))."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError

# Written by slot, so that a process knows what it is; nobody else may set them.
OWN_NAMES = ("SLIPWAY_RELEASE", "SLIPWAY_CONFIG", "SLIPWAY_SLOT")

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NEEDS_ESCAPE = re.compile(r'([\\"`$])')
_LINE = re.compile(r'([A-Za-z_][A-Za-z0-9_]*)="((?:[^"\\]|\\.)*)"\n', re.DOTALL)
_COMMENT = re.compile(r"#([^\n]*)\n")
_SECRETS = " secret:"
_ITERATIONS = 100_000
# Linux refuses to start a program with a longer NAME=value (MAX_ARG_STRLEN, execve(2)).
_LONGEST = 128 * 1024 - 1
# What systemd takes for invalid UTF-8, and then ignores the whole file.
_INVALID = re.compile(
    "[\x00\ud800-\udfff\ufdd0-\ufdef" + "".join(chr(p << 16 | e) for p in range(17) for e in (0xFFFE, 0xFFFF)) + "]"
)


def _text(name: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise SlipwayError(
            f"The environment variable {name} is not a text",
            found=type(value).__name__,
            expected="a text or a number",
            next_step="write the value that the application shall read, in quotes",
        )
    return str(value)


def checked(values: Mapping[Any, Any], *, of: str = "environment") -> dict[str, str]:
    """The variables as texts, or a refusal that names the variable and never its value."""
    texts = {}
    for name, value in values.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise SlipwayError(
                f"{name!r} in {of} cannot be the name of an environment variable", expected="letters, digits and _"
            )
        if name in OWN_NAMES:
            raise SlipwayError(f"{name} is set by the collection itself", next_step=f"take it out of {of}")
        texts[name] = _text(name, value)
        if _INVALID.search(texts[name]):
            raise SlipwayError(f"The environment variable {name} holds a character that no environment can hold")
        if len(f"{name}={texts[name]}".encode()) > _LONGEST:
            raise SlipwayError(
                f"The environment variable {name} is too long",
                expected=f"at most {_LONGEST} bytes",
                next_step="put it into a file",
            )
    return texts


def merged(*, environment: Mapping[str, Any], secrets: Mapping[str, Any]) -> tuple[dict[str, str], frozenset[str]]:
    """All variables of a configuration, and the names of those that are secret."""
    open_values, secret_values = checked(environment), checked(secrets, of="secrets")
    both = sorted(set(open_values) & set(secret_values))
    if both:
        raise SlipwayError(
            "An environment variable is both open and secret",
            found=", ".join(both),
            next_step="leave it in one of the two",
        )
    return {**open_values, **secret_values}, frozenset(secret_values)


def config_id(*, app: str, environment: Mapping[str, Any], secrets: Mapping[str, Any]) -> str:
    """Twelve hex digits that name this configuration.

    The ledger shows it, so it must not be a cheap oracle for weak secrets: PBKDF2, not a bare hash.
    """
    merged(environment=environment, secrets=secrets)
    whole = {"environment": checked(environment), "secrets": checked(secrets)}
    canonical = json.dumps(whole, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.pbkdf2_hmac("sha256", canonical.encode(), app.encode(), _ITERATIONS).hex()[:12]


def _line(name: str, value: str) -> str:
    escaped = _NEEDS_ESCAPE.sub(r"\\\1", value)
    return f'{name}="{escaped}"\n'


def render_env(
    values: Mapping[str, str], *, secret: frozenset[str] = frozenset(), first: Mapping[str, str] | None = None
) -> str:
    """An environment file: ``first`` on top, then ``values`` by name; the names of secrets in a comment.

    Everything is in double quotes, inside which systemd gives a meaning to backslash, quote, backquote and dollar only.
    """
    comment = f"#{_SECRETS} {' '.join(sorted(secret))}\n" if secret else ""
    top = "".join(_line(name, value) for name, value in (first or {}).items())
    return comment + top + "".join(_line(name, values[name]) for name in sorted(values))


def read_env(text: str, *, where: str = "The environment file") -> tuple[dict[str, str], frozenset[str]]:
    """The variables in a file that ``render_env`` made, and the names of those that are secret."""
    values: dict[str, str] = {}
    secret: frozenset[str] = frozenset()
    position = 0
    while position < len(text):
        line = _LINE.match(text, position)
        comment = None if line else _COMMENT.match(text, position)
        if line:
            values[line.group(1)] = re.sub(r"\\(.)", r"\1", line.group(2), flags=re.DOTALL)
        elif comment and comment.group(1).startswith(_SECRETS):
            secret = frozenset(comment.group(1)[len(_SECRETS) :].split())
        elif not comment:
            raise SlipwayError(
                f"{where} is damaged",
                found=f"something that this collection did not write, in line {text.count(chr(10), 0, position) + 1}",
                next_step="deploy again; do not edit this file by hand",
            )
        position = (line or comment).end()  # type: ignore[union-attr]
    return values, secret


def parse_env(text: str, *, where: str = "The environment file") -> dict[str, str]:
    """The variables in a file that ``render_env`` made."""
    return read_env(text, where=where)[0]


def secret_values(text: str, *, where: str = "The environment file") -> list[str]:
    """The values in such a file that must never be shown."""
    values, secret = read_env(text, where=where)
    return [values[name] for name in sorted(secret) if name in values]
