# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Front ends: built files that Nginx serves by itself. What they must hold, and how they are laid out in a release.

A file whose name has a hash never changes its content: it goes to ``assets/`` of the release, and from there under the
common roof of all retained releases, so that a page loaded before a switch still finds its own. All else stays in
``frontend/``, which is looked up by the route, and which browsers ask for anew each time.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import posixpath
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Callable

from ansible_collections.slipway.webapp.plugins.module_utils._archive import CHUNK, Limits, members, refused, unpack
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Engine

INDEX = "index.html"
FILES, ASSETS = "frontend", "assets"  # in the directory of a release
# Pages are where a visit begins: they are never kept by browsers, whatever they are called.
_PAGE = re.compile(r"\.html?(\.(gz|br))?$", re.IGNORECASE)

# A time that says nothing of time: Nginx makes its ETag of a file's time in seconds and its size.
_EPOCH = 946_684_800  # 2000-01-01
_SPAN = 1 << 29  # seconds, about 17 years


@dataclass(frozen=True)
class Frontend:
    """The front end of a release: an artifact with this SHA-256, or an image whose digest that is.

    ``upload`` is a file on the host that claims to be the artifact, ``size`` its size in bytes (0: not known). ``path``
    is where an image holds the files, ``hashed`` are regular expressions of names that have a hash.
    """

    sha256: str
    upload: str = ""
    size: int = 0
    image: str = ""
    path: str = "/usr/share/nginx/html"
    hashed: tuple[str, ...] = ()


def is_hashed(name: str, patterns: Sequence[str]) -> bool:
    """Whether a file never changes its content, by its relative name. Patterns see what is asked for: /assets/a.js."""
    return not _PAGE.search(name) and any(re.search(pattern, f"/{name}") for pattern in patterns)


def require_index(names: Iterable[str]) -> None:
    """Refuse what is no front end, such as the source of one."""
    top = sorted({name.split("/")[0] for name in names})
    if INDEX not in top:
        raise SlipwayError(
            f"The front end has no {INDEX}",
            found="at its top: " + (", ".join(top[:20]) or "nothing"),
            expected=f"what a build has written, with {INDEX} at its top",
            next_step="build it, and name what the build wrote (dist, build, out) in webapp_frontend_source; "
            "of an image name the directory in webapp_frontend_image_path",
        )


def inspect(path: str, *, limits: Limits) -> list[str]:
    """Check an archive without unpacking it; the names of its files."""
    names = []
    for name, kind, _info, _archive in members(path, limits=limits):
        if kind == "link":
            raise refused(name, "a link; Nginx serves files of a front end only")
        if kind != "directory":
            names.append(name)
    require_index(names)
    return names


def bring(
    front: Frontend,
    *,
    archive: str,
    place: str,
    limits: Limits,
    engine: Engine | None,
    login: tuple[str, str],
    note: Callable[[str], None],
) -> Mapping[str, str]:
    """Unpack the front end into the new directory ``place``: from its artifact, or out of its image,
    whose labels are the answer.

    ``note`` is told of an image that is about to be pulled: it has to go again, also when this ends in the middle.
    """
    if not front.image:
        unpack(archive, place, limits=limits)
        return {}
    if engine is None:
        raise SlipwayError("No engine was given")  # a programming error: the module always gives one
    known = engine.image(front.image) is not None
    if not known:
        note(front.image)
        engine.pull(front.image, username=login[0], password=login[1])
    image = engine.image(front.image)
    packed, whole = f"{place}.tar.gz", f"{place}.image"
    with gzip.open(packed, "wb", compresslevel=1) as stream:
        for part in engine.files(front.image, front.path):
            stream.write(part)
    unpack(packed, whole, limits=limits)
    os.unlink(packed)
    if not known:  # its files are all that is needed of it
        engine.remove(front.image)
    _take_top(whole, place)
    return image.labels if image else {}


def _take_top(whole: str, place: str) -> None:
    """An engine puts the directory's own name before all others."""
    (*others,) = os.listdir(whole)
    top = os.path.join(whole, others[0]) if len(others) == 1 else whole
    if top != whole and os.path.isdir(top) and not os.path.islink(top):
        os.rename(top, place)
        os.rmdir(whole)
    else:
        os.rename(whole, place)


def arrange(release: str, *, hashed: Sequence[str]) -> tuple[int, int]:
    """Divide the unpacked ``frontend/`` of a release into what is asked for anew and ``assets/``; how many of each."""
    files, assets = os.path.join(release, FILES), os.path.join(release, ASSETS)
    names = tuple(_names(files))
    require_index(names)
    os.mkdir(assets)
    kept = 0
    for name in names:
        place = os.path.join(files, name)
        _date(place)
        if is_hashed(name, hashed):
            os.makedirs(os.path.join(assets, posixpath.dirname(name)), exist_ok=True)
            os.rename(place, os.path.join(assets, name))
            kept += 1
    for directory, _subdirectories, _files in os.walk(files, topdown=False):
        if directory != files and not os.listdir(directory):
            os.rmdir(directory)
    return len(names) - kept, kept


def _names(root: str) -> Iterator[str]:
    for directory, subdirectories, files in os.walk(root):
        below = os.path.relpath(directory, root)
        for name in (*subdirectories, *files):
            relative = name if below == "." else os.path.join(below, name)
            mode = os.lstat(os.path.join(directory, name)).st_mode
            if stat.S_ISREG(mode):
                yield relative
            elif not stat.S_ISDIR(mode):
                raise refused(relative, "a link; Nginx serves files of a front end only")


def _date(path: str) -> None:
    """Give a file the time that follows from its content: the same content has the same ETag on every host and in every
    release, and another content has another one.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    seconds = _EPOCH + int.from_bytes(digest.digest()[:8], "big") % _SPAN
    os.utime(path, (seconds, seconds))
