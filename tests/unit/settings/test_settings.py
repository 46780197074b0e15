# SPDX-License-Identifier: GPL-3.0-or-later
"""Types, names and the report: tables of what is given and what is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.slipway.webapp.plugins.module_utils._settings import (
    Host,
    Problem,
    Setting,
    check_host,
    check_names,
    check_type,
    convert,
    read_specification,
    report,
    shown,
)

ROLE = Path(__file__).resolve().parents[3] / "roles" / "webapp"


@pytest.mark.parametrize(
    ("value", "kind", "wanted"),
    [
        ("false", "bool", False),
        ("Yes", "bool", True),
        (0, "bool", False),
        (True, "bool", True),
        ("12", "int", 12),
        (12, "int", 12),
        ("0.5", "float", 0.5),
        (1, "float", 1.0),
        ("text", "str", "text"),
        ([1], "list", [1]),
        ({"a": 1}, "dict", {"a": 1}),
    ],
)
def test_what_ansible_would_read_as_the_type_is_accepted(value: Any, kind: str, wanted: Any) -> None:
    assert convert(value, kind) == (wanted, True)


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ("maybe", "bool", "true or false"),
        (2, "bool", "true or false"),
        ([], "bool", "true or false"),
        (None, "bool", "true or false"),
        ("two", "int", "a whole number"),
        ("1.5", "int", "a whole number"),
        (True, "int", "a whole number"),
        ("1_000", "int", "a whole number"),
        ("fast", "float", "a number"),
        (1.10, "str", "a text (put it in quotes)"),
        (True, "str", "a text (put it in quotes)"),
        (None, "str", "a text"),
        ([], "str", "a text"),
        (3, "path", "a path (put it in quotes)"),
        ("a,b", "list", "a list (on the command line: -e with a JSON document or @file)"),
        ({}, "list", "a list"),
        ("a=b", "dict", "a dictionary (on the command line: -e with a JSON document or @file)"),
        ([], "dict", "a dictionary"),
    ],
)
def test_a_wrong_type_is_refused_with_advice(value: Any, kind: str, expected: str) -> None:
    _value, problems = check_type(Setting("webapp_x", kind), value, host="web1")
    assert [(problem.name, problem.host, problem.expected) for problem in problems] == [("webapp_x", "web1", expected)]


def test_elements_and_choices_are_checked_one_by_one() -> None:
    roles = Setting("webapp_host_roles", "list", elements="str", choices=("web", "worker"))
    _value, problems = check_type(roles, ["web", "wroker", 3], host="web1")
    assert [problem.found for problem in problems] == ["the element 'wroker'", "the element the number 3"]
    assert problems[0].expected == "one of web, worker; did you mean worker?"
    statuses = Setting("webapp_health_status", "list", elements="int")
    assert check_type(statuses, ["200", 204], host="web1") == ([200, 204], [])


def test_a_choice_that_does_not_exist_is_refused() -> None:
    _value, problems = check_type(Setting("webapp_server", "str", choices=("gunicorn", "uvicorn")), "gunicron", host="")
    assert problems[0].expected == "one of gunicorn, uvicorn; did you mean gunicorn?"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("short", "'short'"),
        ("x" * 100, repr("x" * 77 + "...")),
        ("https://planted@h/x.git", "'https://***@h/x.git'"),
        (3, "the number 3"),
        (True, "true"),
        (None, "nothing"),
        ({"a": "planted"}, "a dictionary"),
        (["planted"], "a list"),
    ],
)
def test_values_are_shown_short_and_structures_by_kind(value: Any, text: str) -> None:
    assert shown(value) == text


def test_a_secret_is_never_shown() -> None:
    setting = Setting("webapp_database_password", "str", secret=True)
    for value in (["planted"], {"a": "planted"}, 1234567890123):
        _value, problems = check_type(setting, value, host="db1")
        assert problems
        assert "planted" not in str(problems)
        assert "1234567890123" not in str(problems)


SETTINGS = {
    "webapp_name": Setting("webapp_name", "str", required=True),
    "webapp_domain": Setting("webapp_domain", "str", required=True),
    "webapp_wsgi": Setting("webapp_wsgi", "str"),
    "webapp_collectstatic": Setting("webapp_collectstatic", "bool"),
}


def test_every_problem_of_a_host_is_found_at_once() -> None:
    host = Host("web1", values={"webapp_collectstatic": "perhaps"}, broken={"webapp_domain": "'zone' is undefined"})
    _values, problems = check_host(host, SETTINGS)
    assert [(problem.name, problem.found) for problem in problems] == [
        ("webapp_name", "nothing"),
        ("webapp_domain", "cannot be worked out: 'zone' is undefined"),
        ("webapp_collectstatic", "'perhaps'"),
    ]


def test_a_default_that_lacks_a_required_setting_is_not_a_second_problem() -> None:
    host = Host("web1", values={"webapp_domain": "a.example"}, broken={"webapp_wsgi": "'webapp_name' is undefined"})
    _values, problems = check_host(host, SETTINGS)
    assert [problem.name for problem in problems] == ["webapp_name"]


@pytest.mark.parametrize(
    ("names", "extra", "wrong", "hint"),
    [
        ({"webapp_domian"}, set(), "webapp_domian", "did you mean webapp_domain?"),
        ({"webapp_flavour"}, set(), "webapp_flavour", "a name that exists"),
        ({"wepapp_domain"}, set(), "wepapp_domain", "did you mean webapp_domain?"),
        (set(), {"relase"}, "relase", "did you mean release?"),
    ],
)
def test_a_name_that_nobody_reads_is_refused(names: set[str], extra: set[str], wrong: str, hint: str) -> None:
    host = Host("web1", names=frozenset(names))
    problems = check_names(host, known=SETTINGS, extra=extra, accepted=["release"])
    assert [problem.name for problem in problems] == [wrong]
    assert problems[0].expected.endswith(hint)


@pytest.mark.parametrize("name", ["_raw_params", "--days"])
def test_words_of_e_that_ansible_would_lose_are_refused(name: str) -> None:
    (problem,) = check_names(Host("web1"), known=SETTINGS, extra={name, "release"}, accepted=["release"])
    assert problem.found == "words of -e that belong to no name"


def test_names_of_others_are_left_alone() -> None:
    names = {"webapp_name", "release", "ansible_host", "__webapp_domain", "nginx_user", "region", "website_title"}
    host = Host("web1", names=frozenset(names))
    assert check_names(host, known=SETTINGS, extra={"region", "release"}, accepted=["release"]) == []


def test_the_report_has_one_line_for_what_several_hosts_share() -> None:
    same = [Problem("webapp_name", "nothing", "a text", host) for host in ("a", "b")]
    text = report(
        [*same, Problem("webapp_retain", "'x'", "a whole number", "b"), Problem("", "no host", "hosts")], hosts=2
    )
    assert text.splitlines() == [
        "3 problems in the settings of this run; nothing was changed",
        "- all hosts: webapp_name: found nothing; expected a text",
        "- b: webapp_retain: found 'x'; expected a whole number",
        "- found no host; expected hosts",
    ]


def test_defaults_and_specification_name_the_same_settings_with_the_same_values() -> None:
    defaults = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())
    options = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text())["argument_specs"]["settings"][
        "options"
    ]
    settings = read_specification(options)
    assert {name for name in settings if not settings[name].required} == set(defaults)
    for name, value in defaults.items():
        if "{{" not in str(value):
            assert options[name].get("default") == value, name
            assert check_type(settings[name], value, host="")[1] == [], name


def test_every_default_has_a_comment() -> None:
    lines = (ROLE / "defaults" / "main.yml").read_text().splitlines()
    for number, line in enumerate(lines):
        block = number
        while block and lines[block - 1].startswith("webapp_"):
            block -= 1
        if line.startswith("webapp_"):
            assert lines[block - 1].startswith("#"), f"{line} has no comment above it"
