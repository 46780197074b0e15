# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine and registries say when a pull fails, in words that name the cause."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import docker
import docker.errors
import pytest

from ansible_collections.slipway.webapp.plugins.module_utils._engine import HostEngine, connect
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError

IMAGE = "registry.example/shop@sha256:" + "a" * 64


class Api:
    """Answers a pull with events, or fails at once."""

    def __init__(self, *events: dict[str, Any], error: Exception | None = None) -> None:
        self.events, self.error = events, error
        self.asked: dict[str, Any] = {}

    def pull(self, repository: str, **options: Any) -> Any:
        self.asked = {"repository": repository, **options}
        if self.error:
            raise self.error
        return iter(self.events)


def engine(api: Api) -> HostEngine:
    made = HostEngine()
    made._found = SimpleNamespace(api=api)
    return made


def test_a_pull_and_its_login() -> None:
    api = Api({"status": "Pulling from shop"}, {"status": "Status: Downloaded newer image"})
    engine(api).pull(IMAGE, username="ci", password="planted")
    assert api.asked["repository"] == IMAGE
    assert api.asked["auth_config"] == {"username": "ci", "password": "planted"}
    engine(api).pull(IMAGE)
    assert api.asked["auth_config"] is None


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("write /var/lib/docker/tmp/GetImageBlob1: no space left on device", "the disk is full"),
        ("unexpected EOF", "the registry does not answer"),
        ("filesystem layer verification failed for digest", "found: filesystem layer verification failed"),
    ],
)
def test_what_fails_on_the_way_is_said(said: str, why: str) -> None:
    api = Api({"status": "Pulling fs layer"}, {"errorDetail": {"message": said}, "error": said})
    with pytest.raises(SlipwayError, match=why):
        engine(api).pull(IMAGE)


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (docker.errors.APIError("denied: requested access to the resource is denied"), "did not accept the login"),
        (
            docker.errors.NotFound("no matching manifest for linux/amd64 in the manifest list"),
            "built for other machines",
        ),
        (docker.errors.ImageNotFound("no match for platform in manifest: not found"), "built for other machines"),
        (docker.errors.ImageNotFound("manifest unknown"), "no such image"),
        (docker.errors.APIError("unauthorized: authentication required"), "did not accept the login"),
        (docker.errors.APIError("dial tcp 127.0.0.1:5000: connect: connection refused"), "does not answer"),
        (docker.errors.DockerException("the engine went away"), "the engine went away"),
    ],
)
def test_what_fails_at_once_is_said(error: Exception, why: str) -> None:
    with pytest.raises(SlipwayError, match=why):
        engine(Api(error=error)).pull(IMAGE)


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(111, "Connection refused"),
        docker.errors.DockerException("Error while fetching server API version: Connection refused"),
        docker.errors.APIError("mkdir /var/lib/docker/tmp: permission denied"),
        docker.errors.APIError("open /var/lib/docker/tmp/layer: input/output error"),
    ],
)
def test_what_is_of_this_host_is_not_said_of_the_registry(error: Exception) -> None:
    with pytest.raises(SlipwayError) as caught:
        engine(Api(error=error)).pull(IMAGE)
    assert "registry" not in caught.value.summary.replace(IMAGE, "")
    assert caught.value.next_step == "systemctl status docker on this host"


@pytest.mark.parametrize("said", ["Connection refused", "Permission denied", "timed out"])
def test_an_engine_that_does_not_answer(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    def refuse(**_options: Any) -> Any:
        raise docker.errors.DockerException(f"Error while fetching server API version: {said}")

    monkeypatch.setattr(docker, "DockerClient", refuse)
    with pytest.raises(SlipwayError) as caught:
        connect()
    assert caught.value.summary == "The Docker Engine of this host does not answer"
    assert caught.value.next_step == "systemctl status docker on this host"


@pytest.mark.parametrize(("said", "why"), [("context timed out", ""), ("no space left on device", "the disk is full")])
def test_what_the_engine_says_of_its_own_work(said: str, why: str) -> None:
    def refuse(_name: str) -> Any:
        raise docker.errors.APIError(said)

    made = HostEngine()
    made._found = SimpleNamespace(images=SimpleNamespace(get=refuse))
    with pytest.raises(SlipwayError) as caught:
        made.image(IMAGE)
    assert caught.value.summary == f"The engine cannot look at {IMAGE}" + (f": {why}" if why else "")


@dataclass
class Images:
    """The engine's names of images, each with the id of what it names; the last name takes the image along."""

    names: dict[str, str]
    labels: dict[str, str] = field(default_factory=lambda: {"slipway.webapp": "shop"})
    used: tuple[str, ...] = ()
    removed: list[tuple[str, bool]] = field(default_factory=list)

    def get(self, name: str) -> Any:
        if name not in self.names:
            raise docker.errors.ImageNotFound(name)
        same = [other for other, identity in self.names.items() if identity == self.names[name]]
        tags = [other for other in same if "@" not in other]
        config = {"Labels": self.labels or None}
        digests = [other for other in same if "@" in other]
        attrs = {"Architecture": "amd64", "RepoTags": tags, "RepoDigests": digests, "Config": config}
        return SimpleNamespace(attrs=attrs)

    def remove(self, name: str, *, noprune: bool) -> None:
        self.removed.append((name, noprune))
        if name in self.used:
            raise docker.errors.APIError("conflict", response=SimpleNamespace(status_code=409))
        if self.names.pop(name, None) is None:
            raise docker.errors.ImageNotFound(name)


def with_images(images: Images) -> HostEngine:
    made = HostEngine()
    made._found = SimpleNamespace(images=images)
    return made


def test_what_it_says_of_an_image() -> None:
    found = with_images(Images({IMAGE: "1"})).image(IMAGE)
    assert found is not None
    assert (found.architecture, found.labels, found.digests) == ("amd64", {"slipway.webapp": "shop"}, (IMAGE,))
    nothing = with_images(Images({IMAGE: "1"}, labels={})).image(IMAGE)
    assert nothing is not None
    assert nothing.labels == {}


def test_an_image_that_goes_takes_the_names_of_its_build_along() -> None:
    images = Images({"registry.example/shop:1": "1", "registry.example/shop:2": "2", "mine:1": "1", IMAGE: "1"})
    with_images(images).remove(IMAGE)
    assert set(images.names) == {"registry.example/shop:2", "mine:1"}
    with_images(images).remove(IMAGE)  # twice is no error


def test_names_of_an_image_that_we_have_not_built_are_not_ours() -> None:
    images = Images({"registry.example/shop:1": "1", IMAGE: "1"}, labels={})
    with_images(images).remove(IMAGE)
    assert set(images.names) == {"registry.example/shop:1"}


def test_names_are_forgotten_and_the_cache_below_them_stays() -> None:
    images = Images({"shop:1": "1", "shop:2": "1"}, used=("shop:1",))
    with_images(images).forget(["shop:1", "shop:2", "shop:3"])
    assert images.removed == [("shop:1", True), ("shop:2", True), ("shop:3", True)]
    assert set(images.names) == {"shop:1"}
