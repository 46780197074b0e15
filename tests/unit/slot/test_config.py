# SPDX-License-Identifier: GPL-3.0-or-later
"""The environment file: what goes in comes out, in our reader and by systemd's rules."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ansible_collections.slipway.webapp.plugins.module_utils._config import (
    config_id,
    merged,
    parse_env,
    read_env,
    render_env,
    secret_values,
)
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True)
# All that systemd takes for valid UTF-8: no NUL, no surrogates, no noncharacters.
CHARACTERS = st.characters(codec="utf-8", exclude_characters="\0").filter(
    lambda c: not 0xFDD0 <= ord(c) <= 0xFDEF and ord(c) & 0xFFFE != 0xFFFE
)
NASTY = st.text(alphabet=st.sampled_from(" \t\n\r\"'`\\$#={}%;\u2028ü💥") | CHARACTERS, max_size=60)


def systemd_reads(text: str) -> dict[str, str]:
    """What systemd makes of an environment file: its state machine (src/basic/env-file.c), for what we write."""
    values, position = {}, 0
    while position < len(text):
        if text[position] == "#":
            position = text.index("\n", position) + 1
            continue
        name, position = text[position : text.index("=", position)], text.index("=", position) + 1
        assert text[position] == '"'
        position += 1
        value = ""
        while text[position] != '"':
            if text[position] == "\\":
                position += 1
                after = text[position]
                value += after if after in '"\\`$' else "" if after == "\n" else "\\" + after
            else:
                value += text[position]
            position += 1
        assert text[position : position + 2] == '"\n'
        position += 2
        values[name] = value
    return values


@given(st.dictionaries(NAMES, NASTY, max_size=6))
@example({"A": ' lead "q" \\ $HOME `x` # not a comment\nsecond line\\\n trail '})
@example({"A": "\\", "B": "\\n", "C": '\\"', "D": "", "E": "\ufeff"})
def test_what_goes_in_comes_out(values: dict[str, str]) -> None:
    text = render_env(values)
    assert parse_env(text) == values
    assert systemd_reads(text) == values


@given(st.dictionaries(NAMES, NASTY, min_size=1, max_size=4), st.data())
def test_secrets_are_known_by_their_file(values: dict[str, str], data: st.DataObject) -> None:
    secret = frozenset(data.draw(st.sets(st.sampled_from(sorted(values)))))
    text = render_env(values, secret=secret, first={"SLIPWAY_RELEASE": "r1"})
    found, names = read_env(text)
    assert (found, names) == ({**values, "SLIPWAY_RELEASE": "r1"}, secret)
    assert sorted(secret_values(text)) == sorted(values[name] for name in secret)


def test_same_values_same_bytes_in_any_order() -> None:
    assert render_env({"B": "2", "A": "1"}) == render_env({"A": "1", "B": "2"}) == 'A="1"\nB="2"\n'


@pytest.mark.parametrize(
    ("environment", "secrets", "found"),
    [
        ({"1A": "x"}, {}, "'1A' in environment cannot be the name"),
        ({"A-B": "x"}, {}, "cannot be the name"),
        ({"A": None}, {}, "A is not a text"),
        ({"A": True}, {}, "A is not a text"),
        ({"A": ["x"]}, {}, "A is not a text"),
        ({"A": "a\0b"}, {}, "A holds a character"),
        ({"A": "\ufffe"}, {}, "A holds a character"),
        ({"A": "\ud800"}, {}, "A holds a character"),
        ({"A": "x" * 131072}, {}, "A is too long"),
        ({"SLIPWAY_RELEASE": "x"}, {}, "SLIPWAY_RELEASE is set by the collection itself"),
        ({"A": "open"}, {"A": "hidden-value"}, "both open and secret\nfound: A"),
    ],
)
def test_refusals_name_the_variable_and_not_its_value(
    environment: dict[str, Any], secrets: dict[str, Any], found: str
) -> None:
    with pytest.raises(SlipwayError, match=re.escape(found)) as refusal:
        merged(environment=environment, secrets=secrets)
    assert "hidden-value" not in str(refusal.value)


def test_numbers_become_texts() -> None:
    assert merged(environment={"A": 2, "B": 0.5}, secrets={})[0] == {"A": "2", "B": "0.5"}


@pytest.mark.parametrize(
    "text", ["A=1\n", 'A="1', 'A="1"', 'A="1"x\n', ' A="1"\n', "junk\n", 'A="1"\nB\n', 'A="a\\', "[Unit]\n"]
)
def test_what_we_did_not_write_is_an_error(text: str) -> None:
    with pytest.raises(SlipwayError, match="is damaged"):
        parse_env(text, where="/etc/shop/slots/blue.env")


def test_config_id() -> None:
    one = config_id(app="shop", environment={"A": "1"}, secrets={"B": "2"})
    assert re.fullmatch(r"[0-9a-f]{12}", one)
    assert one == config_id(app="shop", environment={"A": 1}, secrets={"B": "2"})
    others = [
        config_id(app="other", environment={"A": "1"}, secrets={"B": "2"}),
        config_id(app="shop", environment={"A": "1", "B": "2"}, secrets={}),
        config_id(app="shop", environment={"A": "1"}, secrets={"B": "3"}),
    ]
    assert len({one, *others}) == 4


def test_config_id_stays_the_same_from_release_to_release() -> None:
    """Another id for the same values would redeploy every host after an update of the collection."""
    assert config_id(app="shop", environment={"A": "ü", "Z": "1"}, secrets={"S": "x y"}) == "e72d6835fbec"
