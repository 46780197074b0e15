# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs that must not begin: they end with words that name the mistake, and nobody logs in to any host."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.controller import Run
from tests.integration.site import Site
from tests.integration.test_redeploy import differences

MISTAKES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "misspelt": ({"webapp_retian": 3}, ("webapp_retian", "webapp_retain")),
    "missing-secret": (
        {"webapp_secrets": {"SECRET_KEY": "{{ vault_board_key }}"}},
        ("webapp_secrets", "vault_board_key"),
    ),
    "no-secrets": ({"webapp_secrets": ""}, ("webapp_secrets", "expected a dictionary")),
    "short-secret": ({"webapp_secrets": {"SECRET_KEY": "a7f"}}, ("webapp_secrets",)),
    "wrong-type": ({"webapp_retain": "many"}, ("webapp_retain", "'many'", "expected a whole number")),
    "wrong-word": ({"webapp_server": "gunicron"}, ("webapp_server", "gunicorn")),
    "wrong-kind": ({"webapp_web_workers": [2]}, ("webapp_web_workers", "found a list")),
    "no-source": ({"webapp_source": "/nowhere/at/all"}, ("webapp_source", "/nowhere/at/all")),
}


@pytest.fixture
def stranger(board: Site) -> Iterator[Site]:
    """The same operator without any open connection that a run could use unseen."""
    place = tempfile.mkdtemp(prefix="cp-")
    yield dataclasses.replace(
        board, controller=dataclasses.replace(board.controller, settings={"ANSIBLE_SSH_CONTROL_PATH_DIR": place})
    )
    shutil.rmtree(place)


def refused(site: Site, run: Callable[[], Run], *, saying: tuple[str, ...]) -> tuple[int, float]:
    """Run what must be refused; the files that were compared, and the seconds it took."""
    before, look, began = site.host.files(site.app), site.host.look(site.app), site.host.now()
    done = run().refused()
    for words in saying:
        assert words in done.said, f"{words!r} is not in:\n{done.output}"
    assert site.host.logins(began) == 0, done.output
    assert site.host.invocations(began) == []
    assert differences(before, site.host.files(site.app)) == []
    assert site.host.look(site.app) == look
    return len(before), done.seconds


def test_the_counters_count(stranger: Site, tell: Callable[[str], None]) -> None:
    began = stranger.host.now()
    stranger.deploy(stranger.sources.tree(), "--check")
    logins, modules = stranger.host.logins(began), stranger.host.invocations(began)
    assert logins > 0
    assert len(modules) > 3
    tell(f"a run that is not refused: {logins} logins, {len(modules)} modules")


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_settings(stranger: Site, mistake: str, tell: Callable[[str], None]) -> None:
    settings, saying = MISTAKES[mistake]
    given = {"webapp_source": str(stranger.sources.tree()), **settings}
    count, seconds = refused(stranger, lambda: stranger.play("deploy", **given), saying=saying)
    tell(f"refused in {seconds:.1f} s, 0 logins, {count} files and units the same")


@pytest.mark.parametrize("playbook", ["deploy", "rollback", "provision"])
def test_two_environments_at_once(stranger: Site, playbook: str, tell: Callable[[str], None]) -> None:
    inventory = stranger.directory / f"two-{playbook}"
    shutil.copytree(stranger.inventory, inventory)
    host = (inventory / "hosts.yml").read_text()
    (inventory / "more.yml").write_text(host.replace("staging1:", "demo1:").replace("staging:", "demo:"))
    shutil.copy(inventory / "group_vars" / "staging.yml", inventory / "group_vars" / "demo.yml")

    def run() -> Run:
        return stranger.controller.run("ansible-playbook", "-i", str(inventory), f"slipway.webapp.{playbook}")

    count, _seconds = refused(stranger, run, saying=("-l demo", "-l staging", "one environment in a run"))
    tell(f"refused, 0 logins, {count} files and units the same")
