"""Which distribution provides a module, by what others keep; and which names look mistyped.

Anybody can put a distribution into an index under a name that is free, and some wait under the likely misspellings of
known ones. So a module whose distribution isn't known, but is called almost as one that is, isn't installed on a guess:
whoever means it says so by `requirements`. Any other unknown name is taken as it is, and the index decides.

`data/` has a line for each well-known distribution, with the names it is imported by where these aren't just its own.
requirements/import_names.py makes it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from operator import itemgetter

from packaging.utils import canonicalize_name

from jac_orc.errors import OrcError, error
from jac_orc.pod_manager.model import is_standard_library

# What the data lacks or has otherwise, by import name; a dotted one goes before those that it lies in.
_CORRECTIONS = {
    # Its files are airflow-core's alone; this brings airflow.sdk and what else belongs to it.
    "airflow": "apache-airflow",
    # In namespaces: parts whose distributions are called otherwise, and what belongs to the namespace itself.
    "aws_cdk": "aws-cdk-lib",
    "databricks.sql": "databricks-sql-connector",
    "dbt": "dbt-core",
    "google.api": "googleapis-common-protos",
    "google.cloud.sql.connector": "cloud-sql-python-connector",
    "google.longrunning": "googleapis-common-protos",
    "google.oauth2": "google-auth",
    "google.protobuf": "protobuf",
    "google.rpc": "googleapis-common-protos",
    "google.type": "googleapis-common-protos",
    "opentelemetry": "opentelemetry-api",
    "snowflake.connector": "snowflake-connector-python",
    "snowflake.ml": "snowflake-ml-python",
    "snowflake.snowpark": "snowflake-snowpark-python",
    # A server has no display library.
    "cv2": "opencv-python-headless",
    # The same, maintained; fpdf's last version is of 2015.
    "fpdf": "fpdf2",
    # pigar takes it for PyGObject, which is no module.
    "gi": "pygobject",
    # Chroma's fork is downloaded more, by Chroma.
    "hnswlib": "hnswlib",
    # pigar has it of basemap only, which adds to it.
    "mpl_toolkits": "matplotlib",
    # 82 has removed it.
    "pkg_resources": "setuptools<82",
    # pigar doesn't have this one.
    "pylab": "matplotlib",
    # One of sixty; the data has none of these.
    "win32api": "pywin32",
}

# Namespaces within namespaces. The distributions `google-cloud` and `azure-mgmt` are dead collections.
_INNER_NAMESPACES = frozenset({"azure.mgmt", "google.cloud"})

# A name is taken for a misspelling if it or what is meant has so many characters; shorter ones are all alike. In a name
# shorter than the second number two faults are too many, and so are two with the first character among them.
_MIN_CHARS = 5
_MIN_CHARS_TWO_FAULTS = 10
_MOST_NEAR = 3
_FILES = ("popular.txt", "further.txt")
_OURS = frozenset({"jac-orc", "jac-cloud-orc"})
_API_VERSION = re.compile(r"_v\d+\w*\Z")


@dataclass(frozen=True)
class Guess:
    """What a module's distribution is taken to be."""

    requirement: str
    """`pillow`; empty for the standard library."""
    known: bool
    """By the data; False: it is only called as the module is."""


@dataclass(frozen=True)
class _Known:
    """The data."""

    provider: dict[str, str] = field(default_factory=dict)
    """The distribution by import name."""
    import_names: dict[str, list[str]] = field(default_factory=dict)
    """The import names by distribution, its own first."""
    namespaces: set[str] = field(default_factory=set)
    """Top-level names that several distributions share."""
    parts: dict[str, str] = field(default_factory=dict)
    """What provides a part of a namespace, by its name without hyphens."""


def load() -> None:
    """Reads the data now rather than at the first question; it takes some 30 ms."""
    _meant("popular.txt")


def guess(module_name: str) -> Guess:
    """What provides the module.

    Raises OrcError for a name that is likely mistyped, for a namespace that isn't any one distribution's, and for our
    own, which no index has: whatever anybody puts there under that name isn't us.
    """
    if is_standard_library(module_name):
        return Guess("", known=True)
    known = _known()
    segments = module_name.split(".")
    if canonicalize_name(segments[0]) in _OURS:
        text = f"{segments[0]} is what runs modules here, and none to deploy; name another module"
        raise error("DISTRIBUTION_UNKNOWN", text, {"module": module_name, "near": ""})
    for length in range(len(segments), 0, -1):
        name = ".".join(segments[:length])
        found = _CORRECTIONS.get(name) or known.provider.get(name)
        if not found and length > 1 and segments[0] in known.namespaces and name not in _INNER_NAMESPACES:
            found = known.parts.get(canonicalize_name(_API_VERSION.sub("", name)).replace("-", ""))
        if found:
            return Guess(found, known=True)
    if module_name in known.namespaces | _INNER_NAMESPACES:
        text = f"several distributions share {module_name}; name a module in it, or the distribution by `requirements`"
        raise error("DISTRIBUTION_UNKNOWN", text, {"module": module_name, "near": ""})
    # By convention the distribution of a namespace's part is called as the part: `zope-event`, `google-cloud-storage`.
    depth = 1 if segments[0] not in known.namespaces else 3 if ".".join(segments[:2]) in _INNER_NAMESPACES else 2
    name = "-".join(segments[:depth])
    distribution = canonicalize_name(name)
    in_other_letters = _in_other_letters(name)
    if distribution in known.import_names and not in_other_letters:
        return Guess(distribution, known=True)
    likely = in_other_letters or _likely_meant(distribution)
    if likely:
        raise _mistyped(module_name, name, likely)
    return Guess(name, known=False)


def near(module_name: str) -> list[str]:
    """The well-known names that are nearest to the module's, as they are imported; at most three."""
    top_level = module_name.partition(".")[0]
    name = canonicalize_name(top_level)
    found = _within(name, 2 if len(name) > _MIN_CHARS else 1, *_FILES)
    return [meant for meant in dict.fromkeys(found) if meant != top_level][:_MOST_NEAR]


def _mistyped(module_name: str, name: str, likely: list[str]) -> OrcError:
    provider = {each: _known().provider.get(each, each) for each in likely}
    meant = [each if canonicalize_name(each) == provider[each] else f"{each} (of {provider[each]})" for each in likely]
    text = f"no distribution is known to provide {module_name}; did you mean {' or '.join(meant)}?"
    text += f' If {name} is meant, create the module with `requirements: ["{name}"]`'
    return error("DISTRIBUTION_UNKNOWN", text, {"module": module_name, "near": ",".join(likely)})


def _in_other_letters(name: str) -> list[str]:
    """The popular name that differs from this one in capitals only: the same to an index, another to Python."""
    meant = _meant("popular.txt").get(canonicalize_name(name), name)
    return [meant] if meant.lower() == name.lower() and meant != name else []


def _likely_meant(name: str) -> list[str]:
    """Return the popular names that an unknown one may be a typo of; this takes some 5 ms."""
    found = _within(name, 2 if len(name) >= _MIN_CHARS_TWO_FAULTS else 1, "popular.txt", min_chars=_MIN_CHARS)
    return list(dict.fromkeys(found))[:_MOST_NEAR]


@cache
def _known() -> _Known:
    known = _Known()
    for file in _FILES:
        for distribution, names in _lines(file):
            own = [name for name in names if canonicalize_name(name) == distribution]
            known.import_names.setdefault(distribution, own + [name for name in names if name not in own])
            for name in names:
                if name.endswith("."):
                    known.namespaces.add(name[:-1])
                    known.parts[distribution.replace("-", "")] = distribution
                else:
                    known.provider.setdefault(name, distribution)
    return known


def _lines(file: str) -> Iterator[tuple[str, list[str]]]:
    """The distributions of a file, each with its import names; with a dot at the end those of namespaces."""
    text = (files("jac_orc.pod_manager") / "data" / file).read_text("utf-8")
    for line in text.splitlines():
        if not line.startswith("#"):
            distribution, *names = line.split()
            yield distribution, [] if names == ["-"] else names or [distribution.replace("-", "_")]


@cache
def _meant(*data: str) -> dict[str, str]:
    """What to suggest for a name in these files or in the standard library, which is normalised here."""
    meant: dict[str, str] = {}
    for file in data:
        names = {each: [name for name in _known().import_names[each] if name[-1] != "."] for each, _ in _lines(file)}
        for imported in names.values():
            for name in imported:
                meant.setdefault(canonicalize_name(name), name)
        for distribution, imported in names.items():
            meant.setdefault(distribution, imported[0] if imported else distribution)
    for name in sys.stdlib_module_names:
        if not name.startswith("_"):
            meant.setdefault(canonicalize_name(name), name)
    return meant


def _within(name: str, faults: int, *data: str, min_chars: int = 0) -> list[str]:
    """What is meant by names with no more faults, the nearest first; with two, the first character must be the same."""
    found = list[tuple[int, str]]()
    for other, meant in _meant(*data).items():
        allowed = faults if other[0] == name[0] else 1
        if abs(len(other) - len(name)) <= allowed and max(len(other), len(name)) >= min_chars:
            distance = _distance(name, other, allowed)
            if distance <= allowed:
                found.append((distance, meant))
    return [meant for _, meant in sorted(found, key=itemgetter(0))]


def _distance(a: str, b: str, most: int) -> int:
    """How many characters are wrong, missing, too many or changed with their neighbour; ends early beyond `most`."""
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        now = [i]
        for j, y in enumerate(b, 1):
            cost = min(row[j] + 1, now[j - 1] + 1, row[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and y == a[i - 2]:
                cost = min(cost, before[j - 2] + 1)
            now.append(cost)
        if min(now) > most:
            return most + 1
        before, row = row, now
    return row[-1]
