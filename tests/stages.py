# SPDX-License-Identifier: GPL-3.0-or-later
"""Run all checks and tests in stages, the cheap ones first, and count them honestly.

Stages of one group run side by side, each line of their output behind the stage's name.

tests/run            everything but the tests that are marked as long
tests/run --all      these, too
tests/run --fast     no test hosts
tests/run unit ...   these stages only

A stage that fails stops the run before the next costlier group. A stage that collects no test has failed: a test that
does not exist must not look like one that passed. The last line is `N passed, N failed, N skipped`.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / ".build"
REPORTS = BUILD / "reports"
NO_TESTS_COLLECTED = 5
FAILED_TESTS = 1
SAID = 300  # characters of the beginning and of the end of what a failed test said


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """One run of pytest."""

    name: str
    paths: tuple[str, ...]
    group: int
    venv: str = "venv"
    options: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Count:
    """What became of the tests of one or more stages."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(
            passed=self.passed + other.passed,
            failed=self.failed + other.failed,
            skipped=self.skipped + other.skipped,
        )

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


HOSTS_GROUP = 4
AT_ONCE = 2  # stages of one group: more would share the same cores
OLDEST_PYTHON = "3.11"
# Two at a time; the tests of one file stay together, because they share what is costly to make.
TWO = ("-n", "2", "--dist", "loadfile")
# One at a time: some of them fork, and the workers have threads.
UNIT = ("tests/unit", "tests/property")
LONGEST = ("--durations=10", "--durations-min=5")
# The tests of six hosts have a lane of their own. The first removes its hosts in the end, so that the second begins on
# empty ones, which the third takes over.
ON_THE_FLEET = (
    "tests/integration/test_edge.py",
    "tests/integration/test_production.py",
    "tests/integration/test_production_faults.py",
)
# It needs hosts that no other test has.
DATABASES = "tests/integration/test_database.py"
STAGES = (
    Stage(name="checks", paths=("tests/checks",), group=1, options=("-m", "not slow", *TWO)),
    Stage(name="unit", paths=UNIT, group=2),
    Stage(name="unit-oldest", paths=UNIT, group=2, venv="venv-oldest"),
    Stage(name="slow-checks", paths=("tests/checks",), group=3, options=("-m", "slow", *TWO)),
    Stage(name="scenarios", paths=("tests/scenarios",), group=HOSTS_GROUP, options=LONGEST),
    Stage(
        name="integration",
        paths=("tests/integration",),
        group=HOSTS_GROUP,
        options=(*LONGEST, *(f"--ignore={path}" for path in (*ON_THE_FLEET, DATABASES))),
    ),
    Stage(name="fleet", paths=ON_THE_FLEET, group=HOSTS_GROUP, options=LONGEST),
    Stage(name="databases", paths=(DATABASES,), group=HOSTS_GROUP, options=LONGEST),
)


def counted(report: Path) -> Count:
    """The count that pytest's own report gives; one failed test if there is no report."""
    if not report.exists():
        return Count(failed=1)
    total = Count()
    for suite in ElementTree.parse(report).getroot().iter("testsuite"):
        tests, skipped = int(suite.get("tests", "0")), int(suite.get("skipped", "0"))
        failed = int(suite.get("failures", "0")) + int(suite.get("errors", "0"))
        total += Count(passed=max(0, tests - skipped - failed), failed=failed, skipped=skipped)
    return total


def took(stages: Sequence[Stage]) -> str:
    """How long the tests of each stage ran, by pytest's own reports; what left no report is not named."""
    seconds = {
        stage.name: sum(float(one.get("time", "0")) for one in ElementTree.parse(report).getroot().iter("testsuite"))
        for stage in stages
        if (report := REPORTS / f"{stage.name}.xml").exists()
    }
    return ", ".join(f"{name} {spent:.0f} s" for name, spent in seconds.items())


def failures(stages: Sequence[Stage]) -> list[str]:
    """A line for each test that failed: where it said so, it is lost between the lines of all others."""
    found = []
    for stage in stages:
        report = REPORTS / f"{stage.name}.xml"
        for test in ElementTree.parse(report).getroot().iter("testcase") if report.exists() else ():
            name = f"{stage.name}: {test.get('classname')}::{test.get('name')}"
            found += [f"{name}: {_said(one)}" for one in (*test.findall("failure"), *test.findall("error"))]
    return found


def _said(failure: ElementTree.Element) -> str:
    """Beginning and end of the error in one line: of a command that failed the end tells most."""
    lines = [line[1:].strip() for line in (failure.text or "").splitlines() if line.startswith("E ")]
    said = " | ".join(lines or (failure.get("message") or "").splitlines())
    return said if len(said) <= 2 * SAID else f"{said[:SAID]} ... {said[-SAID:]}"


def judged(count: Count, *, code: int) -> Count:
    """The count; with one failure more if pytest failed and no test says so (nothing collected, broken set-up)."""
    return count if code == 0 or count.failed else count + Count(failed=1)


def _say(line: str) -> None:
    """A whole line at once: stages that run side by side must not write into each other's."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def run(stage: Stage) -> Count:
    """Run one stage and say how long it took."""
    _say(f"--- {stage.name} begins")
    started = time.monotonic()
    missing = _missing(stage)
    if missing:
        _say(f"stage {stage.name} is SKIPPED: {missing}")
        count = Count(failed=1) if _in_ci() else Count(skipped=1)
    else:
        count = _run_pytest(stage)
    _say(f"--- {stage.name}: {count} in {time.monotonic() - started:.0f} s")
    return count


def _in_ci() -> bool:
    return os.environ.get("CI", "").lower() in ("1", "true")


def _missing(stage: Stage) -> str:
    """Make the stage's environment; say why that is impossible on this machine."""
    if stage.venv != "venv-oldest":
        return ""
    places = [Path(place) for place in os.environ["PATH"].split(os.pathsep)]
    places += sorted(Path.home().glob(f".pyenv/versions/{OLDEST_PYTHON}.*/bin"))
    if not any((place / f"python{OLDEST_PYTHON}").exists() for place in places):
        return f"there is no Python {OLDEST_PYTHON} here, so the oldest supported pair is not tested"
    subprocess.run([ROOT / "requirements" / "environment.sh", "test", "-oldest", OLDEST_PYTHON], cwd=ROOT, check=False)
    return ""


def _run_pytest(stage: Stage) -> Count:
    python = BUILD / stage.venv / "bin" / "python"
    report = REPORTS / f"{stage.name}.xml"
    report.unlink(missing_ok=True)
    paths = [path for path in stage.paths if (ROOT / path).exists()]
    code = NO_TESTS_COLLECTED
    if paths:
        command = [str(python), "-m", "pytest", "-q", *stage.options, f"--junitxml={report}", *paths]
        code = _pytest(command, stage)
    count = judged(counted(report) if report.exists() or code != NO_TESTS_COLLECTED else Count(), code=code)
    if code == NO_TESTS_COLLECTED:
        _say(f"stage {stage.name} has no tests: that is a failure")
    elif code != 0 and code != FAILED_TESTS:
        _say(f"stage {stage.name}: pytest ended with {code}")
    return count


def _pytest(command: Sequence[str], stage: Stage) -> int:
    environment = {**os.environ, "PATH": f"{BUILD / stage.venv / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    try:
        with subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            for line in process.stdout or ():
                _say(f"{stage.name} | {line.rstrip()}")
        return process.returncode
    except FileNotFoundError:
        print(f"{command[0]} does not exist. Run: make env env-oldest", flush=True)
        return 2


def without_long(stage: Stage) -> Stage:
    """The stage without the tests that are marked as long; pytest's last line says how many it has left out."""
    return (
        dataclasses.replace(stage, options=(*stage.options, "-m", "not long")) if stage.group == HOSTS_GROUP else stage
    )


def run_all(stages: Sequence[Stage]) -> Count:
    """Run the groups in order, the stages of each side by side; stop before the next when something has failed."""
    total = Count()
    for number in sorted({stage.group for stage in stages}):
        group = [stage for stage in stages if stage.group == number]
        if total.failed:
            left = ", ".join(stage.name for stage in stages if stage.group >= number)
            print(f"--- not run, because of the failures before: {left}", flush=True)
            break
        with ThreadPoolExecutor(AT_ONCE) as pool:
            total = sum(pool.map(run, group), total)
    return total


def main() -> int:
    """Choose the stages, run them, print the sum."""
    parser = argparse.ArgumentParser(prog="tests/run", description="Run all checks and tests.")
    parser.add_argument("--fast", action="store_true", help="without the stage that needs test hosts")
    parser.add_argument("--all", action="store_true", help="with the tests that are marked as long")
    parser.add_argument("stage", nargs="*", metavar="STAGE", help=", ".join(stage.name for stage in STAGES))
    arguments = parser.parse_args()
    unknown = set(arguments.stage) - {stage.name for stage in STAGES}
    if unknown:
        parser.error(f"no such stage: {', '.join(sorted(unknown))}")
    chosen = [stage for stage in STAGES if not arguments.stage or stage.name in arguments.stage]
    if not arguments.all:
        chosen = [without_long(stage) for stage in chosen]
    if arguments.fast:
        chosen = [stage for stage in chosen if stage.group < HOSTS_GROUP]
    REPORTS.mkdir(parents=True, exist_ok=True)
    for stage in chosen:  # one that is not run after all has no report
        (REPORTS / f"{stage.name}.xml").unlink(missing_ok=True)
    started = time.monotonic()
    total = run_all(chosen)
    for line in failures(chosen):
        print(f"--- failed: {line}", flush=True)
    print(f"--- {took(chosen)}; all in {time.monotonic() - started:.0f} s", flush=True)
    print(total, flush=True)
    return 0 if total.failed == 0 and total.passed > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
