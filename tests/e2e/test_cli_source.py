"""The user's own code from the command line: `jac-orc create --source` and `jac-orc dev`."""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.e2e.commands import Running, run
from tests.e2e.system import System

NAME = "orc_cli_shop"
CODE = "def price(item: str, count: int = 1) -> float:\n    return {price} * count\n"


@pytest.fixture(autouse=True)
def alone(system: System) -> Iterator[None]:
    """The module is deployed neither before nor after a test."""
    system.remove(NAME)
    yield
    system.remove(NAME)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the module and what isn't of it."""
    folder = tmp_path / "my shop"
    for name, content in {
        f"{NAME}/__init__.py": CODE.format(price=1.5),
        f"{NAME}/names.txt": "tea",
        "tests/test_shop.py": "",
        "conftest.py": "raise SystemExit\n",
        "node_modules/big/x.py": "",
        ".gitignore": "*.log\n",
        "a.log": "",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


def create(system: System, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run("create", *arguments, "--url", f"http://127.0.0.1:{system.port}")


def created(system: System, *arguments: str) -> str:
    """What a creation that succeeds prints."""
    done = create(system, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# --- create ---


def test_a_folder(system: System, folder: Path) -> None:
    printed = created(system, "--source", str(folder))
    assert printed.startswith(f"{NAME} is ready: 1 pod, Python 3.")
    body = """'{"item": "text"}'"""
    url = f"http://127.0.0.1:{system.port}/modules/{NAME}/price"
    assert f"curl {url} -H 'Content-Type: application/json' -d {body}\n" in printed
    assert system.call(NAME, "price", "tea", 2) == 3.0
    uploaded = system.module(NAME)["spec"]["source"]["uploaded"]
    assert uploaded["file_name"] == "my-shop.zip"
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", uploaded["digest"])


def test_files_that_git_leaves_out_and_the_code_opens_are_named(system: System, folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "prices.csv").write_text("tea,1.5\n")
    (folder / ".gitignore").write_text("*.log\n/data/\n")
    (folder / "names.py").write_text('PRICES = "data/prices.csv"\n')
    planned = run("plan", NAME, "--source", str(folder), "--url", f"http://127.0.0.1:{system.port}")
    hint = ".gitignore leaves out what the code names: data/; to include it, add !/data/ to .orcignore"
    assert planned.returncode == 0 and hint in planned.stderr.splitlines()


def test_a_file_that_was_left_out_is_named_where_the_code_misses_it(system: System, folder: Path) -> None:
    files = {
        ".gitignore": "/data/\n_version.py\n",
        ".orcignore": "*.bin\n",
        "data/prices.csv": "",
        f"{NAME}/model.bin": "",
        f"{NAME}/_version.py": "",
        f"{NAME}/__init__.py": "import pathlib\ndef read(path): return open(path).read()\n"
        "def here(name): return (pathlib.Path(__file__).parent / name).read_text()\n"
        "def load(name): return __import__(name)\ndef own():\n    from . import _version\n",
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    created(system, "--source", str(folder))
    data = "(data/ was left out of the source by .gitignore; to include it, add !/data/ to .orcignore)"
    model = f"({NAME}/model.bin was left out of the source by .orcignore; to include it, add !/model.bin to {NAME}/.orc"
    version = f"({NAME}/_version.py was left out of the source by .gitignore"
    for method, args, told in (
        ("read", ["data/prices.csv"], data),
        ("here", ["model.bin"], model),
        ("load", [f"{NAME}._version"], version),
        ("own", [], version),
        ("read", ["other.csv"], "'other.csv'"),
    ):
        message = system.try_call(NAME, method, *args).json()["message"]
        assert told in message and ("left out" in told) == ("left out" in message)
    (folder / NAME / "__init__.py").write_text("open('data/prices.csv')\n")
    failed = create(system, "--source", str(folder), "--update")
    assert failed.returncode == 1 and data in failed.stderr
    (folder / "data" / "more.csv").write_text("")
    (folder / ".orcignore").write_text("!/data/\n")
    created(system, "--source", str(folder), "--update")


def test_the_same_folder_again_changes_nothing(system: System, folder: Path) -> None:
    created(system, "--source", str(folder))
    uid, generation = (system.module(NAME)[key] for key in ("uid", "generation"))
    (folder / "a.log").write_text("not packed")
    (folder / NAME / "names.txt").touch()
    created(system, "--source", str(folder))
    assert (uid, generation) == tuple(system.module(NAME)[key] for key in ("uid", "generation"))


def test_other_code_is_refused_without_update(system: System, folder: Path) -> None:
    created(system, "--source", str(folder), "--workers", "2")
    (folder / NAME / "__init__.py").write_text(CODE.format(price=2.5))
    refused = create(system, "--source", str(folder), "--workers", "2")
    assert refused.returncode == 1 and "differs in source" in refused.stderr
    assert system.call(NAME, "price", "tea") == 1.5
    created(system, "--source", str(folder), "--update")
    assert system.call(NAME, "price", "tea") == 2.5
    assert system.module(NAME)["spec"]["workers"] == 2


def test_code_that_does_not_start(system: System, folder: Path) -> None:
    (folder / NAME / "__init__.py").write_text("import nothing_of_this_name\n")
    failed = create(system, "--source", str(folder))
    assert failed.returncode == 1 and failed.stdout == ""
    assert "nothing_of_this_name" in failed.stderr and "Traceback" not in failed.stderr.splitlines()[-1]
    assert not system.left(NAME)


def archives(folder: Path) -> dict[str, bytes]:
    """The module as a zip archive, a wheel, and a source distribution."""
    code = CODE.format(price=1.5)
    info = f"{NAME}-1.0.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {NAME}\nVersion: 1.0\n"
    wheel = {
        f"{NAME}.py": code,
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": f"{NAME}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n",
    }
    project = '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
    project += f'[project]\nname = "{NAME}"\nversion = "1.0"\n[tool.setuptools]\npy-modules = ["{NAME}"]\n'
    sdist = {
        f"{NAME}-1.0/{name}": content
        for name, content in {"PKG-INFO": metadata, "pyproject.toml": project, f"{NAME}.py": code}.items()
    }
    found = {}
    for name, files in {"shop.zip": {f"{NAME}.py": code}, f"{NAME}-1.0-py3-none-any.whl": wheel}.items():
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for path, content in files.items():
                archive.writestr(path, content)
        found[name] = buffer.getvalue()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for path, content in sdist.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content.encode()))
    return {**found, f"{NAME}-1.0.tar.gz": buffer.getvalue()}


@pytest.mark.parametrize("name", ["shop.zip", f"{NAME}-1.0-py3-none-any.whl", f"{NAME}-1.0.tar.gz"])
def test_an_archive(system: System, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(archives(tmp_path)[name])
    created(system, "--source", str(tmp_path / name))
    assert system.call(NAME, "price", "tea", 2) == 3.0
    assert system.module(NAME)["spec"]["source"]["uploaded"]["file_name"] == name


def test_an_archive_of_many_pieces(system: System, folder: Path) -> None:
    noise = "".join(f"{number * 7919 % 1000003:06d}" for number in range(400_000))
    (folder / NAME / "noise.txt").write_text(noise)
    created(system, "--source", str(folder))
    assert system.call(NAME, "price", "tea") == 1.5


def test_a_package_folder_is_that_package(system: System, tmp_path: Path) -> None:
    package = tmp_path / NAME
    for name, content in {
        "__init__.py": "import pathlib\nfrom .parts.names import price\nfrom .data import tea\n",
        f"{NAME}.py": "raise SystemExit\n",
        "parts/names.py": "from .. import data\ndef price(item): return data.PRICES[item]\n",
        "data.py": "import orc_guest_version\nPRICES = {'tea': 1.5}\n"
        "def tea(): return open(__file__[:-7] + 'tea.txt').read()\n",
        "tea.txt": "green",
        "requirements.txt": "orc-guest-version==1.0\n",
    }.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(content)
    created(system, "--source", f"{package}/")
    assert (system.call(NAME, "price", "tea"), system.call(NAME, "tea")) == (1.5, "green")


def test_a_file_is_a_source_whose_metadata_says_what_it_requires(system: System, tmp_path: Path) -> None:
    file = tmp_path / f"{NAME}.py"
    code = "import orc_guest_version\ndef version(): return orc_guest_version.version()\n"
    file.write_text(f"# /// script\n# dependencies = ['orc-guest-version==1.0']\n# ///\n{code}")
    created(system, "--source", str(file))
    assert system.call(NAME, "version") == "1.0"
    assert system.module(NAME)["spec"]["source"]["uploaded"]["file_name"] == f"{NAME}.py"
    file.write_text(f"# /// script\n# dependencies = [orc]\n# ///\n{code}")
    refused = create(system, "--source", str(file), "--update")
    assert refused.returncode == 1 and f"{NAME}.py, line 2: " in refused.stderr


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (["one.py", "two.py", "conftest.py"], "several modules: one, two"),
        (["README.md", "tests/test_x.py"], "no module"),
    ],
)
def test_a_folder_without_one_module_needs_its_name(
    system: System, tmp_path: Path, files: list[str], told: str
) -> None:
    for name in files:
        (tmp_path / "code" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "code" / name).touch()
    refused = create(system, "--source", str(tmp_path / "code"))
    assert refused.returncode == 2 and told in refused.stderr, refused.stderr


def test_a_folder_that_cannot_be_packed(system: System, folder: Path) -> None:
    (folder / NAME / "out").symlink_to("/etc")
    refused = create(system, "--source", str(folder))
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"jac-orc create: {folder / NAME / 'out'} is a link to /etc")


@pytest.mark.parametrize("name", ["broken.zip", "broken.whl", "broken.tar.gz"])
def test_an_archive_that_is_none(system: System, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"no archive")
    refused = create(system, NAME, "--source", str(tmp_path / name))
    assert refused.returncode == 1 and "Traceback" not in refused.stderr, refused.stderr
    assert "\njac-orc create: " in refused.stderr


# --- dev ---


class Dev:
    """A running `jac-orc dev` and the code that it watches."""

    def __init__(self, system: System, folder: Path, running: Running) -> None:
        self.system, self.folder, self.running = system, folder, running

    def write(self, content: str) -> None:
        """Saves the code whole: of one that is saved in place for ever again, half may be read."""
        saved = self.folder.with_name("saved")
        saved.write_text(content)
        saved.replace(self.folder / NAME / "__init__.py")

    def price(self) -> float:
        price: float = self.system.call(NAME, "price", "tea")
        return price

    def told(self, text: str, after: int = 0) -> bool:
        """Whether it has complained so, behind so many characters."""
        return text in self.running.errors[after:]

    def versions(self) -> list[tuple[str, str]]:
        """How many files each new version had, and after how long it answered."""
        pattern = rf"^{NAME}: (\d+) files?, new code answers after (\d+\.\d\d) s$"
        return re.findall(pattern, self.running.output, re.MULTILINE)


@pytest.fixture
def dev(system: System, folder: Path, tmp_path: Path) -> Iterator[Callable[..., Dev]]:
    """Starts the command and waits until it watches."""
    started = []

    def start(*arguments: str) -> Dev:
        url = f"http://127.0.0.1:{system.port}"
        running = Running(tmp_path, "dev", str(folder), *arguments, JAC_ORC_URL=url)
        started.append(running)
        running.wait(lambda: "Ctrl-C ends that" in running.output)
        return Dev(system, folder, running)

    yield start
    for running in started:
        running.end()


def test_a_save_is_answered_by_new_code(dev: Callable[..., Dev]) -> None:
    watching = dev()
    assert watching.running.output.startswith(f"{NAME} is ready: 1 pod")
    assert watching.price() == 1.5
    watching.write(CODE.format(price=2.5))
    begin = time.monotonic()
    watching.running.wait(lambda: len(watching.versions()) == 1)
    assert time.monotonic() - begin < 10
    assert watching.price() == 2.5
    assert watching.versions()[0][0] == "5"
    (watching.folder / NAME / "prices.py").write_text("TEA = 3.5\n")
    watching.write(f"from {NAME}.prices import TEA\n" + CODE.format(price="TEA"))
    watching.running.wait(lambda: watching.price() == 3.5)
    (watching.folder / NAME / "deep" / "er").mkdir(parents=True)
    (watching.folder / NAME / "deep" / "er" / "prices.py").write_text("TEA = 4.5\n")
    watching.write(f"from {NAME}.deep.er.prices import TEA\n" + CODE.format(price="TEA"))
    watching.running.wait(lambda: watching.price() == 4.5)
    (watching.folder / NAME / "deep" / "er" / "prices.py").write_text("TEA = 5.5\n")
    watching.running.wait(lambda: watching.price() == 5.5)


def test_an_error_in_the_code_leaves_the_old_version_and_does_not_end_it(dev: Callable[..., Dev]) -> None:
    watching = dev()
    for broken in ("def price(:\n", "1 / 0\n"):
        told = len(watching.running.errors)
        watching.write(broken)
        watching.running.wait(partial(watching.told, "the old version goes on answering", told))
        assert watching.price() == 1.5
    assert "SyntaxError" in watching.running.errors and "ZeroDivisionError" in watching.running.errors
    watching.write(CODE.format(price=2.5))
    watching.running.wait(watching.versions)
    assert watching.price() == 2.5


def test_no_call_fails_while_versions_change(dev: Callable[..., Dev]) -> None:
    watching = dev()
    prices = set()
    for price in (2.5, 3.5, 4.5):
        before = len(watching.versions())
        watching.write(CODE.format(price=price))
        while len(watching.versions()) == before:
            prices.add(watching.price())
        assert watching.price() == price
    assert prices <= {1.5, 2.5, 3.5, 4.5}


def test_saves_that_come_meanwhile_make_one_version(dev: Callable[..., Dev]) -> None:
    watching = dev()
    for number in range(30):
        watching.write(CODE.format(price=number))
        time.sleep(0.02)
    watching.running.wait(lambda: watching.price() == 29)
    time.sleep(0.5)
    assert len(watching.versions()) <= 15  # some 4 on an idle machine


def test_what_is_not_packed_does_not_matter(dev: Callable[..., Dev]) -> None:
    watching = dev()
    generation = watching.system.module(NAME)["generation"]
    (watching.folder / "b.log").write_text("ignored")
    (watching.folder / NAME / "__pycache__").mkdir()
    (watching.folder / NAME / "__pycache__" / "x.pyc").write_text("ignored")
    (watching.folder / NAME / ".__init__.py.swp").write_text("ignored")
    (watching.folder / "node_modules" / "big" / "y.py").write_text("ignored")
    watching.write(CODE.format(price=1.5))
    time.sleep(1)
    assert watching.versions() == []
    assert watching.system.module(NAME)["generation"] == generation


def test_the_first_version_may_be_broken(system: System, folder: Path, dev: Callable[..., Dev]) -> None:
    (folder / NAME / "__init__.py").write_text("def price(:\n")
    watching = dev()
    assert "waiting for a change" in watching.running.errors
    watching.write(CODE.format(price=1.5))
    watching.running.wait(lambda: system.answers(NAME, "price", "tea"))
    assert watching.price() == 1.5


def test_a_folder_that_cannot_be_packed_for_a_while(dev: Callable[..., Dev]) -> None:
    watching = dev()
    (watching.folder / NAME / "out").symlink_to("/etc")
    watching.running.wait(lambda: "out is a link to /etc" in watching.running.errors)
    (watching.folder / NAME / "out").unlink()
    watching.folder.rename(watching.folder.with_name("elsewhere"))
    watching.running.wait(lambda: "is no folder" in watching.running.errors)
    watching.folder.with_name("elsewhere").rename(watching.folder)
    watching.write(CODE.format(price=2.5))
    watching.running.wait(lambda: watching.price() == 2.5)


def test_a_file_is_watched(system: System, tmp_path: Path) -> None:
    file = tmp_path / f"{NAME}.py"
    file.write_text(CODE.format(price=1.5))
    running = Running(tmp_path, "dev", str(file), JAC_ORC_URL=f"http://127.0.0.1:{system.port}")
    try:
        watching = Dev(system, tmp_path, running)
        running.wait(lambda: "Ctrl-C ends that" in running.output)
        (tmp_path / "other.py").write_text("raise SystemExit\n")
        (tmp_path / "saved").write_text(CODE.format(price=2.5))
        (tmp_path / "saved").replace(file)
        running.wait(watching.versions)
        assert watching.price() == 2.5 and len(watching.versions()) == 1
    finally:
        running.end()


def test_its_logs_are_shown(dev: Callable[..., Dev]) -> None:
    watching = dev()
    watching.write("print('imported anew')\n" + CODE.format(price="print('asked for', item) or 2.5"))
    watching.running.wait(lambda: "| imported anew\n" in watching.running.output)
    watching.running.wait(watching.versions)
    assert watching.price() == 2.5
    watching.running.wait(lambda: "| asked for tea\n" in watching.running.output)


def test_ctrl_c_ends_it_and_the_module_stays(system: System, dev: Callable[..., Dev]) -> None:
    watching = dev("--workers", "2", "--env", "A=1", "--module", NAME)
    assert watching.running.interrupt() == 130
    assert watching.running.errors.endswith(f"{NAME} stays deployed; this removes it: jac-orc delete {NAME}\n")
    assert "Traceback" not in watching.running.errors
    assert watching.price() == 1.5
    watching.write(CODE.format(price=2.5))
    again = dev()
    assert again.price() == 2.5
    spec = system.module(NAME)["spec"]
    assert (spec["workers"], spec["env"]) == (2, {"A": "1"})


def test_a_module_that_is_deleted_meanwhile_is_deployed_anew(system: System, dev: Callable[..., Dev]) -> None:
    watching = dev("--env", "A=1")
    assert system.http.delete(f"/v1/modules/{NAME}").status_code == 200
    watching.write(CODE.format(price=2.5))
    watching.running.wait(watching.versions)
    assert watching.price() == 2.5
    assert system.module(NAME)["spec"]["env"] == {"A": "1"}


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["-r", "a b"], 1, "'a b'"),
        (["--url", "http://127.0.0.1:1"], 1, "no pod manager"),
        (["--env", "A"], 2, "--env A"),
    ],
)
def test_what_no_change_of_the_code_mends_ends_it(
    system: System, folder: Path, arguments: list[str], code: int, told: str
) -> None:
    done = run("dev", str(folder), *arguments, JAC_ORC_URL=f"http://127.0.0.1:{system.port}")
    assert done.returncode == code and told in done.stderr and done.stdout == "", done.stderr
    assert not system.left(NAME)
