# SPDX-License-Identifier: GPL-3.0-or-later
"""The callback in real runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.ansible_runs import Run, local, playbook

PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - name: Stage | one
      ansible.builtin.command: "true"
      changed_when: inventory_hostname == 'b'
    - name: Stage | not now
      ansible.builtin.command: "true"
      when: false
    - name: Hidden | of all
      ansible.builtin.command: "echo planted"
      no_log: true
      changed_when: true
    - name: Show it
      ansible.builtin.debug:
        msg: "{{ screen }}"
    - block:
        - name: Switch | that fails
          ansible.builtin.fail:
            msg: "line one\\nline two"
          when: inventory_hostname == 'b'
      rescue:
        - name: Revert | back
          ansible.builtin.command: "true"
          changed_when: true
    - name: Tidy | loop
      ansible.builtin.command: sh -c "echo out; exit {{ item }}"
      loop: [0, 3]
      changed_when: false
      when: inventory_hostname == 'b'
    - name: Prove | hidden
      ansible.builtin.command: sh -c "echo planted; exit 1"
      no_log: true
      when: inventory_hostname == 'a'
"""

INVENTORY = {"all": {"hosts": {"a": local(), "b": local()}, "vars": {"screen": 'left  right\n  {"x": 1}'}}}


def run(tmp_path: Path, *options: str) -> Run:
    (tmp_path / "play.yml").write_text(PLAY)
    return playbook("play.yml", *options, cwd=tmp_path, inventory=INVENTORY, settings={"ANSIBLE_FORKS": "1"})


def test_a_run_as_people_see_it(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.code == 2, done.everything
    assert "planted" not in done.everything
    lines = done.lines
    assert lines[:14] == [
        "stage 0.0 s  changed: b   ok: a",
        "hidden 0.0 s  changed: a b",
        "left  right",
        '  {"x": 1}',
        "switch 0.0 s  failed: b",
        "",
        "FAILED  Switch | that fails",
        "  on b",
        "  line one",
        "  line two",
        "",
        "revert 0.0 s  changed: b",
        "tidy 0.0 s  failed: b",
        "",
    ]
    assert lines[14:16] == ["FAILED  Tidy | loop", "  on b"]
    assert lines[16].startswith("  3: ")
    assert lines[17:19] == ["  stdout:", "  out"]
    assert "  (hidden: no_log is set)" in lines
    assert lines[-3:] == [
        "a  ok 3  changed 1  failed 1  unreachable 0",
        "b  ok 4  changed 3  failed 1  unreachable 0  rescued 1",
        "total 0.0 s",
    ]


def test_what_a_role_includes_of_another_belongs_to_it(tmp_path: Path) -> None:
    command = {"ansible.builtin.command": "true", "changed_when": False}
    tasks = {
        "ground": {
            "main.yml": [{"name": "lay | it", **command}],
            "tool.yml": [{"name": "tool | get it", **command}],
        },
        "house": {
            "main.yml": [
                {"ansible.builtin.import_tasks": "build.yml"},
                {"ansible.builtin.include_role": {"name": "ground", "tasks_from": "tool"}},
                {"name": "build | on", **command},
            ],
            "build.yml": [
                {"ansible.builtin.import_role": {"name": "ground", "tasks_from": "tool"}},
                {"block": [{"name": "build | up", **command}]},
            ],
        },
        "garden": {"main.yml": [{"ansible.builtin.import_role": {"name": "ground", "tasks_from": "tool"}}]},
    }
    for role, files in tasks.items():
        place = tmp_path / "roles" / role / "tasks"
        place.mkdir(parents=True)
        for name, content in files.items():
            (place / name).write_text(json.dumps(content))
    play = [
        {"ansible.builtin.import_role": {"name": "ground"}},
        {"ansible.builtin.include_role": {"name": "house"}},
        {"ansible.builtin.include_role": {"name": "garden"}},
        {"name": "Prove | it", **command},
    ]
    (tmp_path / "play.yml").write_text(json.dumps([{"hosts": "a", "gather_facts": False, "tasks": play}]))
    done = playbook("play.yml", cwd=tmp_path, inventory=INVENTORY)
    assert done.code == 0, done.everything
    phases = ["ground", "house", "garden", "prove"]
    assert done.lines[: len(phases) + 1] == [*(f"{phase} 0.0 s  ok: a" for phase in phases), ""]


@pytest.mark.parametrize("looked", [False, True])
def test_a_play_for_nobody(tmp_path: Path, looked: bool) -> None:
    task = {"name": "Look | at it", "ansible.builtin.command": "true", "changed_when": False}
    look = {"hosts": "a", "gather_facts": False, "tasks": [task]}
    nobody = {"hosts": "all:!all", "gather_facts": False, "tasks": [task]}
    (tmp_path / "play.yml").write_text(json.dumps([look, nobody] if looked else [nobody, look]))
    done = playbook("play.yml", cwd=tmp_path, inventory=INVENTORY)
    assert done.code == 0, done.everything
    assert ("No host has anything to do." in done.everything) is looked
    assert ("No host matches this play." in done.everything) is not looked


def test_however_verbose_no_secret_is_shown(tmp_path: Path) -> None:
    done = run(tmp_path, "-vvvv")
    assert done.code == 2
    assert "TASK Stage | one" in done.stdout
    assert "a: skipped" in done.stdout
    assert "planted" not in done.everything


def test_for_programs_the_output_is_one_document(tmp_path: Path) -> None:
    document = {"live": [1, 2]}
    done = run(tmp_path, "-e", json.dumps({"format": "json", "screen": json.dumps(document)}))
    assert json.loads(done.stdout) == document
    assert "FAILED  Switch | that fails" in done.stderr


def test_a_failure_before_the_document_is_a_document_too(tmp_path: Path) -> None:
    done = run(tmp_path, "-e", "format=json", "-e", "screen={{ nowhere }}")
    found = json.loads(done.stdout)
    assert done.code == 2
    assert found["failures"][0]["task"] == "Show it"
    assert found["failures"][0]["hosts"] == ["a", "b"]


def test_check_mode_says_what_it_would_do_and_diff_shows_it(tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text("""
- hosts: a
  gather_facts: false
  tasks:
    - name: Write | file
      ansible.builtin.copy: {content: "new\\n", dest: "{{ playbook_dir }}/x", mode: "0644"}
    - name: Write | scaffold
      slipway.webapp.scaffold: {directory: "{{ playbook_dir }}", files: {y: "text"}}
""")
    done = playbook("play.yml", "--check", "--diff", cwd=tmp_path, inventory=INVENTORY)
    assert done.code == 0, done.everything
    assert "+new" in done.stdout
    assert f"  a: write {tmp_path}/y" in done.stdout
    assert not (tmp_path / "x").exists()
    assert not (tmp_path / "y").exists()
