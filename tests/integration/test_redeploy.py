# SPDX-License-Identifier: GPL-3.0-or-later
"""Deploying what is live already, looking first, and what a deploy of new code costs on the host."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

from tests.integration.site import Site

MOST_INVOCATIONS = 15


def differences(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """The paths that are not the same."""
    return sorted(path for path in {*before, *after} if before.get(path) != after.get(path))


def test_a_deploy_of_what_is_live_changes_nothing(board: Site, tell: Callable[[str], None]) -> None:
    tree = board.sources.tree()
    board.deploy(tree)
    before, look = board.host.files(board.app), board.host.look(board.app)
    run = board.deploy(tree)
    assert run.changed == 0, run.output
    assert differences(before, board.host.files(board.app)) == []
    assert board.host.look(board.app) == look
    tell(f"{len(before)} files and units the same, changed=0 in {run.seconds:.1f} s")


def test_check_mode_before_a_redeploy_tells_and_changes_nothing(board: Site, tell: Callable[[str], None]) -> None:
    tree = board.sources.tree(release=2, new_lock=True)
    before, live = board.host.files(board.app), board.live()
    run = board.deploy(tree, "--check", "--diff")
    assert run.changed > 0, run.output
    assert differences(before, board.host.files(board.app)) == []
    assert board.live() == live
    for difference in ('+  "sha256": ', "+web: active, starts at boot", "+stops later", '"outcome":"succeeded"'):
        assert difference in run.output, run.output
    tell(f"{run.changed} changes foretold, {len(before)} files and units the same")


def test_a_deploy_of_new_code_takes_few_modules(board: Site, tell: Callable[[str], None]) -> None:
    board.deploy(board.sources.tree())
    began = board.host.now()
    run = board.deploy(board.sources.tree())
    modules = board.host.invocations(began)
    tell(f"{len(modules)} modules in {run.seconds:.1f} s: {dict(Counter(modules))}")
    assert 5 <= len(modules) <= MOST_INVOCATIONS, modules


def test_modules_run_from_the_host_and_are_sent_where_it_has_none(board: Site, tell: Callable[[str], None]) -> None:
    tree = board.sources.tree()
    board.deploy(tree)
    installed = board.deploy(tree, "-vvv")
    assert used(installed.output, "deploy_info").startswith("/usr/lib/slipway/.slipway_modules-")
    board.host.sh("mkdir /root/away && mv /usr/lib/slipway/.slipway_modules-* /root/away/")
    try:
        sent = board.deploy(tree, "-vvv")
    finally:
        board.host.sh("mv /root/away/.slipway_modules-* /usr/lib/slipway/ && rmdir /root/away")
    assert not used(sent.output, "deploy_info").startswith("/usr/lib/slipway")
    assert (installed.changed, sent.changed) == (0, 0)
    tell(f"nothing to do: {installed.seconds:.1f} s with the host's modules, {sent.seconds:.1f} s with ours")


def used(output: str, module: str) -> str:
    """The file of a module that Ansible said last that it used."""
    return str(re.findall(rf"Using module file (\S+/{module}\.py)", output)[-1])
