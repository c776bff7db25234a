"""Generates services/jac_orc/v1 from the protos; with --check only tells whether that would change anything.

Our protos import definitions of google.api and google.rpc. They come with the package googleapis-common-protos; those
that are needed are copied to .build/googleapis, where `buf` looks for them too. Code is made in .build/generated and
compared from there, so that a check leaves the work tree as it is.
"""

from __future__ import annotations

import argparse
import difflib
import importlib.metadata
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
GOOGLEAPIS = ROOT / ".build" / "googleapis"
GENERATED = ROOT / ".build" / "generated"
PACKAGE = Path("jac_orc", "v1")
COMMITTED = ROOT / "services" / PACKAGE

IMPORT = re.compile(r'^import\s+(?:public\s+)?"([^"]+)"\s*;', re.MULTILINE)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing, fail if something would change")
    check = parser.parse_args().check

    sources = sorted((PROTOS / PACKAGE).glob("*.proto"))
    copy_googleapis(sources)
    generate(sources)
    committed, generated = texts(COMMITTED), texts(GENERATED / PACKAGE)
    if not check:
        replace(committed, generated)
    elif committed != generated:
        print("\n".join(differences(committed, generated)))
        print(f"{COMMITTED.relative_to(ROOT)} is not what the protos give: run `make protos`.", file=sys.stderr)
        return 1
    return 0


def copy_googleapis(sources: Iterable[Path]) -> None:
    """Copies the definitions that the sources import, and those that these import."""
    shutil.rmtree(GOOGLEAPIS, ignore_errors=True)
    distribution = importlib.metadata.distribution("googleapis-common-protos")
    unread = list(sources)
    while unread:
        for name in IMPORT.findall(unread.pop().read_text("utf-8")):
            copy = GOOGLEAPIS / name
            if name.startswith(("google/api/", "google/rpc/")) and not copy.exists():
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(str(distribution.locate_file(name)), copy)
                unread.append(copy)


def generate(sources: Iterable[Path]) -> None:
    """Makes messages, services and the types of both."""
    shutil.rmtree(GENERATED, ignore_errors=True)
    GENERATED.mkdir(parents=True)
    status = protoc.main(
        [
            "protoc",
            f"--proto_path={PROTOS}",
            f"--proto_path={GOOGLEAPIS}",
            f"--proto_path={files('grpc_tools') / '_proto'}",
            f"--plugin=protoc-gen-mypy_grpc={Path(sys.executable).with_name('protoc-gen-mypy_grpc')}",
            f"--python_out={GENERATED}",
            f"--pyi_out={GENERATED}",
            f"--grpc_python_out={GENERATED}",
            f"--mypy_grpc_out=quiet:{GENERATED}",
            *map(str, sources),
        ]
    )
    if status:
        sys.exit(f"protoc failed with status {status}")
    (GENERATED / PACKAGE / "__init__.py").touch()


def texts(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text("utf-8") for path in folder.glob("*.py*") if path.is_file()}


def differences(committed: Mapping[str, str], generated: Mapping[str, str]) -> Iterator[str]:
    """What would change: file names, and for files that are in both what `diff -u` tells."""
    for name in sorted(committed.keys() | generated.keys()):
        path = str(COMMITTED.relative_to(ROOT) / name)
        if name not in committed:
            yield f"{path} is missing"
        elif name not in generated:
            yield f"{path} belongs to no proto"
        else:
            old, new = committed[name].splitlines(), generated[name].splitlines()
            yield from difflib.unified_diff(old, new, path, "generated", n=1, lineterm="")


def replace(committed: Mapping[str, str], generated: Mapping[str, str]) -> None:
    """Makes the folder hold what was generated, leaving alone what is right already."""
    for name in committed.keys() - generated.keys():
        (COMMITTED / name).unlink()
    COMMITTED.mkdir(exist_ok=True)
    for name, text in generated.items():
        if committed.get(name) != text:
            (COMMITTED / name).write_text(text, "utf-8")


if __name__ == "__main__":
    sys.exit(main())
