# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Docker Engine of this host, by the package `docker`."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils._container import LABEL
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._image_names import familiar
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Image

try:
    import docker
    import docker.errors

    PROBLEM = ""
except ImportError as missing:
    PROBLEM = str(missing)

_IN_USE = 409  # the engine's answer when a container still needs the image: the next run removes it
_TIMEOUT = 600  # seconds for one answer; a pull answers all the time
# What is said of any of its work, and what that means to people.
_FULL = (
    r"no space left",
    "the disk is full",
    "make room on this host (docker system df), then run the same command again",
)
# What registries, and the engine on their behalf, say of a pull: the first that is found counts.
_REASONS = (
    _FULL,
    (
        r"no matching manifest|no match for platform",
        "it was built for other machines",
        "build it on a host like this one (webapp_image_host), or for both kinds of machines",
    ),
    (
        # "permission denied" is about a file of this host, "denied" alone is a registry's.
        r"unauthorized|(?<!permission )denied|no basic auth credentials|authentication required",
        "the registry did not accept the login",
        "correct webapp_registry_username and webapp_registry_password",
    ),
    (
        r"manifest unknown|not found|name unknown",
        "the registry has no such image",
        "build and push it (build.yml), or correct the digest in webapp_source",
    ),
    (
        r"x509|certificate",
        "the registry's certificate is not trusted",
        "give its CA in docker_host_registries, then run provision.yml",
    ),
    (
        r"no such host|connection refused|timeout|timed out|unreachable|no route|\beof\b",
        "the registry does not answer",
        "see whether it is up and reachable from this host",
    ),
)


def connect(*, timeout: int = _TIMEOUT) -> Any:
    """A client of the package for this host's engine, which has answered. ``timeout``: seconds for one answer."""
    if PROBLEM:
        raise SlipwayError(
            "The Python package docker is not on this host",
            found=PROBLEM,
            next_step="run provision.yml, which installs python3-docker",
        )
    with _explained("The Docker Engine of this host does not answer"):
        client = docker.DockerClient(base_url="unix:///var/run/docker.sock", timeout=timeout)
        client.ping()
    return client


class HostEngine:
    """The engine at its local socket. ``timeout``: seconds for one answer."""

    def __init__(self, *, timeout: int = _TIMEOUT) -> None:
        self._timeout = timeout
        self._found: Any = None

    @property
    def _client(self) -> Any:
        if self._found is None:
            self._found = connect(timeout=self._timeout)
        return self._found

    def image(self, reference: str) -> Image | None:
        client = self._client
        try:
            with _explained(f"The engine cannot look at {reference}"):
                found = client.images.get(reference)
        except docker.errors.ImageNotFound:
            return None
        labels = (found.attrs.get("Config") or {}).get("Labels") or {}
        digests = tuple(str(one) for one in found.attrs.get("RepoDigests") or [])
        return Image(architecture=found.attrs["Architecture"], labels=labels, digests=digests)

    def pull(self, reference: str, *, username: str = "", password: str = "") -> None:
        login = {"username": username, "password": password} if username else None
        client, summary = self._client, f"{reference} could not be pulled"
        try:
            with _explained(summary, _REASONS):
                # What fails once the first layer has begun is said in the stream, under a status that is good.
                for event in client.api.pull(reference, stream=True, decode=True, auth_config=login):
                    if event.get("error"):
                        raise _reason(summary, str(event["error"]), _REASONS)
        except docker.errors.ImageNotFound as error:
            raise _reason(summary, str(error.explanation or error), _REASONS) from error

    def files(self, reference: str, path: str) -> Iterator[bytes]:
        client = self._client
        with _explained(f"The files of {reference} could not be read"):
            # Never started: a command must be named where the image names none.
            container = client.containers.create(reference, command=["true"], network_disabled=True)
            try:
                stream, _status = container.get_archive(path)
                yield from stream
            except docker.errors.NotFound as error:
                raise SlipwayError(
                    f"{reference} has no directory {path}",
                    found=str(error.explanation or error),
                    next_step="correct webapp_frontend_image_path",
                ) from error
            finally:
                container.remove(force=True)

    def remove(self, reference: str) -> None:
        with contextlib.suppress(docker.errors.ImageNotFound):
            for name in (*self._built_names(reference), reference):
                self._remove_name(name)

    def forget(self, names: Sequence[str]) -> None:
        for name in names:
            # What it was built on top of stays, as an engine without BuildKit has no other cache.
            with contextlib.suppress(docker.errors.ImageNotFound):
                self._remove_name(name, keep_parents=True)

    def _built_names(self, reference: str) -> list[str]:
        """What a build on this host has called the image beside its digest; each of these names would keep it."""
        client = self._client
        with _explained(f"The engine cannot look at {reference}"):
            found = client.images.get(reference).attrs
        labels = (found.get("Config") or {}).get("Labels") or {}
        repository = familiar(reference.partition("@")[0])
        tags = [str(tag) for tag in found.get("RepoTags") or []] if LABEL in labels else []
        return [tag for tag in tags if familiar(tag.rpartition(":")[0]) == repository]

    def _remove_name(self, name: str, *, keep_parents: bool = False) -> None:
        client = self._client
        with _explained(f"{name} could not be removed"):
            try:
                client.images.remove(name, noprune=keep_parents)
            except docker.errors.APIError as error:
                if error.status_code != _IN_USE:
                    raise


@contextlib.contextmanager
def _explained(summary: str, reasons: Sequence[tuple[str, str, str]] = (_FULL,)) -> Iterator[None]:
    """The engine's errors in words, but for what it does not have. ``reasons`` are those of its answers."""
    try:
        yield
    except docker.errors.ImageNotFound:
        raise
    except docker.errors.APIError as error:
        raise _reason(summary, str(error.explanation or error), reasons) from error
    except (docker.errors.DockerException, OSError) as error:  # it did not answer: no word of a registry
        raise _reason(summary, str(error)) from error


def _reason(summary: str, said: str, reasons: Sequence[tuple[str, str, str]] = (_FULL,)) -> SlipwayError:
    for pattern, why, advice in reasons:
        if re.search(pattern, said, re.IGNORECASE):
            return SlipwayError(f"{summary}: {why}", found=said.strip(), next_step=advice)
    return SlipwayError(summary, found=said.strip(), next_step="systemctl status docker on this host")
