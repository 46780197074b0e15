# SPDX-License-Identifier: GPL-3.0-or-later
"""A release that is an image: pulled by its digest, looked at, never taken for complete too early, pruned with it."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils import _installed, _manage, _pulled, _runtime
from ansible_collections.slipway.webapp.plugins.module_utils import _release_states as states
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._files import locked
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Completed, Image
from ansible_collections.slipway.webapp.plugins.module_utils._release import Wish
from ansible_collections.slipway.webapp.plugins.module_utils._release_build import Ports
from ansible_collections.slipway.webapp.plugins.module_utils._release_image import ARCHITECTURES
from tests.unit.fakes import Crash
from tests.unit.release.fakes import SECRET, Host

COMMIT = "4f" * 20
OURS = ARCHITECTURES.get(platform.machine(), platform.machine())


def reference(digit: str) -> str:
    return f"registry.example/shop@sha256:{digit * 64}"


@dataclass
class FakeEngine:
    """Images by reference; what the registry has, and how it refuses."""

    registry: dict[str, Image] = field(default_factory=dict)
    images: dict[str, Image] = field(default_factory=dict)
    refusal: SlipwayError | None = None
    logins: list[tuple[str, str]] = field(default_factory=list)
    used: set[str] = field(default_factory=set)  # by a container
    dies: str = ""  # at the pull or the removal of this image

    def image(self, reference: str) -> Image | None:
        return self.images.get(reference)

    def pull(self, reference: str, *, username: str = "", password: str = "") -> None:
        self.logins.append((username, password))
        if self.refusal:
            raise self.refusal
        self.images[reference] = self.registry[reference]
        if reference == self.dies:
            raise Crash

    def files(self, reference: str, path: str) -> Iterator[bytes]:
        raise NotImplementedError(f"{path} of {reference}")

    def remove(self, reference: str) -> None:
        if reference == self.dies:
            raise Crash
        if reference not in self.used:
            del self.images[reference]

    def forget(self, names: Sequence[str]) -> None:
        raise NotImplementedError(names)


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(registry={reference(digit): Image(OURS) for digit in "abc"})


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    host = Host(tmp_path)
    host.programs.static = {"app.111.css": "one"}
    options = Path(host.layout.container_options)
    options.parent.mkdir(parents=True)
    options.write_text(json.dumps({"memory": "512m"}))
    monkeypatch.setattr(_runtime, "ids_of", lambda _user: (os.getuid(), os.getgid()))
    return host


def wish(digit: str = "a", **more: Any) -> Wish:
    image = reference(digit)
    given = {"settings_module": "shop.settings", "environment": {"SECRET_KEY": SECRET}, "secrets": (SECRET,), **more}
    return Wish(release=f"{digit}-1", sha256=digit * 64, image=image, **given)


def present(host: Host, engine: FakeEngine, wanted: Wish, **options: Any) -> dict[str, Any]:
    ports = Ports(runner=host.programs, clock=host.clock, owner=host.ports.owner, engine=engine)
    return states.present(host.layout, wanted, ports, **options)


def test_from_nothing(host: Host, engine: FakeEngine) -> None:
    result = present(host, engine, wish(login=("ci", "planted")))
    there = _installed.read_installed(host.layout, "a-1")
    assert there is not None
    assert there.record is not None
    assert (there.complete, there.record.image, there.record.sha256) == (True, reference("a"), "a" * 64)
    assert result["actions"][0] == f"pull {reference('a')}"
    assert engine.logins == [("ci", "planted")]
    assert os.listdir(host.layout.static) == ["app.111.css"]
    assert sorted(os.listdir(there.path)) == ["release.json", "static"]


@pytest.mark.parametrize(
    ("labels", "given", "version", "commit"),
    [
        ({"revision": COMMIT, "version": "1.4"}, {}, "1.4", COMMIT),
        ({"revision": COMMIT, "version": "1.4"}, {"version": "2"}, "2", COMMIT),
        ({"revision": "main", "version": "1.4\x1b[2J"}, {}, "", ""),
        # Ubuntu says this of itself, and whatever is built on it takes it over.
        ({"version": "24.04"}, {}, "", ""),
        ({"version": "1.4", "revision": "", "": "shop"}, {}, "1.4", ""),
        ({}, {}, "", ""),
    ],
)
def test_what_an_image_says_of_its_origin_is_recorded(
    host: Host, engine: FakeEngine, labels: dict[str, str], given: dict[str, str], version: str, commit: str
) -> None:
    named = {f"org.opencontainers.image.{name}" if name else "slipway.webapp": text for name, text in labels.items()}
    engine.registry[reference("a")] = Image(OURS, named)
    result = present(host, engine, wish(**given))
    assert (result["release"]["version"], result["release"]["commit"]) == (version, commit)


def test_its_code_runs_in_a_container_of_it(host: Host, engine: FakeEngine) -> None:
    present(host, engine, wish())
    ((command, given, user),) = [seen for seen in host.programs.seen if seen[0][0] == "docker"]
    assert command[:4] == ["docker", "run", "--rm", "--interactive"]
    assert reference("a") in command
    assert (given["SECRET_KEY"], user) == (SECRET, "")
    assert SECRET not in " ".join(command)
    static = host.layout.partial("a-1") + "/static"
    assert f"{static}:{static}" in command


def test_the_second_time_nothing_happens(host: Host, engine: FakeEngine) -> None:
    present(host, engine, wish())
    host.programs.seen.clear()
    assert present(host, engine, wish())["actions"] == []
    assert (host.programs.seen, len(engine.logins)) == ([], 1)


def test_what_the_engine_has_lost_is_pulled_again(host: Host, engine: FakeEngine) -> None:
    present(host, engine, wish())
    engine.images.clear()
    assert present(host, engine, wish())["actions"] == [f"pull {reference('a')} again"]
    assert reference("a") in engine.images


def test_check_mode_pulls_nothing(host: Host, engine: FakeEngine) -> None:
    foretold = present(host, engine, wish(), check_mode=True)
    assert (engine.images, foretold["changed"]) == ({}, True)
    assert len(present(host, engine, wish())["actions"]) == len(foretold["actions"])


def test_an_image_for_other_machines(host: Host, engine: FakeEngine) -> None:
    engine.registry[reference("a")] = Image("s390x")
    with pytest.raises(SlipwayError, match="built for other machines"):
        present(host, engine, wish())
    assert _installed.read_installed(host.layout, "a-1") is None
    assert _installed.partials(host.layout) == ()


def test_a_pull_that_fails_leaves_nothing(host: Host, engine: FakeEngine) -> None:
    engine.refusal = SlipwayError("it could not be pulled")
    with pytest.raises(SlipwayError, match="could not be pulled"):
        present(host, engine, wish())
    engine.refusal = None
    assert present(host, engine, wish())["release"]["complete"]


def test_pruning_takes_the_images_of_what_goes(host: Host, engine: FakeEngine) -> None:
    for digit in "abc":
        present(host, engine, wish(digit))
    os.makedirs(host.layout.slots)
    os.symlink("../releases/b-1", host.layout.slot_link("blue"))
    done = states.pruned(host.layout, retain=1, engine=engine)
    assert list(engine.images) == [reference("b")]
    assert {f"remove image {reference(digit)}" for digit in "ac"} <= set(done["actions"])


def pruned(host: Host, engine: FakeEngine, **options: Any) -> list[str]:
    """What of the actions is about images."""
    done = states.pruned(host.layout, retain=1, engine=engine, **options)["actions"]
    return [said for said in done if said.startswith("remove image")]


def serve(host: Host, release: str, slot: str = "blue") -> None:
    os.makedirs(host.layout.slots, exist_ok=True)
    os.symlink(f"../releases/{release}", host.layout.slot_link(slot))


def test_the_image_of_a_release_that_was_never_finished_goes(host: Host, engine: FakeEngine) -> None:
    present(host, engine, wish("a"))
    serve(host, "a-1")
    host.programs.fail = {"check": lambda _command, _given: Completed(1, "", "SECRET_KEY is short")}
    with pytest.raises(SlipwayError):
        present(host, engine, wish("b"))
    assert set(engine.images) == {reference("a"), reference("b")}
    foretold = pruned(host, engine, check_mode=True)
    assert set(engine.images) == {reference("a"), reference("b")}
    assert pruned(host, engine) == foretold == [f"remove image {reference('b')}"]
    assert set(engine.images) == {reference("a")}
    assert _pulled.noted(host.layout) == (reference("a"),)
    assert pruned(host, engine) == []


def test_the_image_of_a_run_that_died_in_the_pull_goes(host: Host, engine: FakeEngine) -> None:
    engine.dies = reference("a")
    with pytest.raises(Crash):
        present(host, engine, wish("a"))
    assert list(engine.images) == [reference("a")]
    engine.dies = ""
    assert pruned(host, engine) == [f"remove image {reference('a')}"]
    assert (engine.images, _pulled.noted(host.layout)) == ({}, ())


def test_what_was_not_pulled_in_the_end_is_forgotten(host: Host, engine: FakeEngine) -> None:
    engine.refusal = SlipwayError("it could not be pulled")
    with pytest.raises(SlipwayError):
        present(host, engine, wish("a"))
    assert _pulled.noted(host.layout) == (reference("a"),)
    assert states.pruned(host.layout, retain=1, engine=engine)["changed"] is False
    assert _pulled.noted(host.layout) == ()


def test_an_image_that_a_container_uses_goes_as_soon_as_it_can(host: Host, engine: FakeEngine) -> None:
    for digit in "ab":
        present(host, engine, wish(digit))
    serve(host, "b-1")
    engine.used.add(reference("a"))
    assert (pruned(host, engine), pruned(host, engine)) == ([], [])
    assert reference("a") in engine.images
    assert _installed.read_installed(host.layout, "a-1") is None
    engine.used.clear()
    assert pruned(host, engine) == [f"remove image {reference('a')}"]
    assert list(engine.images) == [reference("b")]


def test_a_crash_in_the_removal_loses_no_image(host: Host, engine: FakeEngine) -> None:
    for digit in "ab":
        present(host, engine, wish(digit))
    os.unlink(host.layout.pulled)  # as of a version that did not write it
    serve(host, "b-1")
    engine.dies = reference("a")
    with pytest.raises(Crash):
        pruned(host, engine)
    engine.dies = ""
    assert pruned(host, engine) == [f"remove image {reference('a')}"]


def test_the_image_of_a_release_that_was_removed_by_hand_goes(host: Host, engine: FakeEngine) -> None:
    present(host, engine, wish("a"))
    os.unlink(host.layout.pulled)
    states.absent(host.layout, "a-1")
    assert pruned(host, engine) == [f"remove image {reference('a')}"]


def test_a_damaged_release_that_stays_keeps_all_images(host: Host, engine: FakeEngine) -> None:
    for digit in "ab":
        present(host, engine, wish(digit))
    serve(host, "a-1")
    serve(host, "b-1", "green")
    Path(host.layout.release("b-1"), "release.json").write_text("{")
    assert pruned(host, engine) == []
    assert set(engine.images) == {reference("a"), reference("b")}


def test_an_image_that_two_releases_share_stays(host: Host, engine: FakeEngine) -> None:
    present(host, engine, wish("a"))
    present(host, engine, replace(wish("a"), release="a-2"))
    os.makedirs(host.layout.slots)
    os.symlink("../releases/a-2", host.layout.slot_link("blue"))
    states.pruned(host.layout, retain=1, engine=engine)
    assert list(engine.images) == [reference("a")]
    assert _installed.read_installed(host.layout, "a-1") is None


def neighbour(host: Host, digit: str) -> Host:
    """Another application on the same host, with the same image."""
    other = Neighbour(host.root)
    path = Path(other.layout.release("1"), "release.json")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"image": reference(digit)}))
    _pulled.note(other.layout, [reference(digit)])
    return other


class Neighbour(Host):
    @property
    def layout(self) -> Layout:
        return Layout(app="tenant", prefix=str(self.root / "host"))


@pytest.mark.parametrize("record", ["as it is", "{"])
def test_an_image_that_another_application_is_stays_until_that_has_gone(
    host: Host, engine: FakeEngine, record: str
) -> None:
    for digit in "ab":
        present(host, engine, wish(digit))
    serve(host, "b-1")
    path = Path(neighbour(host, "a").layout.release("1"), "release.json")
    path.write_text(path.read_text() if record == "as it is" else record)
    assert pruned(host, engine, check_mode=True) == []
    assert pruned(host, engine) == []
    assert set(engine.images) == {reference("a"), reference("b")}
    assert _installed.read_installed(host.layout, "a-1") is None
    path.unlink()
    # That it was pulled for the other one, too, keeps nothing: both would wait for each other for ever.
    assert pruned(host, engine) == [f"remove image {reference('a')}"]
    assert set(engine.images) == {reference("b")}


def test_no_image_goes_while_another_application_builds(host: Host, engine: FakeEngine) -> None:
    for digit in "ab":
        present(host, engine, wish(digit))
    serve(host, "b-1")
    other = Neighbour(host.root)
    with locked(other.layout.lock("build")):
        assert pruned(host, engine) == []
    assert pruned(host, engine) == [f"remove image {reference('a')}"]


def test_one_command_in_a_container(host: Host, engine: FakeEngine) -> None:
    present(host, engine, wish())
    host.programs.seen.clear()
    given = {"release": "a-1", "environment": {}, "secrets": {"SECRET_KEY": SECRET}, "timeout": 9}
    manager = _manage.manager_of(host.layout, host.programs, given)
    assert manager.problem() == ""
    manager.must(["migrate"])
    ((command, given, user),) = host.programs.seen
    assert command[-2:] == ["manage.py", "migrate"]
    assert (given["SECRET_KEY"], user) == (SECRET, "")
    assert SECRET not in " ".join(command)


DAMAGED = [
    "a list",
    "[",
    "null",
    '"text"',
    "{}",
    f'["{reference("c")}", 3]',
    f'["{reference("c")}", "postgres:17"]',
    "\xff",
]


def damage(host: Host, text: str = "[") -> bytes:
    os.makedirs(host.layout.state, exist_ok=True)
    Path(host.layout.pulled).write_bytes(text.encode("latin-1"))
    return text.encode("latin-1")


def aside(host: Host) -> list[Path]:
    return sorted(Path(host.layout.state).glob("pulled.json.*"))


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_list_stops_nobody_and_is_kept(host: Host, engine: FakeEngine, text: str) -> None:
    engine.images[reference("c")] = Image(OURS)
    was = damage(host, text)
    assert present(host, engine, wish("a"))["release"]["complete"]
    assert _pulled.noted(host.layout) == (reference("a"),)
    assert [path.read_bytes() for path in aside(host)] == [was]
    serve(host, "a-1")
    assert pruned(host, engine) == []
    assert set(engine.images) == {reference("a"), reference("c")}  # of which only the damaged list told, or nobody


def test_a_damaged_list_is_put_aside_where_nothing_is_pulled(host: Host, engine: FakeEngine) -> None:
    present(host, engine, wish("a"))
    serve(host, "a-1")
    was, said = damage(host), f"put {host.layout.pulled} aside, which is damaged"
    foretold = states.pruned(host.layout, retain=1, engine=engine, check_mode=True)
    assert (foretold["actions"], foretold["warnings"], aside(host)) == ([said], [], [])
    assert states.pruned(host.layout, retain=1, engine=engine)["actions"] == [said]
    assert [path.read_bytes() for path in aside(host)] == [was]
    assert states.pruned(host.layout, retain=1, engine=engine)["changed"] is False


def test_it_is_told_of_until_somebody_has_looked(host: Host, engine: FakeEngine) -> None:
    assert states.pruned(host.layout, retain=1, engine=engine)["warnings"] == []
    for text in ("[", "{"):
        damage(host, text)
        states.pruned(host.layout, retain=1, engine=engine)
    assert [path.read_text() for path in aside(host)] == ["[", "{"]
    for _again in range(2):
        warnings = states.pruned(host.layout, retain=1, engine=engine)["warnings"]
        assert [said.split()[0] for said in warnings] == [str(path) for path in aside(host)]
        assert all(os.uname().nodename in said and "next: docker image ls" in said for said in warnings)
    aside(host)[0].unlink()
    assert len(states.pruned(host.layout, retain=1, engine=engine)["warnings"]) == 1


def test_a_release_takes_its_image_along_also_with_a_damaged_list(host: Host, engine: FakeEngine) -> None:
    for digit in "ab":
        present(host, engine, wish(digit))
    serve(host, "b-1")
    damage(host)
    assert pruned(host, engine) == [f"remove image {reference('a')}"]
    assert set(engine.images) == {reference("b")}


def test_a_crash_in_the_removal_after_a_damaged_list_loses_no_image(host: Host, engine: FakeEngine) -> None:
    for digit in "ab":
        present(host, engine, wish(digit))
    serve(host, "b-1")
    damage(host)
    engine.dies = reference("a")
    with pytest.raises(Crash):
        pruned(host, engine)
    engine.dies = ""
    assert pruned(host, engine) == [f"remove image {reference('a')}"]
