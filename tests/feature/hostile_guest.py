"""Stands in for the interpreter of a guest and speaks nonsense: what it does is its file's name.

It is copied and made executable by the tests; the server runs it as `NAME -I -u guest.py FD SERVER_PID`.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import time
from typing import Any

wire = socket.socket(fileno=int(sys.argv[-2]))
stream = wire.makefile("rb")


def frame(control: Any, *attachments: bytes) -> bytes:
    document = control if isinstance(control, bytes) else json.dumps(control).encode()
    sizes = b"".join(struct.pack("!Q", len(part)) for part in attachments)
    return struct.pack("!II", len(document), len(attachments)) + sizes + document + b"".join(attachments)


def receive() -> Any:
    length, count = struct.unpack("!II", stream.read(8))
    sizes = struct.unpack(f"!{count}Q", stream.read(8 * count))
    control = json.loads(stream.read(length))
    for size in sizes:
        stream.read(size)
    return control


def endless() -> None:
    noise = frame({"op": "noise"}) * 1000
    while True:
        wire.sendall(noise)


ANSWERS: dict[str, Any] = {
    "garbage": lambda call_id: b"HTTP/1.1 200 OK\r\n\r\n",
    "huge_length": lambda call_id: struct.pack("!II", 2**32 - 1, 0),
    "huge_attachment": lambda call_id: struct.pack("!IIQ", 2, 1, 2**63),
    "many_attachments": lambda call_id: struct.pack("!II", 2, 2**32 - 1),
    "no_json": lambda call_id: frame(b"{"),
    "no_object": lambda call_id: frame([call_id]),
    "wrong_id": lambda call_id: frame({"id": 12345}, b'{"result":1}'),
    "odd_id": lambda call_id: frame({"id": [call_id]}, b'{"result":1}'),
    "no_id": lambda call_id: frame({}, b'{"result":1}'),
    "no_body": lambda call_id: frame({"id": call_id}),
    "two_bodies": lambda call_id: frame({"id": call_id}, b"1", b"2"),
    "answer_twice": lambda call_id: frame({"id": call_id}, b'{"result":1}') * 2,
    "body_no_json": lambda call_id: frame({"id": call_id}, b"{"),
    "body_no_result": lambda call_id: frame({"id": call_id}, b'{"other":1}'),
    "body_list": lambda call_id: frame({"id": call_id}, b"[]"),
    "body_deep": lambda call_id: frame({"id": call_id}, b'{"result":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "error_text": lambda call_id: frame({"id": call_id, "error": "x"}),
    "error_null": lambda call_id: frame({"id": call_id, "error": None}),
    "error_reason_list": lambda call_id: frame({"id": call_id, "error": {"reason": []}}),
    "error_reason_unknown": lambda call_id: frame({"id": call_id, "error": {"reason": "NO_SUCH"}}),
    "error_metadata": lambda call_id: frame({"id": call_id, "error": {"reason": "TOO_LARGE", "metadata": [1]}}),
    "error_mro": lambda call_id: frame({"id": call_id, "error": {"reason": "EXCEPTION_RAISED", "mro": 5}}),
    "error_mro_items": lambda call_id: frame({"id": call_id, "error": {"reason": "EXCEPTION_RAISED", "mro": [[]]}}),
    "error_exception": lambda call_id: frame(
        {"id": call_id, "error": {"reason": "EXCEPTION_RAISED", "exception": {"notes": 5, "cause": 7, "type": {}}}}
    ),
    "half_frame_then_end": lambda call_id: frame({"id": call_id}, b'{"result":1}')[:-4],
}


def main(behaviour: str) -> None:
    if behaviour == "before_load":
        wire.sendall(frame({"id": 1}, b""))
    load = receive()
    if behaviour == "loads_garbage":
        wire.sendall(b"\xff" * 100)
        time.sleep(60)
    if behaviour == "fails_oddly":
        wire.sendall(frame({"op": "failed", "error": 5}))
        time.sleep(60)
    wire.sendall(frame({"op": "loaded", "python": load["module"]}))
    if behaviour == "endless":
        endless()
    while True:
        control = receive()
        if control["op"] == "cancel":
            continue
        wire.sendall(ANSWERS[behaviour](control["id"]))
        if behaviour == "half_frame_then_end":
            wire.shutdown(socket.SHUT_RDWR)
            time.sleep(60)


main(os.path.basename(sys.argv[0]))
