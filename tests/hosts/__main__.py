# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring test hosts up and down: python -m tests.hosts up|down|status|inventory FLEET, engine up|down|status, purge."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import docker.errors

from tests.hosts import engine, fleet, operations
from tests.hosts.state import HostsError, say


def _parser(plan: fleet.Plan) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.hosts", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, text in (
        ("up", "create and boot the hosts of fleets that are missing"),
        ("down", "remove the hosts of fleets"),
        ("inventory", "write and name the inventory of a fleet"),
    ):
        command = verbs.add_parser(verb, help=text)
        command.add_argument("fleet", nargs="+", choices=sorted(plan.fleets))
        command.add_argument("--prefix", default=plan.prefix, help="name hosts and network so (default: %(default)s)")
        command.add_argument("--os", dest="os_name", help="run this system on all hosts")
        command.add_argument("--only", help="only these hosts of the fleet, comma-separated")
    status = verbs.add_parser("status", help="show engine, networks and hosts")
    status.add_argument("--prefix", help="only hosts of this prefix")
    image = verbs.add_parser("images", help="build host images")
    image.add_argument("os_name", nargs="+")
    command = verbs.add_parser("engine", help="the Docker Engine that carries the hosts")
    command.add_argument("action", choices=("up", "down", "status"))
    purge = verbs.add_parser("purge", help="remove hosts, network, caches, images, and the engine if brought up here")
    purge.add_argument("--prefix", default=plan.prefix)
    return parser


def _run(arguments: argparse.Namespace, plan: fleet.Plan) -> None:
    if arguments.verb in ("up", "down", "inventory"):
        for name in arguments.fleet:
            chosen = operations.select(plan.fleet(name), only=arguments.only, os_name=arguments.os_name)
            if arguments.verb == "up":
                operations.up(plan, chosen, prefix=arguments.prefix)
            elif arguments.verb == "down":
                operations.down(chosen, prefix=arguments.prefix)
            else:
                operations.inventory(plan, chosen, prefix=arguments.prefix)
    elif arguments.verb == "images":
        operations.build_images(arguments.os_name)
    elif arguments.verb == "engine" and arguments.action == "status":
        print(engine.status())
    elif arguments.verb == "engine":
        engine.up() if arguments.action == "up" else engine.down()
    elif arguments.verb == "status":
        operations.status(prefix=arguments.prefix)
    else:
        operations.purge(plan, prefix=arguments.prefix)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; errors in words, exit code 1."""
    plan = fleet.load()
    try:
        _run(_parser(plan).parse_args(argv), plan)
    except (HostsError, docker.errors.DockerException) as error:
        say(f"error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
