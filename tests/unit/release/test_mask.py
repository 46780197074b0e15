# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets in what programs print."""

from __future__ import annotations

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils._mask import complaint, last_lines, mask
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Completed

SECRET = "pl@nted/secret 42"


@pytest.mark.parametrize(
    "text",
    [
        "key pl@nted/secret 42 end",
        "url pl%40nted%2Fsecret%2042 end",
        "url pl%40nted/secret%2042 end",
    ],
)
def test_a_secret_is_hidden_in_every_shape(text: str) -> None:
    assert mask(text, {"KEY": SECRET}) == text.split()[0] + " ******** end"


def test_the_password_of_an_address_is_hidden_on_its_own() -> None:
    hidden = mask(
        'FATAL: password "hunter2hunter2" for postgres://u:hunter2hunter2@h/d', ["postgres://u:hunter2hunter2@h/d"]
    )
    assert hidden == 'FATAL: password "********" for ********'


def test_lines_quotes_and_escapes() -> None:
    key = '-----BEGIN-----\nAAAA"BBBB\n-----END-----'
    for text in (key, repr(key), key.splitlines()[1], key.replace("\n", "\\n").replace('"', '\\"')):
        assert "AAAA" not in mask(text, [key])


def test_a_secret_within_a_longer_one_leaves_nothing() -> None:
    assert mask("abcdefgh abcd", ["abcd", "abcdefgh"]) == "******** ********"


def test_short_and_empty_values_do_not_blank_everything() -> None:
    assert mask("a sentence with a few letters", ["", "a", "few"]) == "a sentence with a few letters"


def test_the_end_of_an_output() -> None:
    lines = "\n".join(str(number) for number in range(100))
    assert last_lines(Completed(1, lines, "")).splitlines() == [str(number) for number in range(80, 100)]
    assert last_lines(Completed(1, "out\n", "err\n")) == "out\nerr"
    assert last_lines(Completed(1, "out secret-value", ""), secrets=["secret-value"], lines=1) == "out ********"


def test_complaint_begins_with_the_line_that_says_it() -> None:
    traceback = 'Traceback (most recent call last):\n  File "x.py", line 1\nOperationalError: refused\n\tIs it on?\n'
    assert complaint(Completed(1, "", traceback)).splitlines()[:2] == [
        "OperationalError: refused",
        "Traceback (most recent call last):",
    ]
    assert complaint(Completed(1, "", "one line\n")) == "one line"
    assert complaint(Completed(1, "", "")) == ""
