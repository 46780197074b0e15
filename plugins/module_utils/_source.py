# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where an artifact comes from: a directory, a Git repository at a ref, or an archive packed by somebody else.

A Git work tree gives what Git knows (gitignore is honoured, see gitignore(5)); any other directory what a walk finds.
"""

from __future__ import annotations

import difflib
import fnmatch
import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.slipway.webapp.plugins.module_utils._archive import Entry, refused
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._files import locked
from ansible_collections.slipway.webapp.plugins.module_utils._mask import without_password
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Completed, Runner

DIRECTORY, GIT, PACKED, DOWNLOAD, IMAGE = "directory", "git", "packed", "download", "image"
# An image by its digest: a tag could mean another one on every host.
_IMAGE = re.compile(r"[a-z0-9][a-z0-9._:/-]*@sha256:(?P<digest>[0-9a-f]{64})")

# Matched against the name of every file and directory that Git does not track.
DEFAULT_EXCLUDES = (
    *(".git", ".hg", ".svn", ".bzr", "CVS", ".jj"),
    *("__pycache__", "*.pyc", "*.pyo", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis", ".tox", ".nox"),
    *(".cache", ".coverage", ".coverage.*", "htmlcov", "*.egg-info"),
    *(".venv", "venv", ".direnv", "node_modules", "bower_components"),
    *(".env", ".env.*", ".env-*", ".envrc"),
    *(".idea", ".vscode", "*.swp", "*.swo", "*~", ".#*", "#*#", ".DS_Store", "Thumbs.db", "desktop.ini"),
)

# Variables that a Git hook sets and that would point our Git at another repository.
_HOOK_VARIABLES = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE")


def as_written(source: str) -> str:
    """A source as the operator meant it: an existing place as an absolute path, anything else as it is."""
    # An option of type `path` would also replace $names, which an address may well contain.
    place = os.path.expanduser(source)
    return os.path.abspath(place) if "://" not in source and os.path.exists(place) else place


def digest_of(source: str) -> str:
    """The digest of a source that is an image, else ''."""
    found = _IMAGE.fullmatch(source)
    return found["digest"] if found else ""


def kind_of(source: str, ref: str = "") -> str:
    """Which of the five kinds of source this is; a path that is not there is refused.

    A directory that is a Git repository counts as one when a ref is asked for: its work tree then does not matter.
    """
    if digest_of(source):
        return IMAGE
    if source.startswith(("git+", "git@", "ssh://", "git://", "file://")) or re.match(r"[\w.-]+@[\w.-]+:", source):
        return GIT
    if re.match(r"https?://", source):
        return GIT if source.split("#")[0].rstrip("/").endswith(".git") else DOWNLOAD
    if os.path.isfile(source) and source.endswith((".tar.gz", ".tgz")):
        return PACKED
    if os.path.isdir(source):
        repository = _is_bare(source) or (ref and os.path.exists(os.path.join(source, ".git")))
        return GIT if repository else DIRECTORY
    raise SlipwayError(
        "The source is not there",
        found=source,
        expected="a directory, a Git address, a .tar.gz file, or an http(s) address of one with its sha256",
        next_step="correct webapp_source",
    )


def _is_bare(path: str) -> bool:
    return all(os.path.exists(os.path.join(path, name)) for name in ("HEAD", "objects", "refs"))


@dataclass(frozen=True)
class Tree:
    """What will be packed, and what was left out (name -> the rule that left it out).

    ``uncommitted``: it is not, or not all of it, what ``commit`` holds.
    """

    entries: tuple[Entry, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)
    commit: str = ""
    uncommitted: bool = False


def _rule_for(name: str, rules: Sequence[str]) -> str:
    """The first rule that a relative path falls under, or ''. A rule with a slash is matched from the top."""
    parts = name.split("/")
    for rule in rules:
        pattern = rule.strip("/")
        if "/" in rule.rstrip("/"):
            prefixes = ("/".join(parts[: number + 1]) for number in range(len(parts)))
            if any(fnmatch.fnmatchcase(prefix, pattern) for prefix in prefixes):
                return rule
        elif any(fnmatch.fnmatchcase(part, pattern) for part in parts):
            return rule
    return ""


def walk(root: str, *, exclude: Sequence[str], defaults: Sequence[str] = DEFAULT_EXCLUDES) -> Tree:
    """Every file and link below ``root`` that no rule leaves out. Empty directories are not part of a tree."""
    entries: list[Entry] = []
    left_out: dict[str, str] = {}
    rules = (*exclude, *defaults)
    for path, directory in _names(root, "", rules, left_out):
        if not directory:
            entries.append(Entry(name=_utf8(path), source=os.path.join(root, path)))
    return Tree(entries=tuple(entries), left_out=left_out)


def _names(root: str, below: str, rules: Sequence[str], left_out: dict[str, str]) -> Iterator[tuple[str, bool]]:
    with os.scandir(os.path.join(root, below)) as found:
        for item in found:
            name = f"{below}{item.name}"
            directory = item.is_dir(follow_symlinks=False)
            rule = _rule_for(name, rules)
            if not rule and directory and os.path.exists(os.path.join(item.path, "pyvenv.cfg")):
                rule = "a virtual environment"
            if rule:
                left_out[name] = rule
                continue
            yield name, directory
            if directory:
                yield from _names(root, f"{name}/", rules, left_out)


def _utf8(name: str) -> str:
    """The name as the same text under every locale."""
    try:
        return os.fsencode(name).decode("utf-8")
    except UnicodeDecodeError:
        raise refused(name, "a name that is not UTF-8") from None


@dataclass(frozen=True)
class Git:
    """Git, run without the variables of a hook that may be calling us and without ever asking for a password."""

    runner: Runner
    environment: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 600.0

    def run(self, *arguments: str, cwd: str = "", index: str = "", timeout: float = 0.0) -> Completed:
        given = {**self.environment, "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"}
        if index:
            given["GIT_INDEX_FILE"] = index
        unset = [word for name in _HOOK_VARIABLES if name not in given for word in ("-u", name)]
        return self.runner.run(["env", *unset, "git", *arguments], environment=given, cwd=cwd, timeout=timeout)

    def need(self, *arguments: str, cwd: str = "", index: str = "") -> str:
        answer = self.run(*arguments, cwd=cwd, index=index)
        if not answer.ok:
            why = answer.stderr.strip() or answer.stdout.strip()
            raise SlipwayError(f"`git {' '.join(arguments)}` failed", found=without_password(why))
        return answer.stdout


def directory_tree(git: Git, root: str, *, exclude: Sequence[str]) -> Tree:
    """The tree of a directory: what Git tracks or would track if it is (part of) a work tree, otherwise a walk."""
    if not _in_work_tree(root):
        return walk(root, exclude=exclude)
    answer = git.run("rev-parse", "--show-prefix", cwd=root)
    if not answer.ok:
        raise SlipwayError(
            f"Git cannot read the work tree {root}",
            found=answer.stderr.strip(),
            next_step="install git or heed its advice; or give a copy of the tree without .git",
        )
    if answer.stdout.strip() and git.run("check-ignore", "--quiet", ".", cwd=root).ok:
        return walk(root, exclude=exclude)  # a directory that its surrounding repository ignores is nobody's work tree
    tracked = git.need("ls-files", "-z", "--cached", "--recurse-submodules", cwd=root).split("\0")
    others = git.need("ls-files", "-z", "--others", "--exclude-standard", cwd=root).split("\0")
    left_out: dict[str, str] = {}
    rules = {**dict.fromkeys(tracked, tuple(exclude)), **dict.fromkeys(others, (*exclude, *DEFAULT_EXCLUDES))}
    entries = [entry for name in sorted(rules) if name for entry in _listed(root, name, rules[name], left_out)]
    head = git.run("rev-parse", "--verify", "--quiet", "HEAD", cwd=root)
    changed = git.need("status", "--porcelain", "--untracked-files=no", "--", ".", cwd=root).strip()
    added = {entry.name for entry in entries} - set(tracked)
    return Tree(
        entries=tuple(entries),
        left_out=left_out,
        commit=head.stdout.strip() if head.ok else "",
        uncommitted=bool(changed or added),
    )


def _in_work_tree(root: str) -> bool:
    path = os.path.realpath(root)
    while not os.path.lexists(os.path.join(path, ".git")):
        if path == os.path.dirname(path):
            return False
        path = os.path.dirname(path)
    return True


def _listed(root: str, name: str, rules: Sequence[str], left_out: dict[str, str]) -> Iterator[Entry]:
    """The entry for one name that Git lists; none for what is excluded or deleted in the work tree."""
    rule = _rule_for(name.rstrip("/"), rules)
    place = os.path.join(root, name)
    if rule:
        left_out[name] = rule
    elif name.endswith("/"):
        left_out[name] = "another Git repository"
    elif os.path.isdir(place) and not os.path.islink(place):
        raise refused(name, "a submodule that is not checked out (git submodule update --init)")
    elif os.path.lexists(place):
        yield Entry(name=_utf8(name), source=place)


def mirror(git: Git, address: str, ref: str, *, cache: str) -> tuple[str, str]:
    """A bare mirror of the repository below ``cache``, and the commit that ``ref`` names (HEAD when it is '')."""
    address = address[4:] if address.startswith("git+") else address
    path = os.path.join(cache, "git", hashlib.sha256(address.encode()).hexdigest()[:16] + ".git")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with locked(f"{path}.lock", wait_seconds=git.timeout, what="a fetch of this repository"):
        if not os.path.exists(os.path.join(path, "HEAD")):
            git.need("init", "--quiet", "--bare", path)
        full = bool(re.fullmatch(r"[0-9a-f]{40,64}", ref))
        if full and _commit(git, path, ref):
            return path, ref
        _fetch(git, path, address, ref if full else "")
        name = ref or "slipway-head"
        for candidate in (f"refs/tags/{name}", f"refs/heads/{name}", *([name] if _may_be_commit(name) else [])):
            commit = _commit(git, path, candidate)
            if commit:
                return path, commit
    raise _unknown_ref(git, path, address, ref)


def _may_be_commit(name: str) -> bool:
    return bool(re.fullmatch(r"[0-9a-f]{7,64}", name)) or name == "slipway-head"


def _commit(git: Git, path: str, name: str) -> str:
    name = "refs/slipway/head" if name == "slipway-head" else name
    answer = git.run("--git-dir", path, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    return answer.stdout.strip() if answer.ok else ""


def _fetch(git: Git, path: str, address: str, commit: str) -> None:
    refspecs = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*", "+HEAD:refs/slipway/head"]
    words = ("--git-dir", path, "fetch", "--quiet", "--prune", "--no-tags", "--", address)
    answer = git.run(*words, *refspecs, timeout=git.timeout)
    if not answer.ok and "HEAD" in answer.stderr:  # a repository whose HEAD names no branch yet
        answer = git.run(*words, *refspecs[:2], timeout=git.timeout)
    if not answer.ok:
        raise SlipwayError(
            f"The repository {without_password(address)} cannot be fetched",
            found="no answer in time" if answer.timed_out else without_password(answer.stderr.strip()),
            next_step="try `git ls-remote` with the same address on the controller",
        )
    if commit and not _commit(git, path, commit):
        git.run("--git-dir", path, "fetch", "--quiet", "--", address, commit, timeout=git.timeout)


def _unknown_ref(git: Git, path: str, address: str, ref: str) -> SlipwayError:
    listed = git.run("--git-dir", path, "for-each-ref", "--format=%(refname:strip=2)", "refs/heads", "refs/tags")
    names = sorted(set(listed.stdout.split()))
    near = difflib.get_close_matches(ref, names, n=5, cutoff=0.5) or names[:10]
    return SlipwayError(
        f"The repository {without_password(address)} has no branch, tag or commit {ref or 'HEAD'!r}",
        found="near names: " + ", ".join(near) if near else "no branch and no tag at all",
        next_step="correct webapp_source_ref",
    )


def export(git: Git, path: str, commit: str, subdirectory: str, target: str) -> None:
    """Write the files of a commit (of one directory of it) into ``target``, as a checkout would."""
    treeish = f"{commit}:{subdirectory}" if subdirectory else commit
    index = f"{target}.index"
    answer = git.run("--git-dir", path, "read-tree", treeish, index=index)
    if not answer.ok:
        raise SlipwayError(
            f"Commit {commit[:12]} has no directory {subdirectory!r}",
            found=answer.stderr.strip(),
            next_step="correct webapp_source_subdirectory",
        )
    staged = git.need("--git-dir", path, "ls-files", "-z", "--stage", index=index).split("\0")
    modules = [line.split("\t", 1)[1] for line in staged if line.startswith("160000 ")]
    if modules:
        raise refused(modules[0], "a submodule, which a fetch of this repository does not bring")
    os.makedirs(target)
    git.need("--git-dir", path, "--work-tree", target, "checkout-index", "--all", "--force", index=index, cwd=target)
