# SPDX-License-Identifier: GPL-3.0-or-later
"""What the unit APP-settle.service runs: after the patience of the host, and at each boot, if a run is unfinished."""

from __future__ import annotations

import sys

from ansible_collections.slipway.webapp.plugins.module_utils import _peers, _settle
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._host import HostClock
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout
from ansible_collections.slipway.webapp.plugins.module_utils._swarm import stack_here
from ansible_collections.slipway.webapp.plugins.module_utils._systemd import HostSystemd
from slipway_settle.runner import PlainRunner

USAGE = 2


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Settle what was begun on this host; 0 when it is over, also when there was nothing."""
    if len(sys.argv) != 2:
        sys.stderr.write("usage: slipway-settle APPLICATION\n")
        return USAGE
    try:
        layout, systemd, clock = Layout(sys.argv[1]), HostSystemd(PlainRunner()), HostClock()
        stack = stack_here(layout, systemd=systemd, clock=clock)
        settler = _settle.Settler(layout=layout, systemd=systemd, clock=clock, tell=_say, stack=stack)
        settler.wait_and_settle(lambda begun: _peers.ask_all(begun.peers, domain=begun.domain))
    except (SlipwayError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0
