"""Files that are whole or not there."""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path
from typing import Any


def write_json(file: Path, document: Any, *, durable: bool = True) -> None:
    """Writes the file so that a crash leaves the old one or the new one; `durable`: a crash of the machine, too."""
    aside = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
    try:
        with aside.open("w", encoding="utf-8") as stream:
            json.dump(document, stream, indent=1, sort_keys=True)
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        aside.rename(file)
    finally:
        aside.unlink(missing_ok=True)


def read_json(file: Path) -> Any:
    """The file's document; None if there is no such file. Raises ValueError for one that is no JSON."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
