# SPDX-License-Identifier: GPL-3.0-or-later
"""What a scanner printed, what is excepted and until when, and that nothing unknown passes.

The reports are in the shapes of Trivy 0.5x (SchemaVersion 2) and pip-audit 2.10.
"""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils import _image_scan as scan
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Completed
from ansible_collections.slipway.webapp.plugins.module_utils._settings_rules import check_rules
from tests.unit.fakes import FakeRunner

IMAGE = "registry.example/shop:1"
TODAY = datetime.date(2026, 11, 27)


def weak(name: str, package: str, severity: str, fixed: str = "") -> dict[str, Any]:
    found = {
        "VulnerabilityID": name,
        "PkgID": f"{package}@1.0",
        "PkgName": package,
        "InstalledVersion": "1.0",
        "Status": "fixed" if fixed else "affected",
        "Title": f"{package}: weak",
        "Severity": severity,
    }
    return {**found, **({"FixedVersion": fixed} if fixed else {})}


def trivy(*found: dict[str, Any], **system: Any) -> dict[str, Any]:
    return {
        "SchemaVersion": 2,
        "ArtifactName": IMAGE,
        "ArtifactType": "container_image",
        "Metadata": {"OS": {"Family": "debian", "Name": "13.1", **system}, "ImageID": "sha256:0"},
        "Results": [
            {"Target": f"{IMAGE} (debian 13.1)", "Class": "os-pkgs", "Type": "debian", "Vulnerabilities": list(found)},
            {"Target": "Python", "Class": "lang-pkgs", "Type": "python-pkg", "Packages": [{"Name": "django"}]},
        ],
    }


PIP = {
    "dependencies": [
        {"name": "django", "version": "5.2.0", "vulns": []},
        {
            "name": "requests",
            "version": "2.19.0",
            "vulns": [{"id": "PYSEC-2018-28", "fix_versions": ["2.20.0"], "aliases": ["CVE-2018-18074"]}],
        },
        {"name": "board", "skip_reason": "Dependency not found and could not be audited: board (1.0)"},
    ],
    "fixes": [],
}


def excepted(name: str, until: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "until": until, "why": "not used here", **more}


def judged(value: Any, *given: dict[str, Any], **wish: Any) -> dict[str, str]:
    """The verdict on each finding."""
    made = scan.Wish(IMAGE, "trivy", excepted=scan.read_excepted(given), **wish)
    found = scan.read(Completed(0, json.dumps(value), ""), scanner="trivy")
    return {one.finding.id: one.verdict for one in scan.judge(found, made, today=TODAY)}


SOME = (weak("CVE-1", "openssl", "CRITICAL", "1.1"), weak("CVE-2", "bash", "MEDIUM"), weak("CVE-3", "zlib", "HIGH"))


@pytest.mark.parametrize(
    ("wish", "verdicts"),
    [
        ({}, ("refused", "passed", "refused")),
        ({"severity": "critical"}, ("refused", "passed", "passed")),
        ({"severity": "low"}, ("refused", "refused", "refused")),
        ({"unfixed": False}, ("refused", "passed", "passed")),
    ],
)
def test_severities(wish: dict[str, Any], verdicts: tuple[str, ...]) -> None:
    found = judged(trivy(*SOME), **wish)
    assert tuple(found[name] for name in ("CVE-1", "CVE-2", "CVE-3")) == verdicts


@pytest.mark.parametrize(
    ("exception", "verdict"),
    [
        (excepted("CVE-1", "2026-11-27"), "excepted"),
        (excepted("cve-1", "2027-01-31"), "excepted"),
        (excepted("CVE-1", "2027-01-31", package="openssl"), "excepted"),
        (excepted("CVE-1", "2027-01-31", package="libssl"), "refused"),
        (excepted("CVE-1", "2026-11-26"), "expired"),
        (excepted("CVE-9", "2027-01-31"), "refused"),
    ],
)
def test_exceptions(exception: dict[str, Any], verdict: str) -> None:
    assert judged(trivy(SOME[0]), exception) == {"CVE-1": verdict}


def test_of_two_exceptions_the_longer_counts() -> None:
    given = (excepted("CVE-1", "2026-01-01"), excepted("CVE-1", "2027-01-01", package="openssl"))
    assert judged(trivy(SOME[0]), *given) == {"CVE-1": "excepted"}


def test_what_has_no_severity_is_the_worst() -> None:
    assert judged(trivy(weak("CVE-1", "x", "UNKNOWN")), severity="critical") == {"CVE-1": "refused"}
    assert judged(trivy(EOSL=True), severity="critical", unfixed=False) == {"EOL-debian-13.1": "refused"}


def test_pip_audit() -> None:
    assert judged(PIP) == {"PYSEC-2018-28": "refused", "UNAUDITED-board": "refused"}
    given = (excepted("CVE-2018-18074", "2027-01-01"), excepted("UNAUDITED-board", "2027-01-01"))
    assert judged(PIP, *given) == {"PYSEC-2018-28": "excepted", "UNAUDITED-board": "excepted"}
    assert judged(PIP, unfixed=False)["UNAUDITED-board"] == "refused"


def test_ones_own_report() -> None:
    value = {"findings": [{"id": "CVE-1", "package": "x", "severity": "low"}, {"id": "CVE-2", "package": "y"}]}
    assert judged(value) == {"CVE-1": "passed", "CVE-2": "refused"}
    assert judged({"findings": []}) == {}


@pytest.mark.parametrize(
    "printed",
    [
        "",
        "no JSON",
        "[]",
        "{}",
        "null",
        '{"SchemaVersion": 2}',
        '{"SchemaVersion": 2, "Results": []}',
        '{"SchemaVersion": 2, "Results": null}',
        '{"Results": [{"Vulnerabilities": [{"PkgName": "x"}]}]}',
        '{"Results": [{"Vulnerabilities": [{"VulnerabilityID": "", "PkgName": "x"}]}]}',
        '{"dependencies": []}',
        '{"dependencies": [{"name": "x", "version": "1"}]}',
        '{"findings": [{"id": "CVE-1"}]}',
        '{"findings": {"id": 1}}',
    ],
)
def test_nonsense_does_not_pass(printed: str) -> None:
    with pytest.raises(SlipwayError, match="nothing is known"):
        scan.read(Completed(0, printed, "said"), scanner="trivy")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Completed(127, "", "No such file or directory"), "not on the host that builds"),
        (Completed(1, json.dumps(trivy()), "database error"), "ended with 1"),
        (Completed(124, "", "", timed_out=True), "took longer than 600 s"),
    ],
)
def test_a_scanner_that_fails_does_not_pass(answer: Completed, why: str) -> None:
    with pytest.raises(SlipwayError, match=why):
        scan.ask(scan.Wish(IMAGE, "trivy"), FakeRunner({IMAGE: answer}))


def test_pip_audit_is_asked_about_what_the_image_has() -> None:
    listed = Completed(0, "django==5.2.0\n", "")
    runner = FakeRunner({scan._LIST: listed, "off": Completed(1, json.dumps(PIP), "Found 1")})
    found = scan.ask(scan.Wish(IMAGE, "pip-audit"), runner)
    assert [one.id for one in found] == ["PYSEC-2018-28", "UNAUDITED-board"]
    listing, asking = runner.ran
    assert listing[:3] == ("docker", "run", "--rm")
    assert IMAGE in listing
    assert asking[:3] == ("pip-audit", "--requirement", "/dev/stdin")
    assert runner.inputs == ["", "django==5.2.0\n"]
    with pytest.raises(SlipwayError, match="could not be listed"):
        scan.ask(scan.Wish(IMAGE, "pip-audit"), FakeRunner({scan._LIST: Completed(0, "\n", "")}))


def test_ones_own_command_is_given_the_image() -> None:
    runner = FakeRunner({"/opt/check": Completed(0, '{"findings": []}', "")})
    wish = scan.Wish(IMAGE, "command", command=("/opt/check",), environment={"A": "1"})
    assert scan.ask(wish, runner) == ()
    assert runner.environments == [{"A": "1", "SCAN_IMAGE": IMAGE}]


def test_what_is_said() -> None:
    given = (excepted("CVE-1", "2026-11-26"), excepted("CVE-9", "2027-01-01"))
    wish = scan.Wish(IMAGE, "trivy", excepted=scan.read_excepted(given))
    found = scan.judge(scan.read(Completed(0, json.dumps(trivy(*SOME)), ""), scanner="trivy"), wish, today=TODAY)
    report, table, refusal = scan.report(found, wish), scan.text_of(found, wish), scan.refusal(found, wish)
    assert report["counts"] == {"refused": 1, "expired": 1, "excepted": 0, "passed": 1}
    assert (report["passed"], report["unused_exceptions"]) == (False, ["CVE-9"])
    assert json.loads(json.dumps(report)) == report
    assert "CVE-1 in openssl (the exception ended on 2026-11-26: not used here)" in refusal
    assert "is not pushed: 2 findings refuse it" in refusal
    assert table.splitlines()[0] == f"trivy on {IMAGE}: REFUSED"
    assert "EXPIRED" in table
    assert "CVE-2" not in table
    assert "1 more that pass" in table
    assert "exceptions that nothing needs any more: CVE-9" in table
    good = scan.judge((), wish, today=TODAY)
    assert (scan.refusal(good, wish), scan.report(good, wish)["passed"]) == ("", True)


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({"id": "CVE-1", "why": "x"}, "until"),
        ({"id": "CVE-1", "until": "2027-13-01", "why": "x"}, "until"),
        ({"id": "CVE-1", "until": "20270101", "why": "x"}, "until"),
        ({"id": "CVE-1", "until": "2027-01-01"}, "why"),
        ({"id": "CVE-1", "until": "2027-01-01", "why": " "}, "why"),
        ({"id": "CVE 1", "until": "2027-01-01", "why": "x"}, "id"),
        ({"id": "CVE-1", "until": "2027-01-01", "why": "x", "reason": "x"}, "reason"),
    ],
)
def test_an_exception_has_an_end_and_a_reason(given: dict[str, Any], part: str) -> None:
    assert [one for one, _found, _expected in scan.faults(given)] == [part]
    with pytest.raises(SlipwayError, match=f"{part}: "):
        scan.read_excepted([given])


def test_a_date_of_yaml_is_a_date() -> None:
    (one,) = scan.read_excepted([{"id": "CVE-1", "until": datetime.date(2027, 1, 31), "why": "x"}])
    assert one.until == datetime.date(2027, 1, 31)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"webapp_image_scanner": "command"}, "webapp_image_scan_command"),
        ({"webapp_image_scanner": "trivy", "webapp_image_scan_command": ["x"]}, "webapp_image_scan_command"),
        ({"webapp_image_scan_except": [{"id": "CVE-1"}]}, "webapp_image_scan_except.CVE-1.until"),
        ({"webapp_image_scan_except": [excepted("CVE-1", "2027-01-01")] * 2}, "webapp_image_scan_except"),
        ({"webapp_image_scan_environment": {"A": True}}, "webapp_image_scan_environment.A"),
        ({"webapp_image_scan_timeout": 0}, "webapp_image_scan_timeout"),
    ],
)
def test_settings_that_are_refused(values: dict[str, Any], name: str) -> None:
    assert name in [problem.name for problem in check_rules(values, host="h")]
