"""What the tests of all tables have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.suite.known_faults import KNOWN_FAULTS
from tests.suite.tables import read

_TABLES = Path(__file__).parent / "tables"


def modules(*files: str) -> list[tuple[str, str]]:
    """The tables in these files, as (file, module)."""
    return [(file, table.module) for file in files for table in read(_TABLES / file)]


def check_answers(report: dict[str, Any], module: str, way: str) -> None:
    """Fails with every entry whose answer on that way is not what the local call gives."""
    failed = {one["entry"]: one for one in report["failures"] if one["way"] == way}
    known = {entry for name, entry, on in KNOWN_FAULTS if (name, on) == (module, way)} & set(report["entries"])
    found = [
        f"{module}: {entry}\n  way:      {way}\n  expected: {one['expected']}\n  got:      {one['got']}"
        for entry, one in failed.items() if entry not in known
    ]  # fmt: skip
    found += [f"{module}: {entry}\n  is a known fault for {way}, and does not fail" for entry in known - failed.keys()]
    assert not found, "\n" + "\n".join(found)


def check_complete(report: dict[str, Any]) -> None:
    """Fails with the functions that no entry calls and no reason excepts, and with reasons that except nothing."""
    assert not report["missing"], f"no entry calls {' '.join(report['missing'])}"
    assert not report["needless"], f"excepted for nothing: {' '.join(report['needless'])}"
