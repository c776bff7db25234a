"""A module works in a directory of its own, in which its source's files are."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jac_orc.client.connection import Connection
from jac_orc.errors import OrcError
from tests.feature.module_servers import ModuleServer, wait_until

Start = Callable[..., ModuleServer]

CODE = """
import multiprocessing, os, pathlib, sqlite3, sys, time
from importlib import resources

FIRST = open("data/x.txt").read()

def read(path): return open(path).read()
def write(path, text): return open(path, "w").write(text)
def here(): return os.getcwd()
def listed(path="."): return sorted(os.listdir(path))
def beside(): return pathlib.Path(__file__).with_name("beside.txt").read_text()
def resource(): return (resources.files("shop") / "inner.txt").read_text()
def table():
    with sqlite3.connect("shop.db") as database:
        database.execute("create table tea (price)")
    os.makedirs("made/of/folders")
def process(): return sys.argv, hasattr(sys.modules["__main__"], "__file__"), sys.stdin.read(), sys.orig_argv[1:]
def variables(): return dict(os.environ)
def mask():
    old = os.umask(0)
    os.umask(old)
    return old
def spawned():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(here), pool.apply(read, ["data/x.txt"])
def read_later(path):
    time.sleep(0.3)
    return os.getpid(), read(path)
def end_later():
    time.sleep(0.3)
    os._exit(3)
def remove(): import shutil; shutil.rmtree(os.getcwd())
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A stored source; none of its files can be changed."""
    source = tmp_path / "stored"
    files = {"app.py": CODE, "data/x.txt": "tea", "beside.txt": "near", "shop/__init__.py": "", "shop/inner.txt": "in"}
    for name, text in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    (source / "data" / "empty").mkdir()
    (source / "run.sh").touch(0o755)
    return source


def state(folder: Path) -> dict[str, str]:
    return {str(path): path.read_text() if path.is_file() else "" for path in folder.rglob("*")}


def test_files_are_found_and_written_as_at_home(start_server: Start, source: Path, tmp_path: Path) -> None:
    before, directory = state(source), tmp_path / "working" / "pod"
    server = start_server("app", source_folders=source, working_directory=directory).serving()
    with Connection(f"127.0.0.1:{server.port}") as app:
        assert app.call("here") == str(directory) and app.call("FIRST") == "tea"
        assert app.call("read", "data/x.txt") == "tea"
        assert (app.call("beside"), app.call("resource")) == ("near", "in")
        assert app.call("listed", "data") == ["empty", "x.txt"] and os.access(directory / "run.sh", os.X_OK)
        for path in ("cache.txt", "data/x.txt"):
            assert app.call("write", path, "changed") == 7
            assert app.call("read", path) == "changed"
        app.call("table")
        assert sqlite3.connect(directory / "shop.db").execute("select * from tea").fetchall() == []
        assert app.call("spawned") == (str(directory), "changed")
    assert server.stop() == 0
    assert state(source) == before
    again = start_server("app", source_folders=source, working_directory=directory).serving()
    assert again.call("read", "cache.txt") == "changed"  # the pod is the same


def test_the_process_looks_like_a_command(start_server: Start, source: Path) -> None:
    server = start_server("app", source_folders=source, module_env_own="1").serving()
    with Connection(f"127.0.0.1:{server.port}") as app:
        assert app.call("process") == (["-c"], False, "", ["-c", ""])
        variables = app.call("variables")
        assert variables.pop("OWN") == "1" and set(variables) <= {"LC_CTYPE", *os.environ}
        old = os.umask(0)
        os.umask(old)
        assert app.call("mask") == old


def test_guests_of_a_pod_share_it_and_find_what_earlier_ones_wrote(start_server: Start, source: Path) -> None:
    server = start_server("app", source_folders=source, workers=2).serving()
    with Connection(f"127.0.0.1:{server.port}") as app, ThreadPoolExecutor(2) as callers:

        def end(_: int) -> None:
            with pytest.raises(OrcError, match="exit code 3"):
                app.call("end_later")

        app.call("write", "cache.txt", "kept")
        guests = server.guests()
        list(callers.map(end, range(2)))
        wait_until(lambda: server.health() == "SERVING" and len(server.guests() - guests) == 2)

        def found() -> list[tuple[int, str]]:
            return list(callers.map(lambda _: app.call("read_later", "cache.txt"), range(2)))

        wait_until(lambda: {(pid, "kept") for pid in server.guests()} == set(found()))
        directory = Path(app.call("here"))
        app.call("remove")
        end(0)
        wait_until((directory / "data" / "x.txt").exists)
    assert server.stop() == 0
    assert not directory.parent.exists()


def test_modules_share_nothing_and_one_without_a_source_has_an_empty_one(start_server: Start, source: Path) -> None:
    servers = [start_server("app", source_folders=source), start_server("app", source_folders=source)]
    empty = start_server("os").serving()
    first, second = (server.serving() for server in servers)
    first.call("write", "cache.txt", "mine")
    assert "cache.txt" in first.call("listed") and "cache.txt" not in second.call("listed")
    assert empty.call("listdir", ".") == []


def test_a_source_that_is_the_package_itself_is_imported_as_that(start_server: Start, tmp_path: Path) -> None:
    source = tmp_path / "stored"
    (source / "parts").mkdir(parents=True)
    (source / "__init__.py").write_text("import pathlib\nfrom .parts import price\n")
    (source / "parts" / "__init__.py").write_text("from ..names import TEA\ndef price(): return TEA\n")
    (source / "names.py").write_text("TEA = 1.5\n")
    servers = [start_server(name, source_folders=source) for name in ("shop", "shop.parts", "names")]
    assert [server.serving().call("TEA" if i == 2 else "price") for i, server in enumerate(servers)] == [1.5] * 3


def test_a_directory_that_cannot_be_created_is_reported(start_server: Start, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    server = start_server("os", working_directory=tmp_path / "file" / "pod")
    told = server.told()["error"]["message"]
    assert "the working directory can't be created: " in told and "\n" not in told
    assert server.close() == 1
