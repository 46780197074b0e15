# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes source trees of the example application: its three releases, and broken variants for tests.

``python tests/app/releases.py make 2 DEST [--fault NAME] [--plain-lock]`` or ``make(release=2, destination=...)``.
Release 1 is ``base/``; each later release is the one before it with the files of ``overlays/<n>/`` laid over.
The same arguments always give the same bytes and modes.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
RELEASES = (1, 2, 3)
IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc", ".*", "collected", "media")
PROGRAMS = frozenset({"manage.py"})


class ReleasesError(Exception):
    """A tree that cannot be made; says which, and what would be possible."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """How a good tree becomes a bad one."""

    summary: str
    append: Mapping[str, str] = field(default_factory=dict)
    write: Mapping[str, str] = field(default_factory=dict)
    replace: Mapping[str, tuple[str, str]] = field(default_factory=dict)


DOES_NOT_BOOT = '\nraise RuntimeError("this release does not boot: the fault was planted")\n'

NO_WORKER = """

import sys  # noqa: E402

if sys.argv[0] == "celery":
    raise RuntimeError("neither worker nor beat boots: the fault was planted")
"""

FAILING_CHECK = '''

from django.core.checks import Error, register  # noqa: E402


@register(deploy=True)
def planted_check(**_):
    """Refuses every deployment."""
    return [Error("this release fails its check: the fault was planted", id="board.E001")]
'''

FAILING_MIGRATION = '''# SPDX-License-Identifier: GPL-3.0-or-later
"""A migration that changes the table and then fails."""

from django.db import migrations


def fail(_apps, schema_editor):
    """What no look at the source finds."""
    schema_editor.execute("SELECT 1 / 0 AS the_fault_was_planted")


class Migration(migrations.Migration):
    dependencies = [("notes", "{latest}")]

    operations = [
        migrations.RunSQL(
            "ALTER TABLE notes_note ADD COLUMN planted integer", "ALTER TABLE notes_note DROP COLUMN planted"
        ),
        migrations.RunPython(fail, migrations.RunPython.noop),
    ]
'''

RENAMING_MIGRATION = '''# SPDX-License-Identifier: GPL-3.0-or-later
"""A migration that the release before cannot live with, at no moment."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("notes", "{latest}")]

    operations = [migrations.RenameField("note", "author", "writer")]
'''

FAILING_AFTERWARDS = '''# SPDX-License-Identifier: GPL-3.0-or-later
"""A migration that fails after the one before it has changed the database."""

from django.db import migrations


def fail(_apps, schema_editor):
    """What no look at the source finds."""
    schema_editor.execute("SELECT 1 / 0 AS the_fault_was_planted")


class Migration(migrations.Migration):
    dependencies = [("notes", "0098_planted")]

    operations = [migrations.RunPython(fail, migrations.RunPython.noop)]
'''

DROPPING_MIGRATION = '''# SPDX-License-Identifier: GPL-3.0-or-later
"""A migration that has to wait until the release before is gone."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("notes", "0002_note_mood")]

    operations = [migrations.RemoveField("note", "mood")]
'''

MOOD = "notes/migrations/0002_note_mood.py"

WRONG_RELEASE = """

os.environ["SLIPWAY_RELEASE"] = RELEASE = "planted-wrong-release"
MIDDLEWARE = ["board.planted.wrong_header", *MIDDLEWARE]
"""

WRONG_HEADER = '''# SPDX-License-Identifier: GPL-3.0-or-later
"""Claims to be another release in the header too."""


def wrong_header(get_response):
    """A middleware."""

    def answer(request):
        response = get_response(request)
        response["X-Slipway-Release"] = "planted-wrong-release"
        return response

    return answer
'''

MIDDLEWARE = """

MIDDLEWARE = [*MIDDLEWARE, "board.planted.planted"]
"""

LEAKING = '''# SPDX-License-Identifier: GPL-3.0-or-later
"""Fails now and then, on whatever page; health is answered before it comes into play."""

import itertools

COUNT = itertools.count(1)


def planted(get_response):
    """A middleware."""

    def answer(request):
        if next(COUNT) % 10 == 0:
            raise RuntimeError("one request in ten fails: the fault was planted")
        return get_response(request)

    return answer
'''

DRAGGING = '''# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps every page waiting, and does nothing else wrong; health is answered before it comes into play."""

import time


def planted(get_response):
    """A middleware."""

    def answer(request):
        time.sleep(0.3)
        return get_response(request)

    return answer
'''

ON_DEMAND = """

MIDDLEWARE = ["board.planted.misbehave", *MIDDLEWARE]
"""

MISBEHAVES = '''# SPDX-License-Identifier: GPL-3.0-or-later
"""Misbehaves from the moment on that a file among the uploads says how."""

import itertools
import time
from pathlib import Path

from django.conf import settings
from django.http import HttpResponse

ASKED = Path(settings.MEDIA_ROOT) / ".planted"
LEAKS_ONE_IN = 50
SLOW_SECONDS = 1.5


def misbehave(get_response):
    """A middleware before all others. What is broken does not pass for healthy, what leaks or is slow does."""
    numbers = itertools.count(1)

    def answer(request):
        try:
            how = ASKED.read_text().strip()
        except OSError:
            how = ""
        if request.path == "/health" and how != "broken":
            return get_response(request)
        if how == "broken" or (how == "leaking" and next(numbers) % LEAKS_ONE_IN == 0):
            return HttpResponse("the fault was planted", status=500)
        time.sleep(SLOW_SECONDS if how == "slow" else 0)
        return get_response(request)

    return answer
'''

HEALTH = "database, broker = database_state(), broker_state()"

FAULTS: Mapping[str, Fault] = {
    "broken-requirement": Fault(
        summary="the lock names a version that does not exist: the virtual environment cannot be made",
        replace={"requirements.txt": ("\ndj-database-url==", "\ndj-database-url==999.")},
    ),
    "failing-collectstatic": Fault(
        summary="a style sheet refers to a file that is not there: collectstatic fails",
        append={"notes/static/notes/board.css": '\nmain {\n  background: url("planted-missing.svg");\n}\n'},
    ),
    "failing-check": Fault(
        summary="manage.py check --deploy reports an error",
        append={"notes/models.py": FAILING_CHECK},
    ),
    "failing-migration": Fault(
        summary="a further migration of notes fails half way",
        write={"notes/migrations/0099_planted.py": FAILING_MIGRATION},
    ),
    "renaming-migration": Fault(
        summary="a further migration of notes renames a column",
        write={"notes/migrations/0099_planted.py": RENAMING_MIGRATION},
    ),
    "renaming-and-failing": Fault(
        summary="a migration of notes renames a column, the next one fails",
        write={
            "notes/migrations/0098_planted.py": RENAMING_MIGRATION,
            "notes/migrations/0099_planted.py": FAILING_AFTERWARDS,
        },
    ),
    # Of release 1, whose models know no mood, and to be deployed after release 2, which brought it.
    "dropping-migration": Fault(
        summary="release 1 once more, with a further migration that drops what release 2 has added",
        write={
            MOOD: (HERE / f"overlays/2/{MOOD}").read_text(),
            "notes/migrations/0099_planted.py": DROPPING_MIGRATION,
        },
    ),
    "fails-at-import": Fault(
        summary="manage.py works, but no process boots: wsgi, asgi and the tasks fail at import",
        append={"board/wsgi.py": DOES_NOT_BOOT, "board/asgi.py": DOES_NOT_BOOT, "jobs/tasks.py": DOES_NOT_BOOT},
    ),
    "health-500": Fault(
        summary="/health answers 500",
        replace={"board/health.py": (HEALTH, 'raise RuntimeError("health fails: the fault was planted")')},
    ),
    "never-answers": Fault(
        summary="/health accepts the connection and never answers",
        replace={"board/health.py": (HEALTH, '__import__("time").sleep(86400)\n    ' + HEALTH)},
    ),
    "leaks-errors": Fault(
        summary="health is good and so are the pages, but one request in ten ends with 500",
        append={"board/settings.py": MIDDLEWARE},
        write={"board/planted.py": LEAKING},
    ),
    "slow": Fault(
        summary="health is good and so are the pages, but each of them takes 0.3 s longer",
        append={"board/settings.py": MIDDLEWARE},
        write={"board/planted.py": DRAGGING},
    ),
    "worker-fails-at-import": Fault(
        summary="the web process works, worker and beat do not boot",
        append={"board/celery.py": NO_WORKER},
    ),
    "wrong-release": Fault(
        summary="/health, the pages and the header X-Slipway-Release name another release",
        append={"board/settings.py": WRONG_RELEASE},
        write={"board/planted.py": WRONG_HEADER},
    ),
    "misbehaves-on-demand": Fault(
        summary="works until MEDIA_ROOT/.planted says broken, slow, or leaking (2 % of all requests fail)",
        append={"board/settings.py": ON_DEMAND},
        write={"board/planted.py": MISBEHAVES},
    ),
}


def make(*, release: int, destination: Path, fault: str | None = None, plain_lock: bool = False) -> Path:
    """Write the tree of a release to a directory that is empty or does not exist; returns the directory."""
    if release not in RELEASES:
        raise ReleasesError(f"There is no release {release}; there are {', '.join(map(str, RELEASES))}.")
    if fault is not None and fault not in FAULTS:
        raise ReleasesError(f"There is no fault {fault!r}; there are {', '.join(FAULTS)}.")
    if destination.exists() and any(destination.iterdir()):
        raise ReleasesError(f"{destination} is not empty; name a new directory or remove it first.")
    layers = [HERE / "base", *(HERE / "overlays" / str(number) for number in RELEASES if 1 < number <= release)]
    for layer in layers:
        shutil.copytree(layer, destination, ignore=IGNORED, copy_function=shutil.copyfile, dirs_exist_ok=True)
    if plain_lock:
        _drop_hashes(destination / "requirements.txt")
    if fault is not None:
        _plant(FAULTS[fault], tree=destination)
    for path in (destination, *destination.rglob("*")):
        path.chmod(0o755 if path.is_dir() or path.name in PROGRAMS else 0o644)
    return destination


def _plant(fault: Fault, *, tree: Path) -> None:
    latest = max(path.stem for path in (tree / "notes" / "migrations").glob("0*.py"))
    for name, text in fault.write.items():
        (tree / name).write_text(text.replace("{latest}", latest))
    for name, text in fault.append.items():
        (tree / name).write_text((tree / name).read_text() + text)
    for name, (old, new) in fault.replace.items():
        text = (tree / name).read_text()
        if text.count(old) != 1:
            raise ReleasesError(f"{name} holds {old!r} {text.count(old)} times, expected once: adapt FAULTS to it.")
        (tree / name).write_text(text.replace(old, new))


def _drop_hashes(lock: Path) -> None:
    kept = [
        line.removesuffix(" \\") for line in lock.read_text().splitlines() if not line.lstrip().startswith("--hash=")
    ]
    lock.write_text("\n".join(kept) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="show the releases and the faults")
    maker = commands.add_parser("make", help="write one source tree")
    maker.add_argument("release", type=int, choices=RELEASES)
    maker.add_argument("destination", type=Path)
    maker.add_argument("--fault", choices=sorted(FAULTS))
    maker.add_argument("--plain-lock", action="store_true", help="requirements.txt without hashes")
    options = parser.parse_args(arguments)
    if options.command == "list":
        print("releases:", *RELEASES)
        print(*(f"{name}: {fault.summary}" for name, fault in FAULTS.items()), sep="\n")
        return 0
    try:
        print(
            make(
                release=options.release,
                destination=options.destination,
                fault=options.fault,
                plain_lock=options.plain_lock,
            )
        )
    except ReleasesError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
