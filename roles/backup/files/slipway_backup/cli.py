# SPDX-License-Identifier: GPL-3.0-or-later
"""``slipway-backup VERB``: a JSON request on standard input, a JSON answer as the last line of standard output."""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from .errors import BackupError

# Each verb lives in a module of its own, imported only when it is asked for: a freshness check needs no driver.
VERBS: dict[str, str] = {
    "take": "take",
    "reap": "reap",
    "list": "catalogue",
    "recheck": "recheck",
    "prune": "prune",
    "gate": "gate",
    "covers": "covers",
    "restore": "restore",
    "fresh": "freshness",
}


def verb(name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """The function of a verb: ``run`` of its module. It takes the request and returns the result."""
    if name not in VERBS:
        raise BackupError(
            "unknown_verb", f"There is no verb {name!r}", expected=", ".join(VERBS), next_step="name one of them"
        )
    function: Callable[[dict[str, Any]], dict[str, Any]] = importlib.import_module(f"slipway_backup.{VERBS[name]}").run
    return function


def answer(name: str, text: str) -> dict[str, Any]:
    """What the program prints for a verb and the text of its request."""
    try:
        function = verb(name)
        try:
            request = json.loads(text)
        except ValueError as error:
            raise BackupError(
                "bad_request",
                "The request is no JSON",
                found=str(error),
                next_step="give one JSON document on standard input",
            ) from error
        return {"ok": True, "result": function(request)}
    except BackupError as error:
        return {"ok": False, "error": error.as_dict()}
    except OSError as error:  # whoever works with files says more; this is for what nobody thought of
        return {"ok": False, "error": _refused(error).as_dict()}


def _refused(error: OSError) -> BackupError:
    return BackupError(
        "file_operation",
        "The system refused a file operation",
        found=str(error),
        next_step="mend what it names on this host, then repeat",
    )


def _interrupted(number: int, _frame: object) -> None:
    """End by an exception, so that everything is cleaned up. A second signal does not disturb that."""
    for other in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(other, signal.SIG_IGN)
    raise BackupError(
        "interrupted", "The run was interrupted", found=signal.Signals(number).name, next_step="repeat it"
    )


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 0 done, 1 refused or failed."""
    arguments = sys.argv[1:] if arguments is None else arguments
    # The request alone says where to connect.
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]
    os.umask(0o077)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _interrupted)
    result = answer(arguments[0] if len(arguments) == 1 else "", sys.stdin.read())
    sys.stdout.write(json.dumps(result) + "\n")
    sys.stdout.flush()
    return 0 if result["ok"] else 1
