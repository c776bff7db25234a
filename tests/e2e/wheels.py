"""Wheels of the sample modules in `tests/guests`, made with nothing but the standard library."""

from __future__ import annotations

import zipfile
from pathlib import Path

_GUESTS = Path(__file__).parent.parent / "guests"
_BROKEN = 'raise ImportError("version 3.0 is broken")\n'


def build(directory: Path) -> None:
    """Makes a wheel of each sample module, and three versions of `orc_guest_version`."""
    for source in sorted(_GUESTS.glob("orc_guest_*.py")):
        if not source.stem.startswith("orc_guest_version_"):
            _build(directory, source.stem, "1.0", source.read_text())
    for version, source_code in (
        ("1.0", (_GUESTS / "orc_guest_version_1.py").read_text()),
        ("2.0", (_GUESTS / "orc_guest_version_2.py").read_text()),
        ("3.0", _BROKEN),
    ):
        _build(directory, "orc_guest_version", version, source_code)


def _build(directory: Path, name: str, version: str, source: str) -> None:
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": source,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(directory / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, content in {**files, f"{info}/RECORD": record}.items():
            entry = zipfile.ZipInfo(path)  # without the time: equal content, equal wheel
            entry.external_attr = 0o600 << 16
            archive.writestr(entry, content)
