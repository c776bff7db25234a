"""Stands in for the interpreter of a guest and speaks nonsense: what it does is its file's name.

It is copied and made executable by the tests; the server runs it as `NAME -u start.py FD SERVER_PID`.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import time
from typing import Any

HEAD = struct.Struct("!BBQI")
CALL, LOADED, FAILED, ITEM, ANSWER, ERROR = 2, 11, 12, 13, 14, 15

wire = socket.socket(fileno=int(sys.argv[-2]))
stream = wire.makefile("rb")


def frame(kind: int, number: int = 0, body: Any = b"") -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HEAD.pack(kind, 0, number, len(data)) + data


def receive() -> tuple[int, int, bytes]:
    kind, _, number, size = HEAD.unpack(stream.read(HEAD.size))
    return kind, number, stream.read(size)


def exception(**fields: Any) -> Any:
    return {"reason": "EXCEPTION_RAISED", "mro": ["ValueError"], "exception": {"type": "a.B", **fields}}


def nested(depth: int) -> Any:
    data: Any = {"type": "a.B"}
    for _ in range(depth):
        data = {"type": "a.B", "cause": data, "exceptions": [data, data]}
    return data


def endless(number: int) -> None:
    piece = b"x" * 1_000_000
    wire.sendall(HEAD.pack(ANSWER, 0, number, 2**32 - 1))
    while True:
        wire.sendall(piece)


def endless_items(number: int) -> None:
    while True:
        wire.sendall(frame(ITEM, number) * 1000)


ANSWERS: dict[str, Any] = {
    "garbage": lambda number: b"HTTP/1.1 200 OK\r\n\r\n" * 10,
    "zeros": lambda number: bytes(100),
    "huge_length": lambda number: HEAD.pack(ANSWER, 0, number, 2**32 - 1),
    "huge_error": lambda number: HEAD.pack(ERROR, 0, number, 2**30),
    "unknown_kind": lambda number: frame(99, number),
    "kind_of_the_server": lambda number: frame(CALL, number),
    "loaded_again": lambda number: frame(LOADED, number, b"{}"),
    "wrong_id": lambda number: frame(ANSWER, 12345, b""),
    "largest_id": lambda number: frame(ANSWER, 2**64 - 1, b""),
    "item_of_no_stream": lambda number: frame(ITEM, number, b""),
    "answer_twice": lambda number: frame(ANSWER, number, b"") * 2,
    "answer_then_error": lambda number: frame(ANSWER, number, b"") + frame(ERROR, number, {"reason": "TOO_LARGE"}),
    "error_no_json": lambda number: frame(ERROR, number, b"{"),
    "error_no_utf8": lambda number: frame(ERROR, number, b'"\xff"'),
    "error_deep": lambda number: frame(ERROR, number, b"[" * 100_000),
    "error_text": lambda number: frame(ERROR, number, "x"),
    "error_null": lambda number: frame(ERROR, number, None),
    "error_reason_list": lambda number: frame(ERROR, number, {"reason": []}),
    "error_reason_unknown": lambda number: frame(ERROR, number, {"reason": "NO_SUCH"}),
    "error_metadata": lambda number: frame(ERROR, number, {"reason": "TOO_LARGE", "metadata": [1]}),
    "error_mro": lambda number: frame(ERROR, number, {"reason": "EXCEPTION_RAISED", "mro": 5}),
    "error_mro_items": lambda number: frame(ERROR, number, {**exception(), "mro": [[]]}),
    "error_exception": lambda number: frame(ERROR, number, exception(notes=5, cause=7)),
    "error_causes": lambda number: frame(ERROR, number, exception(cause=nested(8))),
    "error_members": lambda number: frame(ERROR, number, exception(exceptions=[nested(3)] * 100)),
    "error_member_text": lambda number: frame(ERROR, number, exception(exceptions=["x"])),
    "half_frame_then_end": lambda number: frame(ANSWER, number, b"12345678")[:-4],
}


def main(behaviour: str) -> None:
    if behaviour == "before_load":
        wire.sendall(frame(ANSWER, 1))
    load = json.loads(receive()[2])
    if behaviour == "loads_garbage":
        wire.sendall(b"\xff" * 100)
        time.sleep(60)
    if behaviour == "fails_oddly":
        wire.sendall(frame(FAILED, 0, 5))
        time.sleep(60)
    wire.sendall(frame(LOADED, 0, {"python": load["module"]}))
    while True:
        kind, number, _ = receive()
        if kind != CALL:
            continue
        if behaviour == "endless":
            endless(number)
        if behaviour == "endless_items":
            endless_items(number)
        wire.sendall(ANSWERS[behaviour](number))
        if behaviour == "half_frame_then_end":
            wire.shutdown(socket.SHUT_RDWR)
            time.sleep(60)


main(os.path.basename(sys.argv[0]))
