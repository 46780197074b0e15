# SPDX-License-Identifier: GPL-3.0-or-later
"""SQL names. Canonical means quoted as PostgreSQL reads them: ``Notes`` and ``"notes"`` are both ``"notes"``."""

from __future__ import annotations

import re

IDENTIFIER = r'(?:"(?:[^"]|"")*"|[A-Za-z_\u0080-\uffff][\w$]*)'
NAME = rf"{IDENTIFIER}(?:\.{IDENTIFIER})*"


def canonical(name: str) -> str:
    """The name with every part quoted."""
    return ".".join(part if part.startswith('"') else quoted(part.lower()) for part in re.findall(IDENTIFIER, name))


def quoted(name: str) -> str:
    """One part of a name, quoted."""
    return '"' + name.replace('"', '""') + '"'


def shown(name: str) -> str:
    """A canonical name as people read it."""
    return ".".join(part[1:-1].replace('""', '"') for part in re.findall(IDENTIFIER, name))


def last(name: str) -> str:
    """The last part of a canonical name, unquoted, as catalogues hold it."""
    parts = re.findall(IDENTIFIER, name)
    return parts[-1][1:-1].replace('""', '"') if parts else ""
