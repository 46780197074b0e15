# SPDX-License-Identifier: GPL-3.0-or-later
"""The column of containers: the shell commands one would type (floor_docker.sh), and ours, in turn on one host.

Images are built by build.yml on that host and pushed to a registry there, then taken from the engine: both pull.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
from pathlib import Path

from tests.bench import fleet, measure
from tests.integration import registry
from tests.integration.host import Host

HOST = "bench1"
APP = "crate"
DOMAIN = f"{APP}.board.example"
FLOOR = Path(__file__).with_name("floor_docker.sh")
SETTINGS: dict[str, object] = {
    "webapp_name": APP,
    "webapp_domain": DOMAIN,
    "webapp_runtime": "docker",
    "webapp_container_memory": "512m",
    # Alone, the host's database listens to nobody else. Redis is one for all applications of a host, with one password.
    "webapp_database_host": None,
    "webapp_database_password": None,
    "webapp_redis_number": 2,
    **registry.images_of(APP),
}
_FORGET = """
sudo sh -c 'for image in $(docker images --quiet --no-trunc {repository} | sort -u); do
  docker image rm --force $image
done
docker image prune --force # what they were built on top of, without BuildKit
docker builder prune --all --force' >/dev/null 2>&1 || true
"""


def column(rounds: int) -> dict[str, object]:
    """The median of so many rounds."""
    inventory, serials = _prepare(), itertools.count(1000)
    seconds: dict[str, list[float]] = {name: [] for name in ("floor", "deploy", "noop", "rollback")}
    _deploy(inventory, _images(inventory, serials, 1)[0])
    for _round in range(rounds):
        first, second, third = _images(inventory, serials, 3)
        seconds["floor"].append(_floor(first))
        _deploy(inventory, second)  # so that there is one to go back to
        seconds["deploy"].append(_deploy(inventory, third))
        seconds["noop"].append(_deploy(inventory, third))
        with measure.Watch([fleet.addresses()[HOST]], domain=DOMAIN) as watch:
            measure.play("rollback", inventory, "-e", "webapp_source=unused")
        seconds["rollback"].append(watch.seconds)
        last = ", ".join(f"{name} {taken[-1]:.2f} s" for name, taken in seconds.items())
        print(f"with containers: {last}", flush=True)
    middle = {name: statistics.median(taken) for name, taken in seconds.items()}
    figures: dict[str, object] = {f"docker_{name}_s": round(value, 2) for name, value in middle.items()}
    return {**figures, "docker_deploy_ratio": round(middle["deploy"] / middle["floor"], 2)}


def _prepare() -> Path:
    """A host with an engine and a registry, and a login that both ways use: ours by itself, the floor from a file."""
    print("prepare a host with containers", flush=True)
    measure.command(sys.executable, "-m", "tests.hosts", "up", "bench", "--only", HOST)
    inventory = fleet.inventory(1, name="containers", **SETTINGS)
    measure.play("provision", inventory, "-e", "webapp_source=unused")
    there = registry.Registry(Host(name=HOST, container=f"slipway-{HOST}", address=fleet.addresses()[HOST]))
    there.set_up()
    there.make_base()
    login = f"sudo docker login --username {registry.USER} --password {registry.PASSWORD} {registry.ADDRESS}"
    fleet.on_host(HOST, f"sudo apt-get install --yes --quiet curl >/dev/null; {login} 2>/dev/null")
    return inventory


def _images(inventory: Path, serials: itertools.count[int], count: int) -> list[str]:
    """So many images of trees that differ in a line of code, which only the registry has."""
    output, found = fleet.WORK / "image.json", []
    for _image in range(count):
        tree = f"webapp_image_source={fleet.tree(next(serials))}"
        measure.play("build", inventory, "-e", "webapp_source=unused", "-e", tree, "-e", f"output={output}")
        found.append(str(json.loads(output.read_text(encoding="utf-8"))["image"]))
    fleet.on_host(HOST, _FORGET.format(repository=SETTINGS["webapp_image_repository"]))
    return found


def _deploy(inventory: Path, image: str) -> float:
    return measure.play("deploy", inventory, "-e", f"webapp_source={image}").seconds


def _floor(image: str) -> float:
    what = (image, f"floor-{image[-12:]}", APP, DOMAIN)
    return measure.command(str(FLOOR), *what, *fleet.ssh(HOST)).seconds
