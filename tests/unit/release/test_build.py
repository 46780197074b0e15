# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds on a fake host: what they do, what they refuse, what a failure leaves."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import shutil
import stat
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils import _installed
from ansible_collections.slipway.webapp.plugins.module_utils import _release as model
from ansible_collections.slipway.webapp.plugins.module_utils import _release_build as build
from ansible_collections.slipway.webapp.plugins.module_utils import _release_states as states
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Completed
from tests.unit.release.fakes import PYTHON, SECRET, Host, disk_full, leak

STATIC = {"app.111.css": "one", "robots.txt": "first", "staticfiles.json": "{}"}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path)
    host.programs.static = dict(STATIC)
    return host


def test_a_build_from_nothing(host: Host) -> None:
    wish = host.wish()
    result = host.present(wish)
    there = _installed.read_installed(host.layout, wish.release)
    assert there is not None
    assert there.complete
    assert result["changed"]
    assert result["release"] == _installed.describe(there)
    assert result["checks"] == ["3 static files copied"]
    assert Path(there.path, "code/manage.py").read_text() == "# 1\n"
    assert Path(there.path, "venv/lib/installed.txt").read_text() == "django==5\n"
    assert json.loads(Path(there.path, "release.json").read_text()) == {
        "schema": 1,
        "id": wish.release,
        "version": "1",
        "sha256": wish.sha256,
        "created": "2001-09-09T01:46:42Z",
        "python": "3.12",
        "lock": {"kind": "requirements.txt", "hash": there.record.lock_hash if there.record else ""},
        "files": 3,
        "commit": "",
        "collection": "0.1.0",
    }
    assert sorted(os.listdir(host.layout.static)) == ["app.111.css", "robots.txt"]
    assert Path(host.layout.artifact(wish.sha256)).exists()


def test_the_second_time_nothing_happens(host: Host) -> None:
    wish = host.wish()
    host.present(wish)
    before = host.tree()
    host.programs.seen.clear()
    assert host.present(wish)["changed"] is False
    assert host.present(wish)["actions"] == []
    assert host.tree() == before
    assert host.programs.seen == []


def test_check_mode_foretells_and_touches_nothing(host: Host) -> None:
    wish = host.wish()
    foretold = host.present(wish, check_mode=True)
    assert foretold["changed"]
    assert host.tree() == {}
    done = host.present(wish)
    assert len(foretold["actions"]) == len(done["actions"])
    assert host.present(wish, check_mode=True)["changed"] is False


def test_without_the_artifact_nothing_is_done_but_to_ask_for_it(host: Host) -> None:
    wish = host.wish(upload="")
    assert host.present(wish)["needs_artifact"]
    assert host.present(wish)["changed"] is False
    assert host.tree() == {}
    assert host.present(wish, check_mode=True)["actions"][0].startswith("take the artifact")


def test_one_environment_for_all_releases_with_one_lock(host: Host) -> None:
    host.present(host.wish("1"))
    second = host.present(host.wish("2"))
    third = host.present(host.wish("3", lock="django==6\n"))
    assert any(action.startswith("share the environment") for action in second["actions"])
    assert any(action.startswith("install requirements.txt by pip") for action in third["actions"])
    assert len(os.listdir(host.layout.venvs)) == 2
    assert len([seen for seen in host.programs.seen if "pip" in seen[0]]) == 2


def test_the_projects_own_code_runs_as_its_user_and_the_compiler_does_not_run_it(host: Host) -> None:
    host.present(host.wish(build_environment={"UV_INDEX_URL": "https://i.example.com"}))
    users = {word: user for command, _given, user in host.programs.seen for word in command}
    assert users["collectstatic"] == users["pip"] == users["venv"] == "shop"
    assert users["compileall"] == ""
    compiler = next(command for command, _given, _user in host.programs.seen if "compileall" in command)
    assert compiler[:2] == [PYTHON, "-I"]


def test_secrets_travel_by_environment_only(host: Host) -> None:
    host.present(host.wish(build_environment={"TOKEN": SECRET}))
    assert all(SECRET not in " ".join(command) for command, _given, _user in host.programs.seen)
    assert any(SECRET in given.values() for _command, given, _user in host.programs.seen)
    assert SECRET not in str(host.tree())


def test_what_the_application_made_ends_unwritable(host: Host) -> None:
    def sloppy(command: Sequence[str], _given: Mapping[str, str]) -> Completed | None:
        if "pip" in command:
            place = Path(command[0]).parents[1] / "lib"
            place.mkdir()
            (place / "suid").write_text("x")
            (place / "suid").chmod(0o6777)
            (place / "private").write_text("x")
            (place / "private").chmod(0o600)
            (place / "out").symlink_to("/etc/passwd")
        return None

    host.programs.fail = {"pip": sloppy}
    outside = os.stat("/etc/passwd")
    host.present(host.wish())
    lib = next(Path(host.layout.venvs).iterdir()) / "lib"
    assert stat.S_IMODE((lib / "suid").stat().st_mode) == 0o755
    assert stat.S_IMODE((lib / "private").stat().st_mode) == 0o640
    assert os.stat("/etc/passwd") == outside
    for path in Path(host.layout.home).rglob("*"):
        assert path.is_symlink() or not path.stat().st_mode & 0o022, path


def test_a_static_root_inside_the_code_leads_to_the_collected_files(host: Host) -> None:
    wish = host.wish()
    host.programs.static_root = f"{host.layout.partial(wish.release)}/code/staticfiles"
    host.present(wish)
    assert os.readlink(f"{host.layout.release(wish.release)}/code/staticfiles") == "../static"
    assert Path(host.layout.release(wish.release), "code/staticfiles/robots.txt").read_text() == "first"


@pytest.mark.parametrize(
    "root", ["{code}/../../../elsewhere", "", "relative", "{code}/shop", "{code}/../x", "{code}/no/such/place"]
)
def test_other_static_roots_get_no_link(host: Host, root: str) -> None:
    wish = host.wish()
    host.programs.static_root = root.format(code=f"{host.layout.partial(wish.release)}/code")
    host.present(wish)
    links = [path for path in Path(host.layout.prefix).rglob("*") if path.is_symlink()]
    assert [link.name for link in links] == ["venv"]


# Failures ------------------------------------------------------------------------------------------------------------


def code(number: int, text: str = "boom") -> Any:
    return lambda _command, _given: Completed(number, "", text)


def failed(host: Host, wish: model.Wish) -> Exception | None:
    try:
        host.present(wish)
    except (SlipwayError, OSError) as error:
        return error
    return None


def nothing_half_made(host: Host) -> None:
    assert _installed.installed(host.layout) == ()
    assert _installed.partials(host.layout) == ()
    venvs = Path(host.layout.venvs)
    assert all((venv / "slipway.json").exists() for venv in (venvs.iterdir() if venvs.exists() else ()))


@pytest.mark.parametrize(
    ("word", "answer", "says"),
    [
        ("venv", code(1), "requirements.txt could not be installed by pip"),
        ("pip", code(1, "no such package"), "no such package"),
        ("pip", leak, r"refused: \*{8}"),
        ("pip", disk_full, "make room on this host"),
        ("import json", leak, r"ended early(.|\n)*refused: \*{8}"),
        ("import json", code(71), "settings cannot be loaded"),
        ("import json", code(72, "board.E001"), r"`manage.py check --deploy` found errors(.|\n)*board.E001"),
        ("import json", code(73), "`manage.py collectstatic` failed"),
        ("import json", lambda *_: Completed(0, "no report", ""), "ended early"),
        ("import json", lambda *_: Completed(124, "", "waiting", timed_out=True), "in time"),
        ("--file-system", code(1, "input/output error"), "could not be made durable"),
    ],
)
def test_a_failing_program(host: Host, word: str, answer: Any, says: str) -> None:
    host.programs.fail = {word: answer}
    wish = host.wish()
    with pytest.raises(SlipwayError, match=says) as failure:
        host.present(wish)
    assert SECRET not in str(failure.value)
    nothing_half_made(host)
    host.programs.fail = {}
    assert host.present(wish)["release"]["complete"]


@pytest.mark.parametrize("call", ["mkdir", "symlink", "rename", "link", "fchmod"])
def test_a_disk_that_is_full(host: Host, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """The call fails at any of its uses below the application's own directory."""
    original = getattr(os, call)
    for number in range(100):
        uses = itertools.count(-number)

        def full(*arguments: Any, uses: Iterator[int] = uses, **named: Any) -> Any:
            if next(uses) == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/srv/shop/x")
            return original(*arguments, **named)

        shutil.rmtree(host.layout.prefix, ignore_errors=True)
        wish = host.wish()
        monkeypatch.setattr(os, call, full)
        failure = failed(host, wish)
        monkeypatch.setattr(os, call, original)
        if isinstance(failure, SlipwayError):
            assert "This host could not" in str(failure)
            assert os.strerror(errno.ENOSPC) in failure.found
            assert "MB are free" in failure.next_step
            nothing_half_made(host)
        elif failure:  # before the build began
            assert host.tree().keys() <= {"var", "var/lib", "var/lib/slipway", "var/lib/slipway/shop"}
        if next(uses) <= 0:
            break
    assert 0 < number < 99


def test_wrong_bytes_never_count(host: Host) -> None:
    wish = host.wish()
    right = Path(wish.upload).read_bytes()
    Path(wish.upload).write_bytes(right[:-1])
    with pytest.raises(SlipwayError, match=f"expected: sha256 {wish.sha256}"):
        host.present(wish)
    assert os.listdir(host.layout.artifacts) == []
    nothing_half_made(host)
    Path(wish.upload).write_bytes(right)
    host.present(wish)


def test_an_artifact_that_decayed_on_the_host_is_asked_for_again(host: Host) -> None:
    first = host.wish()
    host.present(first)
    shutil.rmtree(host.layout.release(first.release))
    Path(host.layout.artifact(first.sha256)).write_bytes(b"decayed")
    assert host.present(host.wish(upload=""))["needs_artifact"]
    assert host.present(host.wish())["release"]["complete"]


def test_no_manage_py_is_said_before_anything_is_installed(host: Host) -> None:
    with pytest.raises(SlipwayError, match=r"no manage.py(.|\n)*requirements.txt, shop(.|\n)*subdirectory"):
        host.present(host.wish(without=("manage.py",)))
    assert not [command for command, _given, _user in host.programs.seen if "venv" in command]
    nothing_half_made(host)
    host.present(host.wish(without=("manage.py",), collectstatic=False, check_deploy=False))


@pytest.mark.parametrize(("free", "refused"), [(10, True), (299, True), (320, False)])
def test_room_is_looked_at_before(host: Host, monkeypatch: pytest.MonkeyPatch, free: int, refused: bool) -> None:
    monkeypatch.setattr(states, "_free", lambda _layout: free << 20)
    if refused:
        with pytest.raises(SlipwayError, match=rf"found: {free} MB free\nexpected: 301 MB"):
            host.present(host.wish(), check_mode=True)
        assert host.tree() == {}
    else:
        host.present(host.wish())


def test_a_read_only_filesystem_is_named(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    os.makedirs(host.layout.home)
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: False if path == host.layout.home else real(path, mode))
    with pytest.raises(SlipwayError, match=f"found: {host.layout.home} is on a read-only filesystem"):
        host.present(host.wish())


@pytest.mark.parametrize(
    ("answer", "says"),
    [(Completed(257, "", "No such file or directory"), "does not run"), (Completed(0, "3 8 x86_64", ""), "too old")],
)
def test_a_python_that_will_not_do_is_said_first(host: Host, answer: Completed, says: str) -> None:
    host.programs.fail = {"platform": lambda *_: answer}
    with pytest.raises(SlipwayError, match=says):
        host.present(host.wish())
    assert host.tree() == {}


# What is there already -----------------------------------------------------------------------------------------------


def test_a_lost_environment_is_made_again(host: Host) -> None:
    wish = host.wish()
    host.present(wish)
    before = host.tree()
    shutil.rmtree(host.layout.venvs)
    result = host.present(host.wish(upload=""))
    assert [action.split()[0] for action in result["actions"]] == ["install", "point"]
    after = host.tree()
    assert {path for path in before if before[path] != after.get(path)} == {
        path for path in before if path.endswith("/slipway.json")
    }


def test_a_release_follows_the_hosts_new_python(host: Host) -> None:
    wish = host.wish()
    host.present(wish)
    venv = next(Path(host.layout.venvs).iterdir())
    (venv / "bin/python").unlink()
    (venv / "bin/python").symlink_to("/usr/bin/python-that-was-removed")
    host.programs.fail = {"platform": lambda *_: Completed(0, "3 13 x86_64", "")}
    result = host.present(wish)
    assert result["release"]["python"] == "3.13"
    assert result["release"]["complete"]
    assert Path(host.layout.release(wish.release), "venv").resolve() != venv
    assert host.present(wish)["changed"] is False


def test_lost_static_files_are_published_again_but_displace_nothing(host: Host) -> None:
    first = host.wish("1")
    host.present(first)
    host.programs.static = {"app.222.css": "two", "robots.txt": "second"}
    host.present(host.wish("2"))
    os.unlink(f"{host.layout.static}/app.111.css")
    result = host.present(first)
    assert result["actions"] == ["publish 1 static files that are missing"]
    assert Path(host.layout.static, "robots.txt").read_text() == "second"
    assert Path(host.layout.static, "app.111.css").read_text() == "one"


def test_one_id_never_means_two_artifacts(host: Host) -> None:
    wish = host.wish("1")
    host.present(wish)
    with pytest.raises(SlipwayError, match="is here with another artifact"):
        host.present(host.wish("2", release=wish.release))


def test_a_damaged_release_is_replaced_unless_a_slot_needs_it(host: Host) -> None:
    wish = host.wish()
    host.present(wish)
    Path(host.layout.release(wish.release), "release.json").write_text("{")
    os.makedirs(host.layout.slots)
    os.symlink(f"../releases/{wish.release}", host.layout.slot_link("blue"))
    with pytest.raises(SlipwayError, match="slot blue is assigned"):
        host.present(wish)
    os.unlink(host.layout.slot_link("blue"))
    assert host.present(wish)["actions"][0].startswith("set the damaged release")
    assert host.present(wish)["changed"] is False


def test_the_second_of_two_waits_and_finds_it_done(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    started, go = threading.Event(), threading.Event()
    original = build.Builder._unpack

    def slow(builder: build.Builder) -> None:
        started.set()
        assert go.wait(5)
        original(builder)

    monkeypatch.setattr(build.Builder, "_unpack", slow)
    wish = host.wish()
    results: list[dict[str, Any]] = []
    threads = [threading.Thread(target=lambda: results.append(host.present(wish))) for _number in range(2)]
    threads[0].start()
    assert started.wait(5)
    threads[1].start()
    threads[1].join(0.3)
    assert threads[1].is_alive()
    go.set()
    for thread in threads:
        thread.join(10)
    assert sorted(result["changed"] for result in results) == [False, True]
    assert len([command for command, _given, _user in host.programs.seen if "compileall" in command]) == 1


# Absent and pruned ---------------------------------------------------------------------------------------------------


def assign(host: Host, slot: str, release: str, config: str) -> None:
    os.makedirs(host.layout.slots, exist_ok=True)
    os.symlink(f"../releases/{release}", host.layout.slot_link(slot))
    os.makedirs(os.path.dirname(host.layout.slot_env(slot)), exist_ok=True)
    Path(host.layout.slot_env(slot)).write_text(f'SLIPWAY_RELEASE="{release}"\nSLIPWAY_CONFIG="{config}"\n')


def prove(host: Host, release: str, config: str, outcome: str = "succeeded") -> None:
    os.makedirs(host.layout.state, exist_ok=True)
    entry = {"action": "deploy", "outcome": outcome, "release": release, "config": config, "slot": "blue", "time": "t"}
    with open(host.layout.ledger, "a") as stream:
        stream.write(json.dumps(entry) + "\n")


def configure(host: Host, *configs: str) -> None:
    os.makedirs(host.layout.configs, exist_ok=True)
    for config in configs:
        Path(host.layout.config_env(config)).write_text("")


def test_absent(host: Host) -> None:
    wish = host.wish()
    assert states.absent(host.layout, wish.release)["changed"] is False
    host.present(wish)
    assign(host, "green", wish.release, "0" * 12)
    with pytest.raises(SlipwayError, match="slot green is assigned"):
        states.absent(host.layout, wish.release)
    os.unlink(host.layout.slot_link("green"))
    before = host.tree()
    assert states.absent(host.layout, wish.release, check_mode=True)["changed"]
    assert host.tree() == before
    assert states.absent(host.layout, wish.release)["changed"]
    assert states.absent(host.layout, wish.release)["changed"] is False
    assert _installed.installed(host.layout) == ()
    assert _installed.partials(host.layout) == ()


ONE, TWO, OLD = "1" * 12, "2" * 12, "3" * 12


def stocked(host: Host) -> list[str]:
    """Releases 1 (proven), 2 (proven), 3 (failed, overwrote robots.txt), 4 (proven, live); and litter."""
    ids = []
    for name in "1234":
        static = {f"app.{name}.css": name, "robots.txt": name if name != "4" else "3"}
        host.programs.static = {**static, "only-three.txt": "x"} if name == "3" else static
        wish = host.wish(name, lock=f"django=={name}\n")
        host.present(wish)
        ids.append(wish.release)
    configure(host, ONE, TWO, OLD)
    for number, config in ((0, OLD), (1, ONE), (3, TWO)):
        prove(host, ids[number], config)
    prove(host, ids[2], ONE, "failed")
    assign(host, "blue", ids[3], TWO)
    os.makedirs(f"{host.layout.releases}/9-killed.partial/code")
    os.makedirs(f"{host.layout.venvs}/{'f' * 16}/lib")
    Path(host.layout.artifacts, "0" * 64 + ".tar.gz").write_text("")
    Path(host.layout.artifacts, "notes.txt").write_text("not ours")
    return ids


def test_pruned(host: Host) -> None:
    ids = stocked(host)
    before = host.tree()
    foretold = states.pruned(host.layout, retain=2, check_mode=True)
    assert host.tree() == before
    done = states.pruned(host.layout, retain=2)
    assert done["actions"] == foretold["actions"]
    assert done["retained"] == [ids[3], ids[1]]
    assert sorted(os.listdir(host.layout.releases)) == [ids[1], ids[3]]
    assert len(os.listdir(host.layout.venvs)) == 2
    assert len(os.listdir(host.layout.artifacts)) == 3
    assert Path(host.layout.artifacts, "notes.txt").exists()
    assert sorted(os.listdir(host.layout.configs)) == [f"{ONE}.env", f"{TWO}.env"]
    assert sorted(os.listdir(host.layout.static)) == ["app.2.css", "app.4.css", "robots.txt"]
    assert all(one.complete for one in _installed.installed(host.layout))
    assert states.pruned(host.layout, retain=2)["changed"] is False


def test_pruned_gives_a_failed_releases_names_back(host: Host) -> None:
    host.programs.static = {"robots.txt": "good"}
    good = host.wish("1")
    host.present(good)
    host.programs.static = {"robots.txt": "bad"}
    host.present(host.wish("2"))
    configure(host, ONE)
    prove(host, good.release, ONE)
    states.pruned(host.layout, retain=1)
    assert Path(host.layout.static, "robots.txt").read_text() == "good"


def test_what_an_unfinished_run_names_is_not_pruned(host: Host) -> None:
    ids = stocked(host)
    Path(host.layout.pending).write_text(json.dumps({"target": {"release": ids[2], "config": OLD}}))
    states.pruned(host.layout, retain=1)
    assert sorted(os.listdir(host.layout.releases)) == sorted([ids[2], ids[3]])
    assert f"{OLD}.env" in os.listdir(host.layout.configs)


UNREAD: dict[str, Callable[[Path], Any]] = {
    "damaged": lambda record: record.write_text("{"),
    "no text": lambda record: record.write_bytes(b"\xff"),
    "no file": lambda record: (record.unlink(), record.mkdir()),
    "gone": lambda record: record.unlink(),
    "another's": lambda record: record.write_text(record.read_text().replace('"id": "4', '"id": "5')),
}


@pytest.mark.parametrize("damage", UNREAD.values(), ids=list(UNREAD))
def test_a_slot_keeps_what_it_runs_when_nobody_can_tell_what_that_is(host: Host, damage: Callable[[Path], Any]) -> None:
    ids = stocked(host)
    release = Path(host.layout.release(ids[3]))
    damage(release / "release.json")
    done = states.pruned(host.layout, retain=1)
    assert done["retained"] == [ids[1], ids[3]]
    assert (release / "code/manage.py").exists()
    assert (release / "venv/bin/python").exists()
    assert len(os.listdir(host.layout.venvs)) == 5
    assert len(os.listdir(host.layout.artifacts)) == 6
    assert Path(host.layout.static, "app.4.css").exists()
    assert ids[3] in done["warnings"][0]
    assert [one.problem for one in _installed.installed(host.layout) if one.id == ids[3]] != [""]
    assert states.pruned(host.layout, retain=1)["changed"] is False
    host.present(host.wish("5"))  # the next ones clean up
    for slot in ("blue", "green"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(host.layout.slot_link(slot))
        assign(host, slot, _installed.installed(host.layout)[0].id, TWO)
    assert states.pruned(host.layout, retain=1)["warnings"] == []
    assert not (release / "venv/bin/python").exists()


def test_a_slot_whose_configuration_cannot_be_read_loses_none(host: Host) -> None:
    stocked(host)
    Path(host.layout.slot_env("blue")).write_bytes(b"\xff")
    states.pruned(host.layout, retain=1)
    assert len(os.listdir(host.layout.configs)) == 3


def test_what_was_not_made_here_is_nobodys_business(host: Host) -> None:
    ids = stocked(host)
    releases = Path(host.layout.releases)
    shutil.copytree(releases / ids[0], releases / f"{ids[0]}.bak", symlinks=True)
    for name in ("lost+found", "my notes/old", "my notes.partial", "x.partial.partial"):
        (releases / name).mkdir(parents=True)
    (releases / "notes.partial").write_text("a file")
    strangers = {f"{ids[0]}.bak", "lost+found", "my notes", "my notes.partial", "x.partial.partial", "notes.partial"}
    found = _installed.listing(host.layout)
    assert ([one["id"] for one in found["releases"]], found["unfinished"]) == (ids[::-1], ["9-killed"])
    done = states.pruned(host.layout, retain=1)
    assert (done["retained"], done["warnings"]) == ([ids[3]], [])
    assert set(os.listdir(releases)) == {ids[3], *strangers}
    assert (releases / f"{ids[0]}.bak/code/manage.py").exists()
    assert states.pruned(host.layout, retain=1)["changed"] is False


def test_a_host_without_anything_is_pruned_in_peace(host: Host) -> None:
    assert states.pruned(host.layout, retain=5)["changed"] is False


# Reading -------------------------------------------------------------------------------------------------------------


def test_listing(host: Host) -> None:
    ids = stocked(host)
    (Path(host.layout.release(ids[0])) / "venv").unlink()
    found = _installed.listing(host.layout)
    assert [one["id"] for one in found["releases"]] == ids[::-1]
    assert [one["slots"] for one in found["releases"]] == [["blue"], [], [], []]
    assert [one["complete"] for one in found["releases"]] == [True, True, True, False]
    assert found["releases"][3]["problem"] == "it does not point at its environment"
    assert found["unfinished"] == ["9-killed"]
    assert [one["id"] for one in _installed.listing(host.layout, only=ids[1])["releases"]] == [ids[1]]


def test_the_version_written_on_hosts_is_the_collections() -> None:
    import yaml

    from ansible_collections.slipway.webapp.plugins.module_utils._version import VERSION

    galaxy = Path(__file__).resolve().parents[3] / "galaxy.yml"
    assert yaml.safe_load(galaxy.read_text())["version"] == VERSION
