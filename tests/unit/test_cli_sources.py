"""Which module a source is, and how it is packed."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from jac_orc.cli import sources
from jac_orc.cli.failures import UsageError
from jac_orc.cli.options import Code


def write(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def found(path: Path, module: str = "") -> tuple[str, list[str]]:
    """The module's name and the names in the archive."""
    name, source = sources.find(Code(module, path))
    assert source is not None
    return name, zipfile.ZipFile(io.BytesIO(source.packed.data)).namelist()


@pytest.mark.parametrize(
    ("files", "module", "name", "packed"),
    [
        (["__init__.py", "shop.py"], "", "shop", ["shop/__init__.py", "shop/shop.py"]),
        (["__init__.py", "data/x.txt"], "shop", "shop", ["shop/__init__.py", "shop/data/x.txt"]),
        (["__init__.py", "tea.py"], "shop.tea", "shop.tea", ["shop/__init__.py", "shop/tea.py"]),
        (["__init__.py", "tea.py"], "tea", "tea", ["__init__.py", "tea.py"]),
        (["__init__.py", "shop/__init__.py"], "", "shop", ["shop/__init__.py", "shop/shop/__init__.py"]),
        (["__init__.py", "pyproject.toml"], "", "shop", ["shop/__init__.py", "shop/pyproject.toml"]),
        (["__init__.py", "setup.py", "shop/__init__.py"], "", "shop", ["__init__.py", "setup.py", "shop/__init__.py"]),
        (["__init__.py", "setup.py", "src/tea.py"], "tea", "tea", ["__init__.py", "setup.py", "src/tea.py"]),
        (["shop.py", "data/x.txt"], "", "shop", ["data/x.txt", "shop.py"]),
    ],
)
def test_a_folder_with_an_init_file_is_that_package(
    tmp_path: Path, files: list[str], module: str, name: str, packed: list[str]
) -> None:
    assert found(write(tmp_path / "shop", *files), module) == (name, packed)


def test_the_way_a_package_is_named_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "shop", "__init__.py")
    (tmp_path / "link").symlink_to("shop")
    monkeypatch.chdir(tmp_path / "shop")
    for path in (Path("."), Path("../shop/"), tmp_path / "link", tmp_path / "shop" / ".." / "shop"):
        assert found(path) == ("shop", ["shop/__init__.py"])


def test_a_package_whose_folder_has_another_name_needs_its_own(tmp_path: Path) -> None:
    folder = write(tmp_path / "my-shop", "__init__.py", "tea.py")
    assert found(folder, "shop.tea") == ("shop.tea", ["shop/__init__.py", "shop/tea.py"])
    with pytest.raises(UsageError, match="'my-shop' can't be a module's name; rename the folder, or name the package"):
        sources.find(Code("", folder))
    folder = folder.rename(tmp_path / "store")
    with pytest.raises(UsageError, match="is the package store, which has no shop; name store, or leave the name out"):
        sources.find(Code("shop", folder))


def test_a_file_is_the_module_of_its_name(tmp_path: Path) -> None:
    file = write(tmp_path, "test_shop.py") / "test_shop.py"
    for module in ("", "test_shop"):
        name, source = sources.find(Code(module, file))
        assert source is not None and (name, source.file_name, source.packed.data) == ("test_shop", "test_shop.py", b"")
    with pytest.raises(UsageError, match="is the module test_shop, not shop; name that, or leave the name out"):
        sources.find(Code("shop", file))


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("my-shop.py", "rename it to my_shop.py"),
        ("2shop.py", "rename it to module_2shop.py"),
        ("class.py", "rename it to module_class.py"),
        ("_shop.py", "rename it to shop.py"),
        ("läden.py", "rename it to l_den.py"),
        ("my shop.v2.py", "rename it to my_shop_v2.py"),
        ("__init__.py", "give its folder, --source "),
        ("shop.txt", "neither a folder nor a file of the kinds .zip, .whl, .tar.gz, .py"),
    ],
)
@pytest.mark.parametrize("module", ["", "shop"])
def test_a_file_that_cannot_be_imported_is_refused_with_advice(
    tmp_path: Path, name: str, advice: str, module: str
) -> None:
    with pytest.raises(UsageError, match=advice):
        sources.find(Code(module, write(tmp_path, name) / name))


@pytest.mark.parametrize(
    ("names", "module"),
    [
        (["shop-main/", "shop-main/pyproject.toml", "shop-main/store.py"], "store"),
        (["shop/setup.py", "shop/src/store/__init__.py"], "store"),
        (["shop/pyproject.toml", "shop/__init__.py", "shop/store.py"], "shop"),
        (["shop/store.py", "shop/__init__.py"], "shop"),
        (["shop/pyproject.toml", "store.py"], "store"),
    ],
)
def test_the_only_folder_of_a_zip_may_be_the_project(tmp_path: Path, names: list[str], module: str) -> None:
    with zipfile.ZipFile(tmp_path / "code.zip", "w") as archive:
        for name in names:
            archive.writestr(name, "")
    assert sources.find(Code("", tmp_path / "code.zip"))[0] == module
