"""What the tests of sources share: archives of all kinds, and limits that they soon exceed."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

from jac_orc.pod_manager.source_archives import SourceLimits

WHEEL, SDIST = "shop-1.0-py3-none-any.whl", "shop-1.0.tar.gz"
SMALL = SourceLimits(archive_bytes=1_000_000, unpacked_bytes=100_000, files=20, depth=5, path_bytes=60)
Entry = tuple[str, bytes] | tuple[zipfile.ZipInfo, bytes]


def zip_of(*entries: Entry, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", compression) as archive:
        for entry, data in entries:
            archive.writestr(entry, data)
    return packed.getvalue()


def tar_of(*members: tarfile.TarInfo | tuple[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=form) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                archive.addfile(member_of(member[0], size=len(member[1])), io.BytesIO(member[1]))
    return gzip.compress(packed.getvalue())


def member_of(name: str, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def tree_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


PKG_INFO = ("shop-1.0/PKG-INFO", b"Name: shop")
METADATA = ("shop-1.0.dist-info/METADATA", b"Name: shop")
GOOD = {
    "shop.zip": zip_of(("shop.py", b"x = 1")),
    WHEEL: zip_of(("shop.py", b"x = 1"), METADATA),
    SDIST: tar_of(PKG_INFO, ("shop-1.0/shop.py", b"x = 1")),
}
