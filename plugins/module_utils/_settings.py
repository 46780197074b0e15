# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of an application: their types, the names that exist, and how a wrong one is said to people.

The types come from the argument specification of the role webapp. Values arrive templated; a string that Ansible
would read as the wanted type is that type here too (``-e webapp_collectstatic=false`` is a string).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils._mask import without_password

PREFIX = "webapp_"
TRUE = ("true", "yes", "on", "1", "y", "t")
FALSE = ("false", "no", "off", "0", "n", "f")
KINDS = {
    "str": "a text",
    "path": "a path",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list",
    "dict": "a dictionary",
}


@dataclass(frozen=True)
class Setting:
    """One name of the operator's interface. The value of a ``secret`` one is never shown."""

    name: str
    kind: str
    elements: str = ""
    choices: tuple[str, ...] = ()
    required: bool = False
    secret: bool = False


@dataclass(frozen=True)
class Problem:
    """One refusal: where (``host`` is '' for the whole run), which name, what is there, what should be."""

    name: str
    found: str
    expected: str
    host: str = ""


@dataclass(frozen=True)
class Host:
    """A host as the inventory describes it.

    ``values`` are templated; ``broken`` tells for other names why that failed; ``names`` are all variables it has.
    """

    name: str
    groups: tuple[str, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)
    names: frozenset[str] = frozenset()


def read_specification(options: Mapping[str, Mapping[str, Any]]) -> dict[str, Setting]:
    """The settings that the ``options`` of an argument specification describe."""
    return {
        name: Setting(
            name=name,
            kind=str(option.get("type", "str")),
            elements=str(option.get("elements", "")),
            choices=tuple(str(choice) for choice in option.get("choices", ())),
            required=bool(option.get("required", False)),
            secret=bool(option.get("no_log", False)),
        )
        for name, option in options.items()
    }


def shown(value: Any, *, secret: bool = False) -> str:
    """``value`` as a message may show it: secrets and structures by their kind only, long texts cut.

    The user part of a URL is hidden: it may be a token.
    """
    if secret:
        return "a secret value (not shown)"
    if isinstance(value, Mapping):
        return "a dictionary"
    if isinstance(value, (list, tuple)):
        return "a list"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = without_password(value) if isinstance(value, str) else f"the number {value}"
    if len(text) > 80:
        text = text[:77] + "..."
    return repr(text) if isinstance(value, str) else text


def convert(value: Any, kind: str) -> tuple[Any, bool]:
    """``value`` as ``kind`` and True, or the untouched value and False. Texts are never made of numbers."""
    if kind in ("str", "path"):
        return value, isinstance(value, str)
    if kind == "bool":
        return _as_bool(value)
    if kind in ("int", "float"):
        return _as_number(value, kind)
    if kind == "list":
        return value, isinstance(value, (list, tuple))
    if kind == "dict":
        return value, isinstance(value, Mapping)
    return value, True


def _as_bool(value: Any) -> tuple[Any, bool]:
    if isinstance(value, bool):
        return value, True
    word = str(value).strip().lower() if isinstance(value, (str, int)) else ""
    if word in TRUE + FALSE:
        return word in TRUE, True
    return value, False


def _as_number(value: Any, kind: str) -> tuple[Any, bool]:
    if not isinstance(value, (str, int, float)):
        return value, False
    pattern = r"[+-]?\d+" if kind == "int" else r"[+-]?(\d+\.?\d*|\.\d+)"
    text = str(value).strip()
    if not re.fullmatch(pattern, text):
        return value, False
    return (int(text) if kind == "int" else float(text)), True


def _expected(kind: str, value: Any) -> str:
    wanted = KINDS.get(kind, kind)
    if kind in ("str", "path") and not isinstance(value, (Mapping, list, tuple, type(None))):
        return wanted + " (put it in quotes)"
    if kind in ("list", "dict") and isinstance(value, str):
        return wanted + " (on the command line: -e with a JSON document or @file)"
    return wanted


def check_type(setting: Setting, value: Any, *, host: str) -> tuple[Any, list[Problem]]:
    """``value`` in the type of ``setting``, and what is wrong with it (then the value means nothing)."""
    converted, good = convert(value, setting.kind)
    if not good:
        found = shown(value, secret=setting.secret)
        return value, [Problem(setting.name, found, _expected(setting.kind, value), host)]
    if setting.kind == "list" and setting.elements:
        return _check_elements(setting, converted, host=host)
    if setting.choices and converted not in setting.choices:
        return converted, [Problem(setting.name, shown(converted), _one_of(converted, setting.choices), host)]
    return converted, []


def _check_elements(setting: Setting, values: Iterable[Any], *, host: str) -> tuple[list[Any], list[Problem]]:
    done: list[Any] = []
    problems: list[Problem] = []
    for value in values:
        converted, good = convert(value, setting.elements)
        done.append(converted)
        found = f"the element {shown(value, secret=setting.secret)}"
        if not good:
            problems.append(Problem(setting.name, found, _expected(setting.elements, value), host))
        elif setting.choices and converted not in setting.choices:
            problems.append(Problem(setting.name, found, _one_of(converted, setting.choices), host))
    return done, problems


def _one_of(value: Any, choices: Iterable[str]) -> str:
    names = list(choices)
    return "one of " + ", ".join(names) + did_you_mean(str(value), names)


def did_you_mean(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """``; did you mean X?`` for the known name nearest to ``name``, or ''."""
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=cutoff)
    return f"; did you mean {near[0]}?" if near else ""


def check_host(host: Host, settings: Mapping[str, Setting]) -> tuple[dict[str, Any], list[Problem]]:
    """The typed values of a host and everything that is wrong with their presence and type."""
    values: dict[str, Any] = {}
    problems: list[Problem] = []
    for setting in settings.values():
        if setting.name in host.broken:
            if _follows(host.broken[setting.name], host, settings):
                continue
            found = f"cannot be worked out: {host.broken[setting.name]}"
            problems.append(Problem(setting.name, found, KINDS.get(setting.kind, setting.kind), host.name))
        elif setting.name in host.values:
            value, wrong = check_type(setting, host.values[setting.name], host=host.name)
            problems.extend(wrong)
            if not wrong:
                values[setting.name] = value
        elif setting.required:
            expected = f"{KINDS[setting.kind]}: it is required"
            problems.append(Problem(setting.name, "nothing", expected, host.name))
    return values, problems


def _follows(reason: str, host: Host, settings: Mapping[str, Setting]) -> bool:
    """Does a default fail only because a required setting is missing, which is said anyway?"""
    named = re.search(r"'(\w+)' is undefined", reason)
    missing = named.group(1) if named else ""
    return missing in settings and settings[missing].required and missing not in host.values


# Where Ansible puts the words of -e that have no `=`, and what to type instead.
RAW = "_raw_params"
WORDS_OF_E = """a value with blanks in quotes that reach Ansible: -e 'why="two words"'"""


def check_names(host: Host, *, known: Iterable[str], extra: Iterable[str], accepted: Iterable[str]) -> list[Problem]:
    """Names that nobody reads.

    Every unknown ``webapp_`` name is refused. Any other name is refused when it is a slip of the pen away from a
    setting, or, given by ``-e``, from a variable that the playbook reads (``accepted``). Of ``-e why=two words``
    Ansible takes the first word as the value, and the second for nothing: that is refused, too.
    """
    names = frozenset(known)
    options = frozenset(accepted)
    problems = []
    for name in sorted(host.names - names - options):
        if name.startswith(PREFIX):
            expected = "a name that exists" + did_you_mean(name, names, cutoff=0.8)
            problems.append(Problem(name, "a name that does not exist", expected, host.name))
        elif _looks_like_ours(name) and difflib.get_close_matches(name, names, n=1, cutoff=0.9):
            expected = "a name that exists" + did_you_mean(name, names, cutoff=0.9)
            problems.append(Problem(name, "a name that nobody reads", expected, host.name))
    for name in sorted(frozenset(extra) - names - options):
        if name == RAW or not name.isidentifier():
            problems.append(Problem("", "words of -e that belong to no name", WORDS_OF_E))
        elif not name.startswith(PREFIX) and difflib.get_close_matches(name, options, n=1, cutoff=0.75):
            hint = did_you_mean(name, options, cutoff=0.75)
            problems.append(Problem(name, "-e with a name that nobody reads", "a name that exists" + hint))
    return problems


def _looks_like_ours(name: str) -> bool:
    """Is it worth comparing with every setting? Internal names (``__webapp_...``) resemble them on purpose."""
    return not name.startswith("_") and ("web" in name or "app" in name)


def report(problems: Iterable[Problem], *, hosts: int) -> str:
    """Every problem in one line, the same one of several hosts together."""
    together: dict[tuple[str, str, str], list[str]] = {}
    for problem in problems:
        where = together.setdefault((problem.name, problem.found, problem.expected), [])
        if problem.host and problem.host not in where:
            where.append(problem.host)
    lines = []
    for (name, found, expected), where in together.items():
        place = "" if not where else ("all hosts: " if len(where) == hosts > 1 else ", ".join(where) + ": ")
        subject = f"{name}: " if name else ""
        lines.append(f"- {place}{subject}found {found}; expected {expected}")
    count = "1 problem" if len(lines) == 1 else f"{len(lines)} problems"
    return "\n".join([f"{count} in the settings of this run; nothing was changed", *lines])
