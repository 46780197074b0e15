# SPDX-License-Identifier: GPL-3.0-or-later
"""The pending migrations, run on the restored copy by the release that brings them."""

from __future__ import annotations

import json
import os
import tempfile
from typing import Any

from .errors import BackupError
from .processes import Account, Command, Deadline, Running
from .request import Rehearse
from .scratch import PORT, SUPERUSER, Scratch

_SHORTEST_SECRET = 4  # characters
_LONGEST_ANSWER = 64 << 20  # bytes


def run(scratch: Scratch, database: str, wanted: Rehearse, deadline: Deadline) -> dict[str, Any]:
    """The result that the migration program gives; raises BackupError rehearsal_failed with its own error inside."""
    account = Account(wanted.user)
    if account.other:
        # Only the server's user and the application's reach the socket, and who reaches it is trusted.
        os.chown(scratch.socket, -1, account.entry.pw_gid)
    request = {
        **wanted.request,
        "scratch": {"host": str(scratch.socket), "port": PORT, "user": SUPERUSER, "database": database},
    }
    with tempfile.TemporaryFile() as question, tempfile.TemporaryFile() as out:
        question.write(json.dumps(request).encode())
        question.seek(0)
        by = Account() if wanted.as_root else account
        command = Command(list(wanted.command), wanted.environment, by, polite=True, cwd=wanted.cwd)
        with Running(command, stdin=question, stdout=out) as running:
            status = running.wait(deadline)
            answer = _answer(out)
            if ended := scratch.stopped():  # then whatever the program says is about that
                raise ended
            if answer is None:
                failure = running.failure(
                    status, "rehearsal_failed", "The rehearsal gave no answer", next_step="see its message"
                )
                failure.found = _masked(failure.found, wanted)
                raise failure
    if not answer.get("ok"):
        error = json.loads(_masked(json.dumps(answer.get("error") or {}), wanted))
        raise BackupError(
            "rehearsal_failed",
            "The migrations failed on the restored copy of the database; the database itself was not touched",
            found=str(error.get("summary", "no reason given")),
            expected="migrations that succeed there",
            next_step=str(error.get("next_step", "")) or "correct the migration",
            details={"error": error},
        )
    result: dict[str, Any] = answer.get("result") or {}
    return result


def _masked(text: str, wanted: Rehearse) -> str:
    """Without the values of the release's secrets, as they are and as JSON writes them: it is written down."""
    values = [wanted.environment.get(name, "") for name in wanted.secrets]
    for value in sorted({form for one in values for form in (one, json.dumps(one)[1:-1])}, key=len, reverse=True):
        if len(value) >= _SHORTEST_SECRET:
            text = text.replace(value, "********")
    return text


def _answer(out: Any) -> dict[str, Any] | None:
    """The JSON object on the last line that was printed."""
    size = out.seek(0, os.SEEK_END)
    out.seek(max(0, size - _LONGEST_ANSWER))
    lines = out.read().strip().splitlines()
    try:
        value = json.loads(lines[-1]) if lines else None
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
