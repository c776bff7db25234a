"""The option by which CI makes sure that every check runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TESTS = """
import pytest

def test_inside(): pytest.skip("no cluster")

@pytest.mark.skip(reason="no curl")
def test_marked(): pass

@pytest.mark.xfail
def test_known(): assert False

def test_plain(): pass
"""


def test_skips_fail_if_none_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "test_whole.py").write_text('import pytest\npytest.skip("no module", allow_module_level=True)\n')
    options = ("-q", "-c", os.devnull, "--rootdir", str(tmp_path), "-p", "tests.conftest", "-p", "no:cacheprovider")
    command = [sys.executable, "-m", "pytest", *options, "--no-skips", "--continue-on-collection-errors", str(tmp_path)]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "services")])
    environment = {**os.environ, "PYTHONPATH": paths, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1].startswith("1 failed, 1 passed, 1 xfailed, 2 errors in "), done.stdout
    assert "Skipped: no cluster; --no-skips allows no skips" in done.stdout
