# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet that is broken again and again: its site, its settings, its sources."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import yaml

from tests.integration.controller import BUILD, ROOT
from tests.integration.site import PREFIX, Site, bring_up, make_production, plant, take_down

FLEET = "production"
DIRECTORY = BUILD / "faults" / PREFIX
DEFAULTS = ROOT / "roles" / "webapp" / "defaults" / "main.yml"
# Short, so that a cell does not last an hour. The next run waits for the lease of a dead one.
TIMERS: dict[str, Any] = {
    "webapp_hold_seconds": 40,
    "webapp_health_deadline": 30,
    "webapp_bake_seconds": 15,
    "webapp_analysis_minimum": 30,
    "webapp_analysis_seconds": 30,
    "webapp_approval": False,
    "webapp_lease_seconds": 60,
    "webapp_lease_wait": 90,
    "webapp_batches": [1, "100%"],
}

MIGRATION = '''# SPDX-License-Identifier: GPL-3.0-or-later
"""One more table, which nobody reads."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("notes", "{before}")]

    operations = [
        migrations.CreateModel(name="Planted{number}", fields=[("id", models.BigAutoField(primary_key=True))])
    ]
'''


def timers() -> dict[str, Any]:
    """Those of the settings that this version of the collection has; it refuses what it does not know."""
    known = yaml.safe_load(DEFAULTS.read_text())
    return {name: value for name, value in TIMERS.items() if name in known}


def make_fleet(*, as_it_is: bool = False) -> Site:
    """Boot it, provision it and deploy twice, so that there is something to go back to; or take it as it is."""
    secrets = DIRECTORY / "secrets.json"
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    if not secrets.exists():
        secrets.write_text(json.dumps(plant()))
    directory = DIRECTORY / "site"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    hosts = bring_up(FLEET)
    site = make_production(directory, hosts, planted=json.loads(secrets.read_text()), webapp_worker_concurrency=2)
    if as_it_is and hosts["app1"].look(site.app)["route"]:
        return site
    site.play("provision").ended(0)
    for _number in range(2):
        site.deploy(source(site), **timers())
    return site


def remove_fleet() -> None:
    """It is beyond repair, or no longer needed."""
    take_down(FLEET)


def applied(site: Site) -> int:
    """How many planted migrations the database has."""
    sql = "SELECT count(*) FROM django_migrations WHERE name LIKE '%_planted'"
    code, text = site.hosts["db1"].try_sh(f'runuser -u postgres -- psql -d {site.app} -Atc "{sql}"')
    return int(text) if code == 0 else 0


def source(site: Site, *, fault: str | None = None, migrates: bool = False) -> Path:
    """A tree like no other; with the migrations that the database has, and if wanted one more."""
    tree = site.sources.tree(release=2, fault=fault)
    before = "0002_note_mood"
    for number in range(1, applied(site) + migrates + 1):
        name = f"{100 + number:04}_planted"
        text = MIGRATION.format(before=before, number=number)
        (tree / "notes" / "migrations" / f"{name}.py").write_text(text)
        before = name
    return tree
