"""The wire between server and guest: frames out of any stream of bytes, at both ends."""

from __future__ import annotations

import random
import socket
import struct
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jac_orc.guest import wire
from jac_orc.guest.wire import (
    ANSWER,
    CALL,
    CALL_ERROR,
    COUNT,
    CREDIT,
    ERROR,
    FAILED,
    HEAD,
    HEARD,
    ITEM,
    LOADED,
    TOTAL,
    Wire,
    frame,
)
from jac_orc.module_server.frames import MAX_DOCUMENT_BYTES, Frame, FrameError, FrameParser

KINDS = (LOADED, FAILED, ITEM, ANSWER, ERROR)
LIMIT = 10_000
frames = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 2**64 - 1), st.binary(max_size=60)), max_size=6)


def parse(chunks: list[bytes], parser: FrameParser | None = None) -> list[Frame]:
    parser = parser or FrameParser(LIMIT)
    return [parsed for chunk in chunks for parsed in parser.feed(chunk)]


@given(frames, st.randoms(use_true_random=False))
def test_any_chunks_give_the_frames_of_the_whole(expected: list[Frame], chance: random.Random) -> None:
    stream = b"".join(frame(kind, number=number, body=body) for kind, number, body in expected)
    cuts = sorted(chance.randrange(len(stream) + 1) for _ in range(chance.randrange(10)))
    chunks = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert parse([stream]) == expected
    assert parse(chunks) == expected
    assert parse([stream[index : index + 1] for index in range(len(stream))]) == expected


def test_a_half_frame_gives_nothing_yet() -> None:
    whole = frame(ANSWER, number=7, body=b"abc")
    parser = FrameParser(LIMIT)
    for index in range(len(whole) - 1):
        assert parser.feed(whole[index : index + 1]) == []
    assert parser.feed(whole[-1:]) == [(ANSWER, 7, b"abc")]


def head(kind: int, size: int) -> bytes:
    return HEAD.pack(kind, 0, 1, size)


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\n\r\n", b"Traceback (most recent call last):", b"\xff" * HEAD.size, b"\0" * HEAD.size,
        head(ANSWER, LIMIT + 1), head(ITEM, LIMIT + 1), head(ANSWER, 2**32 - 1), head(LOADED, MAX_DOCUMENT_BYTES + 1),
        head(FAILED, 2**32 - 1), head(ERROR, MAX_DOCUMENT_BYTES + 1), head(CALL, 0), head(CREDIT, 4), head(10, 0),
        head(CALL_ERROR, MAX_DOCUMENT_BYTES + 1), head(HEARD, 1), head(CALL_ERROR + 1, 0), head(255, 0),
    ],
    ids=lambda data: repr(data[:24]),
)  # fmt: skip
def test_what_is_no_frame_is_told_at_once(data: bytes) -> None:
    """By its head, without waiting for a body that may never come."""
    with pytest.raises(FrameError):
        FrameParser(LIMIT).feed(data)
    with pytest.raises(FrameError):
        parse([data[index : index + 1] for index in range(len(data))])
    with pytest.raises(FrameError):
        FrameParser(LIMIT).feed(frame(ANSWER, number=1) + data)


def test_a_frame_of_the_largest_size_is_taken() -> None:
    parser = FrameParser(10)
    assert parser.feed(frame(ANSWER, number=1, body=b"1234567890")) == [(ANSWER, 1, b"1234567890")]
    with pytest.raises(FrameError, match="11 bytes"):
        parser.feed(frame(ANSWER, number=1, body=b"12345678901"))
    assert FrameParser(10).feed(frame(ERROR, number=1, body=b"12345678901"))[0][2] == b"12345678901"


@given(st.binary(max_size=60))
def test_junk_is_refused_and_nothing_else(data: bytes) -> None:
    try:
        for kind, number, body in FrameParser(1000).feed(data):
            assert kind in KINDS and isinstance(number, int) and isinstance(body, bytes)
    except FrameError:
        pass


# --- the guest's end --------------------------------------------------------------------------------------------------


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, Wire]]:
    """The server's socket, and the guest's end."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(10)
        yield ours, Wire(theirs)


def drained(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += sock.recv(1 << 20)
    return data


@given(st.lists(st.binary(max_size=100) | st.just(b"x" * 300_000), min_size=1, max_size=5), st.integers(1, 5000))
def test_the_guest_reads_what_is_written_in_any_chunks(bodies: list[bytes], step: int) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        stream = b"".join(frame(CALL, 3, 2**64 - 1 - index, body) for index, body in enumerate(bodies))

        def write() -> None:
            for start in range(0, min(len(stream), 20_000), step):
                ours.sendall(stream[start : min(start + step, 20_000)])
            ours.sendall(stream[20_000:])

        writer = threading.Thread(target=write)
        writer.start()
        link = Wire(theirs)
        for index, body in enumerate(bodies):
            kind, style, number, read = link.receive()
            assert (kind, style, number) == (CALL, 3, 2**64 - 1 - index)
            assert bytes(read) == body
        writer.join()
        ours.close()
        with pytest.raises(EOFError):
            link.receive()


@given(st.lists(st.binary(max_size=100) | st.just(b"x" * 300_000), min_size=1, max_size=4))
def test_parts_of_large_values_are_read_to_where_they_belong(parts: list[bytes]) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        total = sum(map(len, parts))
        stream = b"".join(frame(wire.PART, 1, 3, TOTAL.pack(total) + part) + frame(CALL) for part in parts)
        writer = threading.Thread(target=ours.sendall, args=(stream,))
        writer.start()
        link, value, filled = Wire(theirs), bytearray(total), 0
        for part in parts:
            *head, incoming = link.receive()
            assert (head, incoming.total, incoming.size) == ([wire.PART, 1, 3], total, len(part))
            incoming.read_into(memoryview(value)[filled : filled + incoming.size])
            filled += incoming.size
            assert link.receive()[0] == CALL
        writer.join()
        assert value == b"".join(parts)


@pytest.mark.parametrize("sent", [b"\x02", frame(CALL, body=b"abc")[:-1], HEAD.pack(CALL, 0, 1, 2**20) + b"a" * 1000])
def test_a_wire_that_ends_within_a_frame_has_ended(ends: tuple[socket.socket, Wire], sent: bytes) -> None:
    ours, link = ends
    ours.sendall(sent)
    ours.close()
    with pytest.raises(EOFError):
        link.receive()


def test_replies_go_out_together_with_what_follows(ends: tuple[socket.socket, Wire]) -> None:
    """While more frames wait to be read the answers are held back; none is when this waits for the next one."""
    ours, link = ends
    ours.sendall(frame(CALL, number=1) + frame(CALL, number=2))
    assert link.receive()[2] == 1
    link.reply(frame(ANSWER, number=1))
    ours.setblocking(False)
    with pytest.raises(BlockingIOError):
        ours.recv(100)
    ours.settimeout(10)
    assert link.receive()[2] == 2
    link.reply(frame(ANSWER, number=2))
    assert parse([drained(ours, 2 * HEAD.size)]) == [(ANSWER, 1, b""), (ANSWER, 2, b"")]


def test_what_is_held_back_goes_out_before_anything_else(ends: tuple[socket.socket, Wire]) -> None:
    ours, link = ends
    ours.sendall(frame(CALL, number=1) + frame(CALL, number=2))
    link.receive()
    link.reply(frame(ANSWER, number=1))
    link.send(frame(ITEM, number=5))
    assert [number for _, number, _ in parse([drained(ours, 2 * HEAD.size)])] == [1, 5]
    link.reply(frame(ANSWER, number=6))
    link.flush()
    link.flush()
    assert parse([drained(ours, HEAD.size)]) == [(ANSWER, 6, b"")]


def test_any_number_of_replies_may_be_held_back(ends: tuple[socket.socket, Wire]) -> None:
    """More than the kernel takes in one write."""
    ours, link = ends
    count, body = 3000, b"x" * 60
    ours.sendall(b"".join(frame(CALL, number=number) for number in range(count)))
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(drained(ours, count * (HEAD.size + len(body)))))
    reader.start()
    for number in range(count):
        assert link.receive()[2] == number
        link.reply(frame(ANSWER, number=number, body=body))
    reader.join()
    assert parse(received) == [(ANSWER, number, body) for number in range(count)]


@pytest.mark.parametrize("sizes", [[1], [0, 5], [70_000], [10, 1_000_000, 0, 500_000, 3], [40_000] * 5, [1] * 2000])
def test_a_frame_in_parts_arrives_whole(ends: tuple[socket.socket, Wire], sizes: list[int]) -> None:
    """Whatever part of it the kernel takes at a time."""
    ours, link = ends
    parts: list[bytes | memoryview] = [memoryview(bytes([index % 256]) * size) for index, size in enumerate(sizes)]
    body = b"".join(parts)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(drained(ours, HEAD.size + len(body))))
    reader.start()
    link.send(HEAD.pack(ITEM, 0, 9, len(body)), *parts)
    reader.join()
    assert parse(received, FrameParser(2_000_000)) == [(ITEM, 9, body)]


def test_the_layout_is_as_it_is_written() -> None:
    assert frame(CALL, 3, 5, b"ab") == struct.pack("!BBQI", CALL, 3, 5, 2) + b"ab"
    assert COUNT.unpack(b"\0\0\1\0") == (256,)
    assert len({*KINDS, wire.LOAD, CALL, wire.CANCEL, CREDIT, wire.PART, wire.DROP, wire.HEARD}) == 12
