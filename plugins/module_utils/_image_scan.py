# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of an image's packages, and whether it may be pushed.

A scanner of the operator's choice is asked, its answer read, exceptions with a date taken into account. What is not
known never passes: a scanner that fails or says nothing that can be read is an error, a package that could not be
looked up is a finding, and one without a severity counts as the worst.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._mask import complaint
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Completed, Runner
from ansible_collections.slipway.webapp.plugins.module_utils._status import NOTHING, table

TRIVY, PIP_AUDIT, COMMAND = "trivy", "pip-audit", "command"
SEVERITIES = ("low", "medium", "high", "critical")
UNKNOWN = "unknown"
REFUSED, EXPIRED, EXCEPTED, PASSED = "refused", "expired", "excepted", "passed"
KEYS = ("id", "until", "why", "package")
ROWS = 30  # of a table that has to fit on a screen
_NOT_FOUND = 127  # what timeout(1) ends with when there is no such program
_TITLE = 200
_DATE = r"\d{4}-\d\d-\d\d"
# The packages of the image's own Python, one a line, as pip writes them.
_LIST = """
import importlib.metadata as m
print(*sorted({f"{one.metadata['Name']}=={one.version}" for one in m.distributions()}), sep="\\n")
"""
_LOCKED = (
    *("--network", "none", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--read-only"),
    *("--user", "65534"),
)


@dataclass(frozen=True)
class Finding:
    """One known weakness of one package. ``fixed`` are the versions without it, '' when there is none.

    ``blind``: nobody knows whether there is one.
    """

    id: str
    package: str
    version: str = ""
    severity: str = UNKNOWN
    fixed: str = ""
    title: str = ""
    aliases: tuple[str, ...] = ()
    blind: bool = False

    @property
    def names(self) -> frozenset[str]:
        return frozenset(name.upper() for name in (self.id, *self.aliases))


@dataclass(frozen=True)
class Excepted:
    """A finding that somebody accepts through a day, in all packages or in one."""

    id: str
    until: datetime.date
    why: str
    package: str = ""

    def covers(self, finding: Finding) -> bool:
        return self.id.upper() in finding.names and self.package in ("", finding.package)


@dataclass(frozen=True)
class Wish:
    """``severity`` is the least that refuses, ``unfixed`` whether that holds for what no version mends, too."""

    image: str
    scanner: str
    severity: str = "high"
    unfixed: bool = True
    excepted: tuple[Excepted, ...] = ()
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] | None = None
    timeout: float = 600


@dataclass(frozen=True)
class Judged:
    """A finding and what became of it."""

    finding: Finding
    verdict: str
    why: str


# -- exceptions --


def faults(given: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Everything that is wrong with an exception as the inventory says it: (part, found, expected)."""
    wrong = [(str(key), "a name that does not exist", f"one of {', '.join(KEYS)}") for key in given if key not in KEYS]
    wrong += [(key, "nothing", "it is required") for key in KEYS[:3] if key not in given]
    for key in ("id", "package"):
        if key in given and not re.fullmatch(r"[^\s]{1,100}", str(given[key])):
            wrong.append((key, repr(given[key]), "a name without blanks"))
    if "until" in given and not _day(given["until"]):
        wrong.append(("until", repr(str(given["until"])), "the last day that it holds, such as 2027-01-31"))
    if "why" in given and not (isinstance(given["why"], str) and given["why"].strip()):
        wrong.append(("why", "no reason", "a text that says why it may wait"))
    return wrong


def _day(value: Any) -> datetime.date | None:
    """A date, as YAML or a text gives it."""
    if not re.fullmatch(_DATE, str(value)):
        return None
    try:
        return datetime.date.fromisoformat(str(value))
    except ValueError:
        return None


def read_excepted(given: Iterable[Mapping[str, Any]]) -> tuple[Excepted, ...]:
    """The exceptions, or a refusal of the first that is none."""
    found = []
    for number, one in enumerate(given, start=1):
        for part, seen, expected in faults(one):
            raise SlipwayError(f"Exception {number} cannot be used", found=f"{part}: {seen}", expected=expected)
        until = _day(one["until"])
        if until:  # always: it has no fault
            found.append(Excepted(str(one["id"]), until, one["why"], str(one.get("package", ""))))
    return tuple(found)


# -- asking the scanner --


def ask(wish: Wish, runner: Runner) -> tuple[Finding, ...]:
    """What the scanner knows of the image; an error where it does not answer."""
    if wish.scanner == PIP_AUDIT:
        packages = _listed(wish, runner)
        words: Sequence[str] = (
            *("pip-audit", "--requirement", "/dev/stdin", "--no-deps", "--disable-pip"),
            *("--format", "json", "--progress-spinner", "off"),
        )
        # It ends with 1 when it has found something, and also when it has failed: then it prints no JSON.
        return read(_answer(wish, runner, words, good=(0, 1), stdin=packages), scanner=wish.scanner)
    if wish.scanner == TRIVY:
        words = (
            *("trivy", "image", "--quiet", "--format", "json", "--scanners", "vuln", "--list-all-pkgs"),
            *("--exit-code", "0", "--image-src", "docker", wish.image),
        )
        return read(_answer(wish, runner, words), scanner=wish.scanner)
    return read(_answer(wish, runner, wish.command), scanner=wish.command[0])


def _listed(wish: Wish, runner: Runner) -> str:
    """The packages of the image, by its own Python."""
    words = ("docker", "run", "--rm", "--pull", "never", *_LOCKED, "--entrypoint", "python", wish.image, "-c", _LIST)
    answer = runner.run(words, cwd="/", timeout=wish.timeout)
    if not answer.ok or not answer.stdout.strip():
        raise SlipwayError(
            f"The packages of {wish.image} could not be listed",
            found=complaint(answer, lines=5) or "an empty list",
            expected="a `python` in the image that knows its packages; for other images use trivy",
        )
    return answer.stdout


def _answer(
    wish: Wish, runner: Runner, words: Sequence[str], *, good: Sequence[int] = (0,), stdin: str = ""
) -> Completed:
    environment = {**(wish.environment or {}), "SCAN_IMAGE": wish.image}
    # From the top, where no settings of the scanner lie about.
    answer = runner.run(words, environment=environment, cwd="/", timeout=wish.timeout, stdin=stdin)
    if answer.code == _NOT_FOUND and not answer.stdout.strip():
        raise SlipwayError(
            f"The scanner {words[0]} is not on the host that builds",
            found=complaint(answer, lines=3),
            expected="a program of that name in /usr/local/bin or /usr/bin",
            next_step="install it there, or choose another one: webapp_image_scanner",
        )
    if answer.timed_out or answer.code not in good:
        how = f"took longer than {wish.timeout:g} s" if answer.timed_out else f"ended with {answer.code}"
        raise SlipwayError(
            f"The scanner {words[0]} {how}, so nothing is known of {wish.image}",
            found=complaint(answer, lines=10),
            next_step="mend what it says, then build again; what is not known is not pushed",
        )
    return answer


# -- reading its answer --


def read(answer: Completed, *, scanner: str) -> tuple[Finding, ...]:
    """The findings in what a scanner printed: the JSON of Trivy, of pip-audit, or ours, by what it holds."""
    try:
        value = json.loads(answer.stdout)
        if "dependencies" in value:
            return _of_pip_audit(value["dependencies"])
        if "findings" in value:
            return tuple(_own(one) for one in value["findings"])
        return _of_trivy(value)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        said = answer.stdout.strip()[:200] or complaint(answer, lines=5) or "nothing"
        raise SlipwayError(
            f"What {scanner} printed cannot be read, so nothing is known of the image",
            found=f"{said} ({error!r})",
            expected="its report as JSON",
            next_step="run it by hand on the host that builds; what is not known is not pushed",
        ) from error


def _text(value: Any, name: str) -> str:
    """A text that must be there."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"no {name}")
    return value


def _severity(value: Any) -> str:
    word = str(value or "").lower()
    return word if word in SEVERITIES else UNKNOWN


def _of_trivy(value: Mapping[str, Any]) -> tuple[Finding, ...]:
    """https://trivy.dev/latest/docs/configuration/reporting/: an image in which it saw no package has no results."""
    results = value["Results"]
    if not isinstance(results, list) or not results:
        raise ValueError("no results: it saw no package in the image")
    found = [
        Finding(
            id=_text(one["VulnerabilityID"], "VulnerabilityID"),
            package=_text(one["PkgName"], "PkgName"),
            version=str(one.get("InstalledVersion") or ""),
            severity=_severity(one.get("Severity")),
            fixed=str(one.get("FixedVersion") or ""),
            title=str(one.get("Title") or "")[:_TITLE],
            aliases=tuple(map(str, one.get("VendorIDs") or ())),
        )
        for result in results
        for one in result.get("Vulnerabilities") or ()
    ]
    system = (value.get("Metadata") or {}).get("OS") or {}
    if system.get("EOSL"):
        name, version = str(system.get("Family", "")), str(system.get("Name", ""))
        title = "the distribution has come to its end: nobody looks for weaknesses in it any more"
        found.append(Finding(f"EOL-{name}-{version}", name, version, title=title, blind=True))
    return tuple(dict.fromkeys(found))


def _of_pip_audit(dependencies: Sequence[Mapping[str, Any]]) -> tuple[Finding, ...]:
    """It names no severities. A package that it could not look up it skips, and ends well."""
    if not dependencies:
        raise ValueError("no dependencies: it saw no package")
    found = []
    for one in dependencies:
        name = _text(one["name"], "name")
        if "skip_reason" in one:
            found.append(Finding(f"UNAUDITED-{name}", name, title=str(one["skip_reason"])[:_TITLE], blind=True))
            continue
        found += [
            Finding(
                id=_text(weak["id"], "id"),
                package=name,
                version=str(one["version"]),
                fixed=", ".join(map(str, weak["fix_versions"])),
                title=str(weak.get("description") or "")[:_TITLE],
                aliases=tuple(map(str, weak.get("aliases") or ())),
            )
            for weak in one["vulns"]
        ]
    return tuple(found)


def _own(one: Mapping[str, Any]) -> Finding:
    """A finding as an operator's own command says it."""
    return Finding(
        id=_text(one["id"], "id"),
        package=_text(one["package"], "package"),
        version=str(one.get("version") or ""),
        severity=_severity(one.get("severity")),
        fixed=str(one.get("fixed") or ""),
        title=str(one.get("title") or "")[:_TITLE],
        aliases=tuple(map(str, one.get("aliases") or ())),
    )


# -- the verdict --


def judge(findings: Iterable[Finding], wish: Wish, *, today: datetime.date) -> tuple[Judged, ...]:
    """What becomes of each finding, the worst first."""
    order = {REFUSED: 0, EXPIRED: 0, EXCEPTED: 1, PASSED: 2}
    judged = [_judge(one, wish, today=today) for one in findings]
    return tuple(sorted(judged, key=lambda one: (order[one.verdict], -_rank(one.finding), one.finding.package)))


def _rank(finding: Finding) -> int:
    return SEVERITIES.index(finding.severity) if finding.severity in SEVERITIES else len(SEVERITIES)


def _judge(finding: Finding, wish: Wish, *, today: datetime.date) -> Judged:
    if _rank(finding) < SEVERITIES.index(wish.severity):
        return Judged(finding, PASSED, f"less than {wish.severity}")
    if not (finding.fixed or finding.blind or wish.unfixed):
        return Judged(finding, PASSED, "no version mends it")
    covering = [one for one in wish.excepted if one.covers(finding)]
    if not covering:
        return Judged(finding, REFUSED, f"mended in {finding.fixed}" if finding.fixed else "")
    last = max(covering, key=lambda one: one.until)
    if last.until < today:
        return Judged(finding, EXPIRED, f"the exception ended on {last.until}: {last.why}")
    return Judged(finding, EXCEPTED, f"until {last.until}: {last.why}")


def report(judged: Sequence[Judged], wish: Wish) -> dict[str, Any]:
    """All of it for programs."""
    verdicts = [one.verdict for one in judged]
    used = {excepted for one in judged for excepted in wish.excepted if excepted.covers(one.finding)}
    return {
        "image": wish.image,
        "scanner": wish.command[0] if wish.scanner == COMMAND else wish.scanner,
        "severity": wish.severity,
        "passed": REFUSED not in verdicts and EXPIRED not in verdicts,
        "counts": {verdict: verdicts.count(verdict) for verdict in (REFUSED, EXPIRED, EXCEPTED, PASSED)},
        "findings": [
            {**asdict(one.finding), "aliases": list(one.finding.aliases), "verdict": one.verdict, "why": one.why}
            for one in judged
        ],
        "unused_exceptions": [one.id for one in wish.excepted if one not in used],
    }


def text_of(judged: Sequence[Judged], wish: Wish) -> str:
    """For people: what refuses and what is excepted; of the rest only how much there is."""
    told = [one for one in judged if one.verdict != PASSED]
    rest = len(judged) - len(told)
    about = report(judged, wish)
    lines = [f"{about['scanner']} on {wish.image}: " + ("nothing that refuses it" if about["passed"] else "REFUSED")]
    if told:
        rows = [("verdict", "severity", "id", "package", "version", "why")]
        rows += [_row(one) for one in told[:ROWS]]
        lines += table([tuple(cell or NOTHING for cell in row) for row in rows])
    lines += [f"and {len(told) - ROWS} more"] if len(told) > ROWS else []
    lines += [f"{rest} more that pass: less than {wish.severity}, or without a version that mends it"] if rest else []
    unused = ", ".join(about["unused_exceptions"])
    return "\n".join([*lines, *([f"exceptions that nothing needs any more: {unused}"] if unused else [])])


def _row(one: Judged) -> tuple[str, str, str, str, str, str]:
    finding = one.finding
    verdict = one.verdict if one.verdict == EXCEPTED else one.verdict.upper()
    return verdict, finding.severity, finding.id, finding.package, finding.version, one.why or finding.title[:60]


def refusal(judged: Sequence[Judged], wish: Wish) -> str:
    """Why the image may not be pushed, or ''."""
    bad = [one for one in judged if one.verdict in (REFUSED, EXPIRED)]
    if not bad:
        return ""
    said = [f"{one.finding.id} in {one.finding.package}" + (f" ({one.why})" if one.why else "") for one in bad[:3]]
    more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
    count = "1 finding refuses it" if len(bad) == 1 else f"{len(bad)} findings refuse it"
    return str(
        SlipwayError(
            f"{wish.image} is not pushed: {count}",
            found=f"{'; '.join(said)}{more}",
            next_step="build with versions that are not weak, or accept it for a time: webapp_image_scan_except",
        )
    )
