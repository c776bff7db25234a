"""What is taken as a source archive, and what is refused: most archives here are made to do harm."""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import stat
import struct
import tarfile
import tempfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jac_orc.errors import InvalidArgumentError, OrcError, ResourceExhaustedError
from jac_orc.pod_manager.source_archives import SourceLimits
from jac_orc.pod_manager.sources import Sources
from tests.unit.source_parts import GOOD, METADATA, PKG_INFO, SDIST, SMALL, WHEEL, member_of, tar_of, tree_of, zip_of


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "sources"


@pytest.fixture
def sources(root: Path) -> Iterator[Sources]:
    """A store with small limits, which never keeps anything half-made."""
    yield Sources(root, SMALL)
    assert not list(root.glob(".*"))


def entry_of(name: str, *, mode: int = 0) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


def changed(data: bytes, *changes: tuple[bytes, bytes]) -> bytes:
    """The bytes with those in place of others, which must be there."""
    for old, new in changes:
        assert old in data and len(old) == len(new)
        data = data.replace(old, new)
    return data


# What is good


@pytest.mark.parametrize("allowed", [0o755, 0o700])
def test_files_have_plain_modes_whatever_the_archive_and_the_umask_say(tmp_path: Path, allowed: int) -> None:
    """Those of the whole folder bound them: on one machine it is private."""
    sources = Sources(tmp_path / "sources", SMALL)
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources").chmod(allowed)
    mask = os.umask(0o077)
    try:
        ref = sources.add("x.zip", zip_of(
            (entry_of("d/", mode=stat.S_IFDIR | 0o7777), b""),
            (entry_of("d/run", mode=stat.S_IFREG | 0o6611), b"1"),
            (entry_of("d/e/plain", mode=stat.S_IFREG | 0o4600), b"2"),
            (entry_of("none"), b"3"),
        ))  # fmt: skip
    finally:
        os.umask(mask)
    folder = sources.folder(ref)
    modes = {str(path.relative_to(folder)): stat.S_IMODE(path.lstat().st_mode) for path in folder.rglob("*")}
    plain = 0o644 & allowed
    assert modes == {"d": allowed, "d/run": allowed, "d/e": allowed, "d/e/plain": plain, "none": plain}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (folder, folder.parent)} == {allowed}
    assert stat.S_IMODE(sources.archive(ref).stat().st_mode) == plain


def test_names_may_be_long_deep_and_of_any_script(sources: Sources) -> None:
    files = {"a/b/c/d/e": b"", "d" * 60: b"", "日本/é.py": b"", "a/b/C": b"", "a/b/c.": b"", " ": b"", "...": b""}
    assert tree_of(sources.folder(sources.add_files(files))) == files
    longest = {"a/" * 49 + "x": b"", "y" * 255: b"", "z/" * 5 + "é" * 127: b""}
    roomy = Sources(sources._root)
    assert tree_of(roomy.folder(roomy.add_files(longest))) == longest


def test_a_utf8_name_without_its_flag_is_taken(sources: Sources) -> None:
    """As the archiver of macOS writes it."""
    data = changed(zip_of(("12.py", b"x")), (b"12.py", "é.py".encode()))
    assert tree_of(sources.folder(sources.add("x.zip", data))) == {"é.py": b"x"}


def test_an_sdist_may_have_long_paths_in_any_format(sources: Sources) -> None:
    long = "shop-1.0/" + "d" * 30 + "/" + "e" * 20
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT):
        sources.check(
            sources.add(SDIST, tar_of(member_of("shop-1.0", type=tarfile.DIRTYPE), PKG_INFO, (long, b"x"), form=form))
        )
    roomy = Sources(sources._root, SourceLimits(files=10))
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        longest = "shop-1.0/" + "/".join(["ü" * 100] * 4)
        roomy.check(roomy.add(SDIST, tar_of(PKG_INFO, (longest, bytes(2**22)), form=form)))


# What is refused


def refused(sources: Sources, name: str, data: bytes) -> OrcError:
    """Why an archive is refused; nothing of it stays."""
    with pytest.raises(OrcError) as caught:
        sources.add(name, data)
    assert list(sources._root.iterdir()) == []
    assert caught.value.message.isprintable() and len(caught.value.message) < 400
    return caught.value


BAD_PATHS = {
    "/etc/passwd": "absolute", "//x": "absolute", "..": '".."', "../x": '".."', "a/../../x": '".."', "a/..": '".."',
    "./x": '"."', "a/./b": '"."', "a//b": "empty segment", "a\\b": "backslash", "..\\x": "backslash",
    "C:/x": "drive letter", "c:x": "drive letter",
    "ab:/x": "colon", "a/\n": "U+000A", "a\u2028b": "U+2028", "a\x1b[31m": "U+001B", "a/\u202egpj.py": "U+202E",
    "a/b/c/d/e/f": "5 segments", "x" * 61: "60 bytes",
    "é" * 31: "60 bytes",
}  # fmt: skip


@pytest.mark.parametrize(("path", "why"), BAD_PATHS.items())
def test_a_bad_path_is_refused(sources: Sources, path: str, why: str) -> None:
    for name, data in (
        ("x.zip", zip_of(("ok", b""), (path, b"x"))),
        ("x.zip", zip_of(("ok", b""), (path + "/", b""))),
        (WHEEL, zip_of(METADATA, (path, b"x"))),
        (SDIST, tar_of(PKG_INFO, (path, b"x"))),
    ):
        failure = refused(sources, name, data)
        assert failure.reason == "SOURCE_INVALID" and why in failure.message
        assert failure.metadata["entry"].startswith(f"'{repr(path)[1:-1]}")
    with pytest.raises(InvalidArgumentError):
        sources.add_files({"ok": b"", path: b"x"})


@pytest.mark.parametrize("path", ["", "/", "a/", "a\0b", "\ud800", "x" * 256])
def test_files_of_a_bad_path_are_refused(root: Path, path: str) -> None:
    with pytest.raises(InvalidArgumentError):
        Sources(root).add_files({path: b""})
    assert not root.exists()


def test_a_segment_that_linux_does_not_take_is_refused(root: Path) -> None:
    assert "255 bytes" in refused(Sources(root), "x.zip", zip_of(("a/" + "x" * 256, b""))).message


@pytest.mark.parametrize(("name", "why"), [(b"a\0b.py", "NUL"), (b"a\xff.py!", "UTF-8")])
def test_a_zip_with_bytes_that_are_no_name_is_refused(sources: Sources, name: bytes, why: str) -> None:
    plain = b"x" * len(name)
    assert why in refused(sources, "x.zip", changed(zip_of((plain.decode(), b"")), (plain, name))).message
    flagged = changed(zip_of(("é" + "x" * (len(name) - 2), b"")), ("é".encode() + plain[2:], name))
    assert why in refused(sources, "x.zip", flagged).message


def test_a_tar_with_bytes_that_are_no_name_is_refused(sources: Sources) -> None:
    data = tar_of(PKG_INFO, member_of("shop-1.0/\udcff"), form=tarfile.GNU_FORMAT)
    assert "UTF-8" in refused(sources, SDIST, data).message


def test_names_in_messages_are_short_and_printable(root: Path) -> None:
    failure = refused(Sources(root), "x.zip", zip_of(("../\x1b[31m\n\u202e" + "x" * 500, b"")))
    assert "'../\\x1b[31m\\n\\u202exxx" in failure.message and "x" * 90 not in failure.message


ZIP_KINDS = [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFDIR]


@pytest.mark.parametrize("kind", ZIP_KINDS)
def test_a_zip_with_something_that_is_no_plain_file_is_refused(sources: Sources, kind: int) -> None:
    data = zip_of(("a", b""), (entry_of("link", mode=kind | 0o777), b"/etc/passwd"))
    failure = refused(sources, "x.zip", data)
    assert failure.message == "the archive's entry 'link' is no plain file or folder"
    refused(sources, WHEEL, zip_of(METADATA, (entry_of("link", mode=kind | 0o777), b"/etc/passwd")))


def test_a_folder_with_contents_or_as_a_file_is_refused(sources: Sources) -> None:
    assert "size" in refused(sources, "x.zip", zip_of(("a", b""), ("d/", b"x"))).message
    data = zip_of(("a", b""), (entry_of("d/", mode=stat.S_IFREG | 0o644), b""))
    assert "no plain file or folder" in refused(sources, "x.zip", data).message


@pytest.mark.parametrize(("first", "second", "why"), [
    ("aa", "ab", "is there twice"), ("aa/", "ab/", "is there twice"), ("aa/", "ab", "is there twice"),
    ("aa", "ab/", "is there twice"), ("aa", "ab/c", "is both"), ("aa/c", "ab", "is both"), ("aa", "ab/c/d/", "is both"),
])  # fmt: skip
def test_entries_that_clash_are_refused(sources: Sources, first: str, second: str, why: str) -> None:
    data = zip_of((first, b""), (second, b""), ("x", b""))
    assert f"'aa' {why}" in refused(sources, "x.zip", data.replace(b"ab", b"aa")).message
    sources.add("x.zip", data)


@pytest.mark.parametrize("types", [(b"0", b"0"), (b"5", b"5"), (b"5", b"0"), (b"0", b"5")])
def test_members_that_clash_are_refused(sources: Sources, types: tuple[bytes, bytes]) -> None:
    twice = [member_of("shop-1.0/a", type=kind) for kind in types]
    failure = refused(sources, SDIST, tar_of(PKG_INFO, *twice))
    assert "is there twice" in failure.message or "is both" in failure.message
    below = tar_of(PKG_INFO, ("shop-1.0/PKG-INFO/x", b""))
    assert "'shop-1.0/PKG-INFO' is both" in refused(sources, SDIST, below).message


def test_names_that_differ_by_case_are_two_files(sources: Sources) -> None:
    assert len(tree_of(sources.folder(sources.add_files({"a": b"1", "A": b"2"})))) == 2


LINKS = [
    tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.CONTTYPE,
    tarfile.GNUTYPE_SPARSE, b"Z",
]  # fmt: skip


@pytest.mark.parametrize("kind", LINKS)
def test_a_tar_with_something_that_is_no_plain_file_is_refused(sources: Sources, kind: bytes) -> None:
    for target in ("/etc/passwd", "PKG-INFO", "../.."):
        data = tar_of(PKG_INFO, member_of("shop-1.0/link", type=kind, linkname=target))
        failure = refused(sources, SDIST, data)
        assert failure.message == "the archive's entry 'shop-1.0/link' is no plain file or folder"


def test_a_sparse_file_is_refused(sources: Sources) -> None:
    sparse = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.map": "0,1", "GNU.sparse.size": "9"}
    data = tar_of(PKG_INFO, member_of("shop-1.0/x", pax_headers=sparse))
    assert "no plain file" in refused(sources, SDIST, data).message


ZIP, TAR = GOOD["shop.zip"], gzip.decompress(GOOD[SDIST])
NO_ARCHIVES = {
    "empty": b"",
    "text": b"no archive\n" * 1000,
    "a zip": ZIP,
    "half a zip": ZIP[:-30],
    "a zip's end": zip_of(),
    "no files in a zip": zip_of(("d/", b"")),
    "an sdist": GOOD[SDIST],
    "half of gzip": GOOD[SDIST][:-30],
    "no checksum": GOOD[SDIST][:-8],
    "a bad checksum": changed(GOOD[SDIST], (GOOD[SDIST][-8:-4], b"1234")),
    "gzip twice": GOOD[SDIST] * 2,
    "more than gzip": GOOD[SDIST] + b"x",
    "a tar": TAR,
    "nothing": gzip.compress(b""),
    "ones": gzip.compress(b"\x01" * 5000),
    "zeros": gzip.compress(bytes(10240)),
    "no files in a tar": tar_of(),
    "a folder in a tar": tar_of(member_of("shop-1.0", type=tarfile.DIRTYPE)),
    "a tar behind a tar": gzip.compress(TAR + gzip.decompress(tar_of(("../x", b"")))),
    "a bad header": gzip.compress(changed(TAR, (b"shop-1.0/shop.py", b"shop-1.0/shap.py"))),
    "half a header": gzip.compress(TAR[:1300]),
    "half a file": gzip.compress(gzip.decompress(tar_of(PKG_INFO, ("shop-1.0/x", bytes(5000))))[:3000]),
}


@pytest.mark.parametrize("what", NO_ARCHIVES)
def test_what_is_no_archive_of_its_kind_is_refused(sources: Sources, what: str) -> None:
    for name in ("x.zip", WHEEL, SDIST):
        if (what, name) not in (("a zip", "x.zip"), ("an sdist", SDIST)):
            assert refused(sources, name, NO_ARCHIVES[what]).reason == "SOURCE_INVALID"


@pytest.mark.parametrize(("data", "why"), [
    (tar_of(("shop-1.0/shop.py", b"")), "no PKG-INFO"),
    (tar_of(("shop-1.0/sub/PKG-INFO", b"")), "no PKG-INFO"),
    (tar_of(member_of("shop-1.0/PKG-INFO", type=tarfile.DIRTYPE), ("shop-1.0/x", b"")), "no PKG-INFO"),
    (tar_of(("PKG-INFO", b"")), "no PKG-INFO"),
    (tar_of(PKG_INFO, ("other/x", b"")), "one folder at its top"),
    (tar_of(PKG_INFO, ("x", b"")), "one folder at its top"),
    (tar_of(PKG_INFO, member_of("other", type=tarfile.DIRTYPE)), "one folder at its top"),
], ids=range(7))  # fmt: skip
def test_an_sdist_has_one_folder_with_its_metadata(sources: Sources, data: bytes, why: str) -> None:
    assert why in refused(sources, SDIST, data).message


@pytest.mark.parametrize("path", ["x", "METADATA", "a/shop-1.0.dist-info/METADATA", "shop-1.0.dist-info/METADATA/x"])
def test_a_wheel_has_metadata(sources: Sources, path: str) -> None:
    assert "the wheel has no METADATA" in refused(sources, WHEEL, zip_of((path, b""))).message


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compression_that_cannot_be_undone_in_pieces_is_refused(sources: Sources, method: int) -> None:
    data = zip_of(("a", b"x" * 100), compression=method)
    assert "neither stored nor deflated" in refused(sources, "x.zip", data).message


# The fields of an entry in the directory of a zip, behind its signature.
FLAGS, METHOD, CRC, PACKED, SIZE, OFFSET = (8, "H"), (10, "H"), (16, "I"), (20, "I"), (24, "I"), (42, "I")


def lying(data: bytes, field: tuple[int, str], value: int) -> bytes:
    """The zip with that in a field of its first entry in the directory."""
    lie = bytearray(data)
    struct.pack_into(f"<{field[1]}", lie, data.index(b"PK\x01\x02") + field[0], value)
    return bytes(lie)


@pytest.mark.parametrize(("field", "value", "why"), [
    (FLAGS, 0x1, "encrypted"), (FLAGS, 0x40, "encrypted"), (FLAGS, 0x2000, "encrypted"), (METHOD, 99, "neither"),
    (FLAGS, 0x20, "patched"), (CRC, 1, "Bad CRC"), (SIZE, 999, "Bad CRC"), (SIZE, 1001, "1000 bytes, but 1001"),
    (SIZE, 0, "Bad CRC"), (PACKED, 3, "can't be read"), (PACKED, 900, "overlap"), (OFFSET, 999_999, "damaged"),
    (OFFSET, 2**32 - 1, "can't be read"), (OFFSET, 1, "Bad magic"),
])  # fmt: skip
@pytest.mark.parametrize("name", ["x.zip", WHEEL])
def test_a_lying_header_is_refused(sources: Sources, name: str, field: tuple[int, str], value: int, why: str) -> None:
    data = lying(zip_of(("a", bytes(1000)), METADATA), field, value)
    failure = refused(sources, name, data)
    assert failure.reason == "SOURCE_INVALID"
    assert why in failure.message or field in (OFFSET, PACKED)


# What is too large


def test_a_bomb_is_refused_and_never_in_memory(sources: Sources, tmp_path: Path) -> None:
    data = zip_of(("a", bytes(50_000_000)))
    assert len(data) < SMALL.archive_bytes
    lies = [
        (name, lying(lying(bomb, SIZE, 10), CRC, zlib.crc32(bytes(10))))
        for name, bomb in (("x.zip", data), (WHEEL, zip_of(("a", bytes(2_000_000)), METADATA)))
    ]
    packed = zlib.compressobj(wbits=31)
    tar = packed.compress(member_of("shop-1.0/a", size=20_000_000).tobuf())
    tar += b"".join(packed.compress(bytes(1_000_000)) for _ in range(20)) + packed.flush()
    zeros = gzip.compress(bytes(2_000_000))
    tracemalloc.start()
    try:
        for name, lie in lies:  # what is declared is all that comes out; the installer refuses such a wheel
            Sources(tmp_path, SMALL).add(name, lie)
        for name, archive in (("x.zip", data), (SDIST, tar)):
            failure = refused(sources, name, archive)
            assert (failure.reason, failure.metadata) == (
                "TOO_LARGE", {"limit": "100000", "setting": "POD_MANAGER_SOURCE_UNPACKED_BYTES"},
            )  # fmt: skip
            assert "100,000 bytes" in failure.message
        assert refused(sources, SDIST, zeros).reason == "SOURCE_INVALID"
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()


def test_files_are_too_large_together(sources: Sources) -> None:
    sources.add_files({"a": bytes(50_000), "b": bytes(50_000)})
    with pytest.raises(ResourceExhaustedError, match="SOURCE_UNPACKED_BYTES"):
        sources.add_files({"a": bytes(50_000), "b": bytes(50_001)})


def test_a_hundred_thousand_files_are_refused_at_once(root: Path) -> None:
    sources, many = Sources(root), 100_000
    local = b"PK\x03\x04" + bytes(22) + struct.pack("<HH", 5, 0) + b"00000"
    directory = b"".join(
        b"PK\x01\x02" + bytes(24) + struct.pack("<HHHHHII", 5, 0, 0, 0, 0, 0, 0) + b"%05d" % number
        for number in range(many)
    )
    ends = [  # what is told at the end doesn't matter
        b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, count, count, len(directory), len(local), 0)
        for count in (many & 0xFFFF, 1)
    ]
    archives = [local + directory + end for end in ends]
    tracemalloc.start()
    try:
        for archive in archives:
            failure = refused(sources, "x.zip", archive)
            assert failure.reason == "TOO_LARGE"
            assert failure.metadata == {"limit": "20000", "setting": "POD_MANAGER_SOURCE_FILES"}
            assert "20,000 files and folders that the setting POD_MANAGER_SOURCE_FILES allows" in failure.message
        assert tracemalloc.get_traced_memory()[1] < 3 * len(directory)
    finally:
        tracemalloc.stop()


def test_as_many_files_as_are_allowed(sources: Sources) -> None:
    paths = [f"{number}" for number in range(20)]
    sources.add_files(dict.fromkeys(paths, b""))
    for more in ("x", "d/"):
        data = zip_of(*((path, b"") for path in [*paths, more]))
        assert refused_too_many(sources, "x.zip", data)
    for path in ("0", "d/x", "d/e/f/g/x"):
        members = [("shop-1.0/" + path, b"") for path in [*paths[:17], "d/x"]]
        sources.check(sources.add(SDIST, tar_of(PKG_INFO, *members[:17])))
        assert refused_too_many(sources, SDIST, tar_of(PKG_INFO, *members, ("shop-1.0/x/" + path, b"")))


def refused_too_many(sources: Sources, name: str, data: bytes) -> bool:
    with pytest.raises(ResourceExhaustedError, match="SOURCE_FILES"):
        sources.add(name, data)
    return True


def test_a_directory_that_is_too_large_is_not_read(root: Path) -> None:
    infos = [entry_of(f"{number}") for number in range(6)]
    for info in infos:
        info.comment = bytes(65_000)
    sources = Sources(root, SourceLimits(files=100))
    assert "directory" in refused(sources, "x.zip", zip_of(*((info, b"") for info in infos))).message


def test_entries_that_share_their_bytes_are_refused(sources: Sources) -> None:
    """As in a bomb of many entries with one content."""
    data = zip_of(("a", os.urandom(1000)), ("b", b""))
    second = data.rindex(b"PK\x01\x02")
    first = data.index(b"PK\x01\x02")
    shared = bytearray(data)
    shared[second + 10 : second + 28] = data[first + 10 : first + 28]
    assert "overlap" in refused(sources, "x.zip", bytes(shared)).message


def test_headers_of_a_tar_are_bounded(sources: Sources) -> None:
    long = tar_of(PKG_INFO, member_of("shop-1.0/x", pax_headers={"comment": "x" * 5000}))
    assert "has a header that is too long" in refused(sources, SDIST, long).message
    huge = member_of("shop-1.0/x", type=tarfile.GNUTYPE_LONGNAME, size=2**40)
    assert "has a header that is too long" in refused(sources, SDIST, tar_of(huge, form=tarfile.GNU_FORMAT)).message
    negative = member_of("shop-1.0/x", size=-512).tobuf(tarfile.GNU_FORMAT)
    told = refused(sources, SDIST, gzip.compress(negative + TAR)).message
    assert re.search("size that can't be|invalid offset", told)
    for many in (100, 2000):
        assert refused(sources, SDIST, gzip.compress(extension(b"20 comment=0123456\n") * many))


def extension(data: bytes, kind: bytes = tarfile.XHDTYPE) -> bytes:
    header = member_of("shop-1.0/header", type=kind, size=len(data)).tobuf(tarfile.USTAR_FORMAT)
    return header + data + bytes(-len(data) % 512)


@pytest.mark.parametrize(("data", "kind", "why"), [
    (b"0 path=../x\n", tarfile.XHDTYPE, "can't be read"),
    (b"13 path=../x\n", tarfile.XHDTYPE, '".."'),
    (b"13 path=a\0/x\n", tarfile.XHDTYPE, "NUL"),
    (b"12 path=a/\xff\n", tarfile.XHDTYPE, "UTF-8"),
    (b"11 size=-1\n", tarfile.XHDTYPE, "size|damaged header"),
    (b"10 size=x\n", tarfile.XHDTYPE, "damaged header"),
    (b"15 size=999999\n", tarfile.XHDTYPE, "SOURCE_UNPACKED_BYTES"),
    (b"13 path=../x\n", tarfile.XGLTYPE, '".."'),
    (b"19 path=shop-1.0/x\n", tarfile.XGLTYPE, "twice"),
    (b"../x\0", tarfile.GNUTYPE_LONGNAME, '".."'),
])  # fmt: skip
def test_a_bad_extension_is_refused(sources: Sources, data: bytes, kind: bytes, why: str) -> None:
    assert re.search(why, refused(sources, SDIST, gzip.compress(extension(data, kind) + TAR)).message)


def test_an_extension_of_no_interest_is_none(sources: Sources) -> None:
    """`git archive` writes the commit for all entries, and archivers of macOS bytes that are no text."""
    extensions = extension(b"15 comment=cf9\n", tarfile.XGLTYPE) + extension(b"17 SCHILY.x=\xff=\n\n\n".ljust(17))
    sources.check(sources.add(SDIST, gzip.compress(extensions + TAR)))
    renamed = gzip.compress(extension(b"19 path=shop-1.0/y\n") + TAR)
    assert "no PKG-INFO" in refused(Sources(sources._root / "fresh", SMALL), SDIST, renamed).message


def test_padding_of_a_tar_is_bounded(sources: Sources) -> None:
    tar = gzip.decompress(GOOD[SDIST])
    sources.check(sources.add(SDIST, gzip.compress(tar + bytes(500_000))))
    fresh = Sources(sources._root / "fresh", SMALL)
    assert "more in it" in refused(fresh, SDIST, gzip.compress(tar + bytes(5_000_000))).message


@given(st.sampled_from(sorted(GOOD)), st.integers(0, 10_000), st.integers(0, 10_000), st.binary(max_size=4))
def test_a_damaged_archive_is_taken_or_refused(name: str, place: int, length: int, put: bytes) -> None:
    data = GOOD[name] if name != SDIST else gzip.decompress(GOOD[name])
    place %= len(data)
    damaged = data[:place] + put + data[place + length % 6 :]
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.suppress(OrcError):
            Sources(Path(folder), SMALL).add(name, damaged if name != SDIST else gzip.compress(damaged))
        assert not list(Path(folder).glob(".*"))


def test_the_default_limits_are_those_of_the_documentation() -> None:
    limits: Mapping[str, int] = vars(SourceLimits())
    assert limits == {
        "archive_bytes": 2**28, "unpacked_bytes": 2**30, "files": 20_000, "depth": 50, "path_bytes": 1000,
    }  # fmt: skip
