"""The metadata of a source that is a project, by which `importlib.metadata` finds its version and its entry points.

A project at home is installed, which leaves a `.dist-info` folder. Here its code is imported as it is, and only that
folder is made: from `[project]` if it says all of it, else by the project's build backend.
"""

from __future__ import annotations

import ast
import contextlib
import re
import shutil
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from packaging.markers import Marker
from packaging.metadata import Metadata, RawMetadata
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from jac_orc.pod_manager.texts import hidden

FAILURE = "failure.txt"
"""The file that says why there is no metadata, next to where that would be."""
_MAX_BYTES = 1024 * 1024
_MAX_FAILURE = 400
_NOT_OF_THE_PROJECT = ("direct_url.json", "uv_build.json", "uv_cache.json", "REQUESTED", "RECORD")
_NOT_INSTALLED = re.compile(r"(?:setup|conftest|noxfile|tasks)\.py|(?:tests?|docs?|examples?)/.*|[^/]+\.dist-info/.*")


def write_static(project: Path, target: Path, *, also_dynamic: bool = False) -> bool:
    """Write the metadata of a project whose pyproject.toml says all of it; return whether it does.

    `also_dynamic`: write what it says even if code computes more. What is wrong with it is written to FAILURE.
    """
    document = _document(project)
    table = document.get("project")
    if not isinstance(table, dict):
        return False
    dynamic = set(map(str, table.get("dynamic", ())))
    version = table.get("version") or ("version" in dynamic and _version(project, document))
    if not version or (dynamic - {"version"} and not also_dynamic):
        return False
    try:
        metadata = Metadata.from_raw(_raw(project, table, str(version)))
        name = f"{canonicalize_name(metadata.name).replace('-', '_')}-{metadata.version}.dist-info"
        (target / name).mkdir(parents=True)
        (target / name / "METADATA").write_bytes(metadata.as_rfc822().as_bytes())
        (target / name / "entry_points.txt").write_text("".join(_entry_points(table)), encoding="utf-8")
        _write_files(project, target / name)
    except (ValueError, TypeError, LookupError, AttributeError, ExceptionGroup) as failure:
        for info in target.glob("*.dist-info"):
            shutil.rmtree(info)
        faults = failure.exceptions if isinstance(failure, ExceptionGroup) else [failure]
        write_failure(target, f"pyproject.toml: {'; '.join(map(str, faults))}")
    return True


def is_built(project: Path) -> bool:
    """Return whether the project's build backend knows its metadata."""
    document = _document(project)
    names = ("setup.py", "setup.cfg")
    return "project" in document or "build-system" in document or any((project / name).is_file() for name in names)


def write_built(project: Path, built: Path, target: Path) -> None:
    """Take the metadata from where the installer has installed the project; it has none if it has no name."""
    for info in built.glob("*.dist-info"):
        if canonicalize_name(info.name.partition("-")[0]) == "unknown":
            continue
        moved = shutil.copytree(info, target / info.name)
        for name in _NOT_OF_THE_PROJECT:
            (moved / name).unlink(missing_ok=True)
        _write_files(project, moved)


def write_failure(target: Path, text: str) -> None:
    """Write why there is no metadata: the error that a build ended with, or all of the text."""
    reason = [*re.findall(r"^\s*([\w.]*(?:Error|Exception|Exit): .*)", text, re.MULTILINE), text][-2:][0]
    target.mkdir(parents=True, exist_ok=True)
    (target / FAILURE).write_text(hidden(" ".join(reason.split()))[:_MAX_FAILURE], encoding="utf-8")


def _document(project: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError, RecursionError):
        return tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8-sig"))
    return {}


def _raw(project: Path, table: Mapping[str, Any], version: str) -> RawMetadata:
    optional = table.get("optional-dependencies", {})
    raw: dict[str, Any] = {
        "metadata_version": "2.4",
        "name": table["name"],
        "version": version,
        "summary": table.get("description"),
        "keywords": table.get("keywords"),
        "classifiers": table.get("classifiers"),
        "requires_python": table.get("requires-python"),
        "requires_dist": [*table.get("dependencies", ()), *_of_extras(optional)],
        "provides_extra": [canonicalize_name(extra) for extra in optional],
        "project_urls": table.get("urls"),
    }
    for role in ("author", "maintainer"):
        people = table.get(f"{role}s", ())
        raw[role] = ", ".join(one["name"] for one in people if "name" in one and "email" not in one)
        raw[f"{role}_email"] = ", ".join(
            f"{one['name']} <{one['email']}>" if "name" in one else one["email"] for one in people if "email" in one
        )
    license_ = table.get("license")
    if isinstance(license_, str):
        raw["license_expression"] = license_
    elif license_:
        raw["license"] = license_.get("text")
    readme = table.get("readme")
    readme = readme if isinstance(readme, Mapping) else {"file": readme} if readme else {}
    if text := readme.get("text") or _read(project, readme.get("file", "")):
        name = str(readme.get("file", ""))
        kind = "text/markdown" if name.endswith(".md") else "text/x-rst" if name.endswith(".rst") else "text/plain"
        raw |= {"description": text, "description_content_type": readme.get("content-type", kind)}
    return cast(RawMetadata, {key: value for key, value in raw.items() if value})


def _of_extras(optional: Mapping[str, Iterable[str]]) -> Iterator[str]:
    for extra, requirements in optional.items():
        for requirement in map(Requirement, requirements):
            own = f'extra == "{canonicalize_name(extra)}"'
            requirement.marker = Marker(f"({requirement.marker}) and {own}" if requirement.marker else own)
            yield str(requirement)


def _entry_points(table: Mapping[str, Any]) -> Iterator[str]:
    """Yield the parts of entry_points.txt."""
    scripts = {"console_scripts": table.get("scripts", {}), "gui_scripts": table.get("gui-scripts", {})}
    for group, points in {**scripts, **table.get("entry-points", {})}.items():
        yield f"[{group}]\n"
        for name, value in points.items():
            if "\n" in name + value:
                raise ValueError(f"the entry point {name!r} has more than one line")
            yield f"{name} = {value}\n"


def _write_files(project: Path, info: Path) -> None:
    """Write which files the project has, as an installer does: those of its packages and modules."""
    root = project / "src" if (project / "src").is_dir() else project
    packages = [folder for folder in root.iterdir() if folder.is_dir() and folder.name.isidentifier()]
    modules = [*root.glob("*.py")]
    if (project / "__init__.py").is_file():  # it is imported from the folder above
        root, packages, modules = project.parent, [project], []
    found = [*modules, *(file for folder in packages for file in folder.rglob("*") if file.is_file())]
    names = sorted(str(file.relative_to(root)) for file in found if file.suffix != ".pyc")
    names = [name for name in names if not _NOT_INSTALLED.fullmatch(name)]
    tops = sorted({name.partition("/")[0].removesuffix(".py") for name in names if name.endswith(".py")})
    if not (info / "top_level.txt").exists():
        (info / "top_level.txt").write_text("".join(f"{top}\n" for top in tops), encoding="utf-8")
    own = [f"{info.name}/{file.relative_to(info)}" for file in sorted(info.rglob("*")) if file.is_file()]
    quoted = [f'"{name}"' if "," in name else name for name in [*names, *own, f"{info.name}/RECORD"]]
    (info / "RECORD").write_text("".join(f"{name},,\n" for name in quoted), encoding="utf-8")


def _version(project: Path, document: Mapping[str, Any]) -> str:
    """Return the version that a file says literally, for backends that look there; empty: ask the backend."""
    tools = document.get("tool", {})
    try:
        said = tools.get("setuptools", {}).get("dynamic", {}).get("version", {})
        if isinstance(said.get("file"), str):
            return _read(project, said["file"]).strip()
        if "attr" in said:
            module, _, name = said["attr"].rpartition(".")
            path = module.replace(".", "/")
            return _assigned(project, [f"{path}.py", f"{path}/__init__.py"], name)
        backend = str(document.get("build-system", {}).get("build-backend"))
        hatch, pdm = tools.get("hatch", {}).get("version", {}), tools.get("pdm", {}).get("version", {})
        for says in (hatch, pdm):
            if "path" in says and says.get("source", "file") in ("file", "regex") and "pattern" not in says:
                return _assigned(project, [says["path"]], "__version__")
        if backend.startswith("flit"):
            module = tools.get("flit", {}).get("module", {}).get("name", document["project"]["name"])
            path = module.replace("-", "_").replace(".", "/")
            return _assigned(project, [f"{path}.py", f"{path}/__init__.py"], "__version__")
    except (AttributeError, TypeError, KeyError, ValueError, SyntaxError, RecursionError, MemoryError):
        pass  # the backend will say what is wrong
    return ""


def _assigned(project: Path, paths: list[str], name: str) -> str:
    """Return the string that the first of these files assigns to the name."""
    for path in [f"{folder}{each}" for each in paths for folder in ("src/", "")]:
        for statement in ast.parse(_read(project, path)).body:
            targets = statement.targets if isinstance(statement, ast.Assign) else []
            targets = [statement.target] if isinstance(statement, ast.AnnAssign) else targets
            if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                value = getattr(statement, "value", None)
                return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""
    return ""


def _read(project: Path, path: str) -> str:
    """Return the text of a file of the project; empty if it has no such file."""
    file = project / path
    if not path or ".." in file.parts or not file.is_relative_to(project) or not file.is_file():
        return ""
    with file.open("rb") as stream:
        return stream.read(_MAX_BYTES).decode("utf-8", "replace").replace("\r\n", "\n")
