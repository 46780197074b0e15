# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The artifact of a deploy: found, packed once, named by its bytes; and the id of the release that it gives."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable

from ansible_collections.slipway.webapp.plugins.module_utils import _frontend, _source
from ansible_collections.slipway.webapp.plugins.module_utils._archive import Limits, inspect, pack, sha256_of
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._files import fsync_directory, fsync_file
from ansible_collections.slipway.webapp.plugins.module_utils._layout import VERSION_PATTERN
from ansible_collections.slipway.webapp.plugins.module_utils._mask import without_password

SHA256_PATTERN = r"[0-9a-f]{64}"

Fetch = Callable[[str, str], None]  # (address, path): write what the address answers into the file


@dataclass(frozen=True)
class Wish:
    """What is asked for; the meaning of each field is in the documentation of the module ``artifact``."""

    source: str
    destination: str
    ref: str = ""
    sha256: str = ""
    subdirectory: str = ""
    exclude: tuple[str, ...] = ()
    version: str = ""
    recipe: Mapping[str, str] = field(default_factory=dict)
    frontend: bool = False
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Artifact:
    """A packed artifact. ``path`` may not be there in check mode."""

    path: str
    sha256: str
    size: int
    files: int
    release: str
    version: str = ""
    commit: str = ""
    uncommitted: bool = False
    left_out: Mapping[str, str] = field(default_factory=dict)
    migrations: tuple[str, ...] = ()
    image: str = ""


def migration_files(names: Iterable[str]) -> tuple[str, ...]:
    """Those of a tree's files that Django or Alembic take for migrations, by where they are."""
    pattern = r"(.*/)?(migrations|versions)/(?!__init__\.py$)[^/]+\.py"
    return tuple(sorted(name for name in names if re.fullmatch(pattern, name)))


def release_id(*, sha256: str, recipe: Mapping[str, str], version: str = "") -> str:
    """The id of the release that an artifact and a recipe give: the same on every host and in every run."""
    text = json.dumps({"artifact": sha256, "recipe": dict(recipe)}, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f"{version}-{digest[:10]}" if version else digest[:12]


def checked(wish: Wish) -> str:
    """The kind of the source, after refusing what does not go together."""
    if wish.version and not re.fullmatch(VERSION_PATTERN, wish.version):
        raise SlipwayError(
            "The version cannot be used",
            found=repr(wish.version),
            expected="at most 60 letters, digits, dots, hyphens, underscores and plus signs, first a letter or digit",
            next_step="correct webapp_version",
        )
    if wish.sha256 and not re.fullmatch(SHA256_PATTERN, wish.sha256):
        raise SlipwayError(
            "The sha256 is not one", found=repr(wish.sha256), expected="64 lower-case hexadecimal digits"
        )
    kind = _source.kind_of(wish.source, wish.ref)
    if wish.frontend and kind == _source.GIT:
        raise SlipwayError(
            "A front end cannot be packed from a repository",
            found=without_password(wish.source),
            expected="what a build has written: a directory, a .tar.gz of it, or an image by its digest",
            next_step="build it, and name the result in webapp_frontend_source",
        )
    packed = kind in (_source.PACKED, _source.DOWNLOAD)
    not_for = {
        "ref": bool(wish.ref) and kind != _source.GIT,
        "sha256": bool(wish.sha256) and not packed,
        "subdirectory": bool(wish.subdirectory) and (packed or kind == _source.IMAGE),
        "exclude": bool(wish.exclude) and (packed or kind == _source.IMAGE),
    }
    for name in [name for name, wrong in not_for.items() if wrong]:
        raise SlipwayError(
            f"`{name}` means nothing for a source of kind {kind}", next_step=f"remove webapp_source_{name}"
        )
    if kind == _source.DOWNLOAD and not wish.sha256:
        raise SlipwayError(
            "An artifact that is downloaded needs its sha256",
            found=without_password(wish.source),
            next_step="set webapp_source_sha256 to what whoever packed it published",
        )
    _check_subdirectory(wish.subdirectory)
    return kind


def _check_subdirectory(subdirectory: str) -> None:
    parts = subdirectory.split("/") if subdirectory else []
    if any(part in ("", ".", "..") for part in parts):
        raise SlipwayError(
            "The subdirectory cannot be used",
            found=repr(subdirectory),
            expected="a relative path without '.' and '..', such as backend or apps/shop",
            next_step="correct webapp_source_subdirectory",
        )


def obtain(wish: Wish, *, git: _source.Git, fetch: Fetch, check_mode: bool = False) -> tuple[Artifact, bool]:
    """The artifact in ``destination``, and whether it was missing there (in check mode it then still is)."""
    kind = checked(wish)
    if kind == _source.IMAGE:
        return _image(wish), False
    known = os.path.join(wish.destination, f"{wish.sha256}.tar.gz")
    if wish.sha256 and os.path.exists(known) and sha256_of(known) == wish.sha256:
        return _described(wish, known, names=_inspect(wish, known)), False
    with _scratch(wish.destination, keep=not check_mode) as scratch:
        candidate = os.path.join(scratch, "artifact.tar.gz")
        if kind in (_source.PACKED, _source.DOWNLOAD):
            tree = _source.Tree(entries=())
            names = _bring(wish, kind, candidate, fetch)
        else:
            tree = _tree(wish, kind, git, scratch)
            names = _pack(wish, tree, candidate)
            names = _inspect(wish, candidate) if wish.frontend else names
        artifact = _described(wish, candidate, names=names, tree=tree)
        # A file of that name need not be it: a power cut, or a disk, may have taken some of its bytes.
        changed = not os.path.exists(artifact.path) or sha256_of(artifact.path) != artifact.sha256
        if changed and not check_mode:
            fsync_file(candidate)
            os.replace(candidate, artifact.path)
            fsync_directory(wish.destination)
    return artifact, changed


@contextlib.contextmanager
def _scratch(destination: str, *, keep: bool) -> Iterator[str]:
    """A directory of this run; beside the artifacts, so that the result can be renamed into place."""
    if keep:
        os.makedirs(destination, mode=0o700, exist_ok=True)
    parent = destination if os.path.isdir(destination) else None
    with tempfile.TemporaryDirectory(prefix=".artifact-", dir=parent) as scratch:
        yield scratch


def _tree(wish: Wish, kind: str, git: _source.Git, scratch: str) -> _source.Tree:
    if wish.frontend:  # what a build writes is often what Git ignores
        return _source.walk(wish.source, exclude=wish.exclude)
    if kind == _source.DIRECTORY:
        root = os.path.join(wish.source, wish.subdirectory) if wish.subdirectory else wish.source
        if not os.path.isdir(root):
            raise SlipwayError(
                f"The source has no directory {wish.subdirectory!r}",
                found=f"nothing at {root}",
                next_step="correct webapp_source_subdirectory",
            )
        return _source.directory_tree(git, root, exclude=wish.exclude)
    cache = wish.destination if os.path.isdir(wish.destination) else scratch
    path, commit = _source.mirror(git, wish.source, wish.ref, cache=cache)
    target = os.path.join(scratch, "tree")
    _source.export(git, path, commit, wish.subdirectory, target)
    tree = _source.walk(target, exclude=wish.exclude, defaults=())
    return _source.Tree(entries=tree.entries, left_out=tree.left_out, commit=commit)


def _pack(wish: Wish, tree: _source.Tree, candidate: str) -> list[str]:
    if not tree.entries:
        raise SlipwayError(
            "There is nothing to pack",
            found=f"no files in {without_password(wish.source)}"
            + (f" but {len(tree.left_out)} left out" if tree.left_out else ""),
            next_step="correct webapp_source",
        )
    with open(candidate, "wb") as stream:
        pack(tree.entries, stream, limits=wish.limits)
    return [entry.name for entry in tree.entries]


def _bring(wish: Wish, kind: str, candidate: str, fetch: Fetch) -> list[str]:
    if kind == _source.DOWNLOAD:
        fetch(wish.source, candidate)
    else:
        shutil.copyfile(wish.source, candidate)
    found = sha256_of(candidate)
    if wish.sha256 and found != wish.sha256:
        raise SlipwayError(
            f"{without_password(wish.source)} is not the artifact that was asked for",
            found=f"sha256 {found}",
            expected=f"sha256 {wish.sha256}",
            next_step="find out who changed it; correct webapp_source_sha256 only if you trust the new bytes",
        )
    return _inspect(wish, candidate)


def _inspect(wish: Wish, path: str) -> list[str]:
    """Refuse an archive that is not what it should be; the names in it."""
    return _frontend.inspect(path, limits=wish.limits) if wish.frontend else inspect(path, limits=wish.limits)


def _described(wish: Wish, path: str, *, names: Sequence[str], tree: _source.Tree | None = None) -> Artifact:
    sha256 = wish.sha256 or sha256_of(path)
    return Artifact(
        path=os.path.join(wish.destination, f"{sha256}.tar.gz"),
        sha256=sha256,
        size=os.path.getsize(path),
        files=len(names),
        migrations=() if wish.frontend else migration_files(names),
        release=release_id(sha256=sha256, recipe=wish.recipe, version=wish.version),
        version=wish.version,
        commit=tree.commit if tree else "",
        uncommitted=tree.uncommitted if tree else False,
        left_out=dict(tree.left_out) if tree else {},
    )


def _image(wish: Wish) -> Artifact:
    """What is packed already, and is in a registry: its digest names its bytes."""
    digest = _source.digest_of(wish.source)
    return Artifact(
        path="",
        sha256=digest,
        size=0,
        files=0,
        release=release_id(sha256=digest, recipe=wish.recipe, version=wish.version),
        version=wish.version,
        image=wish.source,
    )


def as_result(artifact: Artifact, *, changed: bool, most: int = 50) -> dict[str, Any]:
    """The result of the module: at most ``most`` names of what was left out, and their number."""
    names = sorted(artifact.left_out)
    actions = [f"pack {artifact.files} files as {os.path.basename(artifact.path)}"] if changed else []
    return {
        "changed": changed,
        "actions": actions,
        "path": artifact.path,
        "sha256": artifact.sha256,
        "size": artifact.size,
        "files": artifact.files,
        "version": artifact.version,
        "commit": artifact.commit,
        "uncommitted": artifact.uncommitted,
        "migrations": list(artifact.migrations),
        "image": artifact.image,
        "release": artifact.release,
        "left_out": [{"name": name, "rule": artifact.left_out[name]} for name in names[:most]],
        "left_out_count": len(names),
        "diff": {
            "before": "" if changed else f"{artifact.path}\n",
            "after": f"{artifact.path}\n",
        },
    }
