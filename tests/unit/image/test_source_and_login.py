# SPDX-License-Identifier: GPL-3.0-or-later
"""What the source of an image is, and what Docker's client reads while it is built."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils._docker_login import for_a_build
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._image_source import Source, look


def tree(root: Path, *names: str, **texts: str) -> str:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(texts.get(name.partition(".")[0], ""))
    return str(root)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["requirements.txt"], Source(own=False, frontend=False, lock="requirements.txt")),
        (["uv.lock", "pyproject.toml"], Source(own=False, frontend=False, lock="uv.lock")),
        (["requirements.txt", "package.json"], Source(own=False, frontend=False, lock="requirements.txt")),
        (["package.json"], Source(own=False, frontend=True)),
        (["package.json", "docker/Dockerfile"], Source(own=True, frontend=True)),
        # How it installs is its own business then.
        (["docker/Dockerfile", "pyproject.toml"], Source(own=True, frontend=False)),
    ],
)
def test_what_a_source_is(tmp_path: Path, names: list[str], found: Source) -> None:
    assert look(tree(tmp_path, *names), "docker/Dockerfile") == found


@pytest.mark.parametrize(
    ("names", "requirements", "said"),
    [
        ([], "", "no locked requirements"),
        (["pyproject.toml"], "", "uv lock"),
        (["uv.lock"], "", "no locked requirements"),
        (["requirements.txt"], "-r other.txt", "no such file"),
        (["requirements.txt"], "-e ./package", "from the source tree"),
    ],
)
def test_what_is_not_locked_is_refused(tmp_path: Path, names: list[str], requirements: str, said: str) -> None:
    with pytest.raises(SlipwayError) as caught:
        look(tree(tmp_path, *names, requirements=requirements), "Dockerfile")
    assert said in str(caught.value)
    assert caught.value.next_step.endswith("or add a Dockerfile that installs what it needs")


ROOTS = {
    "auths": {
        "registry.example.org": {"auth": "old"},
        "https://registry.example.org/v2/": {"auth": "old"},
        "other.example.org": {"auth": "kept"},
        "https://index.docker.io/v1/": {"auth": "hub"},
    },
    "credHelpers": {"registry.example.org": "pass", "cloud.example.org": "cloud"},
    "credsStore": "pass",
    "currentContext": "elsewhere",
    "proxies": {"default": {"httpProxy": "http://proxy:3128"}},
}
HOSTS = ["registry.example.org", "https://registry.example.org/v2/", "other.example.org", "https://index.docker.io/v1/"]


@pytest.mark.parametrize(
    ("repository", "login", "auths", "helpers", "store"),
    [
        ("registry.example.org/shop", True, HOSTS[2:], ["cloud.example.org"], None),
        ("acme/shop", True, HOSTS[:3], ["registry.example.org", "cloud.example.org"], None),
        ("registry.example.org/shop", False, HOSTS, ["registry.example.org", "cloud.example.org"], "pass"),
    ],
)
def test_what_a_build_takes_over(
    repository: str, login: bool, auths: list[str], helpers: list[str], store: str | None
) -> None:
    found: dict[str, Any] = json.loads(for_a_build(json.dumps(ROOTS), repository, login=login))
    assert sorted(found["auths"]) == sorted(auths)
    assert sorted(found["credHelpers"]) == sorted(helpers)
    assert found.get("credsStore") == store
    assert found["proxies"] == ROOTS["proxies"]
    assert "currentContext" not in found


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_root_has_told_nothing(text: str) -> None:
    assert json.loads(for_a_build(text, "acme/shop", login=False)) == {}
