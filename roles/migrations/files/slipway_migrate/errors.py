# SPDX-License-Identifier: GPL-3.0-or-later
"""The one error type of this program, and what PostgreSQL's drivers tell about a failure."""

from __future__ import annotations

from typing import Any

LOCK_NOT_AVAILABLE = "55P03"
DEADLOCK = "40P01"
QUERY_CANCELED = "57014"
CONNECTION_LOST = ("57P", "08")  # classes: operator intervention, connection exception


class MigrateError(Exception):
    """A refusal or a failure that an operator can act on; ``details`` holds plain data, never a secret."""

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

    def document(self) -> dict[str, Any]:
        """The error as the program prints it."""
        names = ("code", "summary", "found", "expected", "next_step", "details")
        return {name: getattr(self, name) for name in names}


def sqlstate(error: BaseException | None) -> str:
    """PostgreSQL's five-character code of a failure, '' if it has none.

    Django and SQLAlchemy wrap the driver's error (``__cause__``, ``orig``); psycopg calls the code ``sqlstate``,
    psycopg2 ``pgcode``.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        code = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
        if code:
            return str(code)
        error = getattr(error, "orig", None) or error.__cause__ or error.__context__
    return ""


def is_connection_lost(error: BaseException) -> bool:
    """Whether the server, or the way to it, went away. Drivers give no code when the socket just closed."""
    code = sqlstate(error)
    if code:
        return code != QUERY_CANCELED and code.startswith(CONNECTION_LOST)
    names = {cls.__name__ for link in _chain(error) for cls in type(link).__mro__}
    return bool(names & {"OperationalError", "InterfaceError"})


def first_line(error: BaseException) -> str:
    """What went wrong in one line, for people; the driver's own words."""
    text = str(error).strip() or type(error).__name__
    return f"{type(error).__name__}: {text.splitlines()[0]}"


def _chain(error: BaseException) -> list[BaseException]:
    links: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in links:
        links.append(link)
        link = link.__cause__
    return links
