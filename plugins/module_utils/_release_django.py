# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Django's part of a build: `check --deploy` and `collectstatic` in one process.

Starting Django is the most expensive thing in a build whose environment is there already (half a second for a
middling project), so both commands share one start. Each has its own exit code, so that an error names the right one.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._mask import complaint, last_lines
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Completed

CHECK, COLLECT = "check", "collectstatic"
_REPORT = "slipway-report "

# Runs in the release's own Python, in its code, as the application's user. STATIC_ROOT is also set for projects that do
# not read it from the environment: what they declare instead is reported, and becomes a link to the collected files.
DRIVER = r"""
import json, os, sys, traceback

def stage(code, work):
    try:
        work()
    except SystemExit as error:
        if error.code not in (None, 0):
            sys.stderr.write("exit code %s\n" % error.code)
            sys.exit(code)
    except BaseException as error:
        if type(error).__name__ in ("CommandError", "SystemCheckError", "ImproperlyConfigured"):
            name = type(error).__name__
            sys.stderr.write("%s%s\n" % ("" if str(error).startswith(name) else name + ": ", error))
        else:
            traceback.print_exc()
        sys.exit(code)

report = {}

def setup():
    import django
    from django.conf import settings
    report["static_root"] = str(settings.STATIC_ROOT or "")
    settings.STATIC_ROOT = os.environ["STATIC_ROOT"]
    django.setup()

def check():
    from django.core.management import call_command
    call_command("check", deploy=True)

def collectstatic():
    from django.apps import apps
    from django.core.management import call_command
    from django.core.management.base import CommandError
    if not apps.is_installed("django.contrib.staticfiles"):
        raise CommandError("django.contrib.staticfiles is not in INSTALLED_APPS")
    call_command("collectstatic", interactive=False, verbosity=1)

stage(71, setup)
if "check" in sys.argv:
    stage(72, check)
if "collectstatic" in sys.argv:
    stage(73, collectstatic)
sys.stdout.write("\nslipway-report " + json.dumps(report) + "\n")
"""

_FAILED = {
    71: ("The project's settings cannot be loaded", "correct the settings, or the environment that they read"),
    72: ("`manage.py check --deploy` found errors", "correct them, or set webapp_check_deploy to false"),
    73: ("`manage.py collectstatic` failed", "correct it, or set webapp_collectstatic to false"),
}


@dataclass(frozen=True)
class Report:
    """What Django's part of a build found: its declared STATIC_ROOT, and the lines that `check` printed."""

    static_root: str
    lines: tuple[str, ...]


def words(*, check: bool, collect: bool) -> list[str]:
    """What Python is given to do the wanted parts."""
    return ["-c", DRIVER, *([CHECK] if check else []), *([COLLECT] if collect else [])]


def read_report(answer: Completed, *, secrets: tuple[str, ...], timeout: float) -> Report:
    """The report of a finished run, or the error that says which part failed and its last lines."""
    if answer.timed_out:
        raise SlipwayError(
            "The project did not finish `check --deploy` and `collectstatic` in time",
            found=f"no end after {timeout:g} s\n{last_lines(answer, secrets=secrets)}".strip(),
            next_step="see what it waits for, or raise webapp_stage_timeout",
        )
    reports = [line for line in answer.stdout.splitlines() if line.startswith(_REPORT)]
    if answer.code or not reports:
        what, advice = _FAILED.get(answer.code, ("The project's Python ended early", "see what it printed"))
        raise SlipwayError(what, found=complaint(answer, secrets=secrets), next_step=advice)
    found = json.loads(reports[-1][len(_REPORT) :])
    lines = tuple(line for line in last_lines(answer, secrets=secrets, lines=60).splitlines() if _REPORT not in line)
    return Report(static_root=found["static_root"], lines=tuple(line for line in lines if line.strip()))


def link_for(static_root: str, *, code: str, static: str) -> tuple[str, str] | None:
    """(path, target) of the link that a project needs which declares a STATIC_ROOT of its own inside its code."""
    if not static_root or not os.path.isabs(static_root):
        return None
    path = os.path.join(os.path.realpath(os.path.dirname(static_root)), os.path.basename(static_root.rstrip("/")))
    inside = path.startswith(os.path.realpath(code) + os.sep)
    if not inside or os.path.lexists(path) or not os.path.isdir(os.path.dirname(path)):
        return None
    return path, os.path.relpath(os.path.realpath(static), os.path.dirname(path))
