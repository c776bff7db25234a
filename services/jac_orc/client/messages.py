"""The bytes that a client of ModuleService sends, and what it makes of those that come. No input or output."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import grpc
from google.rpc import status_pb2

from jac_orc.errors import OrcError, error, from_call, from_status
from jac_orc.guest.large_values import parts_of, room_for
from jac_orc.guest.protowire import VARINT, Malformed, fields, key, sized, string, text, varint
from jac_orc.guest.python_value_decoder import Decoder
from jac_orc.guest.python_value_encoder import Encoder
from jac_orc.guest.python_values import Context, Kind

MAX_MESSAGE_BYTES = 64 * 1024 * 1024

_SECOND = key(2)
_OBJECT, _RESULT = key(Kind.OBJECT), key(Kind.RESULT)
_MOST_RELEASED = 1000


class Remote:
    """A value that stays in the pod that made it. The pod releases it soon after this object is garbage."""

    def __init__(
        self, obj_id: str, type_name: str, shown: str, release: Callable[[str], None], *, is_callable: bool
    ) -> None:
        self.obj_id = obj_id
        self.type_name = type_name
        self.is_callable = is_callable
        self._shown = shown
        self._finalizer = weakref.finalize(self, release, obj_id)
        self._finalizer.atexit = False  # nothing can be sent then; the object's lease ends

    def __repr__(self) -> str:
        return f"<remote {self.type_name}: {self._shown}>"

    def release(self) -> None:
        """Ask the pod to release it, in the background."""
        self._finalizer()


class Earlier:
    """The result of a call of the same batch, for its later calls."""

    def __init__(self, batch: object, index: int) -> None:
        self.batch = batch
        self.index = index


class Arguments(Context):
    """A call's arguments as PythonValue messages; raises TypeError for a value that can't be sent."""

    def __init__(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], target: Remote | Earlier | None, batch: object = None
    ) -> None:
        """`batch` is what an `Earlier` among them must be of."""
        self._batch = batch
        self.obj_id = ""
        """An object among them, if there is one."""
        encoder = Encoder(self)
        self._args = [Piece(encoder.parts(arg)) for arg in args]
        self._kwargs = {name: Piece(encoder.parts(value)) for name, value in kwargs.items()}
        self._target = None if target is None else encoder.encode(target)

    def refer(self, value: Any) -> bytes:
        if isinstance(value, Remote):
            self.obj_id = value.obj_id
            return sized(_OBJECT, string(1, value.obj_id))
        if isinstance(value, Earlier):
            if value.batch is not self._batch:
                raise TypeError("the result of a batch's call can be used by later calls of this batch only")
            return sized(_RESULT, key(1, VARINT) + varint(value.index))
        raise TypeError(f"a {type(value).__module__}.{type(value).__qualname__} has no form in which it can be sent")

    def pieces(self) -> Iterator[Piece]:
        """The values, each of which may be replaced by a reference."""
        yield from self._args
        yield from self._kwargs.values()

    def message(self, method: str, options: bytes = b"", shift: int = 0) -> bytes:
        """A CallPythonRequest, a StreamPythonRequest or, its fields' numbers lower by `shift`, a BatchCall."""
        parts = [string(2 - shift, method)]
        for arg in self._args:
            parts += (key(3 - shift), varint(arg.size), *arg.parts)
        for name, value in self._kwargs.items():
            parts.append(sized(key(4 - shift), b"".join((string(1, name), _SECOND, varint(value.size), *value.parts))))
        if self._target is not None:
            parts.append(sized(key(5 - shift), self._target))
        return b"".join((*parts, options))


class Piece:
    """A PythonValue's bytes, in parts that are not copied."""

    __slots__ = ("parts", "size")

    def __init__(self, parts: list[Any]) -> None:
        self.parts = parts
        self.size = sum(map(len, parts))

    def replace(self, data: bytes) -> None:
        """Puts other bytes in the place of these."""
        self.parts, self.size = [data], len(data)


class Results(Context):
    """The values that come over one connection; `release` gets the ids of objects that are forgotten here."""

    def __init__(self, release: Callable[[str], None]) -> None:
        self._release = release
        self._decoder = Decoder(self)
        self.obj_ids: set[str] = set()
        """The objects that are not forgotten here."""

    def resolve(self, reference: Any) -> Remote:
        parts = dict(fields(reference))
        obj_id, type_name, shown = (text(parts.get(number, b"")) for number in (1, 2, 3))
        self.obj_ids.add(obj_id)
        return Remote(obj_id, type_name, shown, self._forget, is_callable=bool(parts.get(4)))

    def _forget(self, obj_id: str) -> None:
        self.obj_ids.discard(obj_id)
        self._release(obj_id)

    def value(self, message: Any) -> Any:
        """The value of a PythonValue's bytes; raises OrcError for what is none here."""
        try:
            return self._decoder.decode(message)
        except Malformed as failure:
            raise error("VALUE_NOT_REPRESENTABLE", f"what came can't be made a value here: {failure}") from None


def put_requests(piece: Piece, beside: str) -> Iterator[bytes]:
    """The PutValueRequests for a value, which goes where the object `beside` is."""
    head = string(4, beside)
    for parts in parts_of(piece.parts):
        yield b"".join((head, *parts))
        head = b""


def release_requests(obj_ids: Iterable[str]) -> Iterator[bytes]:
    """The ReleaseObjectRequests for these, as few as can be: each names objects of one process."""

    def process(obj_id: str) -> str:
        return obj_id.rpartition("-")[0]

    for _, group in itertools.groupby(sorted(obj_ids, key=process), process):
        while some := list(itertools.islice(group, _MOST_RELEASED)):
            yield string(1, some[0]) + b"".join(string(4, obj_id) for obj_id in some[1:])


class Assembly:
    """The PythonValue that comes in GetValueResponses."""

    def __init__(self) -> None:
        self.message = memoryview(b"")
        """All of it."""
        self._filled = 0

    def add(self, message: bytes) -> None:
        """Takes the next one; raises OrcError if more comes than announced, MemoryError if that is too much."""
        for number, value in fields(message):
            if number == 1:
                self.message = room_for(value)
            elif number == 2:
                end = self._filled + len(value)
                if end > len(self.message):
                    raise error("VALUE_NOT_REPRESENTABLE", f"more came than the {len(self.message)} bytes announced")
                self.message[self._filled : end] = value
                self._filled = end


def batch_results(message: bytes, value: Callable[[Any], Any]) -> list[Any]:
    """What became of each call of a CallBatchResponse: its result, None of a silent one, or an OrcError."""
    found: dict[int, Any] = {}
    for _, result in fields(message):
        parts = dict(fields(result))
        if 3 in parts:
            outcome: Any = from_status(status_pb2.Status.FromString(bytes(parts[3])))
        else:
            outcome = value(parts[2]) if 2 in parts else None
        found[parts.get(1, 0)] = outcome
    return [found[index] for index in sorted(found)]


def failure_of(failure: Any) -> OrcError:
    """Return why a call failed: as its server reports it or, if none could, as gRPC's library does."""
    if reported := from_call(failure):
        return reported
    if failure.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return error("TOO_LARGE", f"a message is larger than gRPC allows: {failure.details()}")
    if failure.code() is grpc.StatusCode.CANCELLED:
        return error("CANCELLED", "the call was cancelled")
    return error("MODULE_UNAVAILABLE", f"the module can't be reached: {failure.details()}")
