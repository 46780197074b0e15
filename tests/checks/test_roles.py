# SPDX-License-Identifier: GPL-3.0-or-later
"""Roles: their defaults and what they say about their arguments agree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.checks import tools


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text()) if path.exists() else None


def roles() -> list[str]:
    return sorted({path.parts[1] for path in tools.under("roles")})


def disagreements(role: str, *, defaults: Mapping[str, Any], specs: Mapping[str, Any]) -> Iterator[str]:
    """Where the two descriptions of a role's interface differ."""
    options = {name: option for entry in specs.values() for name, option in (entry.get("options") or {}).items()}
    for name in sorted(defaults.keys() - options.keys()):
        yield f"{name} has a default and no argument spec"
    for name, option in sorted(options.items()):
        if not name.startswith((f"{role}_", f"__{role}_")) and not name.startswith("webapp_"):
            yield f"{name} does not begin with the role's name"
        if not option.get("description"):
            yield f"{name} has no description"
        if option.get("required") and name in defaults:
            yield f"{name} is required and has a default"
        if not option.get("required") and name not in defaults:
            yield f"{name} is neither required nor has a default"
        # A default that is computed cannot be repeated as a value.
        told, real = option.get("default", defaults.get(name)), defaults.get(name)
        if told != real and "{{" not in str(real) and name in defaults:
            yield f"{name} is {real!r} by default, {told!r} by its spec"


def test_there_are_roles() -> None:
    assert {"host", "nginx", "postgresql", "redis", "processes", "webapp"} <= set(roles())


@pytest.mark.parametrize("role", roles())
def test_defaults_and_argument_specs_agree(role: str) -> None:
    place = tools.ROOT / "roles" / role
    specs = load(place / "meta" / "argument_specs.yml")
    assert specs, f"roles/{role}/meta/argument_specs.yml is missing"
    defaults = load(place / "defaults" / "main.yml") or {}
    tools.refuse(disagreements(role, defaults=defaults, specs=specs["argument_specs"]))


@pytest.mark.parametrize(
    ("defaults", "option", "finding"),
    [
        ({"x_a": 1}, {}, "x_a has a default and no argument spec"),
        ({}, {"x_a": {"description": "A."}}, "x_a is neither required nor has a default"),
        ({"x_a": 1}, {"x_a": {"description": "A.", "required": True}}, "x_a is required and has a default"),
        ({"x_a": 1}, {"x_a": {"description": "A.", "default": 2}}, "x_a is 1 by default, 2 by its spec"),
        ({"x_a": 1}, {"x_a": {}}, "x_a has no description"),
        ({"y_a": 1}, {"y_a": {"description": "A."}}, "y_a does not begin with the role's name"),
        ({"x_a": "{{ y }}"}, {"x_a": {"description": "A.", "default": "y"}}, ""),
    ],
)
def test_a_disagreement_is_found(defaults: dict[str, Any], option: dict[str, Any], finding: str) -> None:
    found = list(disagreements("x", defaults=defaults, specs={"main": {"options": option}}))
    assert found == ([finding] if finding else [])
