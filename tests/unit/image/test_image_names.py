# SPDX-License-Identifier: GPL-3.0-or-later
"""What an image is called: where its registry is, what a build calls it, and when its names are forgotten."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils import _image_names as names
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Image

COMMIT, PACKED = "4f" * 20, "9a" * 32
DIGEST = "sha256:" + "c" * 64


@pytest.mark.parametrize(
    ("repository", "host", "familiar"),
    [
        ("acme/shop", "https://index.docker.io/v1/", "acme/shop"),
        ("docker.io/acme/shop", "https://index.docker.io/v1/", "acme/shop"),
        ("index.docker.io/acme/shop", "https://index.docker.io/v1/", "acme/shop"),
        ("docker.io/shop", "https://index.docker.io/v1/", "shop"),
        ("docker.io/library/shop", "https://index.docker.io/v1/", "shop"),
        ("shop", "https://index.docker.io/v1/", "shop"),
        ("registry.example.org/shop", "registry.example.org", "registry.example.org/shop"),
        ("registry:5000/acme/shop", "registry:5000", "registry:5000/acme/shop"),
        ("localhost/shop", "localhost", "localhost/shop"),
        ("127.0.0.1:5000/a/b/shop", "127.0.0.1:5000", "127.0.0.1:5000/a/b/shop"),
    ],
)
def test_where_it_is(repository: str, host: str, familiar: str) -> None:
    assert names.login_host(repository) == host
    assert names.familiar(repository) == familiar


@pytest.mark.parametrize("repository", ["acme/shop", "docker.io/acme/shop"])
@pytest.mark.parametrize("said", ["acme/shop", "docker.io/acme/shop"])
def test_its_name_by_digest(repository: str, said: str) -> None:
    digests = [f"other.example/shop@sha256:{'0' * 64}", f"acme/shop-front@sha256:{'1' * 64}", f"{said}@{DIGEST}"]
    assert names.reference(digests, repository) == f"{repository}@{DIGEST}"
    assert names.reference(digests[:2], repository) == ""


@pytest.mark.parametrize(
    ("version", "commit", "uncommitted", "tags", "revision"),
    [
        ("1.4", COMMIT, False, ("1.4", "1.4-4f4f4f4f4f4f"), COMMIT),
        ("", COMMIT, False, ("4f4f4f4f4f4f",), COMMIT),
        ("1.4", COMMIT, True, ("1.4", "1.4-9a9a9a9a9a9a"), ""),
        ("", COMMIT, True, ("9a9a9a9a9a9a",), ""),
        ("", "", False, ("9a9a9a9a9a9a",), ""),
        ("2.0.0+build", COMMIT, False, ("2.0.0-build", "2.0.0-build-4f4f4f4f4f4f"), COMMIT),
    ],
)
def test_what_a_build_is_called(
    version: str, commit: str, uncommitted: bool, tags: tuple[str, ...], revision: str
) -> None:
    built = names.built(
        app="shop",
        repository="docker.io/acme/shop",
        version=version,
        commit=commit,
        uncommitted=uncommitted,
        sha256=PACKED,
    )
    assert built.tags == tags
    assert built.names == tuple(f"acme/shop:{tag}" for tag in tags)
    assert built.labels == {
        "org.opencontainers.image.title": "shop",
        "org.opencontainers.image.version": version,
        "org.opencontainers.image.revision": revision,
        "slipway.webapp": "shop",
    }


@pytest.mark.parametrize(
    ("text", "tag"), [("1.4", "1.4"), ("a+b/c d", "a-b-c-d"), (".1", "_1"), ("x" * 200, "x" * 128)]
)
def test_a_version_as_a_tag(text: str, tag: str) -> None:
    assert names.tag_of(text) == tag


@dataclass
class Engine:
    """Has images by name, each with the names by digest that it has, and loses those that it is told to forget."""

    names: dict[str, tuple[str, ...]]

    def image(self, reference: str) -> Image | None:
        return Image("amd64", digests=self.names[reference]) if reference in self.names else None

    def forget(self, names: Sequence[str]) -> None:
        for name in names:
            del self.names[name]

    def pull(self, reference: str, *, username: str = "", password: str = "") -> None:
        raise NotImplementedError(reference, username, password)

    def files(self, reference: str, path: str) -> Iterator[bytes]:
        raise NotImplementedError(reference, path)

    def remove(self, reference: str) -> None:
        raise NotImplementedError(reference)


GIVEN = ("r.example/shop:1", "r.example/shop:1-4f")


def engine(*digests: str) -> Engine:
    return Engine({**dict.fromkeys(GIVEN, digests), "r.example/shop:2": (f"r.example/shop@sha256:{'e' * 64}",)})


def release(root: Path, app: str, text: str) -> None:
    place = root / "srv" / app / "releases" / "1-abc"
    place.mkdir(parents=True)
    (place / "release.json").write_text(text)


@pytest.mark.parametrize("digests", [(), (f"r.example/shop@{DIGEST}",)], ids=["refused", "pushed"])
def test_the_names_of_a_build_are_forgotten(tmp_path: Path, digests: tuple[str, ...]) -> None:
    release(tmp_path, "shop", json.dumps({"image": f"r.example/shop@sha256:{'d' * 64}"}))
    release(tmp_path, "other", json.dumps({"sha256": "c" * 64}))
    there = engine(*digests)
    foretold = names.forget(there, GIVEN, prefix=str(tmp_path), check_mode=True)
    assert (foretold["changed"], len(there.names)) == (True, 3)
    assert names.forget(there, GIVEN, prefix=str(tmp_path)) == foretold
    assert list(there.names) == ["r.example/shop:2"]
    again = names.forget(there, GIVEN, prefix=str(tmp_path))
    assert (again["changed"], again["needed_by"]) == (False, [])


@pytest.mark.parametrize("text", [json.dumps({"image": f"r.example/shop@{DIGEST}"}), "{", "[1]"])
def test_they_stay_while_a_release_of_any_application_is_that_image(tmp_path: Path, text: str) -> None:
    release(tmp_path, "preview", text)
    there = engine(f"mirror.example/shop@{DIGEST}", f"r.example/shop@{DIGEST}")
    done = names.forget(there, GIVEN, prefix=str(tmp_path))
    assert (done["changed"], done["needed_by"]) == (False, ["preview 1-abc"])
    assert len(there.names) == 3
