# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a release is built: beside its final place, made durable, then made visible by one rename.

The project's own code (installation, settings, collectstatic) runs as the application's user; what it made ends owned
by root. Nothing that a killed build leaves is ever taken for complete: the next run removes it and builds again.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils import _frontend, _pulled, _release_django, _static
from ansible_collections.slipway.webapp.plugins.module_utils import _requirements as _req
from ansible_collections.slipway.webapp.plugins.module_utils._archive import sha256_of, unpack
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._files import (
    ensure_directory,
    fsync_directory,
    fsync_file,
    point_symlink,
    write_atomically,
)
from ansible_collections.slipway.webapp.plugins.module_utils._host import iso_time
from ansible_collections.slipway.webapp.plugins.module_utils._installed import (
    MARKER,
    RECORD,
    Record,
    read_record,
    venv_link,
    venv_problem,
)
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout
from ansible_collections.slipway.webapp.plugins.module_utils._mask import complaint
from ansible_collections.slipway.webapp.plugins.module_utils._owned import give_compiled, own, root_group
from ansible_collections.slipway.webapp.plugins.module_utils._plan import Step
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Clock, Completed, Engine, Runner
from ansible_collections.slipway.webapp.plugins.module_utils._release import Wish, unions
from ansible_collections.slipway.webapp.plugins.module_utils._version import VERSION


@dataclass(frozen=True)
class Owner:
    """The application's user and group."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True)
class Ports:
    """The outside of a build."""

    runner: Runner
    clock: Clock
    owner: Owner
    engine: Engine | None = None


class Builder:
    """Carries out the steps of one plan. Each step can be repeated after a crash in the middle of it."""

    def __init__(self, layout: Layout, wish: Wish, ports: Ports, interpreter: _req.Interpreter | None = None) -> None:
        self.layout = layout
        self.wish = wish
        self.ports = ports
        self.files = 0
        self.checks: tuple[str, ...] = ()
        self.done: dict[str, str] = {}  # what a step really did, where its summary could not know
        self._interpreter = interpreter
        self._lock: _req.Lock | None = None
        self._lock_hash = ""
        self._link: tuple[str, str] | None = None

    @property
    def root(self) -> str:
        """Where the release is now: in its partial place while it is built."""
        partial = self.layout.partial(self.wish.release)
        return partial if os.path.isdir(partial) else self.layout.release(self.wish.release)

    @property
    def code(self) -> str:
        return os.path.join(self.root, "code")

    @property
    def static(self) -> str:
        return os.path.join(self.root, "static")

    @property
    def venv(self) -> str:
        return self.layout.venv(self._lock_hash)

    def do(self, step: Step) -> None:
        getattr(self, f"_{step.name}")()

    # The steps -------------------------------------------------------------------------------------------------------

    def _clean(self) -> None:
        remove_tree(self.layout.partial(self.wish.release))

    def _discard(self) -> None:
        set_aside(self.layout, self.wish.release)

    def _receive(self) -> None:
        self._take_in(self.wish.upload, self.wish.sha256)

    def _receive_frontend(self) -> None:
        self._take_in(self._front.upload, self._front.sha256)

    def _take_in(self, upload: str, sha256: str) -> None:
        ensure_directory(self.layout.artifacts, mode=0o700)
        place = self.layout.artifact(sha256)
        temporary = os.path.join(self.layout.artifacts, f".{sha256}.part")
        try:
            # Copied before it is read, so that nobody who may write the upload can change it afterwards.
            shutil.copyfile(upload, temporary)
            found = sha256_of(temporary)
            if found != sha256:
                raise SlipwayError(
                    "The artifact that arrived on this host is not the one that was packed",
                    found=f"sha256 {found}",
                    expected=f"sha256 {sha256}",
                    next_step="run the same command again; it transfers the artifact anew",
                )
            fsync_file(temporary)
            os.replace(temporary, place)
        except BaseException:
            _unlink(temporary)
            raise
        fsync_directory(self.layout.artifacts)

    def _make_partial(self) -> None:
        gid = self.ports.owner.gid
        partial = self.layout.partial(self.wish.release)
        # Nginx goes through both to the front end, and can list neither.
        ensure_directory(self.layout.releases, mode=0o751, gid=gid)
        os.mkdir(partial, 0o700)
        os.chown(partial, -1, gid)
        os.chmod(partial, 0o751)

    def _unpack(self) -> None:
        owner = self.ports.owner
        self._make_partial()
        path = self.layout.artifact(self.wish.sha256)
        self.files = unpack(path, self.code, limits=self.wish.limits, gid=owner.gid)
        if (self.wish.collectstatic or self.wish.check_deploy) and not os.path.exists(f"{self.code}/manage.py"):
            raise SlipwayError(
                "The artifact has no manage.py",
                found="at its top: " + ", ".join(sorted(os.listdir(self.code))[:20]),
                expected="a Django project with manage.py at the top",
                next_step="name the directory that holds manage.py in webapp_source_subdirectory",
            )

    def _environment(self) -> None:
        self._lock = _req.find_lock(self.code)
        if self._interpreter is None:
            raise SlipwayError("No Python was looked for")  # a programming error: the caller has to
        installer = _req.choose_installer(self._lock, uv=self.layout.uv)
        self._lock_hash = _req.lock_hash(
            self._lock,
            interpreter=self._interpreter,
            installer=installer,
            build_environment=_without(self.wish.build_environment, self.wish.secrets),
        )
        if not venv_problem(self.layout, self._lock_hash):
            self.done["environment"] = f"share the environment {self._lock_hash}, which has the locked requirements"
            return
        remove_tree(self.venv)
        try:
            self._install(self._lock, installer, self._interpreter)
        except BaseException:
            remove_tree(self.venv)
            raise
        self.done["environment"] = f"install {self._lock.kind} by {installer} as environment {self._lock_hash}"

    def _install(self, lock: _req.Lock, installer: str, interpreter: _req.Interpreter) -> None:
        owner = self.ports.owner
        cache = self.layout.cache(installer)
        ensure_directory(cache, mode=0o700, uid=owner.uid, gid=owner.gid)
        for way in (os.path.dirname(cache), os.path.dirname(os.path.dirname(cache))):
            os.chmod(way, 0o755)  # made by an earlier version, under a closed umask, nobody but root could pass it
        ensure_directory(self.layout.venvs, mode=0o750, gid=owner.gid)
        os.mkdir(self.venv, 0o700)
        os.chown(self.venv, owner.uid, owner.gid)
        commands = _req.install_commands(
            lock, installer=installer, interpreter=interpreter, venv=self.venv, uv=self.layout.uv, cache=cache
        )
        for command in commands:
            given = {**command.environment, **self.wish.build_environment}
            answer = self._run(command.argv, environment=given)
            if not answer.ok:
                raise self._not_installed(lock, installer, answer)
        own(self.venv, gid=owner.gid)
        self._sync(self.venv)
        marker = {"lock": lock.kind, "hash": self._lock_hash, "python": interpreter.name, "installer": installer}
        _write_json(os.path.join(self.venv, MARKER), {**marker, "created": self._now()}, gid=owner.gid)

    def _not_installed(self, lock: _req.Lock, installer: str, answer: Completed) -> SlipwayError:
        why = f"no end after {self.wish.timeout:g} s\n" if answer.timed_out else ""
        return SlipwayError(
            f"The requirements of {lock.kind} could not be installed by {installer}",
            found=why + complaint(answer, secrets=self.wish.secrets),
            next_step=f"correct {lock.kind}, or the index that webapp_build_environment names; nothing was changed",
        )

    def _compile(self) -> None:
        if self._interpreter is None:
            return
        # It reads the code and runs none of it: root may do that, and only root may write there. Files that do not
        # compile (templates of code, for example) are not this step's business.
        self.ports.runner.run(
            [self._interpreter.path, "-I", "-m", "compileall", "-q", "."], cwd=self.code, timeout=self.wish.timeout
        )
        give_compiled(self.code, gid=self.ports.owner.gid)

    def _django(self) -> None:
        owner = self.ports.owner
        os.mkdir(self.static, 0o700)
        os.chown(self.static, owner.uid, owner.gid)
        given = {
            **self.wish.environment,
            "DJANGO_SETTINGS_MODULE": self.wish.settings_module,
            "STATIC_ROOT": self.static,
            "MEDIA_ROOT": self.layout.media,
            "SLIPWAY_RELEASE": self.wish.release,
        }
        words = _release_django.words(check=self.wish.check_deploy, collect=self.wish.collectstatic)
        answer = self._python(words, environment=given)
        report = _release_django.read_report(answer, secrets=self.wish.secrets, timeout=self.wish.timeout)
        self.checks = report.lines
        self._link = _release_django.link_for(report.static_root, code=self.code, static=self.static)

    @property
    def _front(self) -> _frontend.Frontend:
        if self.wish.frontend is None:
            raise SlipwayError("There is no front end")  # a programming error: the plan has its steps only with one
        return self.wish.frontend

    def _frontend(self) -> None:
        front, place = self._front, os.path.join(self.root, _frontend.FILES)
        labels = _frontend.bring(
            front,
            archive=self.layout.artifact(front.sha256),
            place=place,
            limits=self.wish.limits,
            engine=self.ports.engine,
            login=self.wish.login,
            note=lambda image: _pulled.note(self.layout, [image]),
        )
        if self.wish.alone:
            self.wish = self.wish.with_origin(labels)
        files, assets = _frontend.arrange(self.root, hashed=front.hashed)
        for name in (_frontend.FILES, _frontend.ASSETS):
            own(os.path.join(self.root, name), gid=root_group(), public=True)
        self.done["frontend"] = f"lay the front end out: {assets} files with hashed names, {files} others"

    def _publish(self) -> None:
        if not os.path.isdir(self.static):
            os.mkdir(self.static)
        own(self.static, gid=root_group(), public=True)
        self.done["publish"] = f"publish {self._publish_all(replace=True)} new static files"

    def _republish(self) -> None:
        self._publish_all(replace=False)

    def _publish_all(self, *, replace: bool) -> int:
        count = 0
        for part, union in unions(self.root, self.layout):
            ensure_directory(union, mode=0o755)
            count += _static.publish(part, union, replace=replace)
        return count

    def _seal(self) -> None:
        if self._lock is None or self._interpreter is None:
            raise SlipwayError("The release has no environment")  # a programming error: the plan always makes one
        if self._link:
            os.symlink(self._link[1], self._link[0])
        os.symlink(venv_link(self._lock_hash), os.path.join(self.root, "venv"))
        self._make_visible(python=self._interpreter.name, kind=self._lock.kind, lock_hash=self._lock_hash)

    def _make_visible(self, *, python: str = "", kind: str = "", lock_hash: str = "") -> None:
        partial, final = self.layout.partial(self.wish.release), self.layout.release(self.wish.release)
        record = Record(
            id=self.wish.release,
            version=self.wish.version,
            sha256=self.wish.sha256,
            created=self._now(),
            python=python,
            lock_kind=kind,
            lock_hash=lock_hash,
            files=self.files,
            collection=VERSION,
            commit=self.wish.commit,
            image=self.wish.image,
            frontend=self.wish.frontend.sha256 if self.wish.frontend else "",
        )
        _write_json(os.path.join(partial, RECORD), record.as_json(), gid=self.ports.owner.gid)
        self._sync(partial)
        os.rename(partial, final)
        fsync_directory(self.layout.releases)

    def _repoint(self) -> None:
        """The same requirements may have another environment by now, when the host's Python was replaced."""
        final = self.layout.release(self.wish.release)
        record = read_record(final)
        if record is None or self._interpreter is None:
            raise SlipwayError(f"{final} has lost its {RECORD}", next_step="deploy with another version")
        changed = {**record.as_json(), "python": self._interpreter.name}
        changed["lock"] = {"kind": record.lock_kind, "hash": self._lock_hash}
        if changed != record.as_json():
            _write_json(os.path.join(final, RECORD), changed, gid=self.ports.owner.gid)
        point_symlink(os.path.join(final, "venv"), venv_link(self._lock_hash))

    # Helpers ---------------------------------------------------------------------------------------------------------

    def _python(self, words: Iterable[str], *, environment: dict[str, str]) -> Completed:
        return self._run([os.path.join(self.venv, "bin", "python"), *words], environment=environment)

    def _run(self, argv: Iterable[str], *, environment: dict[str, str]) -> Completed:
        return self.ports.runner.run(
            list(argv), environment=environment, user=self.ports.owner.name, cwd=self.code, timeout=self.wish.timeout
        )

    def _sync(self, path: str) -> None:
        """One syncfs(2): for thousands of small files it is far cheaper than as many fsync(2)."""
        answer = self.ports.runner.run(["sync", "--file-system", path])
        if not answer.ok:
            raise SlipwayError(f"{path} could not be made durable", found=answer.stderr.strip())

    def _now(self) -> str:
        return iso_time(self.ports.clock.now())


def _without(environment: Any, secrets: tuple[str, ...]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if value not in secrets}


def _write_json(path: str, value: dict[str, Any], *, gid: int) -> None:
    write_atomically(path, (json.dumps(value, indent=2) + "\n").encode(), mode=0o640, gid=gid)


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return


def remove_tree(path: str) -> None:
    """Remove a directory and all below it, if it is there. A marker of completeness goes first."""
    _unlink(os.path.join(path, MARKER))
    if os.path.lexists(path):
        shutil.rmtree(path)


def set_aside(layout: Layout, *releases: str) -> None:
    """Take releases' final names away, so that a removal that is cut short leaves nothing that looks complete."""
    for release in releases:
        remove_tree(layout.partial(release))
        os.rename(layout.release(release), layout.partial(release))
    fsync_directory(layout.releases)
