# SPDX-License-Identifier: GPL-3.0-or-later
"""A program on the host is asked by one JSON document and answers with one; nothing secret comes back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Completed
from ansible_collections.slipway.webapp.plugins.module_utils._program import Program
from tests.unit.fakes import FakeRunner

SECRET = "postgresql://shop:hunter2-hunter2@db/shop"


def ask(tmp_path: Path, answer: Completed, *, there: bool = True) -> tuple[dict[str, object], FakeRunner]:
    path = tmp_path / "slipway-backup"
    if there:
        path.touch()
    runner = FakeRunner({"take": answer})
    program = Program(runner=runner, words=[str(path)], timeout=9, secrets=[SECRET])
    return program.ask("take", {"database_url": SECRET}), runner


def said(document: object, code: int = 0, stderr: str = "") -> Completed:
    return Completed(code, f"something before it\n{json.dumps(document)}\n", stderr)


def test_request_and_result(tmp_path: Path) -> None:
    result, runner = ask(tmp_path, said({"ok": True, "result": {"id": "b1"}}))
    assert result == {"id": "b1"}
    assert "hunter2" not in str(runner.ran)
    assert json.loads(runner.inputs[0]) == {"database_url": SECRET}


def test_a_refusal_keeps_its_parts_and_hides_the_password(tmp_path: Path) -> None:
    error = {
        "code": "too_old",
        "summary": "s",
        "found": "hunter2-hunter2",
        "expected": "e",
        "next_step": "n",
        "details": {"applied": [{"id": "a.1"}], "query": "hunter2-hunter2"},
    }
    with pytest.raises(SlipwayError) as refused:
        ask(tmp_path, said({"ok": False, "error": error}, 1))
    assert str(refused.value) == "s\nfound: ********\nexpected: e\nnext: n"
    assert refused.value.details == {"code": "too_old", "applied": [{"id": "a.1"}], "query": "********"}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Completed(1, "", "Traceback\nValueError: hunter2-hunter2 is bad\n"), "ended with 1 and no answer"),
        (Completed(0, "[]\n", ""), "ended with 0 and no answer"),
        (Completed(0, '{"ok": true, "res', ""), "no answer"),
        (Completed(124, '{"ok": true, "result": {}}\n', "", timed_out=True), "took longer than 9 s"),
    ],
)
def test_no_answer(tmp_path: Path, answer: Completed, words: str) -> None:
    with pytest.raises(SlipwayError, match=words) as failed:
        ask(tmp_path, answer)
    assert "hunter2" not in str(failed.value)


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SlipwayError, match=r"provision\.yml"):
        ask(tmp_path, said({}), there=False)
