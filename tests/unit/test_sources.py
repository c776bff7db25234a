"""The store of source archives: what it keeps and removes, and what ends badly or at the same time."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jac_orc.errors import InvalidArgumentError, NotFoundError, ResourceExhaustedError
from jac_orc.pod_manager.sources import SourceKind, SourceRef, Sources
from jac_orc.pod_manager.texts import path_fault
from tests.unit.source_parts import GOOD, METADATA, SDIST, SMALL, WHEEL, tree_of, zip_of


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "sources"


@pytest.fixture
def sources(root: Path) -> Iterator[Sources]:
    """A store with small limits, which never keeps anything half-made."""
    yield Sources(root, SMALL)
    assert not list(root.glob(".*"))


# How it is kept


@pytest.mark.parametrize("name", GOOD)
def test_an_archive_is_kept_under_its_digest_and_its_name(sources: Sources, root: Path, name: str) -> None:
    ref = sources.add(name, GOOD[name])
    assert ref == SourceRef(f"sha256:{hashlib.sha256(GOOD[name]).hexdigest()}", name)
    assert ref.kind is {"shop.zip": SourceKind.ZIP, WHEEL: SourceKind.WHEEL, SDIST: SourceKind.SDIST}[name]
    sources.check(ref)
    assert sources.archive(ref) == root / ref.digest[7:] / name
    assert sources.archive(ref).read_bytes() == GOOD[name]


def test_an_upload_in_pieces_is_one_archive(sources: Sources) -> None:
    data = GOOD["shop.zip"]
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    with sources.begin("shop.zip", digest) as upload:
        for start in range(0, len(data), 7):
            upload.write(data[start : start + 7])
        assert upload.finish() == (SourceRef(digest, "shop.zip"), len(data))
    assert tree_of(sources.folder(SourceRef(digest, "shop.zip"))) == {"shop.py": b"x = 1"}


def test_equal_contents_have_an_equal_digest(sources: Sources) -> None:
    first = sources.add_files({"b.py": b"2", "a/x.py": b"1"})
    assert sources.add_files({"a/x.py": b"1", "b.py": b"2"}) == first
    assert first.file_name == "source.zip"
    assert sources.add_files({"a/x.py": b"1", "b.py": b"3"}).digest != first.digest
    assert first.digest == "sha256:b69e8dac65f4c327e0c0d5828d80bdbe4543f927b911978828a888c248173bea"


def test_what_is_stored_already_may_come_again(sources: Sources, root: Path) -> None:
    first = sources.add("shop.zip", GOOD["shop.zip"])
    assert sources.add("shop.zip", GOOD["shop.zip"]) == first
    other = sources.add("other.zip", GOOD["shop.zip"])
    assert other == SourceRef(first.digest, "other.zip")
    sources.check(other)
    assert len(list(root.iterdir())) == 1
    for ref in (first, other):
        assert sources.archive(ref).name == ref.file_name
        assert sources.archive(ref).read_bytes() == GOOD["shop.zip"]
    assert sources.folder(first) == sources.folder(other)


def test_the_same_bytes_as_another_kind_are_checked_as_that_kind(sources: Sources) -> None:
    zipped = sources.add("shop.zip", GOOD["shop.zip"])
    with pytest.raises(NotFoundError):
        sources.check(SourceRef(zipped.digest, WHEEL))
    with pytest.raises(InvalidArgumentError, match="METADATA"):
        sources.add(WHEEL, GOOD["shop.zip"])
    wheel = sources.add(WHEEL, GOOD[WHEEL])
    with pytest.raises(NotFoundError):
        sources.folder(SourceRef(wheel.digest, "x.zip"))
    both = sources.add("x.zip", GOOD[WHEEL])
    assert sorted(path.name for path in sources.archive(wheel).parent.iterdir()) == [WHEEL, "x.zip"]
    assert set(tree_of(sources.folder(both))) == {"shop.py", METADATA[0]}
    assert sources.archive(wheel).name == WHEEL


def test_the_folder_is_made_again_where_it_is_gone(sources: Sources, root: Path) -> None:
    ref = sources.add_files({"a/b.py": b"1"})
    folder = sources.folder(ref)
    kept = folder.stat().st_ino
    assert sources.folder(ref).stat().st_ino == kept
    shutil.rmtree(folder)
    assert tree_of(sources.folder(ref)) == {"a/b.py": b"1"}
    assert Sources(root).folder(ref) == folder


@pytest.mark.parametrize(("files", "inner"), [
    (["shop-main/pyproject.toml", "shop-main/shop/x.py"], "shop-main"),
    (["shop-main/setup.py"], "shop-main"),
    (["shop-main/requirements.txt"], "shop-main"),
    (["shop-main/requirements.txt", "README"], ""),
    (["shop/__init__.py", "shop/requirements.txt"], ""),
    (["shop/prices.py"], ""),
    (["shop/sub/setup.py"], ""),
    (["setup.py"], ""),
])  # fmt: skip
def test_the_only_folder_is_the_root_where_it_is_a_project(sources: Sources, files: list[str], inner: str) -> None:
    ref = sources.add_files(dict.fromkeys(files, b""))
    assert sources.folder(ref) == sources.archive(ref).parent / "tree" / inner


@pytest.mark.parametrize("name", [WHEEL, SDIST])
def test_only_a_zip_has_a_folder(sources: Sources, name: str) -> None:
    ref = sources.add(name, GOOD[name])
    with pytest.raises(InvalidArgumentError, match="is neither a zip nor a script"):
        sources.folder(ref)


SEGMENT = st.text(st.characters(codec="utf-8", exclude_characters="/\\:"), min_size=1, max_size=12).filter(
    lambda text: text not in (".", "..") and not path_fault(text)
)
PATHS = st.lists(SEGMENT, min_size=1, max_size=4).map("/".join)


def without_clashes(files: dict[str, bytes]) -> bool:
    return not any(other.startswith(f"{path}/") for path in files for other in files)


@settings(max_examples=30)
@given(st.dictionaries(PATHS, st.binary(max_size=300), min_size=1, max_size=6).filter(without_clashes))
def test_files_come_back_as_they_were(files: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as root:
        sources = Sources(Path(root))
        ref = sources.add_files(files)
        assert tree_of(sources.archive(ref).parent / "tree") == files
        assert sources.folder(ref).name == "tree" or len({path.split("/")[0] for path in files}) == 1


def test_unused_sources_are_removed_and_used_ones_stay(sources: Sources, root: Path) -> None:
    Sources(root / "nowhere").remove_unused([], 0)
    used, unused, recent = (sources.add_files({"a.py": text}) for text in (b"used", b"unused", b"recent"))
    (root / "of-others").mkdir()
    for ref in (used, unused):
        age(root / ref.digest[7:], 100)
    sources.remove_unused([used.digest], 50)
    sources.check(used)
    sources.check(recent)
    for call in (sources.check, sources.archive, sources.folder):
        with pytest.raises(NotFoundError, match="upload it first"):
            call(unused)
    sources.remove_unused([used.digest], 0)
    assert {path.name for path in root.iterdir()} == {used.digest[7:], "of-others"}


@pytest.mark.parametrize("use", [Sources.check, Sources.archive, Sources.folder, Sources.touch])
def test_a_source_that_was_asked_for_is_not_removed(
    sources: Sources, root: Path, use: Callable[[Sources, SourceRef], object]
) -> None:
    ref = sources.add_files({"a.py": b""})
    age(root / ref.digest[7:], 100)
    use(sources, ref)
    sources.remove_unused([], 50)
    sources.check(ref)
    age(root / ref.digest[7:], 100)
    assert sources.add_files({"a.py": b""}) == ref  # stored again
    sources.remove_unused([], 50)
    sources.check(ref)


def test_touching_a_source_that_is_gone_is_no_fault(sources: Sources, root: Path) -> None:
    for ref in (None, SourceRef("sha256:" + "0" * 64, "shop.zip")):
        sources.touch(ref)
    assert not root.exists()


def test_abandoned_uploads_are_removed_and_live_ones_are_not(root: Path) -> None:
    sources = Sources(root, SMALL)
    abandoned, live = sources.begin("a.zip"), sources.begin("b.zip")
    first, second = sorted(root.iterdir(), key=lambda path: not (path / "a.zip").exists())
    age(first, 100)
    age(second, 100)
    live.write(GOOD["shop.zip"])
    live._file.flush()
    sources.remove_unused([], 50)
    assert list(root.iterdir()) == [second]
    sources.check(live.finish()[0])
    with pytest.raises(OSError, match="No such file"):
        abandoned.finish()
    assert len(list(root.iterdir())) == 1


def age(folder: Path, seconds: float) -> None:
    then = time.time() - seconds
    for path in (*folder.iterdir(), folder):
        os.utime(path, (then, then))


# What ends badly, or at the same time


def test_of_several_that_store_the_same_all_succeed(sources: Sources, root: Path) -> None:
    files = {f"d{number}/x.py": bytes([number]) * 1000 for number in range(9)}

    def store(_: int) -> Path:
        return sources.folder(sources.add_files(files))

    with ThreadPoolExecutor(4) as threads:
        (folder,) = set(threads.map(store, range(8)))
        shutil.rmtree(folder)
        assert set(threads.map(store, range(8))) == {folder}
    assert tree_of(folder) == files and list(root.iterdir()) == [folder.parent]


def test_an_upload_that_is_closed_while_it_finishes_is_stored_whole_or_not_at_all(root: Path) -> None:
    """As when a call is cancelled whose thread goes on."""
    sources, took = Sources(root), 0.0
    with ThreadPoolExecutor(1) as threads:
        for number in range(25):
            upload = sources.begin("x.zip")
            upload.write(zip_of(*((f"{path}.py", bytes([number])) for path in range(100))))
            start, finishing = time.perf_counter(), threads.submit(upload.finish)
            time.sleep(took * number / 20)
            took = took or (finishing.exception(), time.perf_counter() - start)[1]
            upload.close()
            finishing.exception()
    for home in root.glob("[!.]*"):
        assert sorted(path.name for path in home.iterdir()) == ["tree", "x.zip"]
        assert len(tree_of(home / "tree")) == 100


SCRIPT = """
import itertools, os, sys
from pathlib import Path
from jac_orc.pod_manager.sources import Sources
from jac_orc.pod_manager.texts import path_fault
sources = Sources(Path(sys.argv[1]))
for number in itertools.count():
    sources.add_files({f"{path}.py": os.urandom(1000) for path in range(19)})
"""


def test_a_process_that_is_killed_leaves_nothing_half_made_in_sight(root: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", SCRIPT, str(root)]) as writer:
        while len(list(root.glob("[!.]*"))) < 5 and writer.poll() is None:
            time.sleep(0.01)
        writer.kill()
    for home in root.glob("[!.]*"):
        archive = (home / "source.zip").read_bytes()
        assert home.name == hashlib.sha256(archive).hexdigest()
        assert sorted(path.name for path in home.iterdir()) == ["source.zip", "tree"]
        assert len(tree_of(home / "tree")) == 19
    sources = Sources(root)
    ref = sources.add_files({"a.py": b"1"})
    sources.remove_unused([ref.digest], 0)
    assert [path.name for path in root.iterdir()] == [ref.digest[7:]]


def test_an_interrupted_upload_leaves_nothing(sources: Sources, root: Path) -> None:
    with contextlib.suppress(KeyError), sources.begin("shop.zip") as upload:
        upload.write(GOOD["shop.zip"])
        assert list(root.iterdir()) != []
        raise KeyError
    assert list(root.iterdir()) == []
    with sources.begin("shop.zip") as upload:
        upload.write(GOOD["shop.zip"])
    assert list(root.iterdir()) == []
    with pytest.raises(ValueError, match="closed file"):
        upload.finish()


def test_another_digest_than_expected_is_refused(sources: Sources, root: Path) -> None:
    with sources.begin("shop.zip", "sha256:" + "0" * 64) as upload:
        upload.write(GOOD["shop.zip"])
        with pytest.raises(InvalidArgumentError, match="not sha256:0000"):
            upload.finish()
    assert list(root.iterdir()) == []


def test_an_archive_over_the_limit_is_refused_at_once(sources: Sources, root: Path) -> None:
    upload = sources.begin("shop.zip")
    upload.write(bytes(SMALL.archive_bytes))
    with pytest.raises(
        ResourceExhaustedError, match=r"1,000,000 bytes that the setting POD_MANAGER_SOURCE_ARCHIVE_BYTES"
    ) as caught:
        upload.write(b"1")
    assert (caught.value.reason, caught.value.metadata["limit"]) == ("TOO_LARGE", "1000000")
    assert list(root.iterdir()) == []


def test_a_disk_that_fails_leaves_nothing_half_made(sources: Sources, root: Path) -> None:
    ref = sources.add_files({"a.py": b"", "b.py": b""})
    folder = sources.folder(ref)
    shutil.rmtree(folder)
    upload = sources.begin("shop.zip")
    upload.write(GOOD["shop.zip"])
    next(root.glob(".*/shop.zip")).parent.joinpath("tree").touch()  # stands in the way
    with pytest.raises(FileExistsError):
        upload.finish()
    assert list(root.iterdir()) == [folder.parent]
    folder.touch()
    with pytest.raises(NotADirectoryError):
        sources.folder(ref)
    folder.unlink()
    sources.folder(ref)


@pytest.mark.parametrize("name", [
    "", "shop", "shop.tgz", "shop.tar", "shop.ZIP", ".zip", "-a.zip", "a b.zip", "../a.zip", "a/b.zip", "a\\b.zip",
    "a.zip\n", "é.zip", "a\0.zip", "a" * 197 + ".zip", "shop.whl", "shop-1.0.whl", "shop-1.0-none-any.whl",
    "shop-x-py3-none-any.whl", "shop.tar.gz", "shop-one.tar.gz", "shop-1.0.tar.gz.gz", "tree",
])  # fmt: skip
def test_a_bad_file_name_is_refused(sources: Sources, root: Path, name: str) -> None:
    for call in (sources.begin, lambda name: sources.check(SourceRef("sha256:" + "0" * 64, name))):
        with pytest.raises(InvalidArgumentError) as caught:
            call(name)
        assert caught.value.reason == "SOURCE_INVALID"
        assert len(caught.value.message) < 300 and caught.value.message.isprintable()
    assert not root.exists()


@pytest.mark.parametrize(
    ("name", "form"), [("shop.whl", "NAME-VERSION-py3-none-any.whl"), ("shop.tar.gz", "NAME-VERSION.tar.gz")]
)
def test_a_file_name_that_was_changed_is_told_with_its_form(sources: Sources, name: str, form: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"{name}.* rename it as it was built, {form}.*`python -m build`"):
        sources.begin(name)


def test_the_longest_file_name_is_taken(sources: Sources) -> None:
    name = "a" * 196 + ".zip"
    assert sources.archive(sources.add(name, GOOD["shop.zip"])).name == name


@pytest.mark.parametrize("digest", [
    "x", "sha256:", "sha256:" + "0" * 63, "sha256:" + "0" * 65, "sha256:" + "A" * 64, "0" * 64, "sha256:../" + "0" * 61,
    "sha256:" + "0" * 64 + "\n", "SHA256:" + "0" * 64, "sha256:" + "٣" * 64,
])  # fmt: skip
def test_a_bad_digest_is_refused(sources: Sources, root: Path, digest: str) -> None:
    with pytest.raises(InvalidArgumentError, match="64 hexadecimal digits"):
        sources.begin("shop.zip", digest)
    for call in (sources.check, sources.archive, sources.folder):
        with pytest.raises(InvalidArgumentError, match="64 hexadecimal digits"):
            call(SourceRef(digest, "shop.zip"))
    assert not root.exists()


def test_what_is_not_stored_is_told(sources: Sources) -> None:
    ref = SourceRef("sha256:" + "0" * 64, "shop.zip")
    for call in (sources.check, sources.archive, sources.folder):
        with pytest.raises(NotFoundError, match="upload it first") as caught:
            call(ref)
        assert (caught.value.reason, caught.value.metadata["digest"]) == ("SOURCE_NOT_FOUND", ref.digest)
