# SPDX-License-Identifier: GPL-3.0-or-later
"""Which lock counts, what names its environment, and the commands that install it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils import _requirements as req
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError

PYTHON = req.Interpreter(path="/usr/bin/python3", version=(3, 12), machine="x86_64")
UV_LOCK_TEXT = '[[package]]\nname = "shop"\nsource = { virtual = "." }\n'


def plant(root: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return str(root)


@pytest.mark.parametrize(
    ("files", "kind", "belonging", "hashed"),
    [
        ({"requirements.txt": "a==1\n"}, "requirements.txt", ("requirements.txt",), False),
        ({"requirements.txt": "a==1 \\\n  --hash=sha256:00\n"}, "requirements.txt", ("requirements.txt",), True),
        (
            {"uv.lock": UV_LOCK_TEXT, "pyproject.toml": "", "requirements.txt": "a"},
            "uv.lock",
            ("uv.lock", "pyproject.toml"),
            True,
        ),
        ({"uv.lock": UV_LOCK_TEXT, "requirements.txt": "a"}, "requirements.txt", ("requirements.txt",), False),
        (
            {"requirements.txt": "-r r/base.txt\n", "r/base.txt": "-c ../c.txt # why\nb\n", "c.txt": "b==1\n"},
            "requirements.txt",
            ("requirements.txt", "r/base.txt", "c.txt"),
            False,
        ),
        (
            {
                "requirements.txt": "--requirement=a.txt\n-rb.txt\n--constraint c.txt\n",
                **dict.fromkeys(("a.txt", "b.txt", "c.txt"), ""),
            },
            "requirements.txt",
            ("requirements.txt", "a.txt", "b.txt", "c.txt"),
            False,
        ),
        ({"requirements.txt": "-r requirements.txt\n"}, "requirements.txt", ("requirements.txt",), False),
        (
            {"requirements.txt": "./wheels/a.whl\nb @ https://example.com/b.whl\n", "wheels/a.whl": "x"},
            "requirements.txt",
            ("requirements.txt", "wheels/a.whl"),
            False,
        ),
        (
            {"requirements.txt": "-e git+https://example.com/x@0123#egg=x\n"},
            "requirements.txt",
            ("requirements.txt",),
            False,
        ),
        ({"requirements.txt": ""}, "requirements.txt", ("requirements.txt",), False),
    ],
)
def test_the_lock_of_a_tree(
    tmp_path: Path, files: dict[str, str], kind: str, belonging: tuple[str, ...], hashed: bool
) -> None:
    lock = req.find_lock(plant(tmp_path, files))
    assert (lock.kind, lock.files, lock.hashed) == (kind, belonging, hashed)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, "neither uv.lock nor requirements.txt"),
        ({"pyproject.toml": ""}, "`uv lock`"),
        ({"poetry.lock": "", "pyproject.toml": ""}, "`poetry export"),
        ({"Pipfile.lock": ""}, "`pipenv requirements"),
        ({"requirements.in": ""}, "--generate-hashes requirements.in"),
        ({"uv.lock": UV_LOCK_TEXT}, "no locked requirements"),
        ({"requirements.txt": "-r ../other.txt"}, "something outside the source tree"),
        ({"requirements.txt": "-r /etc/requirements.txt"}, "something outside the source tree"),
        ({"requirements.txt": "-r a/../../x.txt"}, "something outside the source tree"),
        ({"requirements.txt": "-r https://u:pw@example.com/x.txt"}, r"https://\*\*\*@example.com"),
        ({"requirements.txt": "-r missing.txt"}, "no such file"),
        ({"requirements.txt": "-e .\n"}, "from the source tree"),
        ({"requirements.txt": "--editable=./lib\n"}, "from the source tree"),
        ({"requirements.txt": "./lib\n", "lib/setup.py": ""}, "from the source tree"),
        ({"requirements.txt": "lib @ file:///srv/lib\n"}, "from the source tree"),
        ({"requirements.txt": "/srv/lib\n"}, "from the source tree"),
        ({"uv.lock": 'source = { editable = "packages/a" }\n', "pyproject.toml": ""}, "installs packages/a"),
        ({"requirements.txt": "a==1\nfoo @\n"}, "no requirement\nfound: foo @"),
    ],
)
def test_what_could_not_be_repeated_is_refused(tmp_path: Path, files: dict[str, str], says: str) -> None:
    with pytest.raises(SlipwayError, match=says):
        req.find_lock(plant(tmp_path, files))


LINES = "a==1\n-r more.txt\n"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])  # Python marks the last two, too
def test_a_file_that_says_how_it_is_encoded(tmp_path: Path, encoding: str) -> None:
    plant(tmp_path, {"more.txt": "# für alle\nb==1 --hash=sha256:00\n"})
    (tmp_path / "requirements.txt").write_bytes(LINES.encode(encoding))
    lock = req.find_lock(str(tmp_path))
    assert (lock.files, lock.hashed) == (("requirements.txt", "more.txt"), True)


@pytest.mark.parametrize("name", ["more.txt", "uv.lock"])
@pytest.mark.parametrize("data", ["a\n# für alle\n".encode("latin-1"), "a\n".encode("utf-16") + b"x"])
def test_a_file_that_nobody_can_read_is_named(tmp_path: Path, name: str, data: bytes) -> None:
    plant(tmp_path, {"requirements.txt": LINES, **({"pyproject.toml": ""} if name == "uv.lock" else {})})
    (tmp_path / name).write_bytes(data)
    with pytest.raises(SlipwayError, match=f"{name} cannot be read(.|\n)*in line 2(.|\n)*save {name} in UTF-8"):
        req.find_lock(str(tmp_path))


def the_hash(lock: req.Lock, **changes: object) -> str:
    given = {"interpreter": PYTHON, "installer": "uv", "build_environment": {}, **changes}
    return req.lock_hash(lock, **given)  # type: ignore[arg-type]


def test_every_part_of_the_lock_changes_the_hash(tmp_path: Path) -> None:
    files = {"requirements.txt": "-r r.txt\n./a.whl\n", "r.txt": "b==1\n", "a.whl": "x"}
    first = the_hash(req.find_lock(plant(tmp_path, files)))
    assert len(first) == 16
    assert the_hash(req.find_lock(str(tmp_path))) == first
    for name in files:
        text = (tmp_path / name).read_text()
        (tmp_path / name).write_text(text + "\n")
        assert the_hash(req.find_lock(str(tmp_path))) != first, name
        (tmp_path / name).write_text(text)


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"interpreter": req.Interpreter("/opt/python", (3, 12), "x86_64")}, True),
        ({"interpreter": req.Interpreter("/usr/bin/python3", (3, 13), "x86_64")}, False),
        ({"interpreter": req.Interpreter("/usr/bin/python3", (3, 12), "aarch64")}, False),
        ({"installer": "pip"}, False),
        ({"build_environment": {"UV_INDEX_URL": "https://index.example.com"}}, False),
        ({"build_environment": {"PIP_EXTRA_INDEX_URL": "https://index.example.com"}}, False),
        ({"build_environment": {"CFLAGS": "-O0"}}, False),
        (
            {
                "build_environment": {
                    "PIP_CACHE_DIR": "/c",
                    "UV_LINK_MODE": "copy",
                    "PIP_CERT": "/x",
                    "PIP_TIMEOUT": "9",
                }
            },
            True,
        ),
        ({"build_environment": {"https_proxy": "http://proxy:3128", "HOME": "/x"}}, True),
    ],
)
def test_what_names_an_environment(changes: dict[str, object], same: bool) -> None:
    lock = req.Lock(kind="requirements.txt", digest="0" * 64, files=(), hashed=False)
    assert (the_hash(lock, **changes) == the_hash(lock)) is same


def test_a_password_in_an_index_address_is_no_part_of_the_name() -> None:
    lock = req.Lock(kind="requirements.txt", digest="0" * 64, files=(), hashed=False)
    one, two = ({"PIP_INDEX_URL": f"https://{user}@index.example.com"} for user in ("a:one", "b:two"))
    assert the_hash(lock, build_environment=one) == the_hash(lock, build_environment=two)


def lock_of(kind: str, *, hashed: bool) -> req.Lock:
    return req.Lock(kind=kind, digest="0", files=(kind,), hashed=hashed)


V, U = "/srv/a/venvs/0", "/usr/lib/slipway/uv/bin/uv"
PIP = ("-m", "pip", "install", "--progress-bar=off")


@pytest.mark.parametrize(
    ("lock", "installer", "wanted"),
    [
        (
            lock_of("uv.lock", hashed=True),
            "uv",
            [
                [U, "venv", "--quiet", "--no-project", "--python", "/usr/bin/python3", V],
                [U, "sync", "--frozen", "--no-dev", "--no-install-project", "--python", f"{V}/bin/python"],
            ],
        ),
        (
            lock_of("requirements.txt", hashed=True),
            "uv",
            [
                [U, "venv", "--quiet", "--no-project", "--python", "/usr/bin/python3", V],
                [U, "pip", "install", "--python", f"{V}/bin/python", "--require-hashes", "-r", "requirements.txt"],
            ],
        ),
        (
            lock_of("requirements.txt", hashed=True),
            "pip",
            [
                ["/usr/bin/python3", "-m", "venv", V],
                [f"{V}/bin/python", *PIP, "--require-hashes", "-r", "requirements.txt"],
            ],
        ),
        (
            lock_of("requirements.txt", hashed=False),
            "pip",
            [
                ["/usr/bin/python3", "-m", "venv", V],
                [f"{V}/bin/python", *PIP, "-r", "requirements.txt"],
            ],
        ),
    ],
)
def test_the_commands_of_an_installation(lock: req.Lock, installer: str, wanted: list[list[str]]) -> None:
    commands = req.install_commands(lock, installer=installer, interpreter=PYTHON, venv=V, uv=U, cache="/c")
    assert [list(command.argv) for command in commands] == wanted
    cache = {"uv": "UV_CACHE_DIR", "pip": "PIP_CACHE_DIR"}[installer]
    assert all(command.environment[cache] == "/c" for command in commands)


def test_which_installer(tmp_path: Path) -> None:
    uv = tmp_path / "uv"
    assert req.choose_installer(lock_of("requirements.txt", hashed=True), uv=str(uv)) == "pip"
    with pytest.raises(SlipwayError, match=r"no uv(.|\n)*provision.yml"):
        req.choose_installer(lock_of("uv.lock", hashed=True), uv=str(uv))
    uv.write_text("")
    uv.chmod(0o755)
    assert req.choose_installer(lock_of("uv.lock", hashed=True), uv=str(uv)) == "uv"


@pytest.mark.parametrize(
    ("answer", "says"), [("3 8 x86_64", "too old"), ("2 7 x86_64", "too old"), ("hello", "not a Python")]
)
def test_pythons_that_will_not_do(answer: str, says: str) -> None:
    with pytest.raises(SlipwayError, match=says):
        req.read_interpreter("/usr/bin/python3", answer)


def test_a_python_that_will_do() -> None:
    assert req.read_interpreter("/usr/bin/python3", "3 12 x86_64\n") == PYTHON
