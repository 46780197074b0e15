# SPDX-License-Identifier: GPL-3.0-or-later
"""A new operator's directory is written, works as it is, and is left alone by a second run."""

from __future__ import annotations

import configparser
import hashlib
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import yaml

from tests.unit.ansible_runs import COLLECTIONS, ROOT, SECONDS, Run, playbook

USUAL = "collections:~/.ansible/collections:/usr/share/ansible/collections"


def init(tmp_path: Path, **more: str) -> Run:
    """As a user whose home is ``tmp_path``."""
    words = {
        "directory": str(tmp_path / "ops"),
        "webapp_name": "my-shop",
        "webapp_domain": "shop.example.org",
        "webapp_source": "https://git.example.org/shop.git",
        **more,
    }
    options = [part for name, value in words.items() for part in ("-e", f"{name}={value}")]
    return playbook("slipway.webapp.init", *options, "-vv", cwd=tmp_path, settings={"HOME": str(tmp_path)})


def collections_path(ops: Path) -> str:
    config = configparser.ConfigParser()
    config.read(ops / "ansible.cfg")
    return config["defaults"]["collections_path"]


def in_directory(directory: Path, *command: str) -> Run:
    """Run a program of Ansible there, as the operator would: with nothing but what the directory says."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    done = subprocess.run(
        [str(Path(sys.executable).with_name(command[0])), *command[1:]],
        cwd=directory,
        env={**environment, "ANSIBLE_HOME": str(directory.parent / ".ansible")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    return Run(done.returncode, done.stdout, done.stderr)


def fingerprint(directory: Path) -> dict[str, str]:
    files = [path for path in directory.rglob("*") if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_directory_that_works_as_it_is(tmp_path: Path) -> None:
    first = init(tmp_path, staging_host="127.0.0.1")
    assert first.code == 0, first.everything
    ops = tmp_path / "ops"
    written = fingerprint(ops)
    vault = ops / "inventories/staging/group_vars/staging/vault.yml"
    assert stat.S_IMODE((ops / ".vault-password").stat().st_mode) == 0o600
    assert ".vault-password" in (ops / ".gitignore").read_text().splitlines()
    assert vault.read_text().startswith("$ANSIBLE_VAULT;1.1;AES256\n")
    assert collections_path(ops) == f"{USUAL}:{COLLECTIONS}"
    assert f"# {COLLECTIONS}\n# stands here because" in (ops / "ansible.cfg").read_text()

    playbooks = {path.name for path in (ROOT / "playbooks").glob("*.yml")} - {"init.yml"}
    assert {path.name for path in ops.glob("*.yml")} == {*playbooks, "requirements.yml"}

    shown = in_directory(ops, "ansible-vault", "view", str(vault))
    secrets = yaml.safe_load(shown.stdout)
    assert [len(secrets[name]) for name in ("vault_secret_key", "vault_database_password")] == [50, 32]
    for secret in [*secrets.values(), (ops / ".vault-password").read_text().strip()]:
        assert secret not in first.everything

    listed = in_directory(ops, "ansible-playbook", "provision.yml", "-l", "staging", "--list-hosts")
    assert "staging1" in listed.stdout, listed.everything
    status = in_directory(
        ops, "ansible-playbook", "status.yml", "-l", "staging", "-e", "format=json", "-e", "ansible_port=1"
    )
    state = json.loads(status.stdout)
    assert state["environment"] == "staging", status.everything
    assert state["hosts"]["staging1"]["state"] == "unreachable"
    refused = in_directory(ops, "ansible-playbook", "deploy.yml", "-l", "production")
    assert refused.code == 2
    assert "production1: webapp_address: found 'CHANGE-ME'; expected an IP address or a host name" in refused.stdout

    (ops / "deploy.yml").write_text("mine\n")
    second = init(tmp_path, staging_host="10.9.9.9")
    assert second.code == 0, second.everything
    assert "Kept as they were: " in second.stdout
    assert "changed 0" in second.stdout
    assert (ops / "deploy.yml").read_text() == "mine\n"
    assert {path: digest for path, digest in fingerprint(ops).items() if "deploy.yml" not in path} == {
        path: digest for path, digest in written.items() if "deploy.yml" not in path
    }

    # A vault whose password is lost is not joined by one with another password.
    (ops / ".vault-password").unlink()
    lost = init(tmp_path)
    assert lost.code == 2
    assert "holds a vault, but not its password" in lost.stdout
    assert not (ops / ".vault-password").exists()


def test_where_the_collections_are_installed_nothing_of_this_machine_is_written(tmp_path: Path) -> None:
    installed = tmp_path / ".ansible" / "collections"
    installed.mkdir(parents=True)
    (installed / "ansible_collections").symlink_to(COLLECTIONS / "ansible_collections")
    done = init(tmp_path)
    assert done.code == 0, done.everything
    assert collections_path(tmp_path / "ops") == USUAL
    for name in ("ansible.cfg", "requirements.yml", "README.md"):
        assert str(COLLECTIONS) not in (tmp_path / "ops" / name).read_text()
    assert "stands here" not in (tmp_path / "ops" / "ansible.cfg").read_text()


def test_wrong_words_are_refused_together_and_nothing_is_written(tmp_path: Path) -> None:
    done = init(tmp_path, webapp_name="Shop", webapp_domain="shop", webapp_source="../src")
    assert done.code == 2
    for name in ("webapp_name", "webapp_domain", "webapp_source"):
        assert f"  {name}: found " in done.stdout
    assert not (tmp_path / "ops").exists()
