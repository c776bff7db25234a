"""A generator's items through Envoy: a line each, as they are made."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any

import grpc
import pytest

from jac_orc.v1 import module_pb2, module_pb2_grpc
from tests.e2e.system import System


def test_a_stream_is_newline_delimited_json(system: System) -> None:
    body = {"method": "permutations", "args": ["abc", 2]}
    with system.http.stream("POST", "/v1/modules/itertools:stream", json=body, timeout=60) as response:
        assert response.status_code == 200
        assert response.headers["content-type"] == "application/json"
        lines = [json.loads(line) for line in response.iter_lines()]
    assert lines == [{"result": [a, b]} for a in "abc" for b in "abc" if a != b]


def test_an_endless_stream_ends_with_its_reader(system: System) -> None:
    body = {"method": "count"}
    with system.http.stream("POST", "/v1/modules/itertools:stream", json=body, timeout=60) as response:
        lines = response.iter_lines()
        assert [json.loads(next(lines))["result"] for _ in range(5)] == [0, 1, 2, 3, 4]
    counting = system.http.post("/v1/modules/itertools:call", json=body).json()["result"]
    assert counting["type"] == "itertools.count"


def test_a_failure_before_the_first_item_is_the_answer(system: System) -> None:
    response = system.http.post("/v1/modules/itertools:stream", json={"method": "counts"}, timeout=60)
    assert response.status_code == 404
    assert response.json()["details"][0]["reason"] == "FUNCTION_NOT_FOUND"


def test_a_deadline_is_the_last_line(system: System) -> None:
    path = "/v1/modules/itertools:stream?timeout=500m"
    with system.http.stream("POST", path, json={"method": "count"}, timeout=60) as response:
        lines = response.iter_lines()
        first = next(lines)
        time.sleep(1)  # a slow reader: the deadline passes while much is yet to be read
        *items, last = [json.loads(line) for line in (first, *lines)]
    assert [item["result"] for item in items] == list(range(len(items)))
    assert last["error"]["details"][0]["reason"] == "DEADLINE_EXCEEDED"


def test_the_deadline_counts_while_the_module_is_deployed(system: System) -> None:
    response = system.http.post("/v1/modules/heapq:stream?timeout=50m", json={"method": "merge", "args": [[1]]})
    assert response.status_code == 504
    assert response.json()["details"][0]["reason"] == "DEADLINE_EXCEEDED"


def test_streams_that_nobody_reads_hold_up_nobody_else(system: System) -> None:
    body = {"method": "repeat", "args": ["x" * 10_000]}
    with contextlib.ExitStack() as stack:
        streams = []
        for _ in range(3):
            stream = system.http.stream("POST", "/v1/modules/itertools:stream", json=body, timeout=60)
            streams.append(stack.enter_context(stream).iter_lines())
            next(streams[-1])
        for _ in range(20):  # until Envoy's buffers are full
            begin = time.monotonic()
            system.call("itertools", "accumulate", [1])
            assert time.monotonic() - begin < 5
            time.sleep(0.1)


def test_streams_that_are_not_read_release_their_places_at_their_deadline(system: System) -> None:
    body = {"method": "repeat", "args": ["x" * 20_000]}
    path = "/v1/modules/itertools:stream?timeout=1500m"
    with contextlib.ExitStack() as stack:
        streams = []
        for _ in range(16):  # as many as there are places
            stream = system.http.stream("POST", path, json=body, timeout=60)
            streams.append(stack.enter_context(stream).iter_lines())
            next(streams[-1])
        assert system.call("itertools", "accumulate", [1])
        *_, last = streams[0]
    assert json.loads(last)["error"]["details"][0]["reason"] == "DEADLINE_EXCEEDED"


def test_a_grpc_stream_ends_at_its_deadline(system: System) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{system.port}") as channel:
        stub: Any = module_pb2_grpc.ModuleServiceStub(channel)
        request = module_pb2.StreamRequest(module_name="itertools", method="repeat", args=[{"string_value": "x"}])
        for _ in range(10):
            with pytest.raises(grpc.RpcError) as caught:
                for _ in stub.Stream(request, timeout=0.3):
                    pass
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED, caught.value
