"""Whatever bytes come, the answer is a result or a refusal with a reason, at once, and nothing of it stays behind."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf import struct_pb2
from google.rpc import status_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jac_orc.errors import REASONS, from_status
from jac_orc.guest.protowire import key, sized, varint
from jac_orc.v1 import errors_pb2, module_pb2, value_pb2
from tests.feature.footprints import Watched
from tests.feature.module_servers import SERVICE, ModuleServer, failure_of, http_body

METHODS = [method.name for method in module_pb2.DESCRIPTOR.services_by_name["ModuleService"].methods]
PYTHON = ["CallPython", "StreamPython", "CallBatch", "PutValue", "GetValue"]
DEADLINE = 5.0
MOST_ANSWERS = 100
# Those that end at once whatever they are given, and names that nobody may have.
FUNCTIONS = st.sampled_from(
    """
    same type_of total value_of Counter Counter.add Point Order order same_order kinds Blob BadRepr nested cycle module
    evaluator frame function fails alive Colour Colour.RED async_generator _alive __class__ same.__globals__ a..b
    """.split()
) | st.text(max_size=20)
# The obj_ids of nobody.
NAMES = st.one_of(
    st.sampled_from(["x", "orc_feature_objects-127.0.0.1-1-1-0", "-" * 9, "orc_feature_objects-_1-9-1-0", "a-b-c-d-e"]),
    st.text(max_size=40),
)


def bounded(examples: int) -> settings:
    return settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def server(guest_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleServer]:
    running = ModuleServer(
        "orc_feature_objects",
        guest_python,
        tmp_path_factory.mktemp("fuzz"),
        timeout=3,
        object_lease=2,
    ).serving()
    assert running.call("same", 1) == 1
    yield running
    own = [line for line in running.log() if line["stream"] == "server" or not line.get("call_id")]
    faults = [line for line in own if line["level"] in ("error", "critical") or "Traceback" in line["text"]]
    assert faults == []
    assert running.stop() == 0


@pytest.fixture(autouse=True)
def unharmed(server: ModuleServer) -> Iterator[None]:
    """Neither process is another one afterwards, or has more than it had."""
    for _ in range(3):
        list(server.stub.Stream(module_pb2.StreamRequest(method="generator", args=[struct_pb2.Value(number_value=3)])))
    watched = Watched(server)
    yield
    assert server.call("same", 1) == 1
    watched.check()


def check(status: status_pb2.Status) -> None:
    """A failure of the closed list, and none that is a fault of the system."""
    error = from_status(status)
    assert error.reason in REASONS, status
    assert error.reason not in ("INTERNAL", "GUEST_DIED", "MODULE_UNAVAILABLE", "CANCELLED"), status
    if error.reason != "EXCEPTION_RAISED":
        assert status.code != grpc.StatusCode.UNKNOWN.value[0], status
    else:  # by the module's code: a fault of the guest's own has no frames that are shown
        (exception,) = [detail for detail in error.details if isinstance(detail, errors_pb2.ExceptionInfo)]
        assert exception.traceback, status


def send(server: ModuleServer, method: str, *messages: bytes) -> list[bytes]:
    """The answers to the messages, which may end in a failure; the first of them where they may have no end."""
    answers = []
    begin: Any = server.channel.stream_stream(f"/{SERVICE}/{method}")
    call = begin(iter(messages), timeout=DEADLINE)
    try:
        for answer in call:
            answers.append(answer)
            if len(answers) == MOST_ANSWERS:
                call.cancel()
                break
    except grpc.RpcError as error:
        told = failure_of(error)
        assert told.error.reason != "DEADLINE_EXCEEDED", f"it hangs: {method} {messages}"
        trailing: Any = error.trailing_metadata()
        check(status_pb2.Status.FromString(dict(trailing)["grpc-status-details-bin"]))
    return answers


# --- JSON ---

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-(10**40), 10**40), st.floats(), st.text(max_size=12),
    st.sampled_from([10**400, -(2**64), 1e308, "\ud800", "\x00", "\u2028", "NaN", "$bytes", ""]),
)  # fmt: skip
ODD_ESCAPES = st.one_of(
    st.fixed_dictionaries(
        {"$bytes": SCALARS | st.binary(max_size=9).map(lambda data: base64.b64encode(data).decode())}
    ),
    st.fixed_dictionaries({"$value": SCALARS | st.fixed_dictionaries({"obj_id": SCALARS})}),
    st.fixed_dictionaries({"obj_id": NAMES | SCALARS}, optional={"type": SCALARS, "repr": SCALARS, "$bytes": SCALARS}),
)
JSON = st.recursive(
    SCALARS | ODD_ESCAPES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.text(max_size=6) | st.sampled_from(["$bytes", "$value", "obj_id"]), inner, max_size=4),
        st.fixed_dictionaries({"$value": inner}), st.fixed_dictionaries({"obj_id": inner}),
    ),
    max_leaves=12,
)  # fmt: skip
BODIES = st.one_of(
    JSON,
    st.fixed_dictionaries(
        {"method": FUNCTIONS | SCALARS},
        optional={
            "args": st.lists(JSON, max_size=3) | JSON, "kwargs": st.dictionaries(st.text(max_size=6), JSON) | JSON,
            "obj_id": NAMES | JSON, "more": JSON,
        },
    ),
)  # fmt: skip


@st.composite
def json_bytes(draw: st.DrawFn) -> bytes:
    """A body's bytes, now and then harmed: bytes changed, doubled, cut, doubled keys, nested deeply."""
    document = draw(BODIES)
    data = json.dumps(document, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    if draw(st.booleans()):
        return data
    place = draw(st.integers(0, len(data)))
    return draw(
        st.sampled_from(
            [
                data[:place], data[:place] + data[place // 2 :], b"\xef\xbb\xbf" + data, data + data,
                data.replace(b"{", b'{"args":[1],"args":2,', 1), data.replace(b'"', b"'"),
                data.decode("latin-1").encode("utf-16"),
                b'{"method":"same","args":[%b]}' % data, b'{"method":"same","args":%b}' % (b"[" * place * 50),
                b'{"method":"same","args":[' + b'{"a":' * 120 + b"1" + b"}" * 120 + b"]}",
                b'{"method":"same","args":[' + b"[" * 20_000 + b"]" * 20_000 + b"]}",
                b'{"method":"same","args":[' + b"9" * 6000 + b",-1e999999,1E400,-0,01,.5,0x1,Infinity]}",
                b'{"method":"same","args":["\\ud800","\\u0000","\\uDFFF\\uD800"],"kwargs":{}}',
                data[:place] + draw(st.binary(max_size=4)) + data[place + 1 :],
            ]
        )
    )  # fmt: skip


@bounded(350)
@given(
    st.sampled_from(["CallJson", "StreamJson", "RunModule", "CallNamed"]), FUNCTIONS, NAMES | st.just(""), json_bytes()
)
def test_json(server: ModuleServer, method: str, name: str, obj_id: str, data: bytes) -> None:
    body = http_body(data)
    name, obj_id = (text.encode("utf-8", "replace").decode() for text in (name, obj_id))
    request: Any = getattr(module_pb2, f"{method}Request")(body=body)
    if method in ("RunModule", "CallNamed"):
        request.method_name = name
    if method == "RunModule":
        request.obj_id = obj_id
    for answer in send(server, method, request.SerializeToString()):
        json.loads(getattr(module_pb2, f"{method}Response").FromString(answer).body.data)


# --- messages ---

NUMBERS = st.integers(0, 9) | st.integers(0, 2**64 - 1) | st.sampled_from([2**31, 2**32 - 1, 2**63, 2**64 - 1])


def _field(kind: tuple[int, int], data: bytes, number: int) -> bytes:
    if kind[1] == 2:
        return sized(key(kind[0]), data)
    return key(*kind) + (varint(number) if kind[1] == 0 else number.to_bytes(8, "little")[: 8 if kind[1] == 1 else 4])


def harmed(message: bytes, changes: Iterable[tuple[int, int]]) -> bytes:
    """The message with bytes changed."""
    data = bytearray(message)
    for place, byte in changes:
        if data:
            data[place % len(data)] = byte
    return bytes(data)


CHANGES: st.SearchStrategy[list[Any]] = st.just([]) | st.lists(
    st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=4
)
FIELDS = st.lists(st.tuples(st.integers(1, 9), st.sampled_from([0, 1, 2, 2, 2, 2, 5])), max_size=5)
WIRE = st.recursive(
    st.binary(max_size=8) | st.sampled_from([b"same", b"Counter", b"{}", b'{"method":"same","args":[1]}']),
    lambda inner: FIELDS.flatmap(
        lambda kinds: st.tuples(*(st.builds(_field, st.just(kind), inner, NUMBERS) for kind in kinds))
    ).map(b"".join),
    max_leaves=12,
)
"""Well-formed messages of fields of any kind."""


@bounded(350)
@given(
    st.sampled_from([*METHODS, *PYTHON * 2]),
    st.lists(st.one_of(WIRE, WIRE, st.binary(max_size=40), st.just(b"\x0a" * 1000)), max_size=3),
)
def test_bytes(server: ModuleServer, method: str, messages: list[bytes]) -> None:
    send(server, method, *messages)


VALUES = st.recursive(
    st.one_of(
        st.just(struct_pb2.Value()), st.builds(struct_pb2.Value, number_value=st.floats()),
        st.builds(struct_pb2.Value, string_value=st.text(max_size=9)),
        st.builds(struct_pb2.Value, bool_value=st.booleans()),
        st.builds(struct_pb2.Value, null_value=st.sampled_from([0, 1, -1])),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: struct_pb2.Value(list_value=struct_pb2.ListValue(values=items))),
        st.dictionaries(st.sampled_from(["obj_id", "$bytes", "$value", "", "a"]), inner, max_size=3).map(
            lambda items: struct_pb2.Value(struct_value=struct_pb2.Struct(fields=items))
        ),
    ),
    max_leaves=8,
)  # fmt: skip
UTF8 = FUNCTIONS.map(lambda text: text.encode("utf-8", "replace").decode())


@bounded(250)
@given(
    st.sampled_from(["Call", "Stream"]), UTF8, st.lists(VALUES, max_size=3),
    st.dictionaries(st.sampled_from(["value", "a", "", "self"]), VALUES, max_size=2), NAMES, st.booleans(), CHANGES,
)  # fmt: skip
def test_values(
    server: ModuleServer, method: str, name: str, args: Any, kwargs: Any, obj_id: str, of_object: bool, changes: Any
) -> None:
    request = module_pb2.CallRequest(method=name, args=args, kwargs=kwargs)
    if of_object:
        request.obj_id = obj_id.encode("utf-8", "replace").decode()
    for answer in send(server, method, harmed(request.SerializeToString(), changes)):
        assert module_pb2.CallResponse.FromString(answer).HasField("result")


def test_values_nested_deeply(server: ModuleServer) -> None:
    for levels in (90, 110, 5000):
        data = b"\x08\x00"
        for _ in range(levels):  # a list of one value, in a value
            data = sized(key(6), sized(key(1), data))
        send(server, "Call", sized(key(2), b"same") + sized(key(3), data))


# --- Python values ---

TYPES = ["decimal.Decimal", "datetime.datetime", "os.system", "builtins.type", "x", "", "builtins.range", "array.array"]
LABELS = [
    *TYPES,
    "orc_feature_objects.Order",
    "orc_feature_objects.Point",
    "orc_feature_objects.Colour",
    "numpy.generic",
]
PythonValue = value_pb2.PythonValue
LEAVES = st.one_of(
    st.just(PythonValue()), st.builds(PythonValue, int_value=st.integers(-(2**63), 2**63 - 1)),
    st.builds(PythonValue, big_int_value=st.binary(max_size=20)), st.builds(PythonValue, float_value=st.floats()),
    st.builds(PythonValue, surrogate_string_value=st.binary(max_size=5)),
    st.builds(PythonValue, string_value=st.sampled_from(["", "é", "a"])),
    st.builds(
        value_pb2.TextValue, type=st.sampled_from(LABELS), text=st.text("0123456789-:TZ+.[]!/fold", max_size=20)
    ).map(lambda text: PythonValue(text_value=text)),
    st.builds(
        value_pb2.TensorValue, dtype=st.sampled_from(["<f8", "|O", "<U1", "", "[]", '[["a","<i4"]]', "B", "d", "9s"]),
        shape=st.lists(st.sampled_from([0, 1, 2, 2**40, 2**64 - 1]), max_size=3), data=st.binary(max_size=16),
        type=st.sampled_from(["", "array.array", "builtins.memoryview", "numpy.generic", "x"]),
    ).map(lambda tensor: PythonValue(tensor_value=tensor)),
    (st.integers(0, 5) | st.just(2**32 - 1)).map(
        lambda number: PythonValue(result_value=value_pb2.ResultReference(index=number))
    ),
    NAMES.map(lambda name: name.encode(errors="replace").decode()).map(
        lambda name: PythonValue(object_value=value_pb2.ObjectReference(obj_id=name))
    ),
)  # fmt: skip


def _of_kind(pair: tuple[str, value_pb2.SequenceValue]) -> PythonValue:
    value = PythonValue()
    getattr(value, pair[0]).CopyFrom(pair[1])
    return value


def _containers(inner: st.SearchStrategy[PythonValue]) -> st.SearchStrategy[PythonValue]:
    kinds = st.sampled_from(["list_value", "tuple_value", "set_value", "frozenset_value"])
    sequences = st.builds(
        value_pb2.SequenceValue, items=st.lists(inner, max_size=3), ints=st.just([]) | st.just([1, 2])
    )
    entries = st.lists(st.builds(value_pb2.MappingEntry, key=inner, value=inner), max_size=3)
    record_fields = st.lists(
        st.builds(value_pb2.RecordField, name=st.sampled_from(["x", "day", ""]), value=inner), max_size=3
    )
    return st.one_of(
        st.tuples(kinds, sequences).map(_of_kind),
        entries.map(lambda found: PythonValue(dict_value=value_pb2.MappingValue(entries=found))),
        st.builds(value_pb2.RecordValue, type=st.sampled_from(LABELS), fields=record_fields).map(
            lambda record: PythonValue(record_value=record)
        ),
    )


PYTHON_VALUES = st.recursive(LEAVES, _containers, max_leaves=6)
FIELDS_OF_CALLS: Any = {
    "method": UTF8 | st.sampled_from(["same", "total", "generator"]),
    "args": st.lists(PYTHON_VALUES, max_size=3),
    "kwargs": st.dictionaries(st.sampled_from(["value", "x", ""]), PYTHON_VALUES, max_size=2),
    "target": st.none() | st.none() | PYTHON_VALUES,
}
CALLS = st.one_of(
    st.builds(module_pb2.CallPythonRequest, **FIELDS_OF_CALLS, keep=st.booleans()),
    st.builds(module_pb2.StreamPythonRequest, **FIELDS_OF_CALLS),
)


@bounded(150)
@given(CALLS, CHANGES)
def test_python_values(server: ModuleServer, request: Any, changes: Any) -> None:
    method = type(request).__name__.removesuffix("Request")
    for answer in send(server, method, harmed(request.SerializeToString(), changes)):
        assert getattr(module_pb2, f"{method}Response").FromString(answer).HasField("result")


BATCHES = st.builds(
    module_pb2.CallBatchRequest,
    calls=st.lists(
        st.builds(module_pb2.BatchCall, **FIELDS_OF_CALLS, keep=st.booleans(), silent=st.booleans()), max_size=6
    ),
    goes_on=st.booleans(),
)


@bounded(150)
@given(BATCHES)
def test_each_call_of_a_batch_is_answered_once(server: ModuleServer, request: module_pb2.CallBatchRequest) -> None:
    for answer in send(server, "CallBatch", request.SerializeToString()):
        results = sorted(module_pb2.CallBatchResponse.FromString(answer).results, key=lambda result: result.index)
        assert [result.index for result in results] == list(range(len(results)))
        failed = [result for result in results if result.WhichOneof("kind") == "status"]
        for result in failed:
            check(result.status)
        if request.goes_on or not failed:
            assert len(results) == len(request.calls)
        else:
            assert failed == results[-1:]
        for result in results:
            is_silent = request.calls[result.index].silent and result not in failed
            assert (result.WhichOneof("kind") is None) == is_silent


@bounded(60)
@given(BATCHES, CHANGES)
def test_batches(server: ModuleServer, request: module_pb2.CallBatchRequest, changes: Any) -> None:
    for answer in send(server, "CallBatch", harmed(request.SerializeToString(), changes)):
        for result in module_pb2.CallBatchResponse.FromString(answer).results:
            if result.HasField("status"):
                check(result.status)


PARTS = st.builds(
    module_pb2.PutValueRequest, data=st.binary(max_size=9), size=st.sampled_from([0, 8, 16, 2**20, 2**40, 2**64 - 1])
)


@bounded(100)
@given(st.lists(st.tuples(PARTS, CHANGES), max_size=5))
def test_parts_of_values(server: ModuleServer, parts: Any) -> None:
    messages = [harmed(part.SerializeToString(), changes) for part, changes in parts]
    for answer in send(server, "PutValue", *messages):
        assert module_pb2.PutValueResponse.FromString(answer).result.HasField("object_value")


@bounded(100)
@given(PYTHON_VALUES, st.integers(1, 40), st.sampled_from([0, 0, 0, 1, -1]))
def test_values_that_come_in_parts_go_in_parts(server: ModuleServer, stored: Any, size: int, lie: int) -> None:
    data = stored.SerializeToString()
    parts = [module_pb2.PutValueRequest(data=data[start : start + size]) for start in range(0, len(data), size)]
    parts = parts or [module_pb2.PutValueRequest()]
    parts[0].size = max(len(data) + lie, 0)
    for answer in send(server, "PutValue", *(part.SerializeToString() for part in parts)):
        assert not lie or not data
        reference = module_pb2.PutValueResponse.FromString(answer).result.object_value
        request = module_pb2.GetValueRequest(obj_id=reference.obj_id)
        got = [
            module_pb2.GetValueResponse.FromString(part)
            for part in send(server, "GetValue", request.SerializeToString())
        ]
        if got:
            value = b"".join(part.data for part in got)
            assert got[0].size == len(value)
            PythonValue.FromString(value)


@pytest.mark.parametrize(
    "field", [key(6, 0) + varint(2**64 - 1), key(3, 0) + varint(1), sized(key(6), b"x"), key(1, 1) + b"x" * 8]
)
@pytest.mark.parametrize("method", ["CallPython", "StreamPython"])
def test_fields_of_another_kind_in_a_call(server: ModuleServer, method: str, field: bytes) -> None:
    send(server, method, sized(key(2), b"alive") + field)
    send(server, "CallBatch", sized(key(2), sized(key(1), b"alive") + field) + field)
