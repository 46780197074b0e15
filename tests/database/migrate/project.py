# SPDX-License-Identifier: GPL-3.0-or-later
"""A Django project in a temporary directory, its migrations written by the test, and the program run in it."""

from __future__ import annotations

import json
import os
import subprocess
import textwrap
from pathlib import Path
from typing import Any

from .server import DEADLINE, Server, Session

PROGRAM = Path(__file__).resolve().parents[3] / "roles" / "migrations" / "files" / "slipway-migrate"
SETTINGS = """
import os
SECRET_KEY = "x"
INSTALLED_APPS = [{apps}]
DATABASES = {{"default": {{"ENGINE": "django.db.backends.postgresql", "HOST": {host!r}, "PORT": "{port}",
                          "USER": "postgres", "NAME": {database!r}, "OPTIONS": {options!r}}}}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
{more}
"""
HEAD = """
from django.db import migrations, models
import django.db.models.deletion
import django.contrib.postgres.operations as pg
"""
INITIAL = """
    operations = [migrations.CreateModel("Note", [
        ("id", models.BigAutoField(primary_key=True)),
        ("title", models.CharField(max_length=100)),
        ("size", models.IntegerField(default=0)),
        ("extra", models.TextField(null=True)),
    ])]
"""


class Project:
    """``applied`` is what the database has; migrations written afterwards are pending."""

    def __init__(self, root: Path, server: Server, database: str, python: str) -> None:
        self.root, self.server, self.database, self.python = root, server, database, python
        self.journal = root / "journal.jsonl"
        self.settings()
        self.app("notes")

    def settings(self, *, options: dict[str, Any] | None = None, apps: str = "'notes'", more: str = "") -> None:
        """Write settings.py anew."""
        text = SETTINGS.format(host=self.server.host, port=self.server.port, database=self.database, apps=apps,
                               options=options or {}, more=more)  # fmt: skip
        (self.root / "project_settings.py").write_text(text)

    def app(self, name: str) -> None:
        """An application without models: migrations are all that counts here."""
        folder = self.root / name / "migrations"
        folder.mkdir(parents=True)
        (folder / "__init__.py").touch()
        (self.root / name / "__init__.py").touch()

    def migration(
        self,
        name: str,
        operations: str,
        *,
        after: str | None = None,
        app: str = "notes",
        head: str = "",
        more: str = "",
    ) -> str:
        """Write a migration; without ``after`` it follows the one with the number before. Gives its id."""
        folder = self.root / app / "migrations"
        number = int(name[:4])
        before = [path.stem for path in folder.glob(f"{number - 1:04d}_*.py")]
        needs = after if after is not None else ", ".join(f"({app!r}, {one!r})" for one in before)
        body = operations if operations.lstrip().startswith("operations") else f"    operations = [{operations}]"
        body = "\n".join(["", "class Migration(migrations.Migration):", f"    dependencies = [{needs}]",
                          textwrap.indent(textwrap.dedent(more), "    "), body])  # fmt: skip
        (folder / f"{name}.py").write_text(HEAD + textwrap.dedent(head) + body + "\n")
        return f"{app}.{name}"

    def initial(self, rows: int = 0) -> None:
        """The table notes_note, applied, with rows."""
        self.migration("0001_initial", INITIAL)
        answer = self.run("apply")
        assert answer["ok"], answer
        self.rows(rows)

    def rows(self, count: int) -> None:
        """Insert so many, and let the server count them."""
        if count:
            self.sql(f"INSERT INTO notes_note (title, size) SELECT 'title ' || i, i FROM generate_series(1, {count}) i")
        self.sql("ANALYZE notes_note")

    def sql(self, text: str) -> str:
        """In the project's database."""
        return self.server.sql(self.database, text)

    def session(self, name: str = "blocker") -> Session:
        """A session that the test ends."""
        return Session(self.server, self.database, name)

    def request(self, **changes: Any) -> dict[str, Any]:
        """What a deploy would ask for."""
        return {
            "app": "shop", "release": "r1", "adapter": "django", "settings_module": "project_settings", "phase": "all",
            "lock_timeout_ms": 200, "lock_budget_seconds": 20, "run": "run-1", "journal": str(self.journal), **changes,
        }  # fmt: skip

    def start(self, verb: str, *, environment: dict[str, str] | None = None, **changes: Any) -> subprocess.Popen[str]:
        """Start it; the request is written, the answer is for ``answer``."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "DJANGO", "PYTHON"))}
        process = subprocess.Popen(
            [self.python, str(PROGRAM), verb],
            cwd=self.root,
            text=True,
            env={**kept, **(environment or {}), "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps(self.request(**changes)))
        process.stdin.close()
        process.stdin = None
        return process

    def run(self, verb: str, **changes: Any) -> dict[str, Any]:
        """The program's answer."""
        return answer(self.start(verb, **changes))

    def plan(self, name: str = "", **changes: Any) -> dict[str, Any]:
        """The plan's entry for one migration (its id without the application), or the whole plan."""
        found = self.run("plan", **changes)
        assert found["ok"], found
        result: dict[str, Any] = found["result"]
        return {each["name"]: each for each in result["pending"]}[name] if name else result

    def events(self) -> list[dict[str, Any]]:
        """The journal."""
        return [json.loads(line) for line in self.journal.read_text().splitlines()]


def answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait for the answer: one line, and an exit code that fits."""
    output, errors = process.communicate(timeout=DEADLINE)
    lines = output.splitlines()
    assert len(lines) == 1, (output, errors)
    found: dict[str, Any] = json.loads(lines[0])
    assert process.returncode == (0 if found["ok"] else 1)
    found["stderr"] = errors
    return found
