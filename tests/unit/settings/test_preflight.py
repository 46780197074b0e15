# SPDX-License-Identifier: GPL-3.0-or-later
"""preflight in real runs: it sees every host as its tasks would, says everything at once, and shows no secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.unit.ansible_runs import Run, playbook

PLAY = """
- hosts: all
  gather_facts: false
  any_errors_fatal: true
  roles:
    - role: slipway.webapp.webapp
  tasks:
    - name: preflight | check
      slipway.webapp.preflight:
        accepts: [release]
      register: found
      run_once: true
    - name: show
      ansible.builtin.debug:
        msg: "{{ dict(hosts | zip(hosts | map('extract', hostvars, 'found'))) | to_json }}"
      run_once: true
      vars:
        hosts: "{{ ansible_play_hosts_all }}"
    - name: show the environment
      ansible.builtin.debug:
        msg: "{{ __webapp_environment | to_json }} {{ __webapp_processes }} {{ webapp_collectstatic | bool }}"
"""

GOOD: dict[str, Any] = {
    "webapp_name": "shop",
    "webapp_domain": "shop.example.org",
    "webapp_source": "https://git.example.org/shop.git",
    "webapp_settings_module": "shop.settings",
    "webapp_secrets": {"SECRET_KEY": "planted-f8Gk2m9Qz1"},
}
IN_QUOTES = "the text that the application reads, in quotes: 'True', '1', ''"
MEANT = "expected a name that exists; did you mean webapp_domain?"
PASSWORDS = {"webapp_database_password": "planted-9fj3f93j", "webapp_redis_password": "planted-k3mf03kd"}


def run(tmp_path: Path, inventory: dict[str, Any], *options: str) -> Run:
    (tmp_path / "play.yml").write_text(PLAY)
    return playbook("play.yml", *options, cwd=tmp_path, inventory=inventory)


def test_a_good_host_and_what_is_returned(tmp_path: Path) -> None:
    done = run(tmp_path, {"staging": {"hosts": {"stage1": None}, "vars": GOOD}}, "-e", "webapp_collectstatic=false")
    assert done.code == 0, done.everything
    found = json.loads(next(line for line in done.stdout.splitlines() if line.startswith('{"stage1"')))["stage1"]
    assert found["environment"] == "staging"
    assert found["hosts"] == ["stage1"]
    assert found["primary"] == "stage1"
    assert len(found["config"]) == 12
    assert found["run"][8] == "T"
    assert "@" in found["by"]
    assert found["changed"] is False
    assert "planted" not in done.everything
    # The derived variables, with -e's text read as what it means.
    assert '"DATABASE_URL": "postgres:///shop?host=/run/postgresql"' in done.stdout
    assert "['web'] False" in done.stdout


def test_defaults_and_roles_of_every_host_are_seen_and_all_hosts_get_the_answer(tmp_path: Path) -> None:
    hosts = {
        "web1": {"webapp_host_roles": ["web"], "ansible_host": "10.0.0.1"},
        "web2": {"webapp_host_roles": ["web"]},
        "db1": {"webapp_host_roles": ["database", "broker"], "ansible_host": "10.0.0.3"},
    }
    done = run(tmp_path, {"production": {"hosts": hosts, "vars": {**GOOD, **PASSWORDS}}})
    assert done.code == 0, done.everything
    found = json.loads(next(line for line in done.stdout.splitlines() if line.startswith('{"web1"')))
    assert [found[host]["primary"] for host in hosts] == ["web1"] * 3
    assert "planted" not in done.everything


def test_all_problems_of_all_hosts_in_one_list(tmp_path: Path) -> None:
    bad = {
        **GOOD,
        "webapp_version": 1.10,
        "webapp_environment": {"DEBUG": True},
        "webapp_secrets": {"SECRET_KEY": "planted", "TOKEN": "{{ vault_token }}"},
        "webapp_flavour": "x",
    }
    del bad["webapp_domain"]
    hosts = {"web1": {"webapp_web_workers": "two"}, "web2": {"webapp_domian": "a.example"}}
    done = run(tmp_path, {"production": {"hosts": hosts, "vars": bad}}, "-e", "relase=3")
    assert done.code == 2
    said = [line.strip() for line in done.stdout.splitlines() if line.strip().startswith("- ")]
    assert sorted(said) == [
        "- all hosts: webapp_domain: found nothing; expected a text: it is required",
        f"- all hosts: webapp_environment.DEBUG: found true or false; expected {IN_QUOTES}",
        "- all hosts: webapp_flavour: found a name that does not exist; expected a name that exists",
        "- all hosts: webapp_secrets: found cannot be worked out: 'vault_token' is undefined; expected a dictionary",
        "- all hosts: webapp_version: found the number 1.1; expected a text (put it in quotes)",
        "- relase: found -e with a name that nobody reads; expected a name that exists; did you mean release?",
        "- web1: webapp_web_workers: found 'two'; expected a whole number",
        f"- web2: webapp_domian: found a name that does not exist; {MEANT}",
    ]
    assert "8 problems in the settings of this run; nothing was changed" in done.stdout
    assert "planted" not in done.everything


def test_no_secret_is_shown_by_a_very_verbose_refusal(tmp_path: Path) -> None:
    bad = {**GOOD, **PASSWORDS, "webapp_name": "Shop", "webapp_database_url": "mysql://u:planted@h"}
    bad["webapp_secrets"] = {"KEY": "planted", "OTHER": "{{ 'planted' | int_of_planted }}"}
    done = run(tmp_path, {"staging": {"hosts": {"stage1": None}, "vars": bad}}, "-vvvv")
    assert done.code == 2
    assert "planted" not in done.everything.replace("int_of_planted", "")


def test_two_environments_and_a_part_of_one(tmp_path: Path) -> None:
    inventory = {
        "staging": {"hosts": {"stage1": None}, "vars": GOOD},
        "production": {"hosts": {"web1": None, "web2": None}, "vars": GOOD},
        "others": {"hosts": {"printer": None}},
    }
    done = run(tmp_path, inventory, "-l", "staging,production")
    assert done.code == 2
    assert (
        "found hosts of production and staging; expected one environment in a run: -l production or -l staging"
        in done.stdout
    )
    done = run(tmp_path, inventory, "-l", "web1")
    assert done.code == 2
    assert "found a run without web2; expected all hosts of production: -l production" in done.stdout
    done = run(tmp_path, inventory, "-l", "printer")
    assert done.code == 2
    assert "printer: found it in no environment; expected a host of an environment" in done.stdout


def test_a_part_of_an_environment_where_that_is_meant(tmp_path: Path) -> None:
    part = """        partial: "{{ 'with_primary' if partial | default(false) | bool else 'refuse' }}"\n"""
    play = PLAY.replace("        accepts: [release]\n", part + "        accepts: [partial]\n")
    hosts = {
        "web1": {"webapp_host_roles": ["web"]},
        "web2": {"webapp_host_roles": ["web"]},
        "db1": {"webapp_host_roles": ["database", "broker"]},
    }
    inventory = {"production": {"hosts": hosts, "vars": {**GOOD, **PASSWORDS}}}

    def limited(*options: str) -> Run:
        (tmp_path / "play.yml").write_text(play)
        return playbook("play.yml", *options, cwd=tmp_path, inventory=inventory)

    refused = limited("-l", "web1")
    assert refused.code == 2
    meant = "expected all hosts of production: -l production; or -e partial=true, when a part is meant"
    assert f"found a run without web2, db1; {meant}" in refused.stdout
    refused = limited("-l", "web2", "-e", "partial=true")
    assert refused.code == 2
    keeps = "expected the primary in the run: it keeps the lease and runs the migrations"
    assert f"webapp_primary: found 'web1', which is not in this run; {keeps}" in refused.stdout
    refused = limited("-l", "web1", "-e", "partail=true")
    assert "did you mean partial?" in refused.stdout
    done = limited("-l", "web1", "-e", "partial=true")
    assert done.code == 0, done.everything
    found = json.loads(next(line for line in done.stdout.splitlines() if line.startswith('{"web1"')))["web1"]
    assert (found["hosts"], found["left_out"]) == (["web1"], ["web2"])
