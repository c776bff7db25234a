"""Makes services/jac_orc/pod_manager/data, by which the pod manager knows distributions, from what others keep:

    pip download --no-deps guarddog==3.2.0 pigar==2.2.0
    apt-get download dh-python
    python requirements/import_names.py guarddog-*.whl pigar-*.whl dh-python_*.deb

GuardDog, which looks for typosquats, has a list of the most downloaded distributions. dh-python, which builds Debian's
packages, has the names of all distributions that Debian's people have packaged. pigar, which writes requirements, has
the import names of every distribution there is, by its files; squats are among them, so only those are taken that one
of the two lists names.
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import sqlite3
import subprocess
import tempfile
import zipfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

DATA = Path(__file__).resolve().parent.parent / "services" / "jac_orc" / "pod_manager" / "data"
DOWNLOADS = "guarddog/analyzer/metadata/resources/top_pypi_packages.json"
DATABASE = "pigar/.db.sqlite3"
PACKAGED = "usr/share/dh-python/dist/cpython3_fallback"
COPYRIGHT = "usr/share/doc/dh-python/copyright"

# So many of the most downloaded are those that people mean, and mistype; more are known, and nothing is read into their
# names. Further down come `panda`, `kombo` and the like.
POPULAR = 3000
KNOWN = 8000
# The first in rank that provides an import name has it. One of that very name has it if its rank isn't more than so
# many times that of the first: `fasttext` is fasttext's and not a fork's, `bs4` is beautifulsoup4's and not a
# placeholder's.
OWN_NAME_FACTOR = 2
# Where so many `zope-…` provide `zope`, it is a namespace that they share.
SHARING = 3
# For macOS only, and types, which no code imports where it runs.
NOT_DEPLOYED = ("pyobjc-", "types-")
# What distributions ship beside their modules, mostly by mistake.
BESIDE = frozenset(
    """
    alloy assets base bench benchmark benchmarks bin build build_backend build_tools build_utils certs ci cli com
    common common_util conf config conftest contrib core cpp cpython data debug demo demos dist doc docs dummy
    enhancement_proposals example example_module example_project examples exceptions extension_templates extensions
    fake_name gallery helloworld helper helpers icons images img include integration interactive interpreter io lib
    licenses main makefile man masking math meta method misc model node_modules notebook notebooks
    notebooks_community org package packages parser plot plugin plugins reference report requirements resources
    results sample samples sandbox screenshots script scripts server services setup site src static stubs swagger
    templates test test_data testapp testing tests theme third_party tool tools tutorials typings util utils version
    versioneer viewer views wheelhouse wheels
    """.split()
)
# One with more import names than this has put its insides there, and only its own name is taken.
MANY = 4
IMPORT_NAME = re.compile(r"(?!_|test_|sample_|v\d+\Z)[A-Za-z0-9_]+(?<!__mypyc)(?<!_tests)(?<!_version)\Z")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("guarddog", type=Path, help="the wheel of GuardDog")
    parser.add_argument("pigar", type=Path, help="the wheel of pigar")
    parser.add_argument("debian", type=Path, help="the Debian package of dh-python")
    files = parser.parse_args()

    downloads = json.loads(member(files.guarddog, DOWNLOADS))
    names = [name for name in map(normalised, downloads["packages"][:KNOWN]) if not name.startswith(NOT_DEPLOYED)]
    popular = set(map(normalised, downloads["packages"][:POPULAR]))
    provided = import_names(files.pigar)
    # Debian packages programs as well, which no index of Python's may have: then the name is anybody's to take.
    packaged = {normalised(line.split()[0]) for line in debian_file(files.debian, PACKAGED).splitlines()}
    curated = sorted(name for name in packaged - set(names) if provided.get(name))
    assigned = assign([*names, *curated], provided)

    day = datetime.datetime.fromtimestamp(downloads["downloaded_timestamp"], datetime.UTC).date()
    downloaded = f"most downloaded distributions of {day}, from GuardDog {version(files.guarddog)} (Apache-2.0),"
    downloaded += "\n# without types and what only macOS has"
    debian = f"those that Debian has, from dh-python {version(files.debian)} (MIT)"
    source = f"their import names from pigar {version(files.pigar)} (BSD-3-Clause)"
    write(
        "popular.txt",
        f"The {POPULAR} {downloaded};\n# {source}",
        {name: assigned[name] for name in names if name in popular},
    )
    further = [name for name in names if name not in popular] + curated
    title = f"The next {KNOWN - POPULAR} {downloaded};\n# {debian};\n# {source}"
    write("further.txt", title, {name: assigned[name] for name in further})
    notices = {
        "GuardDog": member(files.guarddog, "licenses/NOTICE").decode(),
        "pigar": member(files.pigar, "licenses/LICENSE").decode(),
        "dh-python": debian_file(files.debian, COPYRIGHT),
    }
    text = "\n\n".join(f"=== {name}\n\n{notice.strip()}" for name, notice in notices.items())
    (DATA / "NOTICE.txt").write_text(
        f"popular.txt and further.txt are made from data of others. Their notices:\n\n{text}\n"
    )


def normalised(name: str) -> str:
    """The name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def version(file: Path) -> str:
    """The version in the name of a wheel or of a Debian package."""
    return re.split("[-_]", file.name.replace("dh-python", "dh.python"))[1]


def member(wheel: Path, ending: str) -> bytes:
    """The content of the one file whose path ends so."""
    with zipfile.ZipFile(wheel) as archive:
        (path,) = [path for path in archive.namelist() if path.endswith(ending)]
        return archive.read(path)


def debian_file(package: Path, path: str) -> str:
    """The text of a file of a Debian package."""
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run(["dpkg-deb", "--extract", package, directory], check=True)
        return (Path(directory) / path).read_text()


def import_names(pigar: Path) -> dict[str, set[str]]:
    """The import names by distribution."""
    query = "SELECT d.name, m.name FROM distributions d JOIN top_level_module_names m ON m.distribution_id = d.id"
    found: dict[str, set[str]] = defaultdict(set)
    with tempfile.NamedTemporaryFile() as file:
        file.write(member(pigar, DATABASE))
        file.flush()
        for distribution, name in sqlite3.connect(file.name).execute(query):
            if IMPORT_NAME.match(name) and name.lower() not in BESIDE:
                found[normalised(distribution)].add(name)
    for distribution, names in found.items():
        if len(names) > MANY:
            found[distribution] = {name for name in names if normalised(name) == distribution}
    return found


def assign(ranked: Sequence[str], provided: Mapping[str, set[str]]) -> dict[str, list[str]]:
    """Which import names go to which distribution; `zope.` where it provides a part of a namespace."""
    rank = {name: position for position, name in enumerate(ranked, 1)}
    unread = [name for name in ranked if not provided.get(name)]
    providers: dict[str, list[str]] = defaultdict(list)
    for distribution in ranked:
        for name in provided.get(distribution, ()):
            providers[name].append(distribution)
    assigned: dict[str, list[str]] = {name: [] for name in ranked}
    for name, candidates in sorted(providers.items()):
        first, own = candidates[0], normalised(name)
        parts = [each for each in candidates if each.startswith(f"{own}-")]
        likely = [each for each in unread if each.startswith(f"{own}-")]
        if own in candidates and rank[own] <= OWN_NAME_FACTOR * rank[first]:
            assigned[own].append(name)
        elif len(parts) > 1 and len(parts + likely) >= SHARING:
            for each in parts + likely:
                assigned[each].append(f"{name}.")
        else:
            assigned[first].append(name)
    for name in unread:
        if not assigned[name] and name.replace("-", "_") not in providers:
            assigned[name].append(name.replace("-", "_"))
    return assigned


def write(file: str, title: str, assigned: Mapping[str, Sequence[str]]) -> None:
    """Writes a line for each distribution, with its import names where these aren't just its own; `-`: it has none."""
    lines = [f"# {title}.", "# Made by requirements/import_names.py; the notices are in NOTICE.txt."]
    for distribution, names in sorted(assigned.items()):
        plain = [distribution.replace("-", "_")]
        lines.append(distribution if names == plain else " ".join([distribution, *(names or ["-"])]))
    (DATA / file).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
