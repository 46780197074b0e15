# SPDX-License-Identifier: GPL-3.0-or-later
"""Take away what no release needs of Docker's disk: slipway_docker_clean.py DAYS

Two things go: build cache that nothing has used for so many days, and images without any name or digest that are older
than that. The engine's own pruning is not asked for images, because it also takes one that was pulled by digest and has
no tag, as a release may name its image. Containers, volumes and networks are never touched, an image that any container
was made from is not either, and no image that carries a label of ours.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

SOCKET = "unix:///run/docker.sock"
OUR_LABELS = "slipway."
DAY_S = 86400
TIMEOUT_S = 3600
Docker = Callable[..., "subprocess.CompletedProcess[str]"]


def docker(*words: str) -> subprocess.CompletedProcess[str]:
    """Ask the engine of this host; itself, also where a plugin would rather prune builders of its own."""
    return subprocess.run(
        ["docker", "--host", SOCKET, *words],
        env={**os.environ, "DOCKER_BUILDKIT": "0"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def seconds(moment: str) -> float:
    """A time as Docker writes it, with any number of decimals; 0 for its zero time and for what cannot be read."""
    match = re.match(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(Z|[+-]\d\d:\d\d)$", moment)
    if not match or moment.startswith("0001-"):
        return 0.0
    read = datetime.fromisoformat(match[1] + match[2].replace("Z", "+00:00"))
    return read.astimezone(UTC).timestamp()


def is_named(image: Mapping[str, Any]) -> bool:
    """Can anybody ask for the image by something else than its own id?"""
    names = [*(image.get("RepoTags") or []), *(image.get("RepoDigests") or [])]
    return any("<none>" not in name for name in names)


def is_ours(image: Mapping[str, Any]) -> bool:
    """Does it carry a label of a release?"""
    labels = (image.get("Config") or {}).get("Labels") or {}
    return any(name.startswith(OUR_LABELS) for name in labels)


def age_of(image: Mapping[str, Any], now: float) -> float:
    """Seconds since the image was made, or lost a name: whichever was later."""
    moments = [image.get("Created") or "", (image.get("Metadata") or {}).get("LastTagTime") or ""]
    return now - max(map(seconds, moments))


def removable(images: list[Mapping[str, Any]], *, used: set[str], now: float, days: int) -> list[str]:
    """The ids of the images that may go."""
    return [
        str(image["Id"])
        for image in images
        if not is_named(image) and not is_ours(image) and image["Id"] not in used and age_of(image, now) > days * DAY_S
    ]


def _objects(ask: Docker, *words: str, names: list[str]) -> list[dict[str, Any]]:
    """What the engine says of each; one that has gone meanwhile is left out."""
    said = [ask(*words, name) for name in names]
    return [each for done in said if done.returncode == 0 for each in json.loads(done.stdout)]


def _listed(ask: Docker, *words: str) -> list[str]:
    done = ask(*words)
    if done.returncode != 0:
        raise RuntimeError(f"docker {' '.join(words)}: {done.stderr.strip()}")
    return list(dict.fromkeys(done.stdout.split()))


def clean(ask: Docker, *, now: float, days: int) -> Iterator[str]:
    """Do it; yields a line for each thing that was done or could not be."""
    containers = _objects(ask, "container", "inspect", names=_listed(ask, "ps", "--all", "--quiet", "--no-trunc"))
    unnamed = _listed(ask, "image", "ls", "--quiet", "--no-trunc", "--filter", "dangling=true")
    used = {str(each["Image"]) for each in containers}
    for image in removable(_objects(ask, "image", "inspect", names=unnamed), used=used, now=now, days=days):
        # Without force the engine itself refuses what a container or another image still needs.
        done = ask("image", "rm", image)
        yield f"image {image}: {'removed' if done.returncode == 0 else 'kept, ' + done.stderr.strip()}"
    done = ask("builder", "prune", "--force", "--filter", f"until={days * 24}h")
    yield f"build cache: {(done.stdout or done.stderr).strip().splitlines()[-1:]}"
    if done.returncode != 0:
        raise RuntimeError(f"docker builder prune: {done.stderr.strip()}")


def main(words: list[str]) -> int:
    try:
        for line in clean(docker, now=time.time(), days=int(words[0])):
            sys.stdout.write(f"{line}\n")
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        sys.stderr.write(f"{error}\nnext: journalctl -u docker; df -h /var/lib/docker\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
