# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Static files of every retained release under one roof, so that a page loaded before a switch still finds its own.

Files with hashed names never meet. Where two releases have different content under one name, the newest release wins.
"""

from __future__ import annotations

import errno
import filecmp
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

# Django's list of hashed names is read by the application, from its release; visitors have no use for it.
_PRIVATE = frozenset({"staticfiles.json"})


def names(root: str) -> Iterator[str]:
    """The relative path of every regular file below ``root`` that visitors may see."""
    for directory, _subdirectories, files in os.walk(root):
        below = os.path.relpath(directory, root)
        for file in files:
            name = file if below == "." else os.path.join(below, file)
            if name not in _PRIVATE and not os.path.islink(os.path.join(directory, file)):
                yield name


def missing(release_static: str, union: str) -> tuple[str, ...]:
    """What a release has and the union lacks."""
    return tuple(sorted(name for name in names(release_static) if not os.path.lexists(os.path.join(union, name))))


def publish(release_static: str, union: str, *, replace: bool = True) -> int:
    """Bring a release's files into the union; the number of files added or replaced. Each appears by one rename.

    Without ``replace`` only what is missing is added: so an older release does not displace a newer one's files.
    """
    count = 0
    for name in names(release_static):
        source, place = os.path.join(release_static, name), os.path.join(union, name)
        if not _same(source, place) and (replace or not os.path.lexists(place)):
            _make_directories(union, os.path.dirname(name))
            _put(source, place)
            count += 1
    return count


def _same(source: str, place: str) -> bool:
    """True when the content is there already: then its file stays, and with it what browsers know of it (ETag)."""
    try:
        return os.path.samefile(source, place) or filecmp.cmp(source, place, shallow=False)
    except FileNotFoundError:
        return False


def _make_directories(union: str, below: str) -> None:
    if not below or os.path.isdir(os.path.join(union, below)):
        return
    _make_directories(union, os.path.dirname(below))
    os.mkdir(os.path.join(union, below))
    os.chmod(os.path.join(union, below), 0o755)


def _put(source: str, place: str) -> None:
    temporary = f"{place}.{secrets.token_hex(4)}.new"
    try:
        os.link(source, temporary, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EMLINK, errno.EPERM):
            raise
        shutil.copy2(source, temporary)  # another filesystem, or one without hard links; the time stays (_frontend.py)
        os.chmod(temporary, 0o644)
    os.replace(temporary, place)


@dataclass(frozen=True)
class Tidying:
    """What a union must lose and, as (release, name), what it must take from another release."""

    remove: tuple[str, ...] = ()
    replace: tuple[tuple[str, str], ...] = ()


def tidy_plan(union: Sequence[str], *, kept: Mapping[str, Sequence[str]], lost: Mapping[str, Sequence[str]]) -> Tidying:
    """What to do when releases go: ``kept`` and ``lost`` map releases to their names, the newest release first.

    Names that only lost releases (or nobody) had are removed. A name that a lost and a kept release share may show the
    lost one's content: it is taken again from the newest kept release.
    """
    owner: dict[str, str] = {}
    for release, has in kept.items():
        for name in has:
            owner.setdefault(name, release)
    shared = {name for has in lost.values() for name in has if name in owner}
    return Tidying(
        remove=tuple(sorted(name for name in union if name not in owner)),
        replace=tuple((owner[name], name) for name in sorted(shared)),
    )


def tidy(union: str, tidying: Tidying, *, static_of: Mapping[str, str]) -> None:
    """Carry a tidying out; ``static_of`` maps releases to their directories of static files."""
    for release, name in tidying.replace:
        source, place = os.path.join(static_of[release], name), os.path.join(union, name)
        if not _same(source, place):
            _make_directories(union, os.path.dirname(name))
            _put(source, place)
    for name in tidying.remove:
        os.unlink(os.path.join(union, name))
        _remove_empty(union, os.path.dirname(name))


def _remove_empty(union: str, below: str) -> None:
    while below:
        try:
            os.rmdir(os.path.join(union, below))
        except OSError:
            return
        below = os.path.dirname(below)
