# SPDX-License-Identifier: GPL-3.0-or-later
"""The table, the one screen of a failure, and the JUnit XML."""

from __future__ import annotations

from pathlib import Path
from xml.dom import minidom

import pytest
from junitparser import Error, Failure, JUnitXml, Skipped, TestSuite

from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._smoke import FAILED, PASSED, SKIPPED, Outcome
from ansible_collections.slipway.webapp.plugins.module_utils._smoke_report import (
    ROWS,
    as_data,
    from_data,
    junit,
    problem,
    text_of,
    write_junit,
)

URL = "https://shop.example"
OUTCOMES = [
    Outcome("home", "GET /", PASSED, seconds=0.25),
    Outcome('<log & "in">', "POST /login", FAILED, "status 500, not 200", 1.5, "]]> <b>no</b> \x00\x1b[31m \ud800"),
    Outcome("pytest", "command", SKIPPED, "not run, because a check failed"),
]


def report(outcomes: list[Outcome]) -> bytes:
    return junit(outcomes, suite="shop.smoke", at="2026-11-27T04:00:00", properties={"release": "r2"})


def test_a_parser_of_others_reads_the_report(tmp_path: Path) -> None:
    path = tmp_path / "smoke.xml"
    write_junit(str(path), report(OUTCOMES))
    found = JUnitXml.fromfile(str(path))
    (suite,) = list(found)
    assert isinstance(suite, TestSuite)
    assert (suite.name, suite.tests, suite.failures, suite.errors, suite.skipped) == ("shop.smoke", 3, 1, 0, 1)
    assert suite.time == 1.75
    assert suite.timestamp == "2026-11-27T04:00:00"
    assert [(one.name, one.value) for one in suite.properties()] == [("release", "r2")]
    cases = list(suite)
    assert [(case.classname, case.name, case.time) for case in cases] == [
        ("shop.smoke", "home", 0.25),
        ("shop.smoke", '<log & "in">', 1.5),
        ("shop.smoke", "pytest", 0.0),
    ]
    assert [[type(one) for one in case.result] for case in cases] == [[], [Failure], [Skipped]]
    assert not any(isinstance(one, Error) for case in cases for one in case.result)
    (failure,) = cases[1].result
    assert failure.message == "status 500, not 200"
    assert failure.text == "POST /login: status 500, not 200"
    assert cases[1].system_out == "]]> <b>no</b> ??[31m ?"


def test_it_is_xml_whatever_an_answer_holds() -> None:
    text = "".join(map(chr, [*range(0x300), 0xD7FF, 0xE000, 0xFFFD, 0xFFFE, 0xFFFF, 0x1F600]))
    document = minidom.parseString(report([Outcome(text, text, FAILED, text, 1.0, text)]))
    assert document.getElementsByTagName("failure")[0].getAttribute("message").count("?") >= 30


def test_the_old_report_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "smoke.xml"
    path.write_text("old")
    with path.open("rb") as reader:
        write_junit(str(path), report(OUTCOMES))
        assert reader.read() == b"old"
    assert [one.name for one in tmp_path.iterdir()] == ["smoke.xml"]


def test_a_report_that_cannot_be_written_says_why(tmp_path: Path) -> None:
    with pytest.raises(SlipwayError, match="JUnit report cannot be written") as caught:
        write_junit(str(tmp_path / "none" / "smoke.xml"), b"")
    assert "webapp_smoke_junit" in str(caught.value)


def test_the_table_begins_with_what_failed() -> None:
    lines = text_of(OUTCOMES).splitlines()
    assert lines[0].split() == ["smoke", "test", "what", "result", "seconds", "why"]
    assert ["FAILED" in line for line in lines] == [False, True, False, False]
    assert "not run, because a check failed" in lines[2]


def test_all_is_well() -> None:
    assert problem([OUTCOMES[0]], url=URL) is None


def test_a_failure_is_one_screen() -> None:
    many = [Outcome(f"check {n}", "GET /", FAILED, "status 500, not 200", 0.1, "oops") for n in range(200)]
    wrong = problem([OUTCOMES[0], *many], url=URL)
    assert wrong
    lines = str(wrong).splitlines()
    assert lines[0].startswith(f"200 of 201 smoke tests of {URL} failed: check 0: status 500, not 200; ")
    assert lines[0].endswith("; and 197 more")
    assert len(lines) < ROWS + 15
    assert "check 0 was answered: 'oops'" in lines


def test_what_a_command_printed_is_its_end() -> None:
    output = "\n".join(f"line {number}" for number in range(500))
    wrong = problem([Outcome("pytest", "command", FAILED, "ended with 1", 3.0, output)], url=URL)
    assert wrong
    assert "  line 499" in str(wrong)
    assert "line 400" not in str(wrong)


def test_results_survive_the_way_through_ansible() -> None:
    assert from_data(as_data(OUTCOMES)) == OUTCOMES
