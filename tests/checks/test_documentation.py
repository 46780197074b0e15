# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation: of plugins, of changes, and what the guides tell people to type."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.checks import tools

MAKE = re.compile(r"(?:^|[`$\s])(?:sudo )?make ((?:[a-z][a-z0-9-]*)(?: [a-z][a-z0-9-]*)*)", re.MULTILINE)
FILE_PLAYBOOK = re.compile(r"ansible-playbook (?:\S+/)?([a-z_]+)\.yml")
NAMED = re.compile(rf"{tools.NAMESPACE}\.{tools.NAME}\.([a-z_]+)")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def guides() -> list[Path]:
    """What people read: the README and the pages under docs/, and the READMEs beside code."""
    return [path for path in tools.source_files() if path.suffix == ".md" and path.name != "CHANGELOG.md"]


def code(text: str) -> str:
    """The commands of a page: fenced blocks and inline code."""
    fenced = re.findall(r"```.*?\n(.*?)```", text, re.DOTALL)
    rest = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return "\n".join([*fenced, *re.findall(r"`([^`\n]+)`", rest)])


def unknown_commands(text: str, *, targets: set[str], playbooks: set[str], names: set[str]) -> Iterator[str]:
    """What a page tells to type and does not exist."""
    for words in MAKE.findall(code(text)):
        yield from (f"make {word}: no such target" for word in words.split() if word not in targets)
    for name in FILE_PLAYBOOK.findall(code(text)):
        if name not in playbooks:
            yield f"{name}.yml: no such playbook"
    for name in NAMED.findall(text):
        if name not in names:
            yield f"{tools.COLLECTION}.{name}: no such playbook, module, role or plugin"


def dead_links(page: Path, text: str) -> Iterator[str]:
    """Links to files that are not there."""
    for target in LINK.findall(text):
        if (
            "://" not in target
            and not target.startswith("mailto:")
            and not (tools.ROOT / page.parent / target).exists()
        ):
            yield f"{page}: {target}: no such file"


def targets() -> set[str]:
    text = (tools.ROOT / "Makefile").read_text()
    found = {word for line in re.findall(r"^([a-z][a-z0-9 -]*?)\s*:(?!=)", text, re.MULTILINE) for word in line.split()}
    assert {"demo", "demo-down", "test"} <= found
    return found


def names() -> set[str]:
    plugins = {path.stem for path in tools.under("plugins", suffix=".py") if not path.stem.startswith("_")}
    roles = {path.parts[1] for path in tools.under("roles")}
    return plugins | roles | set(tools.playbooks())


def test_there_is_a_readme() -> None:
    assert Path("README.md") in guides()


@pytest.mark.parametrize("page", guides(), ids=str)
def test_a_page_names_what_exists(page: Path) -> None:
    text = (tools.ROOT / page).read_text()
    # A page of the example application speaks of that project's own commands.
    known = {"targets": targets(), "playbooks": set(tools.playbooks()), "names": names()}
    tools.refuse([f"{page}: {finding}" for finding in unknown_commands(text, **known)])
    tools.refuse(dead_links(page, text))


def test_a_wrong_command_is_found() -> None:
    text = "`make demo` and `make dmeo`\n```\nansible-playbook playbooks/depoly.yml\n```\nslipway.webapp.relaese\n"
    found = list(unknown_commands(text, targets={"demo"}, playbooks={"deploy"}, names={"release"}))
    assert [line.split(":")[0] for line in found] == ["make dmeo", "depoly.yml", "slipway.webapp.relaese"]


def test_a_dead_link_is_found() -> None:
    text = "[a](LICENSE) [b](https://example.org/x) [c](nowhere.md#x) [d](#here)"
    assert list(dead_links(Path("README.md"), text)) == ["README.md: nowhere.md: no such file"]


def test_changelog() -> None:
    tools.run("antsibull-changelog", "lint")


@pytest.mark.slow
def test_plugin_documentation() -> None:
    tools.run("antsibull-docs", "lint-collection-docs", "--plugin-docs", "--validate-collection-refs=all", ".")
