# SPDX-License-Identifier: GPL-3.0-or-later
"""A newcomer lets init write an operator's directory, fills in the host, and works from there."""

from __future__ import annotations

import dataclasses
import json
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.conftest import LAST_NUMBER, MakeSite
from tests.integration.controller import Controller, Run
from tests.integration.site import Site
from tests.integration.test_sources import edition

APP = "shop"
ENVIRONMENTS = ("staging", "production")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Newcomer:
    """Somebody with an empty place, the address of a host and a source tree."""

    site: Site
    directory: Path
    source: Path

    def init(self) -> Run:
        """Write the directory."""
        wishes = {
            "directory": str(self.directory),
            "webapp_name": APP,
            "webapp_domain": "shop.board.example",
            "webapp_source": str(self.source),
            "webapp_settings_module": "board.settings",
            "staging_host": self.site.host.address,
        }
        words = [word for name, value in wishes.items() for word in ("-e", f"{name}={value}")]
        return self.site.controller.run("ansible-playbook", "slipway.webapp.init", *words).ended(0)

    def play(self, *words: str) -> Run:
        """Run a playbook in the directory, with nothing but what is written there; only its standard output is kept."""
        own = dict.fromkeys(("ANSIBLE_CONFIG", "ANSIBLE_COLLECTIONS_PATH", "ANSIBLE_STDOUT_CALLBACK"), "")
        program = Controller(directory=self.directory, settings=own, errors=subprocess.DEVNULL)
        return program.run("ansible-playbook", *words, "-l", "staging").ended(0)

    def fill_in(self) -> None:
        """What only the newcomer knows: how to log in to this host, and that the name is not in the DNS yet."""
        hosts = self.directory / "inventories" / "staging" / "hosts.yml"
        login = yaml.safe_load((self.site.inventory / "hosts.yml").read_text())["staging"]["vars"]
        inventory = yaml.safe_load(hosts.read_text())
        inventory["staging"]["vars"] = login
        hosts.write_text(yaml.safe_dump(inventory))
        settings = self.directory / "inventories" / "staging" / "group_vars" / "staging" / "settings.yml"
        with settings.open("a") as stream:
            stream.write(f"webapp_public_address: {self.site.host.address}\nwebapp_redis_number: {LAST_NUMBER}\n")

    def secrets(self) -> dict[str, dict[str, str]]:
        """What the vaults hold, by environment."""
        found = {}
        for name in ENVIRONMENTS:
            vault = self.directory / "inventories" / name / "group_vars" / name / "vault.yml"
            assert vault.read_text().startswith("$ANSIBLE_VAULT;"), vault
            words = ("ansible-vault", "view", "--vault-password-file", str(self.directory / ".vault-password"))
            shown = self.site.controller.run(*words, str(vault)).ended(0)
            found[name] = yaml.safe_load(shown.output)
        return found

    def files(self) -> dict[str, tuple[int, bytes]]:
        """Time and content of everything in the directory."""
        every = (path for path in self.directory.rglob("*") if path.is_file())
        return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in every}


@pytest.fixture
def newcomer(board: Site, staging_site: MakeSite, tmp_path: Path) -> Newcomer:
    """Nothing is there yet but the host, which already carries other applications."""
    site = dataclasses.replace(staging_site(APP), domain="staging.shop.board.example")
    assert board.app != site.app
    return Newcomer(site=site, directory=tmp_path / "operations", source=site.sources.tree(release=1))


def only_in_vaults(newcomer: Newcomer, secrets: dict[str, dict[str, str]]) -> int:
    """The secrets are good ones, different everywhere, and in no file but in encrypted form; how many there are."""
    password = newcomer.directory / ".vault-password"
    assert stat.S_IMODE(password.stat().st_mode) == 0o600
    values = [value for names in secrets.values() for value in names.values()]
    assert min(map(len, values)) >= 32, [len(value) for value in values]
    assert len({*values, password.read_text().strip()}) == len(values) + 1
    for path, (_time, content) in newcomer.files().items():
        assert not [value for value in values if value.encode() in content], path
        assert (password.read_bytes().strip() in content) == (path == str(password)), path
    subprocess.run(["git", "init", "--quiet", str(newcomer.directory)], check=True)
    staged = subprocess.run(
        ["git", "add", "--dry-run", "--all"], cwd=newcomer.directory, check=True, capture_output=True, text=True
    )
    assert "vault.yml" in staged.stdout
    assert ".vault-password" not in staged.stdout
    return len(values)


def test_a_newcomer_begins(newcomer: Newcomer, tell: Callable[[str], None]) -> None:
    site = newcomer.site
    newcomer.init()
    count = only_in_vaults(newcomer, newcomer.secrets())
    newcomer.fill_in()
    before = newcomer.files()
    again = newcomer.init()
    assert again.changed == 0, again.output
    assert newcomer.files() == before

    newcomer.play("provision.yml")
    newcomer.play("deploy.yml")
    first = site.live()
    key = site.host.sh(f"sed -n 's/^SECRET_KEY=//p' /etc/{APP}/slots/{first.slot}.env").strip().strip('"')
    assert key == newcomer.secrets()["staging"]["vault_secret_key"]
    with (newcomer.source / "board" / "urls.py").open("a") as stream:
        stream.write("\n# the newcomer's first change\n")
    newcomer.play("deploy.yml")
    second = site.live()
    assert second.release != first.release
    table = newcomer.play("status.yml").output
    for word in (second.release, second.slot, "staging1", "ok"):
        assert word in table, table
    newcomer.play("rollback.yml")
    assert site.live().release == first.release
    assert edition(site) == "1"
    document: Any = json.loads(newcomer.play("status.yml", "-e", "format=json").output)
    assert document["live"] == [{"release": first.release, "config": first.config}]
    ledger = [entry["outcome"] for entry in site.host.look(APP)["ledger"]]
    events = newcomer.play("history.yml").output
    assert 3 <= ledger.count("succeeded") == events.count("succeeded"), events
    tell(f"{len(before)} files, {count} secrets in vaults only, second init changed=0; {first} -> {second} -> back")
