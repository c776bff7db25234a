"""What a folder of the user's own code says that it needs.

What is written down is read here, strictly, and becomes requirements as a spec's are: the installer doesn't see these
files, so that they choose neither an index nor a path on this machine. What code computes, only the installer can find
out; `check` is the rule for that, too.
"""

from __future__ import annotations

import codecs
import itertools
import os
import re
import tomllib
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from packaging.markers import UndefinedComparison, UndefinedEnvironmentName
from packaging.metadata import parse_email
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from jac_orc.errors import error
from jac_orc.pod_manager.requirements import parse, requirement_fault
from jac_orc.pod_manager.source_archives import fault
from jac_orc.pod_manager.spec_checks import MAX_ENTRIES
from jac_orc.pod_manager.texts import shown

_MAX_BYTES = 2 * 1024 * 1024
_MAX_TOML_BYTES = 256 * 1024
_MAX_DOTS = 1000  # in a line of TOML: for a dotted key tomllib takes a time that grows with their square
_METADATA = re.compile(r"[^/]+\.dist-info/METADATA")
_REFERENCE = re.compile(r"(-r|--requirement|-c|--constraint)(?:\s*=\s*|\s+)?(\S+)")
# The source itself, `-e .[dev]`, or another path; pip's files may quote it.
_PATH = re.compile(
    r"""(?:(-e|--editable)(?:\s*=\s*|\s*))?(["']?)((?:\.|/|~|file:)[^\[\]\s"']*)(?:\[([A-Za-z0-9._, -]*)\])?\2"""
)
_SELF = re.compile(r"(?:file:)?\./*")
_INDEXES = ("index", "index-url", "extra-index-url", "find-links", "no-index")
_OPERATORS = "where packages come from is the operator's to say, by UV_DEFAULT_INDEX, UV_FIND_LINKS and the like"
_FORM = f"a line holds a PEP 508 requirement, or -r or -c and a file of the source; {_OPERATORS}"
_OTHER_PATH = (
    "is another path than the source itself; put its code into the source, or require it by name or by NAME @ https://…"
)
_EDITABLE = "write NAME @ git+https://… for a repository"
_POETRY = (
    "pyproject.toml has dependencies in [tool.poetry.dependencies] only; give them in [project], or have them read by"
    ' Poetry\'s [build-system]: requires = ["poetry-core"], build-backend = "poetry.core.masonry.api"'
)


@dataclass
class Needs:
    """What a source needs, each as in a spec."""

    requirements: list[str] = field(default_factory=list)
    constraints: list[str] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)
    """What goes before the requirements of other distributions."""
    computed: bool = False
    """Whether the installer has to find out what is required."""
    extras: list[str] = field(default_factory=list)
    """The extras of its own that the source requires, as the installer has to find out what these are."""


def read(folder: Path, python_version: str) -> Needs:
    """Raises OrcError: SOURCE_INVALID, or ENVIRONMENT_FAILED where the source needs another Python."""
    document = _document(folder / "pyproject.toml")
    project = _table(document, "project")
    _check_python(str(project.get("requires-python", "")), python_version)
    uv = _table(document, "tool", "uv") | _document(folder / "uv.toml")
    constraints, overrides = _listed(uv, "constraint-dependencies"), _listed(uv, "override-dependencies")
    needs = Needs(_listed(project, "dependencies"), constraints, overrides)
    named = {parse(each).name for each in needs.requirements}
    own = canonicalize_name(str(project.get("name", "")))  # a project that requires extras of its own
    if "dependencies" in _strings(project, "dynamic") or own in named or _is_poetrys(document):
        needs.requirements, needs.computed = [], True
    elif "dependencies" not in project and (folder / "requirements.txt").is_file():
        _read_requirements(folder, needs, document)
    elif "dependencies" not in project:
        needs.computed = _is_setuptools(folder)
    moved = [name for name in _table(uv, "sources") if needs.computed or canonicalize_name(name) in named]
    indexes = [key for key in _INDEXES if key in uv | _table(uv, "pip")]
    for what in [*(f"sources.{name}" for name in moved), *indexes]:
        text = f"pyproject.toml or uv.toml: {shown(what)} of [tool.uv] is not taken: {_OPERATORS}"
        raise fault(f"{text}; a requirement may say it itself, NAME @ https://…")
    return needs


def read_script(file: Path, python_version: str) -> Needs:
    """Return what a script's inline metadata (PEP 723) requires; its `tool` tables don't count.

    Raises OrcError: SOURCE_INVALID, or ENVIRONMENT_FAILED where the script needs another Python.
    """
    # Outside of its metadata a script may have another encoding than UTF-8.
    text = _data(file.open("rb"), file.name, _MAX_BYTES).decode("utf-8-sig", "replace")
    lines = re.split("\r\n|\n|\r", text)
    first, content = _script_block(file.name, lines)

    def located(text: str) -> str:
        line = next((first + number for number, line in enumerate(content, 1) if text in line), first)
        return f"{file.name}, line {line}"

    try:
        document = _parsed("\n".join(content))
    except ValueError as failure:
        line = re.search(r"line (\d+)", str(failure))
        text = re.sub(r" \(at .*\)", "", str(failure))
        number = first + (int(line[1]) if line else len(content))
        raise fault(f"{file.name}, line {number}: {shown(text, 200)[1:-1]}") from None
    _check_python(str(document.get("requires-python", "")), python_version, located("requires-python"))
    requirements = _strings(document, "dependencies", located("dependencies"))
    return Needs(check([(located(each), each) for each in requirements]))


def _script_block(name: str, lines: list[str]) -> tuple[int, list[str]]:
    """Return the number of the line that begins the metadata, and the text between; 0 and none if there is none."""
    begins = [number for number, line in enumerate(lines, 1) if line.rstrip() == "# /// script"]
    if not begins:
        return 0, []
    if len(begins) > 1:
        text = f"a second `# /// script`; put all metadata into the first one, line {begins[0]}"
        raise fault(f"{name}, line {begins[1]}: {text}")
    (first,) = begins
    block = list(itertools.takewhile(lambda line: line == "#" or line.startswith("# "), lines[first:]))
    ends = [index for index, line in enumerate(block) if line.rstrip() == "# ///"]
    if not ends:
        text = f"the metadata of line {first} has no end; each line of it begins with `# `, and the last one is `# ///`"
        raise fault(f"{name}, line {first + len(block) + 1}: {text}")
    return first, [line[2:] for line in block[: ends[-1]]]


def read_wheel(file: Path, python_version: str) -> list[str]:
    """Return what a wheel requires without its extras; raises OrcError for what a spec may not require either.

    The installer would follow an address in it before anything else could be judged.
    """
    with zipfile.ZipFile(file) as wheel:
        found = [
            (f"{shown(name)[1:-1]}, Requires-Dist", each)
            for name in wheel.namelist()
            if _METADATA.fullmatch(name)
            for each in parse_email(_data(wheel.open(name), name, _MAX_BYTES))[0].get("requires_dist", [])
        ]
    return check([(where, each) for where, each in found if not _is_left_out(each, python_version)])


def _is_left_out(text: str, python_version: str) -> bool:
    """Whether a marker says that only an extra, or another Python, requires this."""
    try:
        marker = Requirement(text).marker
        python = {"python_version": ".".join(python_version.split(".")[:2]), "python_full_version": python_version}
        return marker is not None and not marker.evaluate({**python, "extra": ""})
    except (InvalidRequirement, RecursionError, UndefinedEnvironmentName, UndefinedComparison):
        return False  # `check` refuses an invalid requirement, and the installer an unusable marker


def check(entries: Sequence[tuple[str, str]]) -> list[str]:
    """The requirements, each given with where it is; raises OrcError for what a spec may not have either."""
    if len(entries) > MAX_ENTRIES:
        raise fault(f"the source names {len(entries):,} requirements, of at most {MAX_ENTRIES:,}")
    for where, requirement in entries:
        if text := requirement_fault(requirement):
            raise fault(f"{where}: {text}")
    return [requirement for _, requirement in entries]


def _check_python(wanted: str, version: str, file: str = "pyproject.toml") -> None:
    try:
        fits = SpecifierSet(wanted).contains(Version(version).base_version, prereleases=True)
    except InvalidSpecifier:
        raise fault(f"{file}: `requires-python` is {shown(wanted)} and no range like >=3.11") from None
    if not fits:
        text = f"the source needs Python {shown(wanted)[1:-1]} (`requires-python` in {file}), not {version}"
        raise error("ENVIRONMENT_FAILED", f"{text}; name another by `python_version`, on the command line by --python")


def _is_poetrys(document: dict[str, Any]) -> bool:
    """Whether only Poetry's own table has the dependencies, which Poetry's backend reads."""
    if "dependencies" in _table(document, "project") or not _table(document, "tool", "poetry", "dependencies"):
        return False
    if "poetry" not in str(_table(document, "build-system").get("build-backend")):
        raise fault(_POETRY)
    return True


def _is_setuptools(folder: Path) -> bool:
    """Return whether setup.py or setup.cfg says what is required."""
    configured = (folder / "setup.cfg").is_file() and "install_requires" in _text(folder / "setup.cfg", _MAX_BYTES)
    return configured or (folder / "setup.py").is_file()


def _require_itself(
    folder: Path, needs: Needs, document: dict[str, Any], extras: Sequence[str]
) -> list[tuple[str, str]]:
    """Take what the source requires as a project; return what is written down of it, with where that is."""
    project = _table(document, "project")
    optional = _table(project, "optional-dependencies")
    names: dict[str, str] = {canonicalize_name(name): name for name in optional}
    own = canonicalize_name(str(project.get("name", "")))
    found = [
        (f"pyproject.toml, `optional-dependencies.{shown(names[extra])[1:-1]}`", each)
        for extra in extras
        if extra in names
        for each in _strings(optional, names[extra])
    ]
    is_dynamic = not project or "optional-dependencies" in _strings(project, "dynamic")
    if is_dynamic or own in {parse(each).name for each in check(found)}:  # extras may require others of the project
        needs.computed |= bool(project and extras) or "build-system" in document or _is_setuptools(folder)
        needs.extras = sorted({*needs.extras, *extras}) if needs.computed else []
        return []
    if missing := [extra for extra in extras if extra not in names]:
        raise fault(f"requirements.txt: the project has no extra {shown(missing[0])} in `optional-dependencies`")
    return found


def _read_requirements(folder: Path, needs: Needs, document: dict[str, Any]) -> None:
    """Reads requirements.txt and the files that it refers to."""
    requirements, constraints = list[tuple[str, str]](), list[tuple[str, str]]()
    unread, seen, left = [(folder / "requirements.txt", requirements)], set[tuple[Path, bool]](), _MAX_BYTES
    while unread:
        file, found = unread.pop()
        if (file, found is constraints) in seen:
            continue
        seen.add((file, found is constraints))
        text = _text(file, left)
        left -= len(text)
        for number, line in _lines(text):
            where = f"{shown(str(file.relative_to(folder)))[1:-1]}, line {number}"
            if reference := _REFERENCE.fullmatch(line):
                target = Path(os.path.normpath(file.parent / reference[2]))
                if not target.is_relative_to(folder) or not os.path.isfile(target):
                    raise fault(f"{where}: {shown(reference[2])} is no file of the source")
                unread.append((target, constraints if reference[1] in ("-c", "--constraint") else found))
            elif found is requirements and (path := _PATH.fullmatch(line)):
                if not _SELF.fullmatch(path[3]):
                    raise fault(f"{where}: {shown(path[3])} {_OTHER_PATH}")
                extras: list[str] = [canonicalize_name(each) for each in re.split("[ ,]+", path[4] or "") if each]
                found += _require_itself(folder, needs, document, extras)
            elif line.startswith(("-e", "--editable")):
                option = shown(re.split("[ =]", line)[0])
                raise fault(f"{where}: {option} is taken for the source itself, `-e .`; {_EDITABLE}; {_OPERATORS}")
            elif line.startswith("-"):
                raise fault(f"{where}: {shown(re.split('[ =]', line)[0])} is not taken: {_FORM}")
            else:
                found.append((where, line))
    needs.requirements, needs.constraints = check(requirements), needs.constraints + check(constraints)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield a requirements file's lines with their numbers, joined where one goes on, without comments.

    Only \\n, \\r and \\r\\n end a line. Any other character that some readers take for a line's end is left for
    `check` to refuse.
    """
    joined, start = "", 1
    for number, line in enumerate([*re.split("\r\n|\n|\r", text), ""], 1):
        start = start if joined else number
        joined += re.sub("(^|[ \t])#.*", "", line, flags=re.DOTALL).replace("\t", " ").rstrip(" ")
        if joined.endswith("\\"):
            joined = joined[:-1] + " "
            continue
        if joined.strip(" "):
            yield start, joined.strip(" ")
        joined = ""


def _listed(table: dict[str, Any], key: str) -> list[str]:
    return check([(f"pyproject.toml, `{key}`", each) for each in _strings(table, key)])


def _strings(table: dict[str, Any], key: str, file: str = "pyproject.toml") -> list[str]:
    found = table.get(key, [])
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise fault(f"{file}: `{key}` is no list of strings")
    return found


def _table(table: dict[str, Any], *keys: str) -> dict[str, Any]:
    for key in keys:
        table = table.get(key, {})
        if not isinstance(table, dict):
            raise fault(f"pyproject.toml: `{key}` is no table")
    return table


def _document(file: Path) -> dict[str, Any]:
    try:
        return _parsed(_text(file, _MAX_TOML_BYTES) if file.is_file() else "")
    except ValueError as failure:
        raise fault(f"{file.name} can't be read: {shown(str(failure), 200)[1:-1]}") from None


def _parsed(text: str) -> dict[str, Any]:
    """Return the document in the text; raises ValueError if it is no TOML, or too complex."""
    if len(text) > _MAX_TOML_BYTES:
        raise ValueError(f"it is too large; no more than {_MAX_TOML_BYTES:,} characters are read")
    if any(line.count(".") > _MAX_DOTS for line in text.split("\n")):
        raise ValueError(f"it has more than {_MAX_DOTS:,} dots in a line")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _text(file: Path, most: int) -> str:
    data = _data(file.open("rb"), file.name, most)
    try:  # PowerShell writes UTF-16
        return data.decode("utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig")
    except UnicodeDecodeError:
        raise fault(f"{shown(file.name)} is not in UTF-8; save it so") from None


def _data(opened: IO[bytes], name: str, most: int) -> bytes:
    with opened:
        data = opened.read(most + 1)
    if len(data) > most:
        raise fault(f"{shown(name)} is too large; no more than {most:,} bytes are read")
    return data
