"""The metadata of projects that aren't installed."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from jac_orc.pod_manager.source_metadata import FAILURE, is_built, write_static

PROJECT = """
[project]
name = "Orc.Shop"
version = "1.2"
description = "sells tea"
readme = "README.md"
requires-python = ">=3.9"
license = "MIT"
authors = [{name = "Ann", email = "ann@example.com"}, {name = "Bob"}]
keywords = ["tea", "shop"]
dependencies = ["numpy>=2", "idna; python_version > '3'"]
[project.optional-dependencies]
tea_pots = ["attrs", "six; python_version > '3'"]
[project.urls]
Home = "https://example.com"
[project.scripts]
shop = "orc_shop:main"
[project.entry-points."orc.plugins"]
tea = "orc_shop.tea:Plugin"
"""


def project(folder: Path, text: str, **files: str) -> Path:
    source = folder / "project"
    for name, content in {"pyproject.toml": text, "README.md": "# Shöp\n", **files}.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(content, encoding="utf-8")
    return source


def found(folder: Path, name: str = "orc-shop") -> importlib.metadata.Distribution:
    (distribution,) = importlib.metadata.distributions(name=name, path=[str(folder / "about")])
    return distribution


def test_all_that_a_project_says_is_in_its_metadata(tmp_path: Path) -> None:
    files = {"src/orc_shop/__init__.py": "", "src/orc_shop/data, more.txt": "", "tests/test_x.py": ""}
    assert write_static(project(tmp_path, PROJECT, **files), tmp_path / "about")
    shop = found(tmp_path)
    assert (shop.version, shop.metadata["Name"], shop.metadata["Summary"]) == ("1.2", "Orc.Shop", "sells tea")
    assert shop.metadata["Author"] == "Bob" and shop.metadata["Author-Email"] == "Ann <ann@example.com>"
    assert shop.metadata["License-Expression"] == "MIT" and shop.metadata["Keywords"] == "tea,shop"
    assert str(shop.metadata).endswith("\n\n# Shöp\n") and shop.metadata["Requires-Python"] == ">=3.9"
    assert shop.metadata["Project-URL"] == "Home, https://example.com"
    assert shop.requires == [
        "numpy>=2", 'idna; python_version > "3"', 'attrs; extra == "tea-pots"',
        'six; python_version > "3" and extra == "tea-pots"',
    ]  # fmt: skip
    points = {(point.group, point.name, point.value) for point in shop.entry_points}
    assert points == {("console_scripts", "shop", "orc_shop:main"), ("orc.plugins", "tea", "orc_shop.tea:Plugin")}
    assert shop.read_text("top_level.txt") == "orc_shop\n"
    assert {str(file) for file in shop.files or ()} == {
        "orc_shop/__init__.py", "orc_shop/data, more.txt",
        *(f"orc_shop-1.2.dist-info/{name}" for name in ("METADATA", "RECORD", "entry_points.txt", "top_level.txt")),
    }  # fmt: skip


def test_a_project_that_is_the_package_itself_is_imported_from_above(tmp_path: Path) -> None:
    source = project(tmp_path, PROJECT, **{"__init__.py": "", "parts/x.py": ""})
    assert write_static(source, tmp_path / "about")
    assert found(tmp_path).read_text("top_level.txt") == "project\n"
    assert {"project/__init__.py", "project/parts/x.py"} <= {str(file) for file in found(tmp_path).files or ()}


DYNAMIC = '[project]\nname = "orc-shop"\ndynamic = ["version"]\n'


@pytest.mark.parametrize(
    ("text", "files"),
    [
        ('[tool.setuptools.dynamic]\nversion = {attr = "orc_shop.X"}', {"src/orc_shop/__init__.py": "X = '3.4'"}),
        ('[tool.setuptools.dynamic]\nversion = {attr = "orc_shop.v.x"}', {"orc_shop/v.py": "x: str = '3.4'"}),
        ('[tool.setuptools.dynamic]\nversion = {file = "VERSION"}', {"VERSION": "3.4\n"}),
        ('[tool.hatch.version]\npath = "src/orc_shop/v.py"', {"src/orc_shop/v.py": "__version__ = '3.4'"}),
        ('[tool.pdm.version]\nsource = "file"\npath = "orc_shop.py"', {"orc_shop.py": "__version__ = '3.4'"}),
        ('[build-system]\nbuild-backend = "flit_core.buildapi"', {"orc_shop.py": "'''docs'''\n__version__ = '3.4'"}),
    ],
)
def test_a_version_that_a_file_says_literally_needs_no_build(tmp_path: Path, text: str, files: dict[str, str]) -> None:
    assert write_static(project(tmp_path, DYNAMIC + text, **files), tmp_path / "about")
    assert found(tmp_path).version == "3.4"


@pytest.mark.parametrize(
    ("text", "files"),
    [
        ('[tool.setuptools.dynamic]\nversion = {attr = "orc_shop.VERSION"}', {"orc_shop.py": "VERSION = str(3)"}),
        ('[tool.setuptools.dynamic]\nversion = {attr = "orc_shop.VERSION"}', {"orc_shop.py": "VERSION = ("}),
        ('[tool.hatch.version]\nsource = "vcs"', {}),
        ('[tool.hatch.version]\npath = "../../etc/passwd"', {}),
        ("[tool.setuptools_scm]", {}),
        ('[tool.setuptools]\ndynamic = "x"', {}),
    ],
)
def test_any_other_version_is_for_the_backend(tmp_path: Path, text: str, files: dict[str, str]) -> None:
    source = project(tmp_path, DYNAMIC + text, **files)
    assert not write_static(source, tmp_path / "about") and is_built(source)
    assert not (tmp_path / "about").exists()


def test_a_static_version_is_better_than_none(tmp_path: Path) -> None:
    source = project(tmp_path, '[project]\nname = "orc-shop"\nversion = "1"\ndynamic = ["dependencies"]\n')
    assert not write_static(source, tmp_path / "about")
    assert write_static(source, tmp_path / "about", also_dynamic=True)
    assert found(tmp_path).version == "1"


@pytest.mark.parametrize("text", ["", "[tool.ruff]\n", "[project\n"])
def test_what_is_no_project_has_no_metadata(tmp_path: Path, text: str) -> None:
    source = project(tmp_path, text)
    assert not write_static(source, tmp_path / "about") and not is_built(source)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('version = "one"', "version"), ('version = "1"\nscripts = {a = 1}', "pyproject.toml: "),
        ('version = "1"\nauthors = [1]', "pyproject.toml: "), ('version = "1"\nlicense = "none of them"', "license"),
        ('version = "1"\n[project.entry-points.a]\nb = "c\\n[x]"', "more than one line"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_it_is_written_down(tmp_path: Path, text: str, told: str) -> None:
    assert write_static(project(tmp_path, f'[project]\nname = "orc-shop"\n{text}\n'), tmp_path / "about")
    assert told in (tmp_path / "about" / FAILURE).read_text()
    assert not [*importlib.metadata.distributions(path=[str(tmp_path / "about")])]
