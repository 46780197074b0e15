# SPDX-License-Identifier: GPL-3.0-or-later
"""What is packed, from directories, Git work trees, repositories at a ref, archives of others. Git is the real one."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils import _artifact, _source
from ansible_collections.slipway.webapp.plugins.module_utils._artifact import Wish, obtain, release_id
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Completed
from ansible_collections.slipway.webapp.plugins.modules import artifact


class LocalRunner:
    """Runs programs here."""

    def run(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        user: str = "",
        cwd: str = "",
        timeout: float = 0.0,
        stdin: str = "",
    ) -> Completed:
        assert not user
        done = subprocess.run(
            list(command),
            env={**os.environ, **(environment or {})},
            cwd=cwd or None,
            timeout=timeout or None,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        return Completed(code=done.returncode, stdout=done.stdout, stderr=done.stderr)


GIT = _source.Git(runner=LocalRunner())


def no_fetch(address: str, path: str) -> None:
    raise AssertionError(f"downloaded {address} to {path}")


def git(root: Path, *words: str) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"]
    return subprocess.run(["git", *who, *words], cwd=root, check=True, capture_output=True, text=True).stdout.strip()


def plant(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = plant(tmp_path / "repository", "manage.py", "app/views.py", ".gitignore")
    (root / ".gitignore").write_text("ignored\n")
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-qm", "one")
    git(root, "tag", "v1.0")
    plant(root, "app/new.py")
    git(root, "add", ".")
    git(root, "commit", "-qm", "two")
    return root


def names(tree: _source.Tree) -> list[str]:
    return sorted(entry.name for entry in tree.entries)


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("git+https://git.example.com/shop", "git"),
        ("git@git.example.com:shop.git", "git"),
        ("deploy@git.example.com:shop", "git"),
        ("ssh://git@git.example.com/shop", "git"),
        ("file:///srv/shop", "git"),
        ("https://git.example.com/shop.git", "git"),
        ("https://builds.example.com/shop.tar.gz", "download"),
        ("http://builds.example.com/shop", "download"),
    ],
)
def test_addresses_say_what_they_are(source: str, kind: str) -> None:
    assert _source.kind_of(source) == kind


def test_paths_say_what_they_are(tmp_path: Path, repository: Path) -> None:
    git(tmp_path, "clone", "-q", "--bare", str(repository), "bare")
    plant(tmp_path, "shop.tar.gz", "plain/manage.py")
    kinds = {path: _source.kind_of(str(tmp_path / path)) for path in ("bare", "shop.tar.gz", "plain", "repository")}
    assert kinds == {"bare": "git", "shop.tar.gz": "packed", "plain": "directory", "repository": "directory"}
    assert _source.kind_of(str(repository), ref="v1.0") == "git"
    with pytest.raises(SlipwayError, match="is not there"):
        _source.kind_of(str(tmp_path / "nowhere"))


def test_a_walk_leaves_out_what_no_release_needs_and_says_so(tmp_path: Path) -> None:
    out = [
        ".env",
        ".env.local",
        "__pycache__/a.pyc",
        "x.pyc",
        ".venv/a",
        "odd/pyvenv.cfg",
        "node_modules/m/i.js",
        ".hg/a",
    ]
    out += ["sub/.env", "sub/a.swp", ".idea/w.xml", "b~"]
    kept = ["manage.py", "sub/env.py", "environment.txt", "static/.well-known/x"]
    tree = _source.walk(str(plant(tmp_path, *out, *kept)), exclude=())
    assert names(tree) == sorted(kept)
    assert tree.left_out["odd"] == "a virtual environment"
    assert {name.partition("/")[0] for name in out} <= {name.partition("/")[0] for name in tree.left_out}


@pytest.mark.parametrize(
    ("exclude", "gone"),
    [
        ("*.txt", {"a.txt", "docs/b.txt"}),
        ("docs", {"docs/b.txt", "docs/deep/c.md"}),
        ("docs/", {"docs/b.txt", "docs/deep/c.md"}),
        ("docs/*.txt", {"docs/b.txt"}),
        ("/docs/deep", {"docs/deep/c.md"}),
        ("deep", {"docs/deep/c.md"}),
        ("DOCS", set()),
    ],
)
def test_patterns_of_the_operator(tmp_path: Path, exclude: str, gone: set[str]) -> None:
    every = {"a.txt", "docs/b.txt", "docs/deep/c.md", "keep.py"}
    tree = _source.walk(str(plant(tmp_path, *every)), exclude=[exclude])
    assert set(names(tree)) == every - gone


def test_a_work_tree_gives_what_git_knows(repository: Path) -> None:
    plant(repository, "untracked.py", "ignored", ".env", "app/__pycache__/x.pyc", "other/manage.py")
    git(repository / "other", "init", "-q")
    (repository / "app/views.py").unlink()
    tree = _source.directory_tree(GIT, str(repository), exclude=["other"])
    assert names(tree) == [".gitignore", "app/new.py", "manage.py", "untracked.py"]
    assert tree.left_out[".env"] == ".env"
    assert tree.commit == git(repository, "rev-parse", "HEAD")


@pytest.mark.parametrize(
    ("change", "uncommitted"),
    [
        (lambda _root: None, False),
        (lambda root: plant(root, "ignored", ".env", "app/__pycache__/x.pyc"), False),
        (lambda root: plant(root, "manage.py").joinpath("manage.py").write_text("changed"), True),
        (lambda root: (root / "app/new.py").unlink(), True),
        (lambda root: plant(root, "untracked.py"), True),
        (lambda root: (plant(root, "staged.py"), git(root, "add", ".")), True),
    ],
    ids=["nothing", "what is not packed", "changed", "deleted", "untracked", "staged"],
)
def test_a_tree_that_no_commit_holds(
    tmp_path: Path, repository: Path, change: Callable[[Path], object], uncommitted: bool
) -> None:
    change(repository)
    wish = Wish(source=str(repository), destination=str(tmp_path / "out"))
    artifact, changed = obtain(wish, git=GIT, fetch=no_fetch)
    assert artifact.uncommitted is uncommitted
    assert _artifact.as_result(artifact, changed=changed)["uncommitted"] is uncommitted


def test_a_tracked_env_file_is_somebodys_decision(repository: Path) -> None:
    plant(repository, ".env.example")
    git(repository, "add", "-f", ".env.example")
    assert ".env.example" in names(_source.directory_tree(GIT, str(repository), exclude=()))


def test_a_directory_that_its_repository_ignores_is_walked(repository: Path) -> None:
    plant(repository, "ignored/manage.py")
    assert names(_source.directory_tree(GIT, str(repository / "ignored"), exclude=())) == ["manage.py"]


def test_a_part_of_a_work_tree(repository: Path) -> None:
    assert names(_source.directory_tree(GIT, str(repository / "app"), exclude=())) == ["new.py", "views.py"]


def test_the_variables_of_a_hook_do_not_mislead(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    monkeypatch.setenv("GIT_INDEX_FILE", "/nonexistent/index")
    assert "manage.py" in names(_source.directory_tree(GIT, str(repository), exclude=()))


def test_a_ref_its_work_tree_and_its_mirror_give_the_same_artifact(tmp_path: Path, repository: Path) -> None:
    cache = tmp_path / "cache"
    here = obtain(Wish(str(repository), str(cache)), git=GIT, fetch=no_fetch)
    there = obtain(Wish(str(repository), str(cache), ref="main"), git=GIT, fetch=no_fetch)
    head = obtain(Wish(f"file://{repository}", str(cache)), git=GIT, fetch=no_fetch)
    assert here[0].sha256 == there[0].sha256 == head[0].sha256
    assert (here[1], there[1], head[1]) == (True, False, False)
    assert here[0].commit == there[0].commit == head[0].commit


@pytest.mark.parametrize("ref", ["v1.0", "short", "full"])
def test_tags_and_commits_are_found(tmp_path: Path, repository: Path, ref: str) -> None:
    one = git(repository, "rev-parse", "v1.0")
    wanted = {"short": one[:10], "full": one}.get(ref, ref)
    artifact, _changed = obtain(
        Wish(f"git+file://{repository}", str(tmp_path / "c"), ref=wanted, subdirectory="app"), git=GIT, fetch=no_fetch
    )
    assert (artifact.commit, artifact.files) == (one, 1)


def test_a_moved_branch_is_fetched_again(tmp_path: Path, repository: Path) -> None:
    wish = Wish(f"file://{repository}", str(tmp_path / "c"), ref="main")
    first, _changed = obtain(wish, git=GIT, fetch=no_fetch)
    plant(repository, "third.py")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "three")
    second, changed = obtain(wish, git=GIT, fetch=no_fetch)
    assert changed
    assert (first.files + 1, git(repository, "rev-parse", "main")) == (second.files, second.commit)


@pytest.mark.parametrize(("ref", "near"), [("mian", "main"), ("v1.1", "v1.0"), ("0123456789abcdef", "main")])
def test_an_unknown_ref_names_near_ones(tmp_path: Path, repository: Path, ref: str, near: str) -> None:
    with pytest.raises(SlipwayError, match=f"'{ref}'(.|\n)*{near}"):
        obtain(Wish(f"file://{repository}", str(tmp_path / "c"), ref=ref), git=GIT, fetch=no_fetch)


def test_a_ref_is_never_an_option_of_git(tmp_path: Path, repository: Path) -> None:
    with pytest.raises(SlipwayError, match="no branch, tag or commit"):
        obtain(Wish(f"file://{repository}", str(tmp_path / "c"), ref="--help"), git=GIT, fetch=no_fetch)


def test_errors_hide_the_password_of_an_address(tmp_path: Path) -> None:
    source = "https://deploy:hunter2hunter2@127.0.0.1:1/shop.git"
    with pytest.raises(SlipwayError) as refusal:
        obtain(Wish(source, str(tmp_path / "c")), git=GIT, fetch=no_fetch)
    assert "hunter2" not in str(refusal.value)
    assert "127.0.0.1" in str(refusal.value)


@pytest.mark.parametrize("subdirectory", ["nowhere", "../x", "/etc", "app/..", "a//b"])
def test_a_wrong_subdirectory_is_refused(tmp_path: Path, repository: Path, subdirectory: str) -> None:
    for ref in ("", "main"):
        with pytest.raises(SlipwayError, match="directory"):
            obtain(
                Wish(str(repository), str(tmp_path / "c"), ref=ref, subdirectory=subdirectory), git=GIT, fetch=no_fetch
            )


# The artifact --------------------------------------------------------------------------------------------------------


def test_check_mode_tells_the_same_and_leaves_nothing(tmp_path: Path) -> None:
    plant(tmp_path / "src", "manage.py")
    wish = Wish(str(tmp_path / "src"), str(tmp_path / "cache"), version="1")
    foretold = obtain(wish, git=GIT, fetch=no_fetch, check_mode=True)
    assert not (tmp_path / "cache").exists()
    done = obtain(wish, git=GIT, fetch=no_fetch)
    assert foretold == done
    assert os.listdir(tmp_path / "cache") == [f"{done[0].sha256}.tar.gz"]
    assert obtain(wish, git=GIT, fetch=no_fetch, check_mode=True)[1] is False
    assert obtain(wish, git=GIT, fetch=no_fetch)[1] is False
    assert os.listdir(tmp_path / "cache") == [f"{done[0].sha256}.tar.gz"]


def test_an_artifact_that_decayed_is_packed_again(tmp_path: Path) -> None:
    plant(tmp_path / "src", "manage.py")
    wish = Wish(str(tmp_path / "src"), str(tmp_path / "cache"))
    made, _changed = obtain(wish, git=GIT, fetch=no_fetch)
    whole = Path(made.path).read_bytes()
    for data in (b"", whole[:-1] + b"x"):
        Path(made.path).write_bytes(data)
        assert obtain(wish, git=GIT, fetch=no_fetch, check_mode=True) == (made, True)
        assert Path(made.path).read_bytes() == data
        assert obtain(wish, git=GIT, fetch=no_fetch) == (made, True)
        assert Path(made.path).read_bytes() == whole
        assert obtain(wish, git=GIT, fetch=no_fetch) == (made, False)


def test_what_takes_its_name_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path / "src", "manage.py")
    done: list[str] = []
    for name in ("fsync", "replace"):
        original = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda *given, name=name, original=original: (done.append(name), original(*given))
        )
    obtain(Wish(str(tmp_path / "src"), str(tmp_path / "cache")), git=GIT, fetch=no_fetch)
    assert done == ["fsync", "replace", "fsync"]


def broken_off(listener: socket.socket) -> None:
    with listener, listener.accept()[0] as connection:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nabc")


def test_a_download_that_breaks_off_is_an_error_of_ours(tmp_path: Path) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{listener.getsockname()[1]}/shop.tar.gz"
    server = threading.Thread(target=broken_off, args=(listener,))
    server.start()
    with pytest.raises(SlipwayError, match="cannot be downloaded\nfound: IncompleteRead"):
        artifact.downloader(5)(address, str(tmp_path / "shop.tar.gz"))
    server.join()


def test_an_artifact_of_others_is_taken_only_with_its_sha(tmp_path: Path) -> None:
    plant(tmp_path / "src", "manage.py")
    made, _changed = obtain(Wish(str(tmp_path / "src"), str(tmp_path / "one")), git=GIT, fetch=no_fetch)
    fetched: list[str] = []

    def fetch(address: str, path: str) -> None:
        fetched.append(address)
        Path(path).write_bytes(Path(made.path).read_bytes())

    address = "https://builds.example.com/shop.tar.gz"
    right = Wish(address, str(tmp_path / "two"), sha256=made.sha256)
    assert obtain(right, git=GIT, fetch=fetch) == (
        _artifact.Artifact(
            path=str(tmp_path / "two" / f"{made.sha256}.tar.gz"),
            sha256=made.sha256,
            size=made.size,
            files=1,
            release=made.release,
        ),
        True,
    )
    assert obtain(right, git=GIT, fetch=no_fetch)[1] is False
    with pytest.raises(SlipwayError, match=f"found: sha256 {made.sha256}\nexpected: sha256 {'0' * 64}"):
        obtain(Wish(address, str(tmp_path / "three"), sha256="0" * 64), git=GIT, fetch=fetch)
    with pytest.raises(SlipwayError, match="found: sha256"):
        obtain(Wish(made.path, str(tmp_path / "three"), sha256="0" * 64), git=GIT, fetch=no_fetch)
    assert os.listdir(tmp_path / "three") == []
    assert obtain(Wish(made.path, str(tmp_path / "three")), git=GIT, fetch=no_fetch)[0].sha256 == made.sha256


@pytest.mark.parametrize(
    ("wish", "why"),
    [
        (Wish("https://example.com/a.tar.gz", "c"), "needs its sha256"),
        (Wish("https://example.com/a.tar.gz", "c", sha256="0" * 64, ref="main"), "`ref` means nothing"),
        (Wish("https://example.com/a.tar.gz", "c", sha256="0" * 64, subdirectory="a"), "`subdirectory` means nothing"),
        (Wish("https://example.com/a.tar.gz", "c", sha256="0" * 64, exclude=("a",)), "`exclude` means nothing"),
        (Wish("https://example.com/a.tar.gz", "c", sha256="XYZ"), "sha256 is not one"),
        (Wish("git@example.com:a.git", "c", sha256="0" * 64), "`sha256` means nothing"),
        (Wish("/", "c", version="a b"), "version cannot be used"),
        (Wish("/", "c", version="-1"), "version cannot be used"),
        (Wish("/", "c", version="1/2"), "version cannot be used"),
    ],
)
def test_what_does_not_go_together_is_refused(wish: Wish, why: str) -> None:
    with pytest.raises(SlipwayError, match=why):
        _artifact.checked(wish)


def test_nothing_to_pack_is_an_error(tmp_path: Path) -> None:
    plant(tmp_path / "src", ".env")
    with pytest.raises(SlipwayError, match=r"nothing to pack(.|\n)*1 left out"):
        obtain(Wish(str(tmp_path / "src"), str(tmp_path / "c")), git=GIT, fetch=no_fetch)


def test_the_id_is_an_interface() -> None:
    """Every host, run and version of the collection must name a release alike: these values must never change."""
    assert release_id(sha256="a" * 64, recipe={}) == "399dc8569fe0"
    one, two = {"b": "2", "a": "1"}, {"a": "1", "b": "2"}
    assert release_id(sha256="a" * 64, recipe=one) == release_id(sha256="a" * 64, recipe=two)
    assert release_id(sha256="a" * 64, recipe={"a": "1"}, version="1.4") == "1.4-b42373f644"
