"""Log lines as JSON, one a line: `time`, `level`, `stream`, `text`, and what else the record carries.

A line about a call has its `call_id`. The line of a failed call (`core.traces`) and that of a guest's end have more
fields, among them the process's `pod` and `module`.

Services write them to standard output; on one machine the pods write them to a file of bounded size too, from which
the pod manager reads.
"""

from __future__ import annotations

import datetime
import json
import logging
import logging.handlers
import re
import sys
from io import TextIOWrapper
from typing import cast

from jac_orc.core.files import open_private

# What JSON leaves as it is, but readers take for a line's end, terminals for a command, or UTF-8 doesn't have.
_UNSAFE = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
MAX_FILE_BYTES = 4 * 1024 * 1024


class JsonFormatter(logging.Formatter):
    """Writes a record as one JSON line; `identity` is added to those with fields of their own."""

    def __init__(self, **identity: str) -> None:
        super().__init__()
        self._identity = {name: value for name, value in identity.items() if value}

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        more = {"call_id": call_id} if (call_id := getattr(record, "call_id", "")) else {}
        if fields := getattr(record, "fields", None):
            more |= self._identity | fields
        return render(record.created, record.levelname.lower(), getattr(record, "stream", "server"), text, **more)


def render(time: float, level: str, stream: str, text: str, **more: object) -> str:
    """A line; `time` is seconds since the epoch."""
    moment = datetime.datetime.fromtimestamp(time, datetime.UTC).isoformat(timespec="milliseconds")
    line = json.dumps({"time": moment, "level": level, "stream": stream, "text": text, **more}, ensure_ascii=False)
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", line)


class _PrivateFileHandler(logging.handlers.RotatingFileHandler):
    def _open(self) -> TextIOWrapper:
        return cast(
            TextIOWrapper, open_private(self.baseFilename, self.mode, encoding=self.encoding, errors=self.errors)
        )


def set_up(level: str, file: str | None = None, *, pod: str = "", module: str = "") -> None:
    """Sends this process's logging to standard output, or to a file that is rotated once it is large."""
    handler: logging.Handler
    if file is None:
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")  # whatever text a client sends
        handler = logging.StreamHandler(sys.stdout)
    else:
        handler = _PrivateFileHandler(
            file, maxBytes=MAX_FILE_BYTES, backupCount=1, encoding="utf-8", errors="backslashreplace"
        )
    handler.setFormatter(JsonFormatter(pod=pod, module=module))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.captureWarnings(True)


def parse(line: str) -> dict[str, str]:
    """The fields of a line; a line that is no JSON of ours (a crash report, say) is text of the server's."""
    try:
        fields = json.loads(line)
    except ValueError:
        fields = None
    if not isinstance(fields, dict) or not isinstance(fields.get("text"), str):
        return {"time": "", "level": "info", "stream": "server", "text": line}
    return {key: str(value) for key, value in fields.items()}
