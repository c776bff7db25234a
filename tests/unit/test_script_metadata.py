"""What the inline metadata of a script requires (PEP 723)."""

from __future__ import annotations

from pathlib import Path

import pytest

from jac_orc.errors import OrcError
from jac_orc.pod_manager.source_requirements import Needs, read_script


def needs(folder: Path, text: str | bytes) -> Needs:
    file = folder / "shop.py"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_script(file, "3.11.2")


BLOCK = '# /// script\n# requires-python = ">=3.9"\n# dependencies = [\n#   "numpy>=2", # new\n#   "idna",\n# ]\n'
END = "# ///\n"


@pytest.mark.parametrize(
    ("text", "requirements"),
    [
        ("import os\n", []),
        (BLOCK + END + "import os\n", ["numpy>=2", "idna"]),
        ("#!/usr/bin/env python\n'''docs'''\n" + BLOCK + "#\n# [tool.uv]\n# index = 1\n" + END, ["numpy>=2", "idna"]),
        ("\ufeff" + (BLOCK + END).replace("\n", "\r\n"), ["numpy>=2", "idna"]),
        (BLOCK + END.strip(), ["numpy>=2", "idna"]),
        (BLOCK + "# ///\n# [tool.x]\n" + END, None),
        (b"# -*- coding: latin-1 -*-\n# caf\xe9\n" + (BLOCK + END).encode(), ["numpy>=2", "idna"]),
        ("# /// other\n# dependencies = [1]\n# ///\n", []),
        ("    # /// script\n    # dependencies = [1]\n    # ///\n", []),
        ("# /// script\n# ///\n", []),
    ],
)
def test_its_requirements_are_read(tmp_path: Path, text: str | bytes, requirements: list[str] | None) -> None:
    if requirements is None:  # the last end counts, and what is before it must be TOML
        with pytest.raises(OrcError, match=r"shop\.py, line 7: "):
            needs(tmp_path, text)
    else:
        assert needs(tmp_path, text) == Needs(requirements)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (BLOCK, "shop.py, line 7: the metadata of line 1 has no end; each line of it begins with `# `"),
        (BLOCK + "#[tool]\n" + END, "shop.py, line 7: the metadata of line 1 has no end"),
        (BLOCK + "\n" + END, "shop.py, line 7: the metadata of line 1 has no end"),
        ("\n" + BLOCK + END + BLOCK + END, "shop.py, line 9: a second `# /// script`"),
        ("import os\n# /// script\n# dependencies = [\n# 'a'\n# 'b']\n" + END, "shop.py, line 5: "),
        ("# /// script\n# dependencies = [\n" + END, "shop.py, line 2: "),
        ("# /// script\n# dependencies = 'numpy'\n" + END, "shop.py, line 2: `dependencies` is no list of strings"),
        ("x = 1\n# /// script\n# dependencies = [\n#  'a', 'b c'\n# ]\n" + END, "shop.py, line 4: 'b c' is no PEP 508"),
        ("# /// script\n# dependencies = ['a @ http://a.example/a.whl']\n" + END, "shop.py, line 2: "),
        ("# /// script\n# requires-python = '3'\n" + END, "shop.py, line 2: `requires-python` is '3' and no range"),
        ("# /// script\n# requires-python = '>=4'\n" + END, "Python >=4 (`requires-python` in shop.py, line 2), not"),
    ],
)
def test_malformed_metadata_is_reported_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(OrcError) as caught:
        needs(tmp_path, text)
    assert told in caught.value.message
