# SPDX-License-Identifier: GPL-3.0-or-later
"""Under a umask that closes all to others, what others must read is open to them, and what is theirs alone is not."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils._files import ensure_directory
from ansible_collections.slipway.webapp.plugins.module_utils._host import guarded
from tests.unit.release.fakes import Host


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_each_directory_that_is_made_has_its_mode(tmp_path: Path) -> None:
    assert ensure_directory(str(tmp_path / "cache" / "shop" / "uv"), mode=0o700)
    assert [mode(tmp_path / name) for name in ("cache", "cache/shop", "cache/shop/uv")] == [0o755, 0o755, 0o700]
    assert not ensure_directory(str(tmp_path / "cache" / "shop" / "uv"))
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError):
        ensure_directory(str(tmp_path / "file"))


@pytest.mark.parametrize(("given", "wanted"), [({}, 0o644), ({"umask": None}, 0o600)], ids=["host", "controller"])
def test_a_module_has_the_usual_umask(tmp_path: Path, given: dict[str, Any], wanted: int) -> None:
    class Module:
        check_mode = False
        _diff = False

        def run_command(self, args: list[str], **options: Any) -> tuple[int, str, str]: ...

        def fail_json(self, msg: str, **result: Any) -> Any: ...

        def exit_json(self, **result: Any) -> Any: ...

        def warn(self, warning: str) -> None: ...

    guarded(Module(), lambda: {"count": (tmp_path / "made").write_text("x")}, **given)
    assert mode(tmp_path / "made") == wanted


def test_a_release_is_readable(tmp_path: Path) -> None:
    host = Host(tmp_path)
    wish = host.wish()
    host.present(wish)
    release = Path(host.layout.release(wish.release))
    assert mode(release / "code" / "__pycache__") == 0o750
    assert mode(release / "code" / "__pycache__" / "manage.pyc") == 0o640
    cache = Path(host.layout.cache("pip"))
    assert [mode(place) for place in (cache, *list(cache.parents)[:2])] == [0o700, 0o755, 0o755]


def test_a_way_to_the_cache_that_was_closed_is_opened(tmp_path: Path) -> None:
    host = Host(tmp_path)
    cache = Path(host.layout.cache("pip"))
    cache.mkdir(parents=True)
    assert mode(cache.parent) == 0o700
    host.present(host.wish())
    assert [mode(place) for place in list(cache.parents)[:2]] == [0o755, 0o755]
