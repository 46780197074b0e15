# SPDX-License-Identifier: GPL-3.0-or-later
"""A management command as somebody gives it, and those that are refused before anything runs."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._manage_words import refuse, words_of


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("clearsessions", ["clearsessions"]),
        ("dumpdata shop.Price --indent 2", ["dumpdata", "shop.Price", "--indent", "2"]),
        ("shell -c 'print(\"a b\")'", ["shell", "-c", 'print("a b")']),
        (["shell", "-c", "print(1); print('x')"], ["shell", "-c", "print(1); print('x')"]),
        ('["shell", "-c", "print(1, 2)"]', ["shell", "-c", "print(1, 2)"]),
        (["loaddata", 3], ["loaddata", "3"]),
    ],
)
def test_words(given: Any, words: list[str]) -> None:
    assert words_of(given) == words


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("", "no management command"),
        ([], "no management command"),
        ([["a"]], "no management command"),
        (None, "no management command"),
        ([True], "no management command"),
        ('["shell", "-c"', "cannot be read"),
        ("shell -c 'print(1)", "cannot be read"),
    ],
)
def test_what_is_no_command(given: Any, why: str) -> None:
    with pytest.raises(SlipwayError, match=why):
        words_of(given)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["shell"], "asks at a terminal"),
        (["shell", "--plain"], "asks at a terminal"),
        (["dbshell"], "asks at a terminal"),
        (["createsuperuser", "--username", "ann"], "asks at a terminal"),
        (["changepassword", "ann", "-c"], "asks at a terminal"),
        (["flush"], "asks at a terminal"),
        (["runserver", "8000"], "never ends"),
        (["migrate"], "behind its gate"),
        (["migrate", "notes", "zero", "--fake"], "behind its gate"),
        (["manage.py", "check"], "no management command"),
        (["python", "manage.py", "check"], "no management command"),
        (["--settings=x", "migrate"], "no management command"),
    ],
)
def test_what_is_refused(words: list[str], why: str) -> None:
    with pytest.raises(SlipwayError, match=why):
        refuse(words)


@pytest.mark.parametrize(
    "words",
    [
        ["check", "--deploy"],
        ["shell", "-c", "print(1)"],
        ["shell", "--command=print(1)"],
        ["shell", "-cprint(1)"],
        ["dbshell", "--", "-c", "SELECT 1"],
        ["createsuperuser", "--no-input", "--username", "ann"],
        ["migrate", "--plan"],
        ["migrate", "notes", "--check"],
        ["showmigrations"],
        ["makemigrations", "--check"],
    ],
)
def test_what_is_not(words: list[str]) -> None:
    refuse(words)
