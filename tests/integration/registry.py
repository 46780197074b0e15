# SPDX-License-Identifier: GPL-3.0-or-later
"""A private registry on a test host, and an image to begin with, made of the host itself.

python -m tests.integration.registry CONTAINER
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from tests.integration.host import Host

USER, PASSWORD = "ci", "registry-planted-81c2"
# Of the password, as `htpasswd -B` writes it.
_HASH = "$2b$08$abcdefghijklmnopqrstuuZ/ppUYghH0taB.rIYgmHcOxSGzG1ZJe"
# On loopback the engine speaks HTTP; a registry with TLS is in the scenario docker_host.
ADDRESS = "127.0.0.1:5000"
BASE = "base:1"

_CONFIG = """version: 0.1
storage: {filesystem: {rootdirectory: /var/lib/docker-registry}}
http: {addr: "LISTEN"}
auth: {htpasswd: {realm: test, path: /etc/docker/registry/htpasswd}}
"""
_SETUP = f"""
set -e
DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends docker-registry >/dev/null
cat >/etc/docker/registry/config.yml <<'END'
{_CONFIG}END
echo '{USER}:{_HASH}' >/etc/docker/registry/htpasswd
systemctl restart docker-registry
"""
_IMPORT = f"""
set -e
docker image inspect {BASE} >/dev/null 2>&1 && exit 0
tar -C / --exclude=usr/share/doc --exclude=usr/share/man --exclude=usr/share/locale --exclude=usr/lib/postgresql \
    --exclude='usr/lib/llvm*' --exclude=usr/lib/slipway --exclude=usr/share/postgresql --exclude='usr/lib/*/libLLVM*' \
    -c bin sbin lib lib64 usr etc/ssl etc/passwd etc/group etc/nsswitch.conf \
    $(ls -d /etc/pip.conf /etc/uv/uv.toml /etc/nginx/mime.types 2>/dev/null) |
    docker import - {BASE} >/dev/null
"""


def images_of(app: str, *, address: str = ADDRESS) -> dict[str, Any]:
    """The settings of an application whose images are built on ours, with their host's network, and kept there."""
    return {
        "webapp_image_repository": f"{address}/{app}",
        "webapp_image_base": BASE,
        "webapp_image_network": "host",
        "webapp_registry_username": USER,
        "webapp_registry_password": PASSWORD,
        # A test host may not raise limits, and its kernel may not share out cores.
        "docker_host_open_files": 0,
        "webapp_container_cpus": 0,
    }


@dataclass(frozen=True)
class Registry:
    """The registry of one host."""

    host: Host
    address: str = ADDRESS

    def set_up(self) -> None:
        """Install and start it, with a login."""
        self.host.sh(_SETUP.replace("LISTEN", self.address))

    def make_base(self) -> None:
        """The image that applications are built on."""
        self.host.sh(_IMPORT)

    def of_architecture(self, image: str, architecture: str) -> str:
        """The same image once more, as if it were for other machines; its reference by digest. No engine is asked."""
        repository, _at, digest = image.removeprefix(f"{self.address}/").partition("@")
        words = (self.address, repository, digest, f"{USER}:{PASSWORD}", architecture)
        changed = self.host.python("change_architecture.py", *words)
        return f"{self.address}/{repository}@{changed}"

    def pull(self, image: str) -> None:
        """Bring an image to the host, with a login that does not stay."""
        self.host.sh(
            "export DOCKER_CONFIG=$(mktemp -d) && trap 'rm -r $DOCKER_CONFIG' EXIT &&"
            f" echo '{PASSWORD}' | docker login --username {USER} --password-stdin {self.address} >/dev/null 2>&1 &&"
            f" docker pull --quiet {image}"
        )

    def stop(self) -> None:
        self.host.sh("systemctl stop docker-registry")

    def start(self) -> None:
        self.host.sh("systemctl start docker-registry")


if __name__ == "__main__":  # of the host in the container that is named
    there = Registry(Host(name=sys.argv[1], container=sys.argv[1], address=""))
    there.set_up()
    there.make_base()
