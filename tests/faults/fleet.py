# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet that is broken again and again: its site, its settings, its releases."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.faults.feeder import PLACE, ContainerFeeder, Feeder
from tests.integration.controller import BUILD, ROOT
from tests.integration.host import Host
from tests.integration.registry import Registry, images_of
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
    "webapp_lease_wait": 150,
    "webapp_batches": [1, "100%"],
    "webapp_smoke_checks": [{"name": "the page", "path": "/", "deadline": 20}],
    "webapp_smoke_deadline": 25,
}

# What a migration of such a name does: before the release goes live, or when the old one has gone.
PLANTED = {
    "planted": """
    fields = [("id", models.BigAutoField(primary_key=True))]
    operations = [migrations.CreateModel(name="Planted{number}", fields=fields)]
""",
    # It has to say that it waits: what the same deploy has made is nothing that the old release knows.
    "planted_gone": """
    safe = "after_deploy"
    operations = [migrations.DeleteModel(name="Planted{before}")]
""",
}
MIGRATION = '''# SPDX-License-Identifier: GPL-3.0-or-later
"""A table that nobody reads comes or goes."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("notes", "{before}")]
'''


def timers() -> dict[str, Any]:
    """Those of the settings that this version of the collection has; it refuses what it does not know."""
    known = yaml.safe_load(DEFAULTS.read_text())
    return {name: value for name, value in TIMERS.items() if name in known}


class Fleet:
    """An application of source trees, on hosts that run it as units."""

    feeder: type[Feeder] = Feeder

    def __init__(self, site: Site) -> None:
        self.site = site

    def provision(self) -> None:
        """All that a release needs."""
        self.site.play("provision").ended(0)

    def release(self, *, fault: str | None = None, migrations: Sequence[str] = ()) -> str:
        """A release like no other, as `webapp_source` names it."""
        return str(self.tree(fault=fault, migrations=migrations))

    def tree(self, *, fault: str | None = None, migrations: Sequence[str] = ()) -> Path:
        """A source like no other; with the migrations that the database has, and these of ``PLANTED`` besides."""
        tree = self.site.sources.tree(release=2, fault=fault)
        before = "0002_note_mood"
        for number, kind in enumerate([*self._applied(), *migrations], start=1):
            name = f"{100 + number:04}_{kind}"
            text = MIGRATION.format(before=before) + PLANTED[kind].format(number=number, before=number - 1)
            (tree / "notes" / "migrations" / f"{name}.py").write_text(text)
            before = name
        return tree

    def _applied(self) -> list[str]:
        """Of which kind the planted migrations are that the database has, in their order."""
        sql = "SELECT substr(name, 6) FROM django_migrations WHERE name LIKE '%_planted%' ORDER BY name"
        code, text = self.site.hosts["db1"].try_sh(f'runuser -u postgres -- psql -d {self.site.app} -Atc "{sql}"')
        return text.split() if code == 0 else []


class ContainerFleet(Fleet):
    """The same application as images, on hosts that run it in containers; app3 builds them and has the registry."""

    feeder = ContainerFeeder

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self._registry = Registry(site.hosts[PLACE], address=registry_address(site.hosts))

    def provision(self) -> None:
        super().provision()
        self._registry.set_up()
        self._registry.make_base()

    def release(self, *, fault: str | None = None, migrations: Sequence[str] = ()) -> str:
        output = self.site.directory / "image.json"
        tree = self.tree(fault=fault, migrations=migrations)
        self.site.play("build", webapp_image_source=str(tree), output=str(output)).ended(0)
        return str(json.loads(output.read_text())["image"])


def registry_address(hosts: Mapping[str, Host]) -> str:
    return f"{hosts[PLACE].address}:5000"


def container_settings(hosts: Mapping[str, Host]) -> dict[str, Any]:
    """What an inventory says besides."""
    address = registry_address(hosts)
    return {
        "webapp_runtime": "docker",
        "webapp_image_host": PLACE,
        **images_of("board", address=address),
        # The registry of this fleet has no certificate.
        "docker_host_settings": {"insecure-registries": [address]},
    }


def make_fleet(runtime: str = "systemd", *, as_it_is: bool = False) -> Fleet:
    """Boot it, provision it and deploy twice, so that there is something to go back to; or take it as it is."""
    secrets = DIRECTORY / "secrets.json"
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    if not secrets.exists():
        secrets.write_text(json.dumps(plant()))
    directory = DIRECTORY / "site"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    hosts = bring_up(FLEET)
    settings = container_settings(hosts) if runtime == "docker" else {}
    planted = json.loads(secrets.read_text())
    site = make_production(directory, hosts, planted=planted, webapp_worker_concurrency=2, **settings)
    fleet = ContainerFleet(site) if runtime == "docker" else Fleet(site)
    if as_it_is and hosts["app1"].look(site.app)["route"]:
        return fleet
    fleet.provision()
    for _number in range(2):
        site.play("deploy", webapp_source=fleet.release(), **timers()).ended(0)
    return fleet


def remove_fleet() -> None:
    """It is beyond repair, or no longer needed."""
    take_down(FLEET)
