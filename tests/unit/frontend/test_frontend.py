# SPDX-License-Identifier: GPL-3.0-or-later
"""Front ends on a fake host: which of their files are kept, where they lie, what is refused."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.slipway.webapp.plugins.module_utils import _artifact, _frontend, _installed
from ansible_collections.slipway.webapp.plugins.module_utils import _release_states as states
from ansible_collections.slipway.webapp.plugins.module_utils._archive import Limits, pack
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._frontend import Frontend, is_hashed
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Image
from ansible_collections.slipway.webapp.plugins.module_utils._release import Wish
from ansible_collections.slipway.webapp.plugins.module_utils._release_build import Ports
from ansible_collections.slipway.webapp.plugins.module_utils._source import Git, walk
from tests.app import frontend as editions
from tests.unit.release.fakes import Host

DEFAULTS = Path(__file__).parents[3] / "roles" / "webapp" / "defaults" / "main.yml"
PATTERNS = tuple(yaml.safe_load(DEFAULTS.read_text())["webapp_frontend_hashed"])
IMAGE = f"registry.example/front@sha256:{'f' * 64}"


@pytest.mark.parametrize(
    "name",
    [
        "assets/index-BqK3x9Zp.js",  # Vite
        "assets/index-abcdefgh.css",  # one of its hashes in a thousand is a word
        "assets/index-BqK3x9Zp.js.map",
        "assets/index-BqK3x9Zp.js.gz",
        "static/js/main.8f3a2b1c.js",  # Create React App
        "static/js/787.28cb0dcd.chunk.js",
        "static/media/logo.6ce24c58023cc2f8fd88fe9d219db6c6.svg",
        "main.7e1f2a3b4c5d6e7f.js",  # Angular with webpack
        "main-5UBKXV3N.js",  # Angular with esbuild
        "chunk-2ZT7MKAP.js",
        "media/roboto-KPQ3W6ZA.woff2",
        "_next/static/chunks/main-1f2e3d4c5b6a7980.js",  # Next
        "_next/static/Xk2j3h4g5f6d7s8a9/_buildManifest.js",
        "_nuxt/entry.DxC3Yb_1.js",  # Nuxt
        "_nuxt/DxC3Yb_1.js",
        "_astro/hoisted.B-x3_Y2q.js",  # Astro
        "_app/immutable/entry/start.js",  # SvelteKit
        "8f3a2b1c9d0e4f5a6b7c.png",  # webpack's own files
    ],
)
def test_names_with_a_hash(name: str) -> None:
    assert is_hashed(name, PATTERNS)


@pytest.mark.parametrize(
    "name",
    [
        "index.html",
        "main-5UBKXV3N.html",
        "_next/static/page.html",
        "robots.txt",
        "favicon.ico",
        "sw.js",
        "service-worker.js",
        "manifest.webmanifest",
        "asset-manifest.json",
        "apple-touch-icon-precomposed.png",
        "android-chrome-192x192.png",
        "assets/hero-1280x720.png",
        "hero-1280x720.png",
        "report-20240131.pdf",
        "fonts/Inter-SemiBold.woff2",
        "jquery-3.7.1.min.js",
        "assets/logo.svg",
        "my-favicons.png",
    ],
)
def test_names_without_one(name: str) -> None:
    assert not is_hashed(name, PATTERNS)


@dataclass
class Engine:
    """Has or gets one image, whose files are these."""

    content: dict[str, str] = field(default_factory=dict)
    known: bool = False
    top: str = "html/"
    broken: bool = False

    def image(self, reference: str) -> Image | None:
        del reference
        return Image("any", {"org.opencontainers.image.revision": "4f" * 20}) if self.known else None

    def pull(self, reference: str, *, username: str = "", password: str = "") -> None:
        del reference, username, password
        self.known = True

    def remove(self, reference: str) -> None:
        del reference
        self.known = False

    def forget(self, names: Sequence[str]) -> None:
        raise NotImplementedError(names)

    def files(self, reference: str, path: str) -> Iterator[bytes]:
        del reference, path
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as archive:
            for name, text in self.content.items():
                info = tarfile.TarInfo(self.top + name)
                info.size = len(text)
                archive.addfile(info, io.BytesIO(text.encode()))
        yield stream.getvalue()[:100]
        if self.broken:
            raise SlipwayError("The engine went away")
        yield stream.getvalue()[100:]


@dataclass
class Site:
    """A fake host, and wishes for it."""

    host: Host
    engine: Engine = field(default_factory=Engine)

    def front(self, edition: int = 1, **files: str) -> Frontend:
        source = self.host.root / f"front-{edition}"
        editions.make(edition=edition, destination=source)
        for name, text in files.items():
            (source / name).write_text(text)
        stream = io.BytesIO()
        pack(walk(str(source), exclude=()).entries, stream, limits=Limits())
        upload = self.host.root / f"front-{edition}.tar.gz"
        upload.write_bytes(stream.getvalue())
        sha256 = hashlib.sha256(stream.getvalue()).hexdigest()
        return Frontend(sha256=sha256, upload=str(upload), hashed=PATTERNS)

    def alone(self, front: Frontend, name: str = "1") -> Wish:
        return Wish(release=f"{name}-alone", sha256=front.sha256, version=name, frontend=front)

    def present(self, wish: Wish, **options: Any) -> dict[str, Any]:
        ports = Ports(runner=self.host.programs, clock=self.host.clock, owner=self.host.ports.owner, engine=self.engine)
        return states.present(self.host.layout, wish, ports, **options)

    def release(self, wish: Wish) -> Path:
        return Path(self.host.layout.release(wish.release))

    def kept(self) -> set[str]:
        """What lies under the common roof."""
        union = Path(self.host.layout.assets)
        return {str(path.relative_to(union)) for path in union.rglob("*") if path.is_file()}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    host = Host(tmp_path)
    host.programs.static = {"app.111.css": "one"}
    return Site(host)


def parts(edition: int) -> set[str]:
    return {name for name in editions.files(edition) if name.startswith(("assets/", "static/"))}


def test_beside_a_back_end(site: Site) -> None:
    wish = replace(site.host.wish(), frontend=site.front())
    result = site.present(wish)
    there = _installed.read_installed(site.host.layout, wish.release)
    assert there is not None
    assert there.record is not None
    assert (there.complete, there.record.has_code, result["release"]["frontend"]) == (
        True,
        True,
        wish.frontend.sha256 if wish.frontend else "",
    )
    place = site.release(wish)
    assert sorted(os.listdir(place / "frontend")) == [
        "about.html",
        "favicon.svg",
        "index.html",
        "parts.json",
        "robots.txt",
    ]
    assert site.kept() == parts(1)
    assert sorted(os.listdir(site.host.layout.static)) == ["app.111.css"]
    assert "lay the front end out: 4 files with hashed names, 5 others" in result["actions"]
    assert site.present(wish)["actions"] == []


def test_visitors_may_read_it_and_nothing_else(site: Site) -> None:
    wish = replace(site.host.wish(), frontend=site.front())
    site.present(wish)
    place = site.release(wish)
    modes = {
        name: stat.S_IMODE((place / name).stat().st_mode) for name in ("", "frontend", "frontend/index.html", "code")
    }
    assert modes == {"": 0o751, "frontend": 0o755, "frontend/index.html": 0o644, "code": 0o750}
    assert stat.S_IMODE((place / "release.json").stat().st_mode) == 0o640


def test_alone(site: Site) -> None:
    wish = site.alone(site.front())
    foretold = site.present(wish, check_mode=True)
    assert not Path(site.host.layout.home).exists()
    done = site.present(wish)
    assert len(foretold["actions"]) == len(done["actions"])
    there = _installed.read_installed(site.host.layout, wish.release)
    assert there is not None
    assert there.complete
    assert sorted(os.listdir(there.path)) == ["assets", "frontend", "release.json", "static"]
    assert site.host.programs.seen == [(["sync", "--file-system", there.path + ".partial"], {}, "")]
    assert site.present(wish)["changed"] is False


def test_one_that_was_not_brought_is_asked_for(site: Site) -> None:
    front = replace(site.front(), upload="")
    for wish in (site.alone(front), replace(site.host.wish(), frontend=front)):
        assert site.present(wish)["needs_artifact"]
    assert not Path(site.host.layout.home).exists()


def test_one_that_arrived_damaged_is_refused(site: Site) -> None:
    front = site.front()
    Path(front.upload).write_bytes(b"something else")
    with pytest.raises(SlipwayError, match="not the one that was packed"):
        site.present(site.alone(front))
    assert _installed.partials(site.host.layout) == ()


def test_what_old_pages_ask_for_stays_until_their_release_goes(site: Site) -> None:
    wishes = [site.alone(site.front(edition), str(edition)) for edition in (1, 2)]
    for wish in wishes:
        site.present(wish)
    assert site.kept() == parts(1) | parts(2)
    layout = site.host.layout
    os.makedirs(layout.slots)
    os.symlink(f"../releases/{wishes[1].release}", layout.slot_link("blue"))
    foretold = states.pruned(layout, retain=1, check_mode=True)
    done = states.pruned(layout, retain=1)
    assert foretold["actions"] == done["actions"]
    assert site.kept() == parts(2)
    assert os.listdir(layout.artifacts) == [f"{wishes[1].sha256}.tar.gz"]


def test_the_artifact_of_a_retained_front_end_stays(site: Site) -> None:
    wish = replace(site.host.wish(), frontend=site.front())
    site.present(wish)
    layout = site.host.layout
    os.makedirs(layout.slots)
    os.symlink(f"../releases/{wish.release}", layout.slot_link("blue"))
    states.pruned(layout, retain=1)
    assert len(os.listdir(layout.artifacts)) == 2


def test_what_is_missing_under_the_roof_comes_back(site: Site) -> None:
    wish = site.alone(site.front())
    site.present(wish)
    lost = sorted(site.kept())[0]
    os.unlink(os.path.join(site.host.layout.assets, lost))
    assert site.present(wish)["actions"] == ["publish 1 static files that are missing"]
    assert site.kept() == parts(1)


def test_a_files_time_follows_from_its_content(site: Site) -> None:
    """Nginx makes the ETag of a file's time and size, so equal ones must not mean two contents."""
    first, second = site.alone(site.front(1), "1"), site.alone(site.front(2), "2")
    same = site.alone(site.front(3, **{"index.html": editions.files(1)["index.html"]}), "3")
    for wish in (first, second, same):
        site.present(wish)
    pages = [(site.release(wish) / "frontend/index.html").stat() for wish in (first, second, same)]
    assert pages[0].st_size == pages[1].st_size
    assert pages[0].st_mtime != pages[1].st_mtime
    assert pages[0].st_mtime == pages[2].st_mtime
    assert all(946_684_800 <= page.st_mtime < 1_483_555_712 for page in pages)


@pytest.mark.parametrize("top", ["html/", "./", ""])
def test_out_of_an_image(site: Site, top: str) -> None:
    site.engine = Engine(content=editions.files(1), top=top)
    front = Frontend(sha256="f" * 64, image=IMAGE, hashed=PATTERNS)
    wish = site.alone(front)
    site.present(wish)
    assert (site.release(wish) / "frontend/index.html").read_text() == editions.files(1)["index.html"]
    assert site.kept() == parts(1)
    assert sorted(os.listdir(site.release(wish))) == ["assets", "frontend", "release.json", "static"]
    there = _installed.read_installed(site.host.layout, wish.release)
    assert there is not None
    assert there.record is not None
    assert there.record.commit == "4f" * 20
    assert not site.engine.known, "its files are all that is needed of it"


def test_an_image_that_was_there_before_stays(site: Site) -> None:
    site.engine = Engine(content=editions.files(1), known=True)
    site.present(site.alone(Frontend(sha256="f" * 64, image=IMAGE)))
    assert site.engine.known


def test_an_image_without_a_page(site: Site) -> None:
    site.engine = Engine(content={"package.json": "{}"})
    with pytest.raises(SlipwayError, match=r"no index\.html") as caught:
        site.present(site.alone(Frontend(sha256="f" * 64, image=IMAGE)))
    assert caught.value.found == "at its top: package.json"
    assert _installed.partials(site.host.layout) == ()


def test_the_image_of_a_front_end_that_failed_goes_with_the_next_pruning(site: Site) -> None:
    site.engine = Engine(content={"package.json": "{}"})
    front = Frontend(sha256="f" * 64, image=IMAGE)
    site.engine.broken = True
    with pytest.raises(SlipwayError, match="went away"):
        site.present(site.alone(front))
    assert site.engine.known
    states.pruned(site.host.layout, retain=1, engine=site.engine)
    assert not site.engine.known


def test_the_image_of_a_front_end_that_was_there_before_is_nobody_elses_to_remove(site: Site) -> None:
    site.engine = Engine(content=editions.files(1), known=True)
    site.present(site.alone(Frontend(sha256="f" * 64, image=IMAGE)))
    states.pruned(site.host.layout, retain=1, engine=site.engine)
    assert site.engine.known


def obtained(site: Site, source: Path, **more: Any) -> _artifact.Artifact:
    wish = _artifact.Wish(source=str(source), destination=str(site.host.root / "packed"), frontend=True, **more)
    artifact, _changed = _artifact.obtain(wish, git=Git(runner=site.host.programs), fetch=lambda *_words: None)
    return artifact


def test_what_a_build_wrote_is_packed_whatever_git_ignores(site: Site) -> None:
    repository = site.host.root / "repository"
    built = editions.make(edition=1, destination=repository / "dist")
    (repository / ".git").mkdir()
    (repository / ".gitignore").write_text("*.js\n")
    (built / ".env").write_text("planted")
    artifact = obtained(site, built)
    assert (artifact.files, artifact.left_out) == (len(editions.files(1)), {".env": ".env"})
    assert obtained(site, built, recipe={"hashed": "[]"}).release != artifact.release
    with tarfile.open(artifact.path) as packed:
        assert set(packed.getnames()) == set(editions.files(1))


def test_the_source_of_a_front_end_is_none(site: Site) -> None:
    (site.host.root / "source").mkdir()
    (site.host.root / "source" / "package.json").write_text("{}")
    with pytest.raises(SlipwayError, match=r"no index\.html"):
        obtained(site, site.host.root / "source")
    assert [name for name in os.listdir(site.host.root / "packed") if name.endswith(".gz")] == []


def test_a_repository_is_not_what_a_build_wrote(site: Site) -> None:
    with pytest.raises(SlipwayError, match="from a repository"):
        obtained(site, Path("git@git.example:front.git"))


def archive(path: Path, *members: tuple[str, bytes, str]) -> str:
    """A packed front end with these members: (name, type, content or target)."""
    with gzip.open(path, "wb") as packed, tarfile.open(fileobj=packed, mode="w") as stream:
        for name, kind, text in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, text if kind == tarfile.SYMTYPE else ""
            info.size = len(text) if kind == tarfile.REGTYPE else 0
            stream.addfile(info, io.BytesIO(text.encode()))
    return str(path)


PAGE = ("index.html", tarfile.REGTYPE, "<html>")


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([PAGE, ("../out.js", tarfile.REGTYPE, "x")], "a path with '..'"),
        ([PAGE, ("/etc/x", tarfile.REGTYPE, "x")], "an absolute path"),
        ([PAGE, ("secret", tarfile.SYMTYPE, "/etc/passwd")], "a link"),
        ([PAGE, ("inside.html", tarfile.SYMTYPE, "index.html")], "a link"),
        ([PAGE, ("pipe", tarfile.FIFOTYPE, "")], "a named pipe"),
        ([PAGE, PAGE], "it is there twice"),
        ([("dist/index.html", tarfile.REGTYPE, "x")], "at its top: dist"),
    ],
)
def test_archives_that_are_refused(tmp_path: Path, members: list[tuple[str, bytes, str]], said: str) -> None:
    with pytest.raises(SlipwayError) as caught:
        _frontend.inspect(archive(tmp_path / "a.tar.gz", *members), limits=Limits())
    assert said in f"{caught.value.summary} {caught.value.found}"


def test_a_link_does_not_get_through_on_the_host_either(site: Site) -> None:
    path = archive(site.host.root / "link.tar.gz", PAGE, ("secret", tarfile.SYMTYPE, "index.html"))
    front = Frontend(sha256=hashlib.sha256(Path(path).read_bytes()).hexdigest(), upload=path)
    with pytest.raises(SlipwayError, match="secret"):
        site.present(site.alone(front))
