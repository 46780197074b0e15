# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine and registries say when a pull fails, in words that name the cause."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import docker.errors
import pytest

from ansible_collections.slipway.webapp.plugins.module_utils._engine import HostEngine
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
        (docker.errors.ImageNotFound("manifest unknown"), "no such image"),
        (docker.errors.APIError("unauthorized: authentication required"), "did not accept the login"),
        (docker.errors.APIError("dial tcp 127.0.0.1:5000: connect: connection refused"), "does not answer"),
        (docker.errors.DockerException("the engine went away"), "the engine went away"),
    ],
)
def test_what_fails_at_once_is_said(error: Exception, why: str) -> None:
    with pytest.raises(SlipwayError, match=why):
        engine(Api(error=error)).pull(IMAGE)
