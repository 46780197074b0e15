# SPDX-License-Identifier: GPL-3.0-or-later
"""`slipway-migrate VERB`: a JSON request on standard input, one JSON document as the last line of standard output."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

from . import apply, plan, rehearse
from .adapters import make
from .errors import MigrateError, first_line
from .guard import application_name
from .request import Request, parse


def _plan(request: Request) -> dict[str, Any]:
    return plan.build(make(request), request).document()


def _apply(request: Request) -> dict[str, Any]:
    return apply.run(make(request), request)


def _rehearse(request: Request) -> dict[str, Any]:
    if request.scratch is None:
        raise MigrateError(
            "bad_request",
            "A rehearsal needs a scratch server",
            found="none",
            expected="`scratch`",
            next_step="start it by the verb take of slipway-backup",
        )
    if request.adapter == "command":
        return rehearse.impossible()  # nothing shows which database it would use
    return rehearse.run(make(request), request)


VERBS: dict[str, Callable[[Request], dict[str, Any]]] = {
    "plan": _plan,
    "apply": _apply,
    "rehearse": _rehearse,
}


def main(argv: list[str]) -> int:
    """Run the verb; the exit code is 0 or 1."""
    # The application and its migrations may print: that goes where people read, and the answer stays alone.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    document = _answer(argv)
    answers.write(json.dumps(document, default=str) + "\n")
    answers.flush()
    return 0 if document["ok"] else 1


def _answer(argv: list[str]) -> dict[str, Any]:
    try:
        if len(argv) != 1 or argv[0] not in VERBS:
            raise MigrateError(
                "usage",
                "Which verb?",
                found=" ".join(argv) or "none",
                expected=", ".join(VERBS),
                next_step="name one of them",
            )
        request = parse(sys.stdin.read())
        # Connections that the application opens itself are known by name, too.
        os.environ["PGAPPNAME"] = application_name("read", request.run)
        return {"ok": True, "result": VERBS[argv[0]](request)}
    except MigrateError as error:
        return {"ok": False, "error": error.document()}
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the caller gets a document whatever happens
        traceback.print_exc()
        unexpected = MigrateError(
            "failed",
            "The program failed before it could begin, or in a way that it does not know",
            found=first_line(error),
            expected="settings that load, and a database that answers",
            next_step="see the trace on standard error",
        )
        return {"ok": False, "error": unexpected.document()}
