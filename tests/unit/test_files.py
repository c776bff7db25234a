"""Files that are whole or not there, and log files that are rotated while they are read."""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import stat
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jac_orc.core import files, logs
from jac_orc.core.log_files import LogFile
from jac_orc.pod_manager.__main__ import make_directories
from jac_orc.pod_manager.settings import Settings


def test_a_document_comes_back(tmp_path: Path) -> None:
    document = {"a": [1, None, "é\n"], "b": {"c": 1.5}}
    for durable in (True, False):
        files.write_json(tmp_path / "x.json", document, durable=durable)
        assert files.read_json(tmp_path / "x.json") == document
    assert [file.name for file in tmp_path.iterdir()] == ["x.json"]


def test_no_file_reads_as_none(tmp_path: Path) -> None:
    assert files.read_json(tmp_path / "x.json") is None


def test_a_file_that_is_no_json_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(ValueError, match="Expecting"):
        files.read_json(tmp_path / "x.json")


def test_a_document_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    files.write_json(tmp_path / "x.json", [1])
    with pytest.raises(TypeError):
        files.write_json(tmp_path / "x.json", [2, object()])
    assert files.read_json(tmp_path / "x.json") == [1]
    assert [file.name for file in tmp_path.iterdir()] == ["x.json"]


def test_readers_see_whole_files_only(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    files.write_json(file, [0] * 1000)

    def write() -> None:
        for number in range(50):
            files.write_json(file, [number] * 1000, durable=False)

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        document = files.read_json(file)
        assert len(document) == 1000 and len(set(document)) == 1
    for writer in writers:
        writer.join()
    assert [found.name for found in tmp_path.iterdir()] == ["x.json"]


SCRIPT = """
import sys
from pathlib import Path
from jac_orc.core import files
while True:
    files.write_json(Path(sys.argv[1]), ["new"] * 10_000, durable=False)
"""


def test_a_writer_that_is_killed_leaves_a_whole_file(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    files.write_json(file, ["old"])
    with subprocess.Popen([sys.executable, "-c", SCRIPT, str(file)]) as writer:
        while files.read_json(file) == ["old"] and writer.poll() is None:
            pass
        writer.kill()
    assert set(files.read_json(file)) == {"new"}


def test_new_lines_are_told_once_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    log = LogFile(path)
    assert log.new_lines() == [] and log.last_lines(5) == []
    path.write_bytes(b"one\ntwo\nhal")
    assert log.new_lines() == ["one", "two"]
    assert log.new_lines() == []
    with path.open("ab") as file:
        file.write(b"f\n\xff\n")
    assert log.new_lines() == ["half", "\ufffd"]


@pytest.mark.parametrize(("count", "lines"), [(0, []), (1, ["5"]), (3, ["3", "4", "5"]), (100, list("012345"))])
def test_the_last_lines_reach_over_the_rotation(tmp_path: Path, count: int, lines: list[str]) -> None:
    (tmp_path / "a.log.1").write_text("0\n1\n2\n3\n")
    (tmp_path / "a.log").write_text("4\n5\n")
    log = LogFile(tmp_path / "a.log")
    assert log.last_lines(count) == lines
    assert log.new_lines() == []
    with (tmp_path / "a.log").open("a") as file:
        file.write("6\n")
    assert log.new_lines() == ["6"]


def test_a_rotation_loses_and_doubles_no_line(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=200, backupCount=1)
    log, told = LogFile(path), []
    for number in range(100):
        handler.emit(logging.makeLogRecord({"msg": f"line {number}"}))
        told += log.new_lines() if number % 7 == 0 else []
    handler.close()
    told += log.new_lines()
    assert told == [f"line {number}" for number in range(100)]


def test_a_file_is_not_rotated_within_a_line(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"one\ntwo\nhal")
    log = LogFile(path)
    assert log.new_lines() == ["one", "two"] and log.rotate(5) == []
    assert path.stat().st_size == 11
    with path.open("ab") as file:
        file.write(b"f\n")
    assert log.rotate(5) == ["half"]
    assert path.stat().st_size == 0


def test_a_file_whose_line_never_ends_is_rotated(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"x" * 300_000)
    log = LogFile(path)
    assert len(log.new_lines()) == 1 and log.rotate(5) == []
    assert path.stat().st_size == 0


def test_a_line_without_end_is_cut_and_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"x" * 300_000)
    log = LogFile(path)
    assert sum(map(len, log.new_lines())) == 300_000


def test_a_large_file_is_read_in_parts(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    lines = [f"{number:0100}" for number in range(100_000)]
    path.write_text("\n".join(lines) + "\n")
    log, told, parts = LogFile(path), list[str](), 0
    while log.has_more or not parts:
        told, parts = told + log.new_lines(), parts + 1
    assert told == lines and parts == 10
    assert log.new_lines() == []


def test_the_end_of_a_huge_file_is_read_with_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    with path.open("wb") as file:
        file.truncate(200_000_000)  # sparse: zeros that are no line
        file.seek(0, 2)
        file.write(b"\n" + b"".join(b"%099d\n" % number for number in range(500_000)))
    tracemalloc.start()
    log = LogFile(path)
    assert log.last_lines(3) == [f"{number:099}" for number in (499_997, 499_998, 499_999)]
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.reset_peak()
    assert len(log.last_lines(10**9)) > 100_000
    assert tracemalloc.get_traced_memory()[1] < 100_000_000
    tracemalloc.stop()
    assert log.new_lines() == [] and log.last_lines(0) == []
    with path.open("a") as more:
        more.write("new\n")
    assert log.new_lines() == ["new"]


def test_a_large_file_that_is_rotated_while_it_is_read_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    first, second = [f"a{number:0100}" for number in range(30_000)], [f"b{number}" for number in range(10)]
    path.write_text("\n".join(first) + "\n")
    log = LogFile(path)
    told = log.new_lines()
    path.rename(tmp_path / "a.log.1")
    path.write_text("\n".join(second) + "\n")
    while added := log.new_lines():
        told += added
    assert told == first + second


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, put back afterwards."""
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    yield logger
    for handler in logger.handlers:
        if handler not in handlers:
            handler.close()
    logger.handlers[:] = handlers
    logger.setLevel(level)
    logging.captureWarnings(False)


TEXTS = [
    "plain", 'quotes " and \\', "é\u2028\u2029\x85 end", "\x0b\x0c\x1c\x1d\x1e tabs\t", "", "a\nb", "\ud800",
    "x" * 70_000,
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: repr(text[:9]))
def test_a_logged_text_is_one_line_and_comes_back(tmp_path: Path, root: logging.Logger, text: str) -> None:
    logs.set_up("info", str(tmp_path / "a.log"))
    logging.getLogger("module").info("%s", text, extra={"stream": "stdout"})
    lines = LogFile(tmp_path / "a.log").new_lines()
    assert len(lines) == 1
    fields = logs.parse(lines[0])
    assert fields["text"] == text
    assert (fields["stream"], fields["level"]) == ("stdout", "info") and fields["time"].startswith("20")


@pytest.mark.parametrize("line", ["plain", "{", "[]", "{}", '{"text":5}', "5", ""])
def test_a_line_of_another_form_is_text_of_the_servers(line: str) -> None:
    assert logs.parse(line) == {"time": "", "level": "info", "stream": "server", "text": line}


def test_an_exception_is_logged_with_its_traceback(tmp_path: Path, root: logging.Logger) -> None:
    logs.set_up("info", str(tmp_path / "a.log"))
    try:
        raise ZeroDivisionError("no")
    except ZeroDivisionError:
        logging.getLogger().exception("it failed")
    fields: dict[str, Any] = json.loads((tmp_path / "a.log").read_text())
    assert fields["text"].startswith("it failed\nTraceback") and fields["text"].endswith("ZeroDivisionError: no")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_a_document_is_its_owners_alone(tmp_path: Path) -> None:
    files.write_json(tmp_path / "x.json", [1])
    assert mode(tmp_path / "x.json") == 0o600
    files.write_json(tmp_path / "x.json", [1], mode=0o644)
    assert mode(tmp_path / "x.json") == 0o644


def test_a_private_directory_is_made_private_with_all_that_is_in_it(tmp_path: Path) -> None:
    home, outside = tmp_path / "a" / "b", tmp_path / "outside"
    files.private_directory(home)
    assert mode(home) == 0o700
    (home / "old").mkdir()
    outside.touch()
    for path in (home / "old" / "spec.json", home / "old" / "program", home / "log"):
        path.touch()
    (home / "link").symlink_to(outside)
    (home / "old" / "program").chmod(0o775)
    for path in (home, home / "old", home / "log"):
        path.chmod(0o777 if path.is_dir() else 0o666)
    outside.chmod(0o644)
    files.private_directory(home)
    found = {str(path.relative_to(home)): mode(path) for path in home.rglob("*") if not path.is_symlink()}
    assert found == {"old": 0o700, "old/spec.json": 0o600, "old/program": 0o700, "log": 0o600}
    assert (mode(home), mode(outside)) == (0o700, 0o644)


def test_what_can_not_be_private_is_refused(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o1777)
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "file").touch()
    for name, message in (("shared", "shared by all users"), ("link", "symbolic link"), ("file", "File exists")):
        with pytest.raises(OSError, match=message):
            files.private_directory(tmp_path / name)
    assert mode(tmp_path / "shared") == 0o1777


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a file to another user")
def test_what_belongs_to_another_user_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    (home / "planted").touch()
    os.chown(home / "planted", 12345, -1)
    with pytest.raises(PermissionError, match=r"planted belongs to another user, 12345"):
        files.private_directory(home)
    os.chown(home, 12345, -1)
    with pytest.raises(PermissionError, match=r"home belongs to another user, 12345"):
        files.private_directory(home)


def test_a_file_that_is_only_appended_to_is_rotated_without_losing_a_line(tmp_path: Path) -> None:
    path = tmp_path / "envoy.log"
    with path.open("ab", buffering=0) as writer:  # as a child holds it for as long as it runs
        log, seen = LogFile(path), []
        for number in range(200):
            writer.write(f"line {number}\n".encode() + (b"half " if number % 7 == 0 else b""))
            if number % 3:
                seen += log.new_lines() + log.rotate(500)
            assert path.stat().st_size < 600
        seen += log.new_lines()
    assert [line.removeprefix("half ") for line in seen] == [f"line {number}" for number in range(200)]
    assert mode(tmp_path / "envoy.log.1") == 0o600


def test_a_pod_manager_in_a_cluster_owns_the_folder_of_sources_before_any_builder_mounts_over_it(
    tmp_path: Path,
) -> None:
    store = tmp_path / "store"
    settings = Settings(backend="kubernetes", state_dir=store, cache_dir=store)
    make_directories(settings)
    assert (store / "sources").is_dir()
    (store / "sources" / "kept").mkdir()
    make_directories(settings)
    assert (store / "sources" / "kept").is_dir()


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to give a folder to another user")
def test_a_folder_of_sources_that_a_container_runtime_has_made_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "sources").mkdir()
    os.chown(tmp_path / "sources", 12345, 12345)
    make_directories(Settings(backend="kubernetes", state_dir=tmp_path, cache_dir=tmp_path))
    assert (tmp_path / "sources").stat().st_uid == os.getuid()
