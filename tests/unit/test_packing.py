"""What of a folder is packed, and which modules are in it."""

from __future__ import annotations

import io
import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jac_orc.client import packing
from jac_orc.client.packing import Packed, PackingError, importable, pack, walk


def write(folder: Path, *names: str) -> Path:
    """Makes files, each with its own name in it."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def names(packed: Packed) -> list[str]:
    return zipfile.ZipFile(io.BytesIO(packed.data)).namelist()


def test_an_archive_has_the_files_as_they_are(tmp_path: Path) -> None:
    write(tmp_path, "shop/__init__.py", "shop/prices.py", "pyproject.toml", "shop/data/ä b.csv")
    (tmp_path / "empty").mkdir()
    (tmp_path / "shop" / "none.py").touch()
    (tmp_path / "shop" / "run.sh").touch(0o700)
    packed = pack(tmp_path)
    assert packed.files == 6
    with zipfile.ZipFile(io.BytesIO(packed.data)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [
            "empty/", "pyproject.toml", "shop/__init__.py", "shop/data/ä b.csv", "shop/none.py", "shop/prices.py",
            "shop/run.sh",
        ]  # fmt: skip
        assert archive.read("shop/data/ä b.csv").decode() == "shop/data/ä b.csv"
        assert archive.read("shop/none.py") == b""
        modes = {info.filename: info.external_attr >> 16 for info in archive.infolist()}
        assert (modes.pop("empty/"), modes.pop("shop/run.sh")) == (0o40755, 0o100755)
        assert set(modes.values()) == {0o100644}


def test_equal_contents_give_equal_bytes(tmp_path: Path) -> None:
    files = ["a.py", "b/c.py", "b/a.py", "B.py", "b.py"]
    first = pack(write(tmp_path / "one", *files))
    for name in random.sample(files, len(files)):
        write(tmp_path / "two", name)
        (tmp_path / "two" / name).chmod(0o600)
        os.utime(tmp_path / "two" / name, (1, 1))
    second = pack(tmp_path / "two")
    assert first == second and first.digest == second.digest and first.digest.startswith("sha256:")
    (tmp_path / "two" / "a.py").write_text("other")
    assert pack(tmp_path / "two").digest != first.digest


NEVER = """
    .git/config .hg/x __pycache__/a.pyc shop/__pycache__/a.py shop/a.pyc .venv/lib/a.py venv/lib/a.py env/pyvenv.cfg
    env/lib/site.py node_modules/a/b.py shop/node_modules/x.js .mypy_cache/x .ruff_cache/x .pytest_cache/x .tox/py/x.py
    shop.egg-info/PKG-INFO .DS_Store shop/.DS_Store shop/.a.py.swp shop/.a.py.swo shop/a.py~ shop/.#a.py shop/#a.py#
""".split()


def test_what_is_never_source_is_left_out_and_cannot_be_called_for(tmp_path: Path) -> None:
    write(tmp_path, *NEVER, "shop/a.py", "shop/.env.example", "shop/environment.py")
    assert names(pack(tmp_path)) == ["shop/.env.example", "shop/a.py", "shop/environment.py"]
    (tmp_path / ".orcignore").write_text("!*\n")
    assert names(pack(tmp_path)) == [".orcignore", "shop/.env.example", "shop/a.py", "shop/environment.py"]


def test_gitignore_and_orcignore(tmp_path: Path) -> None:
    write(tmp_path, "a.py", "made_pb2.py", "data/x.csv", "data/keep.csv", "sub/a.log", "sub/b.log", "sub/sub/b.log")
    (tmp_path / ".gitignore").write_bytes(b"\xef\xbb\xbf*_pb2.py\r\n/data/*\r\n!keep.csv\n*.log\n!\n\\\n[z-a]\n")
    (tmp_path / "sub" / ".gitignore").write_text("!b.log\n")
    packed = {name for name in names(pack(tmp_path)) if "ignore" not in name}
    assert packed == {"a.py", "data/keep.csv", "sub/b.log", "sub/sub/b.log"}
    (tmp_path / ".orcignore").write_text("!made_pb2.py\ndata/\n/sub/b.log\n")
    packed = {name for name in names(pack(tmp_path)) if "ignore" not in name}
    assert packed == {"a.py", "made_pb2.py", "sub/sub/b.log"}


def test_what_git_leaves_out_although_the_code_names_it_is_reported(tmp_path: Path) -> None:
    write(tmp_path, "a.py", "data/x.csv", "cache/y.bin", "model.pt", "mine.csv", "b.log", "my[1].txt", ".venv/z.txt")
    code = 'open("data/x.csv"); Path(D) / "model.pt"; open(\'mine.csv\'); "my[1].txt"; "z.txt"; ab_log = "cache_dir"\n'
    (tmp_path / "a.py").write_text(code)
    (tmp_path / ".gitignore").write_text("/data/\n/cache/\n*.pt\n*.csv\n*.log\nmy*.txt\n")
    (tmp_path / ".orcignore").write_text("mine.csv\n")
    assert pack(tmp_path).missed == ("data/", "model.pt", "my[1].txt")
    left_out = {"data/": ".gitignore", "model.pt": ".gitignore"}
    assert left_out.items() <= pack(tmp_path).left_out.items()
    assert pack(tmp_path, "shop").left_out["shop/data/"] == ".gitignore"
    (tmp_path / ".orcignore").write_text("!/data/\n!/data/x.csv\n!/model.pt\nmine.csv\nmy*\n")
    packed = pack(tmp_path)
    assert packed.missed == () and {"data/x.csv", "model.pt"} <= set(names(packed))


def test_the_rules_of_the_repository_above_count(tmp_path: Path) -> None:
    write(tmp_path, ".git/info/exclude", "services/shop/a.py", "services/shop/a.log", "services/shop/mine.txt")
    (tmp_path / ".git" / "info" / "exclude").write_text("mine.txt\n")
    (tmp_path / ".gitignore").write_text("/services/shop/*.log\n")
    assert names(pack(tmp_path / "services" / "shop")) == ["a.py"]


def test_a_folder_that_its_repository_ignores_is_packed_all_the_same(tmp_path: Path) -> None:
    write(tmp_path, ".git/HEAD", "build/shop/a.py", "build/shop/a.log")
    (tmp_path / ".gitignore").write_text("build/\n*.log\n")
    (tmp_path / "build" / "shop" / ".gitignore").write_text("*.txt\n")
    assert names(pack(tmp_path / "build" / "shop")) == [".gitignore", "a.log", "a.py"]


def test_gitignore_files_above_a_folder_that_is_in_no_repository_do_not_count(tmp_path: Path) -> None:
    write(tmp_path, "shop/a.py")
    (tmp_path / ".gitignore").write_text("*.py\n")
    assert names(pack(tmp_path / "shop")) == ["a.py"]


GIT = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "GIT_CEILING_DIRECTORIES": "/"}
FILES = [
    "a/a/c.py", "a/b/c.py", "a/b/x.txt", "a/x.txt", "b/a/x.txt", "b/c.py", "c.py", "x.txt", "ab/b/a/c.py",
    "ab/a/b/b/x.txt", "b/ab/c.py", "b/b/b/c.py",
]  # fmt: skip
SEGMENTS = st.sampled_from("a b ab * ** c.py *.py x.* ? a* [ab] *b [!a]".split())
LINES = st.builds(
    lambda before, segments, after: before + "/".join(segments) + after,
    st.sampled_from(["", "/", "!", "!/"]), st.lists(SEGMENTS, min_size=1, max_size=3), st.sampled_from(["", "/"]),
)  # fmt: skip


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write(tmp_path_factory.mktemp("repository"), *FILES)
    subprocess.run(["git", "init", "--quiet", str(folder)], check=True, env=GIT)
    return folder


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rules=st.dictionaries(st.sampled_from(["", "a/", "a/b/", "b/"]), st.lists(LINES, max_size=5), min_size=1))
def test_gitignore_is_read_as_git_reads_it(repository: Path, rules: dict[str, list[str]]) -> None:
    for folder in ["", "a/", "a/b/", "b/"]:
        (repository / folder / ".gitignore").write_text("\n".join(rules.get(folder, [])))
    command = ["git", "ls-files", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=repository, env=GIT, capture_output=True, text=True, check=True).stdout
    assert sorted(walk(repository).files) == sorted(filter(None, listed.split("\0")))


def test_ignored_folders_are_not_looked_into(tmp_path: Path) -> None:
    write(tmp_path, "a.py", "node_modules/x/y.js", "data/x.csv", ".orcignore")
    (tmp_path / ".orcignore").write_text("data\n")
    for name in ("node_modules", "data"):
        (tmp_path / name / "loop").symlink_to(tmp_path / name)
        (tmp_path / name / "out").symlink_to("/etc")
    tree = walk(tmp_path)
    assert set(tree.files) == {"a.py", ".orcignore"}
    assert tree.folders == [tmp_path]


# --- links and odd files ---


def test_links_within_the_folder_are_packed_as_what_they_lead_to(tmp_path: Path) -> None:
    write(tmp_path, "shop/a.py", "common/b.py", "common/deep/c.py")
    (tmp_path / "shop" / "b.py").symlink_to("../common/b.py")
    (tmp_path / "shop" / "deep").symlink_to(tmp_path / "common" / "deep")
    packed = pack(tmp_path)
    assert names(packed) == ["common/b.py", "common/deep/c.py", "shop/a.py", "shop/b.py", "shop/deep/c.py"]
    assert zipfile.ZipFile(io.BytesIO(packed.data)).read("shop/b.py") == b"common/b.py"


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    write(tmp_path / "real", "a.py")
    (tmp_path / "real" / "b.py").symlink_to("a.py")
    (tmp_path / "link").symlink_to("real")
    assert names(pack(tmp_path / "link")) == ["a.py", "b.py"]


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("/etc/hostname", "outside"), ("/etc", "outside"), ("..", "outside"), ("../secret.txt", "outside"),
        ("../shop-2/a.py", "outside"), ("nowhere", "No such file"), (".", "link itself is in"),
        ("link", "levels of symbolic links"), ("a.py/b", "Not a directory"),
    ],
)  # fmt: skip
def test_links_that_lead_out_or_nowhere_are_refused(tmp_path: Path, target: str, told: str) -> None:
    write(tmp_path, "secret.txt", "shop/a.py", "shop-2/a.py")
    link = tmp_path / "shop" / "link"
    link.symlink_to(target)
    with pytest.raises(PackingError) as refusal:
        pack(tmp_path / "shop")
    assert str(link) in str(refusal.value) and told in str(refusal.value) and ".orcignore" in str(refusal.value)
    (tmp_path / "shop" / ".orcignore").write_text("link\n")
    assert names(pack(tmp_path / "shop")) == [".orcignore", "a.py"]


def test_circles_of_links_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "a/x.py", "b/y.py")
    (tmp_path / "a" / "to_b").symlink_to("../b")
    (tmp_path / "b" / "to_a").symlink_to("../a")
    with pytest.raises(PackingError, match=r"to_[ab] is a link to ../[ab] \(a folder that the link itself is in\)"):
        pack(tmp_path)


def test_a_link_to_a_folder_is_left_out_by_a_pattern_for_folders(tmp_path: Path) -> None:
    write(tmp_path, "a.py")
    (tmp_path / "data").symlink_to("/etc")
    (tmp_path / ".gitignore").write_text("data/\n")
    assert names(pack(tmp_path)) == [".gitignore", "a.py"]


@pytest.fixture
def odd_files(tmp_path: Path) -> Iterator[Path]:
    write(tmp_path, "a.py")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "to_fifo").symlink_to("fifo")
    with socket.socket(socket.AF_UNIX) as server:
        cwd = os.open(".", os.O_RDONLY)
        os.chdir(tmp_path)  # the path of a socket is short
        try:
            server.bind("socket")
        finally:
            os.fchdir(cwd)
            os.close(cwd)
        yield tmp_path


def test_sockets_and_pipes_are_skipped(odd_files: Path) -> None:
    assert names(pack(odd_files)) == ["a.py"]


@pytest.fixture
def folder_of_a_user() -> Iterator[Path]:
    """A folder of a user who may not read everything; root becomes one for the test."""
    folder = Path(tempfile.mkdtemp())
    if os.geteuid() == 0:
        os.chown(folder, 65534, 65534)
        os.seteuid(65534)
    yield folder
    os.seteuid(os.getuid())
    for path in folder.rglob("*"):
        path.chmod(0o700)
    shutil.rmtree(folder)


@pytest.mark.parametrize("name", ["shop/a.py", "shop", ".gitignore"])
def test_what_cannot_be_read_is_named(folder_of_a_user: Path, name: str) -> None:
    write(folder_of_a_user, "shop/a.py", ".gitignore")
    (folder_of_a_user / name).chmod(0)
    with pytest.raises(PackingError, match="can't be read: Permission denied") as refusal:
        pack(folder_of_a_user)
    assert str(folder_of_a_user / name) in str(refusal.value)


def test_a_name_that_is_not_utf_8_is_told(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/\xff.py", "wb"):
        pass
    with pytest.raises(PackingError, match=r"\\xff.py.* is not UTF-8"):
        pack(tmp_path)


@pytest.mark.parametrize("name", ["nothing", "file"])
def test_what_is_no_folder_is_refused(tmp_path: Path, name: str) -> None:
    write(tmp_path, "file")
    with pytest.raises(PackingError, match=f"{name} is no folder"):
        pack(tmp_path / name)


def test_a_folder_with_nothing_to_pack_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "__pycache__/a.pyc")
    with pytest.raises(PackingError, match=r"no files to pack: it is empty, or .*ignore leave all of it out"):
        pack(tmp_path)


def test_files_may_go_while_they_are_packed(tmp_path: Path) -> None:
    write(tmp_path, "a.py")
    tree = walk(tmp_path)
    (tmp_path / "a.py").unlink()
    assert list(tree.files) == ["a.py"]
    shutil.rmtree(tmp_path)
    with pytest.raises(PackingError, match="no folder"):
        walk(tmp_path)


# --- limits ---


def test_too_many_files_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "shop/a.py", "data/few/x.csv")
    (tmp_path / "data" / "many").mkdir()
    for number in range(packing.MAX_FILES):
        (tmp_path / "data" / "many" / f"{number}.csv").touch()
    with pytest.raises(
        PackingError, match=r"more than 20,000 files.* most of them in data/many/ \(20,000\).*orcignore"
    ):
        pack(tmp_path)
    (tmp_path / ".orcignore").write_text("many/\n")
    begin = time.process_time()
    assert pack(tmp_path).files == 3
    assert time.process_time() - begin < 0.5


@pytest.mark.parametrize(
    ("sizes", "most"),
    [
        ({"models/big.bin": 200, "models/small.bin": 1, "data/x": 80}, r"models/big.bin \(200 MiB\)"),
        ({"models/a.bin": 90, "models/b.bin": 90, "data/x": 80}, r"models/ \(180 MiB\)"),
        ({"big.bin": 300}, r"big.bin \(300 MiB\)"),
        ({"a.bin": 100, "b.bin": 100, "c.bin": 100}, r"the folder itself \(300 MiB\)"),
    ],
)
def test_too_many_bytes_are_refused_before_they_are_read(tmp_path: Path, sizes: dict[str, int], most: str) -> None:
    write(tmp_path, *sizes)
    for name, size in sizes.items():
        os.truncate(tmp_path / name, size * 1024 * 1024)
    with pytest.raises(PackingError, match=rf"MiB to pack, of at most 256 MiB, most of it in {most}.*orcignore"):
        pack(tmp_path)


# --- names ---


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (["shop.py"], ["shop"]),
        (["shop/__init__.py", "shop/prices.py", "README.md", "data/x.csv"], ["shop"]),
        (["shop.py", "till.py"], ["shop", "till"]),
        (["setup.py", "conftest.py", "noxfile.py", "tasks.py", "tests/__init__.py", "docs/x.py", "shop.py"], ["shop"]),
        (["examples/__init__.py", "test_shop.py", "shop_test.py", "shop.py"], ["shop"]),
        (["src/shop/__init__.py", "other.py", "tools/x.py"], ["shop"]),
        (["src/shop.py", "shop/__init__.py"], ["shop"]),
        (["src/__init__.py", "src/shop.py"], ["src"]),
        (["src/native.c", "shop.py"], ["shop"]),
        (["src/company/shop/__init__.py", "other.py"], ["company"]),
        (["company/shop/prices.py", "README.md"], ["company"]),
        (["company/shop/prices.py", "shop.py"], ["shop"]),
        (["fast.cpython-311-x86_64-linux-gnu.so", "stable.abi3.so", "libc.so"], ["fast", "stable"]),
        (["_private.py", "1st.py", "class.py", "a-b.py", "ünicode.py", "shop.pyi"], []),
        (["README.md"], []),
        ([], []),
    ],
)  # fmt: skip
def test_the_importable_names(files: list[str], found: list[str]) -> None:
    assert importable(files) == found


def test_the_importable_names_of_a_folder(tmp_path: Path) -> None:
    write(tmp_path, "shop/__init__.py", "old/__init__.py", "tests/__init__.py", "venv/x.py")
    (tmp_path / ".orcignore").write_text("old/\n")
    assert importable(walk(tmp_path).files) == ["shop"]
