"""Values that come in parts."""

from __future__ import annotations

import ctypes

import pytest

from jac_orc.client.messages import Arguments, Assembly, put_requests
from jac_orc.errors import OrcError
from jac_orc.guest.large_values import Uploads
from jac_orc.guest.protowire import Malformed
from jac_orc.guest.python_value_decoder import Decoder
from jac_orc.guest.python_values import Context
from jac_orc.guest.wire import Part
from jac_orc.v1.module_pb2 import GetValueResponse


@pytest.mark.parametrize("count", [500_000, 500_001, 1_000_003])
def test_arrays_are_made_on_the_bytes_that_came_and_aligned(count: int) -> None:
    sent = memoryview(bytearray(8 * count)).cast("d")
    sent[-1] = 4.5
    (piece,) = Arguments([sent], {}, None).pieces()
    assembly = Assembly()
    for request in put_requests(piece, ""):
        assembly.add(request)
    came = Decoder(Context()).decode(assembly.message)
    assert (came.format, came.shape, came[-1], came.readonly) == ("d", (count,), 4.5, False)
    assert came.obj is assembly.message.obj  # not copied
    assert ctypes.addressof(ctypes.c_char.from_buffer(came)) % came.itemsize == 0


class Unread(Part):
    """A part whose bytes nobody wants."""

    def __init__(self, total: int, size: int) -> None:
        self.total, self.size = total, size

    def read_into(self, place: memoryview) -> None:
        assert len(place) == self.size


@pytest.mark.parametrize("size", [2**60, 2**63, 2**64 - 1])
def test_a_value_for_which_there_is_no_memory_is_only_counted(size: int) -> None:
    uploads = Uploads()
    for _ in range(2):
        uploads.take(1, Unread(size, 1000))
    with pytest.raises(Malformed, match="as a whole"):
        uploads.value(1)


def test_a_server_that_sends_other_than_it_announces() -> None:
    assembly = Assembly()
    assembly.add(GetValueResponse(size=5, data=b"123").SerializeToString())
    with pytest.raises(OrcError, match="more came than the 5 bytes"):
        assembly.add(GetValueResponse(data=b"456").SerializeToString())
    with pytest.raises(MemoryError):
        assembly.add(GetValueResponse(size=2**60).SerializeToString())
