# SPDX-License-Identifier: GPL-3.0-or-later
"""One management command in the live release: its output, its exit code, and what is refused."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.integration.site import Site
from tests.integration.test_redeploy import differences

ASKS = "import django, os; print('%s says %s' % (os.environ['SLIPWAY_RELEASE'], 6 * 7)); print('b  c')"


def test_a_command_in_the_live_release(board: Site, tell: Callable[[str], None]) -> None:
    live = board.live()
    run = board.play("manage", command=["shell", "-c", ASKS]).ended(0)
    assert f"{live.release} says 42" in run.said
    assert "b  c" in run.output, "it is shown as it was printed"
    text = board.play("manage", "-e", "command=\"shell -c 'print(3 * 7)'\"").ended(0)
    assert "21" in text.said
    # As the application, and with nothing but its environment.
    who = board.play(
        "manage", command="shell -c 'import getpass, os; print(getpass.getuser(), os.environ.get(\"LANG\"))'"
    )
    assert f"{board.app} " in who.ended(0).said
    named = board.play("manage", command="check", release=live.release).ended(0)
    assert "no issues" in named.said
    assert board.host.look(board.app)["lease"] is None
    tell(f"{run.seconds:.1f} s for one command")


def test_a_command_that_fails(board: Site) -> None:
    run = board.play("manage", command=["shell", "-c", "print('before'); raise SystemExit(7)"]).refused()
    assert "ended with 7" in run.said
    assert "before" in run.said
    late = board.play("manage", command=["shell", "-c", "import time; time.sleep(60)"], seconds=3).refused()
    assert "took longer than 3 s" in late.said
    unknown = board.play("manage", command="nonsense").refused()
    assert "Unknown command" in unknown.said
    assert board.host.look(board.app)["lease"] is None


def test_what_is_not_run(board: Site) -> None:
    before = board.host.files(board.app)
    for command, why in (("shell", "asks at a terminal"), ("migrate", "behind its gate"), ("runserver", "never ends")):
        for options in ((), ("--check",)):
            assert why in board.play("manage", *options, command=command).refused().said
    assert "belong to no name" in board.play("manage", "-e", "command=clearsessions --verbosity 2").refused().said
    assert "found: command=nothing" in board.play("manage").refused().said
    assert "cannot be run on this host" in board.play("manage", command="check", release="0123456789ab").refused().said
    checked = board.play("manage", "--check", command=["shell", "-c", "open('/tmp/planted', 'w')"]).ended(0)
    assert "It printed" not in checked.said
    assert board.host.try_sh("test -e /tmp/planted")[0] != 0
    # Whether a release can run is asked under the lease, and who had it last stays known.
    assert differences(before, board.host.files(board.app)) == [f"/var/lib/slipway/{board.app}/lease.turn"]


def test_no_deploy_begins_beside_it(board: Site) -> None:
    began = time.monotonic()
    working = board.start("manage", command=["shell", "-c", "import time; time.sleep(20)"], seconds=60)
    while board.host.look(board.app)["lease"] is None:
        assert working.running
        assert time.monotonic() - began < 60
        time.sleep(0.2)
    refused = board.play("deploy", webapp_source=str(board.sources.tree())).refused()
    assert "Somebody else works on this environment" in refused.said
    assert "manage.py shell" in refused.said
    working.wait().ended(0)
    assert board.host.look(board.app)["lease"] is None
