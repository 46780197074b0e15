# SPDX-License-Identifier: GPL-3.0-or-later
"""The driver that runs Django's part, against an imitation of Django small enough to fail on demand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils import _release_django as django
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Completed

IMITATION = {
    "django/__init__.py": "import os\ndef setup():\n    exec(os.environ.get('IN_SETUP', ''))\n",
    "django/conf.py": "class settings:\n    STATIC_ROOT = '/declared/static'\n",
    "django/apps.py": "import os\nclass apps:\n    is_installed = lambda name: 'NO_APP' not in os.environ\n",
    "django/core/__init__.py": "",
    "django/core/management/__init__.py": (
        "import os, sys\n"
        "from django.conf import settings\n"
        "from django.core.management.base import CommandError\n"
        "class SystemCheckError(CommandError): pass\n"
        "def call_command(name, **options):\n"
        "    print('ran', name, sorted(options.items()), settings.STATIC_ROOT)\n"
        "    exec(os.environ.get('IN_' + name.upper(), ''))\n"
    ),
    "django/core/management/base.py": "class CommandError(Exception): pass\n",
}


def drive(
    tmp_path: Path, environment: dict[str, str] | None = None, *, check: bool = True, collect: bool = True
) -> Completed:
    for name, text in IMITATION.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [sys.executable, *django.words(check=check, collect=collect)],
        cwd=tmp_path,
        env={"STATIC_ROOT": "/wanted/static", "PATH": os.environ["PATH"], **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    return Completed(done.returncode, done.stdout, done.stderr)


def test_one_process_does_both(tmp_path: Path) -> None:
    report = django.read_report(drive(tmp_path), secrets=(), timeout=1)
    assert report.static_root == "/declared/static"
    assert report.lines == (
        "ran check [('deploy', True)] /wanted/static",
        "ran collectstatic [('interactive', False), ('verbosity', 1)] /wanted/static",
    )


@pytest.mark.parametrize(("check", "collect", "lines"), [(True, False, 1), (False, True, 1), (False, False, 0)])
def test_only_what_is_wanted(tmp_path: Path, check: bool, collect: bool, lines: int) -> None:
    answer = drive(tmp_path, check=check, collect=collect)
    assert len(django.read_report(answer, secrets=(), timeout=1).lines) == lines


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"IN_SETUP": "raise RuntimeError('no key')"}, r"settings cannot be loaded(.|\n)*RuntimeError: no key"),
        ({"IN_SETUP": "import nowhere"}, r"settings cannot be loaded(.|\n)*No module named 'nowhere'"),
        ({"IN_SETUP": "raise SystemExit(3)"}, r"settings cannot be loaded(.|\n)*exit code 3"),
        ({"IN_SETUP": "raise SystemExit('go away')"}, r"settings cannot be loaded(.|\n)*go away"),
        ({"IN_SETUP": "import os; os._exit(9)"}, "ended early"),
        ({"IN_SETUP": "import os; os._exit(0)"}, "ended early"),
        (
            {"IN_CHECK": "raise SystemCheckError('SystemCheckError: board.E1')"},
            r"`manage.py check --deploy` found errors\nfound: (.|\n)*^SystemCheckError: board.E1",
        ),
        (
            {"IN_COLLECTSTATIC": "raise CommandError('no finder')"},
            r"collectstatic` failed\nfound: (.|\n)*no finder",
        ),
        ({"IN_COLLECTSTATIC": "1/0"}, r"collectstatic` failed(.|\n)*ZeroDivisionError"),
        ({"NO_APP": "1"}, r"collectstatic` failed(.|\n)*not in INSTALLED_APPS"),
    ],
)
def test_an_error_names_the_part_that_failed(tmp_path: Path, environment: dict[str, str], says: str) -> None:
    with pytest.raises(SlipwayError, match=f"(?m){says}"):
        django.read_report(drive(tmp_path, environment), secrets=(), timeout=1)


def test_a_part_that_ends_well_by_exit_goes_on(tmp_path: Path) -> None:
    report = django.read_report(drive(tmp_path, {"IN_CHECK": "sys.exit(0)"}), secrets=(), timeout=1)
    assert len(report.lines) == 2
