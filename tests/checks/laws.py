# SPDX-License-Identifier: GPL-3.0-or-later
"""The project's own laws: pure functions from a file's text to what is wrong with it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

LICENCE = "SPDX-License-Identifier: GPL-3.0-or-later"
# Files whose format has no comments, or that another program writes.
WITHOUT_COMMENTS = {".json", ".md", ".svg", ".png", ".ico", ".woff2", ".pub"}
WRITTEN_BY_PROGRAMS = {"LICENSE", "changelog.yaml"}
TEXT_FOR_PEOPLE = {".gitignore", ".gitattributes"}

# Registries differ from machine to machine: pip, apt and npm are configured by whoever runs them.
# Put together here, so that this file does not break the law that it holds.
_REGISTRIES = (r"pypi\.org", r"pythonhosted\.org", r"debian\.org", r"ubuntu\.com", r"npmjs\.(?:org|com)")
_REGISTRY = re.compile(r"\b(?:[\w-]+\.)*(?:" + "|".join(_REGISTRIES) + r")\b")
_PRIVATE_KEY = re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----")

_INJECTED_FACT = re.compile(
    r"(?<![\w.'\"])ansible_(?:distribution\w*|os_family|architecture|hostname|fqdn|default_ipv4|all_ipv4_addresses|memtotal_mb"
    r"|processor\w*|service_mgr|pkg_mgr|python_version|kernel|date_time|env|mounts|interfaces)\b"
)
# In check mode what would change is what is missing: state, not memory.
_CHANGED = re.compile(r"^(?!.*ansible_check_mode).*\bis (?:not )?changed\b")
CONTROLLER_ONLY = "# on the controller only"
MAX_FUNCTION_LINES = 40
MAX_FILE_LINES = 400


def licence(path: Path, text: str) -> Iterator[str]:
    """Every source file says under which licence it is, within its first lines."""
    if path.suffix in WITHOUT_COMMENTS or path.name in WRITTEN_BY_PROGRAMS | TEXT_FOR_PEOPLE or not text.strip():
        return
    if LICENCE not in "\n".join(text.splitlines()[:6]) and not text.startswith("$ANSIBLE_VAULT"):
        yield f"{path}: no line '{LICENCE}' at its top"


def registries(path: Path, text: str) -> Iterator[str]:
    """No file names the host of a package registry."""
    yield from _lines(path, text, _REGISTRY, "names a package registry's host")


def private_keys(path: Path, text: str) -> Iterator[str]:
    """No file holds a private key."""
    yield from _lines(path, text, _PRIVATE_KEY, "holds a private key")


def control_flow(path: Path, text: str) -> Iterator[str]:
    """The keywords of Ansible that lose hosts or errors (DESIGN.md, rules for failure) do not occur."""
    yield from _lines(path, text, re.compile(r"^\s*(?:- )?ignore_errors:"), "ignore_errors loses the error")
    yield from _lines(
        path, text, re.compile(r"\bend_play\b"), "meta: end_play ends the play of every host with success"
    )
    if not {"meta", "vars"} & set(path.parts):
        yield from _lines(path, text, _CHANGED, "decides on what changed in this run")
    yield from _lines(
        path, text, re.compile(r"\| (?:difference|intersect)\("), "shuffles what it leaves: reject('in'), select('in')"
    )
    yield from _lines(path, text, _INJECTED_FACT, "an injected fact: use ansible_facts['...']")
    for number, line in enumerate(text.splitlines(), start=1):
        if re.match(r"\s*(?:- )?run_once:", line) and not line.rstrip().endswith(CONTROLLER_ONLY):
            yield f"{path}:{number}: run_once on hosts; if it runs on the controller, say so: {CONTROLLER_ONLY}"


def plugin_calls(path: Path, text: str) -> Iterator[str]:
    """Plugins start programs through Ansible only (a callback has no way to), and neither print, exit nor assert."""
    allowed = "subprocess" if "callback" in path.parts else ""
    for node in ast.walk(ast.parse(text)):
        word = _forbidden(node)
        if word and word != allowed:
            yield f"{path}:{getattr(node, 'lineno', 0)}: {word} in a plugin"


def sizes(path: Path, text: str) -> Iterator[str]:
    """Functions and files stay small enough to be read at once."""
    tree = ast.parse(text)
    count = len(text.splitlines())
    if count > MAX_FILE_LINES:
        yield f"{path}: {count} lines, at most {MAX_FILE_LINES}"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
            length = node.end_lineno - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                yield f"{path}:{node.lineno}: {node.name} has {length} lines, at most {MAX_FUNCTION_LINES}"


def _lines(path: Path, text: str, pattern: re.Pattern[str], what: str) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), start=1):
        # What a comment says about a keyword does not use it.
        code = line if pattern in (_REGISTRY, _PRIVATE_KEY) else re.sub(r"(?:^|\s)#.*", "", line)
        if pattern.search(code):
            yield f"{path}:{number}: {what}: {line.strip()[:100]}"


_PROCESS_CALLS = {"system", "popen", "fork", "execv", "execve", "execvp", "spawnl", "spawnv", "posix_spawn"}


def _forbidden(node: ast.AST) -> str:
    match node:
        case ast.Import(names=names):
            return next((a.name for a in names if a.name.split(".")[0] in ("subprocess", "pty")), "")
        case ast.ImportFrom(module=str() as module) if module.split(".")[0] in ("subprocess", "pty"):
            return module
        case ast.Call(func=ast.Attribute(value=ast.Name(id="os"), attr=name)) if name in _PROCESS_CALLS:
            return f"os.{name}"
        case ast.Call(func=ast.Attribute(value=ast.Name(id="sys"), attr="exit")):
            return "sys.exit"
        case ast.Call(func=ast.Name(id=("print" | "exit" | "quit") as name)):
            return name
        case ast.Assert():
            return "assert"
    return ""
