# SPDX-License-Identifier: GPL-3.0-or-later
"""The tarball: what is in it, and that it works with nothing but its plugins, roles and playbooks."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.checks import tools
from tests.checks.conftest import KEPT, Installed

Documentation = dict[str, dict[str, Any]]

WRITTEN_BY_GALAXY = {"MANIFEST.json", "FILES.json"}
# What belongs to a collection besides the code. Everything else is for those who work on it.
PACKED = KEPT | {"README.md", "LICENSE", "CHANGELOG.md", "changelogs", "docs", "requirements.yml"}

INVENTORY = """\
---
demo:
  hosts:
    web.example.test:
  vars:
    webapp_name: shop
    webapp_domain: shop.example.test
    webapp_source: /nowhere
    webapp_settings_module: shop.settings
    webapp_secrets: {SECRET_KEY: not-a-secret-at-all}
"""


def members(tarball: Path) -> set[Path]:
    with tarfile.open(tarball) as archive:
        return {Path(member.name) for member in archive.getmembers() if not member.isdir()} - {
            Path(name) for name in WRITTEN_BY_GALAXY
        }


def test_tarball_holds_all_code(tarball: Path) -> None:
    # ansible.cfg is for those who call the playbooks in a checkout.
    wanted = {*tools.under(*KEPT)} - {Path("playbooks/ansible.cfg")}
    tools.refuse(f"{path}: not in the tarball" for path in sorted(wanted - members(tarball)))


def test_tarball_holds_nothing_else(tarball: Path) -> None:
    packed = members(tarball)
    tools.refuse(f"{path}: is no source file" for path in sorted(packed - set(tools.source_files())))
    tools.refuse(f"{path}: is not for users" for path in sorted(packed) if path.parts[0] not in PACKED)


def test_manifest_names_the_licence_and_dependencies(tarball: Path) -> None:
    with tarfile.open(tarball) as archive:
        content = archive.extractfile("MANIFEST.json")
        assert content is not None
        info = json.load(content)["collection_info"]
    assert info["license"] == ["GPL-3.0-or-later"]
    required = yaml.safe_load((tools.ROOT / "requirements.yml").read_text())["collections"]
    assert set(info["dependencies"]) == {entry["name"] for entry in required}


@pytest.fixture(scope="module")
def documentation(installed: Installed) -> Documentation:
    names = [f"{tools.COLLECTION}.{module}" for module in tools.modules()]
    found: Documentation = json.loads(installed.run("ansible-doc", "--type", "module", "--json", *names))
    return found


@pytest.mark.parametrize("module", tools.modules())
def test_module_is_documented_where_it_is_installed(
    documentation: Documentation, installed: Installed, module: str
) -> None:
    documented = documentation[f"{tools.COLLECTION}.{module}"]
    assert Path(documented["doc"]["filename"]).is_relative_to(installed.collection)
    assert documented["examples"]
    assert documented["return"]


@pytest.mark.parametrize("playbook", tools.playbooks())
def test_playbook_is_found_by_name_from_anywhere(installed: Installed, playbook: str) -> None:
    inventory = installed.elsewhere / "inventory.yml"
    inventory.write_text(INVENTORY)
    # Reads and resolves everything that --syntax-check does.
    command = ["ansible-playbook", "--list-tasks", "--inventory", str(inventory), f"{tools.COLLECTION}.{playbook}"]
    assert "tasks:" in installed.run(*command)


def test_action_group_names_what_takes_an_application(documentation: Documentation) -> None:
    """`module_defaults: {group/slipway.webapp.webapp: ...}` reaches all modules that take `app`, and only those."""
    runtime = yaml.safe_load((tools.ROOT / "meta" / "runtime.yml").read_text())
    grouped = {entry for entry in runtime["action_groups"]["webapp"] if isinstance(entry, str)}
    takers = {name for name, found in documentation.items() if "app" in found["doc"]["options"]}
    assert {f"{tools.COLLECTION}.{name}" for name in grouped} == takers
