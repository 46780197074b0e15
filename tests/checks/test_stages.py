# SPDX-License-Identifier: GPL-3.0-or-later
"""The counting itself: what is skipped, missing or broken never looks like something that passed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests import stages
from tests.checks import tools
from tests.stages import Count, Stage

SKIPPED = "import pytest\ndef test_a() -> None:\n    pytest.skip('there is no moon')\n"
SKIPPED_MODULE = "import pytest\npytest.skip('there is no moon', allow_module_level=True)\n"
PASSED = "def test_a() -> None: pass\n"
FAILED = "def test_a() -> None: assert False\n"
BROKEN = "import nothing_of_this_name\n"


def pytest_on(place: Path, text: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run pytest with the project's conftest on one file somewhere else."""
    (place / "test_it.py").write_text(text)
    (place / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "tests.conftest", "-rs"]
    environment = {**tools.environment(), "PYTHONPATH": str(tools.ROOT), **environment}
    return subprocess.run(
        [*command, f"--junitxml={place}/report.xml"],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("text", [SKIPPED, SKIPPED_MODULE], ids=["test", "module"])
def test_a_skip_fails_in_ci_and_says_why(tmp_path: Path, text: str) -> None:
    done = pytest_on(tmp_path, text, CI="true")
    assert done.returncode != 0
    assert "CI does not accept: Skipped: there is no moon" in done.stdout
    assert stages.judged(stages.counted(tmp_path / "report.xml"), code=done.returncode) == Count(failed=1)


def test_a_skip_is_counted_as_one_elsewhere(tmp_path: Path) -> None:
    done = pytest_on(tmp_path, SKIPPED, CI="")
    assert done.returncode == 0
    assert stages.counted(tmp_path / "report.xml") == Count(skipped=1)


@pytest.mark.parametrize(
    ("text", "count"),
    [(PASSED, Count(passed=1)), (FAILED, Count(failed=1)), (BROKEN, Count(failed=1)), ("", Count(failed=1))],
    ids=["passed", "failed", "broken", "no test"],
)
def test_counts(tmp_path: Path, text: str, count: Count) -> None:
    done = pytest_on(tmp_path, text)
    assert stages.judged(stages.counted(tmp_path / "report.xml"), code=done.returncode) == count


def test_it_says_how_long_each_stage_took(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(stages, "REPORTS", tmp_path)
    (tmp_path / "a.xml").write_text('<testsuites><testsuite time="61.4"/></testsuites>')
    assert stages.took([Stage(name=name, paths=(), group=1) for name in "ab"]) == "a 61 s"


def test_it_names_in_the_end_what_failed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(stages, "REPORTS", tmp_path)
    pytest_on(tmp_path, PASSED + FAILED.replace("test_a", "test_b"))
    assert stages.failures([Stage(name="report", paths=(), group=1), Stage(name="none", paths=(), group=1)]) == [
        "report: test_it::test_b: assert False"
    ]


def test_no_report_is_a_failure(tmp_path: Path) -> None:
    assert stages.counted(tmp_path / "none.xml") == Count(failed=1)


def test_a_stage_without_tests_is_a_failure() -> None:
    assert stages.run(Stage(name="nowhere", paths=("tests/nowhere",), group=1)) == Count(failed=1)


def test_a_failure_stops_before_the_costlier_group(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outcomes = {"a": Count(failed=1), "b": Count(passed=2), "c": Count(passed=4)}
    monkeypatch.setattr(stages, "run", lambda stage: outcomes[stage.name])
    plan = [Stage(name=name, paths=(), group=group) for name, group in (("a", 1), ("b", 1), ("c", 2))]
    assert stages.run_all(plan) == Count(passed=2, failed=1)
    assert "not run, because of the failures before: c" in capsys.readouterr().out


def test_the_oldest_pair_is_not_skipped_in_silence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    (stage,) = (stage for stage in stages.STAGES if stage.name == "unit-oldest")
    monkeypatch.setenv("CI", "true")
    assert stages.run(stage) == Count(failed=1)
    monkeypatch.setenv("CI", "")
    assert stages.run(stage) == Count(skipped=1)
    assert "SKIPPED: there is no Python 3.11" in capsys.readouterr().out


def test_agreed_skips_have_a_reason() -> None:
    agreed = yaml.safe_load((tools.ROOT / "tests" / "skips.yml").read_text()) or {}
    assert all(isinstance(reason, str) and reason for reason in agreed.values())


def test_what_takes_long_is_left_out_of_stages_with_hosts_only() -> None:
    for stage in stages.STAGES:
        short = stages.without_long(stage)
        assert (short != stage) == (stage.group == stages.HOSTS_GROUP), stage.name
        assert short.options.count("-m") <= 1, "pytest listens to the last one only"
    assert any(stages.without_long(stage).options[-2:] == ("-m", "not long") for stage in stages.STAGES)
