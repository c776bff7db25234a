"""The server's side of the wire: frames out of any stream of bytes, and an error for what is none."""

from __future__ import annotations

import random
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jac_orc.core.server import MAX_MESSAGE_BYTES
from jac_orc.module_server.frames import FrameError, FrameParser, frame

Frames = list[tuple[dict[str, Any], list[bytes]]]

controls = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=3)
frames = st.lists(st.tuples(controls, st.lists(st.binary(max_size=20), max_size=3)), max_size=5)


def parse(chunks: list[bytes], parser: FrameParser | None = None) -> Frames:
    parser = parser or FrameParser()
    return [parsed for chunk in chunks for parsed in parser.feed(chunk)]


@given(frames, st.randoms(use_true_random=False))
def test_any_chunks_give_the_frames_of_the_whole(expected: Frames, chance: random.Random) -> None:
    stream = b"".join(frame(control, attachments) for control, attachments in expected)
    cuts = sorted(chance.randrange(len(stream) + 1) for _ in range(chance.randrange(10)))
    chunks = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert parse([stream]) == expected
    assert parse(chunks) == expected
    assert parse([stream[index : index + 1] for index in range(len(stream))]) == expected


def test_a_half_frame_gives_nothing_yet() -> None:
    whole = frame({"id": 1}, [b"abc"])
    parser = FrameParser()
    for index in range(len(whole) - 1):
        assert parser.feed(whole[index : index + 1]) == []
    assert parser.feed(whole[-1:]) == [({"id": 1}, [b"abc"])]


def head(length: int, count: int, *sizes: int) -> bytes:
    return struct.pack("!II", length, count) + b"".join(struct.pack("!Q", size) for size in sizes)


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\n\r\n", b"Traceback (most recent call last):", b"\xff" * 8,
        head(2**32 - 1, 0), head(1024 * 1024 + 1, 0), head(2, 1025), head(2, 2**32 - 1),
        head(2, 1, MAX_MESSAGE_BYTES + 1), head(2, 1, 2**64 - 1), head(2, 3, 2**63, 2**63, 1),
        head(0, 0), head(2, 0) + b"[]", head(4, 0) + b"null", head(1, 0) + b"1", head(3, 0) + b'"a"',
        head(1, 0) + b"{", head(2, 0) + b"\xff\xfe", head(8, 0) + b'{"a":}} ', head(100_000, 0) + b"[" * 100_000,
    ],
    ids=lambda data: repr(data[:24]),
)  # fmt: skip
def test_what_is_no_frame_is_told_at_once(data: bytes) -> None:
    with pytest.raises(FrameError):
        FrameParser().feed(data)
    with pytest.raises(FrameError):
        parse([data[index : index + 1] for index in range(len(data))])
    with pytest.raises(FrameError):
        FrameParser().feed(frame({"id": 1}) + data)


def test_a_frame_of_the_largest_size_is_taken() -> None:
    parser = FrameParser(max_bytes=10)
    assert parser.feed(frame({}, [b"12345", b"67890"])) == [({}, [b"12345", b"67890"])]
    with pytest.raises(FrameError, match="11 bytes"):
        parser.feed(frame({}, [b"12345", b"678901"]))


@given(st.binary(max_size=60))
def test_junk_is_refused_and_nothing_else(data: bytes) -> None:
    try:
        for control, attachments in FrameParser(1000).feed(data):
            assert isinstance(control, dict) and isinstance(attachments, list)
    except FrameError:
        pass
