# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Smoke tests: what a check may be, how an answer is judged, and all of them asked side by side before a deadline.

A check asks once, because a POST must not be sent twice and a user asks once, too. Values of headers are never shown.
"""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable

from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._health import SHOWN, Answer, Asker, Wish
from ansible_collections.slipway.webapp.plugins.module_utils._health import judge as judge_health
from ansible_collections.slipway.webapp.plugins.module_utils._mask import mask
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Clock
from ansible_collections.slipway.webapp.plugins.module_utils._settings import did_you_mean, shown

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
KEYS = ("name", "method", "path", "host", "headers", "body", "status", "json", "text", "deadline")
LONGEST_BODY = 4 * 1024 * 1024
AT_ONCE = 8
DEADLINE = 10.0  # seconds for one answer, where a check does not say
TIMED_OUT = (124, 137)  # what timeout(1) ends with
COMMAND_LINES = 20
_GRACE = 2.0  # seconds that an answer may be late, and then nobody waits for it any longer
_OURS = ("host", "content-length", "transfer-encoding", "connection")

Fault = tuple[str, str, str]  # (part of the check, what was found, what was expected)


@dataclass(frozen=True)
class Check:
    """One request and what its answer must be; ``deadline`` in seconds. ``host`` '' is the public one."""

    name: str
    path: str
    method: str = "GET"
    host: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    status: Sequence[int] = (200,)
    json: Mapping[str, Any] = field(default_factory=dict)
    text: Sequence[str] = ()
    deadline: float = DEADLINE

    @property
    def what(self) -> str:
        """The request as people read it."""
        return f"{self.method} {self.host}{self.path}"


@dataclass(frozen=True)
class Outcome:
    """How one test ended; ``output`` is the beginning of an answer, or the end of what a command printed."""

    name: str
    what: str
    verdict: str
    why: str = ""
    seconds: float = 0.0
    output: str = ""


def _listed(value: Any) -> list[Any]:
    """One value is a list of it."""
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_status(value: Any) -> bool:
    return _is_number(value) and isinstance(value, int) and 100 <= value <= 599


def _header_fault(name: Any, value: Any) -> str:
    """What is expected of a header instead, or ''. The value is not shown."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name):
        return "a header's name"
    if name.lower() in _OURS:
        return "`host` for the host; the others of that kind are set for you"
    if not isinstance(value, str) or not re.fullmatch(r"[\t\x20-\x7e\xa0-\xff]*", value):
        return "one line of text (put it in quotes)"
    return ""


# part: (is the value good, what is expected instead)
_PARTS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "name": (lambda v: isinstance(v, str) and bool(v.strip()) and v.isprintable() and len(v) <= 80, "a short text"),
    "method": (lambda v: v in METHODS, f"one of {', '.join(METHODS)}"),
    "path": (lambda v: isinstance(v, str) and bool(re.fullmatch(r"/[!-~]*", v)) and "#" not in v, "it to begin with /"),
    "host": (lambda v: isinstance(v, str) and bool(re.fullmatch(r"[a-z0-9.-]+", v)), "a host name in lower case"),
    "headers": (lambda v: isinstance(v, Mapping), "a dictionary"),
    "body": (lambda v: isinstance(v, str), "a text (to_json makes one of a dictionary)"),
    "status": (lambda v: bool(_listed(v)) and all(map(_is_status, _listed(v))), "one or more statuses from 100 to 599"),
    "json": (lambda v: isinstance(v, Mapping), "a dictionary"),
    "text": (lambda v: all(isinstance(one, str) and one for one in _listed(v)), "a text or several"),
    "deadline": (lambda v: _is_number(v) and 0.1 <= v <= 3600, "0.1 to 3600 seconds"),
}


def faults(given: Mapping[str, Any]) -> list[Fault]:
    """Everything that is wrong with a check as the inventory says it: (part, found, expected)."""
    wrong: list[Fault] = [
        (str(key), "a name that does not exist", f"one of {', '.join(KEYS)}{did_you_mean(str(key), KEYS)}")
        for key in given
        if key not in KEYS
    ]
    wrong += [(key, "nothing", "it is required") for key in ("name", "path") if key not in given]
    for part, (good, expected) in _PARTS.items():
        if part in given and not good(given[part]):
            wrong.append((part, shown(given[part], secret=part == "body"), expected))
    headers = given.get("headers")
    for name, value in headers.items() if isinstance(headers, Mapping) else ():
        expected = _header_fault(name, value)
        if expected:
            wrong.append((f"headers.{name}", "a header that cannot be sent", expected))
    method = given.get("method", "GET")
    if given.get("body") and method in ("GET", "HEAD"):
        wrong.append(("body", f"one with {method}", "a method that has one, such as POST"))
    if method == "HEAD" and (given.get("json") or given.get("text")):
        wrong.append(("method", "'HEAD', whose answer has no body", "GET, because something is looked for in it"))
    return wrong


def repeated(checks: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names that more than one check has."""
    names = [check.get("name") for check in checks]
    return sorted({str(name) for name in names if isinstance(name, str) and names.count(name) > 1})


def read_checks(given: Sequence[Mapping[str, Any]]) -> list[Check]:
    """The checks, or a refusal of the first that is none."""
    for number, one in enumerate(given, start=1):
        for part, found, expected in faults(one):
            raise SlipwayError(f"Smoke check {number} cannot be asked", found=f"{part}: {found}", expected=expected)
    for name in repeated(given):
        raise SlipwayError(f"Two smoke checks are called {name}", expected="a name of its own for each")
    return [
        Check(**{**one, "status": _listed(one.get("status", 200)), "text": _listed(one.get("text", []))})
        for one in given
    ]


def secrets_of(checks: Sequence[Check]) -> list[str]:
    """What an answer may repeat and nobody shall read: the headers' values, without their scheme too, and bodies."""
    values = [value for check in checks for value in check.headers.values()]
    return [*values, *(value.split()[-1] for value in values if value.strip()), *(check.body for check in checks)]


def judge(check: Check, answer: Answer, *, release: str) -> str:
    """Why the answer is not good enough, or ''. Who names a release must name the right one."""
    why = judge_health(answer, Wish(status=check.status, json=check.json))
    if why:
        return why
    by = answer.headers.get("x-slipway-release", "")
    if release and by and by != release:
        return f"answered by release {by}, not {release}"
    missing = [text for text in check.text if text not in answer.body]
    return f"the text {missing[0]!r} is not in the answer" if missing else ""


def _outcome(check: Check, answer: Answer, *, release: str, seconds: float, secrets: Sequence[str]) -> Outcome:
    why = mask(judge(check, answer, release=release), secrets)
    output = mask(answer.body, secrets)[:SHOWN] if why else ""
    return Outcome(check.name, check.what, FAILED if why else PASSED, why, round(seconds, 3), output)


def ask_all(
    checks: Sequence[Check], *, asker_of: Callable[[Check], Asker], clock: Clock, deadline: float, release: str
) -> list[Outcome]:
    """Ask all of them, some at a time, and wait no longer than ``deadline`` seconds for the last answer."""
    begin, secrets = clock.monotonic(), secrets_of(checks)
    outcomes: dict[str, Outcome] = {}
    queue = deque([(check, asker_of(check)) for check in checks])

    def work() -> None:
        while queue:
            try:
                check, asker = queue.popleft()
            except IndexError:
                return
            at = clock.monotonic()
            left = deadline - (at - begin)
            if left > 0:
                answer = asker.ask(timeout=min(check.deadline, left))
            else:
                answer = Answer(error=f"not asked: the {deadline:g} s for all smoke checks were over")
            seconds = clock.monotonic() - at
            outcomes[check.name] = _outcome(check, answer, release=release, seconds=seconds, secrets=secrets)

    # Not a pool: what hangs in a system call (a resolver) must not keep the module from ending.
    threads = [threading.Thread(target=work, daemon=True) for _number in range(min(AT_ONCE, len(checks)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=max(0.0, deadline + _GRACE - (clock.monotonic() - begin)))
    late = f"no answer within the {deadline:g} s for all smoke checks"
    return [
        outcomes.get(check.name) or Outcome(check.name, check.what, FAILED, late, round(clock.monotonic() - begin, 3))
        for check in checks
    ]


def _seconds(delta: str) -> float:
    """Ansible's 0:00:01.234567 in seconds; 0 for what is none."""
    found = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", delta)
    return 3600.0 * int(found[1]) + 60.0 * int(found[2]) + float(found[3]) if found else 0.0


def command_outcome(words: Sequence[str], ended: Mapping[str, Any] | None, *, deadline: float) -> Outcome:
    """How the operator's own command ended, by what Ansible's ``command`` says of it; None: it was not run."""
    name = words[0].rsplit("/", maxsplit=1)[-1]
    if ended is None:
        return Outcome(name, "command", SKIPPED, "not run, because a check failed")
    code = ended.get("rc")
    output = "\n".join(str(ended.get(part) or "").strip() for part in ("stdout", "stderr")).strip()
    seconds = round(_seconds(str(ended.get("delta") or "")), 3)
    if code == 0 and not ended.get("failed"):
        return Outcome(name, "command", PASSED, seconds=seconds, output=output)
    why = f"ended with {code}"
    if code in TIMED_OUT:
        why = f"took longer than {deadline:g} s"
    elif code is None or ended.get("failed"):
        why = str(ended.get("msg") or "it could not be started").splitlines()[0]
    return Outcome(name, "command", FAILED, why, seconds, output)
