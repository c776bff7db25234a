"""The REST faces of PodManagerService: what their paths and bodies say, and the lines of their streams."""

from __future__ import annotations

import asyncio
import functools
import json
from typing import Any

import grpc
import pytest
from google.api import httpbody_pb2

from jac_orc.errors import OrcError
from jac_orc.pod_manager.backends.fake import FakeBackend
from jac_orc.pod_manager.rest import from_document, patched
from jac_orc.v1 import pod_manager_pb2, rest_pb2
from tests.feature.pod_managers import PodManager, failure

Code = grpc.StatusCode
DEEP: dict[str, Any] = functools.reduce(lambda inner, _: {"a": inner}, range(5000), {})


async def test_create_get_and_delete(manager: PodManager) -> None:
    created = await manager.rest("CreatePod", module_name="math")
    assert (created["name"], created["status"]["phase"]) == ("math", "MODULE_PHASE_READY")
    assert created["spec"]["module_name"] == "math" and created["spec"]["replicas"] == 1
    assert await manager.rest("RestGetModule", module_name="math") == created
    assert await manager.rest("RestCreateModule", {"module_name": "math", "replicas": 1}) == created
    assert (await manager.rest("RestListModules"))["modules"] == [created]
    assert await manager.rest("RestListModules") == {"modules": [created], "next_page_token": ""}
    assert await manager.rest("RestDeleteModule", module_name="math") == {}
    assert (await failure(manager.rest("DeletePod", module_name="math"))).error.reason == "MODULE_NOT_FOUND"


async def test_paths_and_bodies_must_agree(manager: PodManager) -> None:
    await manager.rest("CreatePod", {"module_name": "math"}, module_name="math")
    for method in ("CreatePod", "RestUpdateModule"):
        told = await failure(manager.rest(method, {"module_name": "string"}, module_name="math"))
        assert told.error.reason == "MODULE_MISMATCH"


async def test_patch_changes_what_the_body_has(manager: PodManager) -> None:
    await manager.rest("RestCreateModule", {"module_name": "math", "replicas": 2, "env": {"A": "1", "B": "2"}})
    changed = await manager.rest("RestUpdateModule", {"workers": 3}, module_name="math")
    assert (changed["spec"]["workers"], changed["spec"]["replicas"]) == (3, 2)
    changed = await manager.rest("RestUpdateModule", {"workers": None}, module_name="math")
    assert changed["spec"]["workers"] == 1, "null takes a field back to its default"


@pytest.mark.parametrize("body", [b"", {}, {"module_name": "math"}])
async def test_patch_of_nothing_changes_nothing(manager: PodManager, body: Any) -> None:
    before = await manager.rest("RestCreateModule", {"module_name": "math", "replicas": 2, "env": {"A": "1"}})
    assert await manager.rest("RestUpdateModule", body, module_name="math") == before


async def test_patch_merges_maps(manager: PodManager) -> None:
    """RFC 7396: members that the patch lacks stay, those that it has as null go."""
    await manager.rest("RestCreateModule", {"module_name": "math", "env": {"A": "1", "B": "2"}})
    changed = await manager.rest("RestUpdateModule", {"env": {"B": "3", "C": "4"}}, module_name="math")
    assert changed["spec"]["env"] == {"A": "1", "B": "3", "C": "4"}
    changed = await manager.rest("RestUpdateModule", {"env": {"A": None}}, module_name="math")
    assert changed["spec"]["env"] == {"B": "3", "C": "4"}


async def test_scale(manager: PodManager) -> None:
    await manager.rest("CreatePod", module_name="math")
    scaled = await manager.rest("RestScaleModule", {"replicas": 3}, module_name="math")
    assert scaled["status"]["ready_replicas"] == 3
    for body in ({}, {"replicas": 1, "wait": False}, {"replicas": None}, {"module_name": "math"}, b""):
        told = await failure(manager.rest("RestScaleModule", body, module_name="math"))
        assert told.code is Code.INVALID_ARGUMENT, body
    assert (await manager.rest("RestGetModule", module_name="math"))["spec"]["replicas"] == 3


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "MALFORMED_REQUEST"), (b"[]", "MALFORMED_REQUEST"), (b"\xff", "MALFORMED_REQUEST"),
        (b'"a"', "MALFORMED_REQUEST"), (b"[" * 200_000, "TOO_DEEP"),
        (b'{"replicas":1,"replicas":2}', "MALFORMED_REQUEST"),
        ({"replica": 1}, "UNKNOWN_FIELD"), ({"moduleName": "x"}, "UNKNOWN_FIELD"),
        ({"maxConcurrency": 1}, "UNKNOWN_FIELD"),
        ({"autoscaling": {"maxReplicas": 2}}, "UNKNOWN_FIELD"), ({"autoscaling": []}, "SPEC_INVALID"),
        ({"resources": "1"}, "SPEC_INVALID"),
        ({"source": {"files": {"content": {}}}}, "UNKNOWN_FIELD"), ({"source": {"files": [1]}}, "SPEC_INVALID"),
        ({"\ud800": 1}, "UNKNOWN_FIELD"), ({"x" * 100_000: 1}, "UNKNOWN_FIELD"), ({"replicas": "x"}, "SPEC_INVALID"),
        ({"replicas": 1.5}, "SPEC_INVALID"), ({"replicas": 2**40}, "SPEC_INVALID"),
        (b'{"replicas":NaN}', "SPEC_INVALID"),
        ({"requirements": "numpy"}, "SPEC_INVALID"), ({"env": {"A": 1}}, "SPEC_INVALID"), ({"env": []}, "SPEC_INVALID"),
        ({"timeout": 5}, "SPEC_INVALID"), ({"timeout": "5"}, "SPEC_INVALID"), ({"timeout": "1e30s"}, "SPEC_INVALID"),
        ({"labels": {"a": "\ud800"}}, "SPEC_INVALID"), ({"module_name": "\ud800"}, "SPEC_INVALID"),
        ({"resources": {"cpus": "1"}}, "UNKNOWN_FIELD"),
        ({"source": {"zip": {"a": 1}}}, "SPEC_INVALID"), ({"source": {"sdist": {"data": [1]}}}, "SPEC_INVALID"),
        ({"source": {"files": {"contents": {"a.py": 5}}}}, "SPEC_INVALID"),
    ],
    ids=lambda value: str(value)[:30],
)  # fmt: skip
async def test_bodies_are_checked_strictly(manager: PodManager, body: Any, reason: str) -> None:
    told = await failure(manager.rest("CreatePod", body, module_name="math"))
    assert (told.error.reason, told.code) == (reason, Code.INVALID_ARGUMENT)
    assert "operand" not in told.error.message, "in words of Python"
    assert manager.modules.backend.modules() == []


@pytest.mark.parametrize("document", [{"env": DEEP}, {"env": {"A": DEEP}}, {"source": DEEP}, {"timeout": DEEP}])
def test_a_document_deeper_than_the_stack_is_refused(document: dict[str, Any]) -> None:
    """The JSON parser's own limit differs by Python's version; some let pass what is too deep for Python's stack."""
    for refused in (lambda: patched({}, document), lambda: from_document(document, pod_manager_pb2.ModuleSpec())):
        with pytest.raises(OrcError) as caught:
            refused()
        assert caught.value.reason in ("TOO_DEEP", "SPEC_INVALID", "UNKNOWN_FIELD")


async def first_line(stream: Any) -> bytes:
    """The first body that has something in it; an empty one only begins the answer."""
    while not (data := bytes((await stream.read()).body.data)):
        pass
    return data


async def test_streams_are_lines(manager: PodManager, backend: FakeBackend) -> None:
    await manager.rest("CreatePod", module_name="math")
    backend.log("math", "a\nb\u2028c")
    watch = manager.rest_stub.RestWatchModules(rest_pb2.RestWatchModulesRequest())
    line = await first_line(watch)
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    assert json.loads(line)["event"] == "WATCH_EVENT_CHANGED" and json.loads(line)["module"]["name"] == "math"
    watch.cancel()
    logs = manager.rest_stub.RestReadLogs(rest_pb2.RestReadLogsRequest(module_name="math"))
    line = await first_line(logs)
    assert line.count(b"\n") == 1 and json.loads(line)["text"] == "a\nb\u2028c"
    plan = await manager.rest("RestPlanModule", {"module_name": "PIL"})
    assert plan["spec"]["requirements"] == ["pillow"] and plan["manifests"] == ""


async def send(upload: Any, mebibytes: int) -> None:
    body = httpbody_pb2.HttpBody(data=bytes(8 * 1024 * 1024))
    for _ in range(mebibytes // 8):
        await upload.write(rest_pb2.RestUploadSourceRequest(file_name="no-archive.exe", body=body))
    await upload.done_writing()


async def test_a_refused_upload_is_read_to_its_end(manager: PodManager) -> None:
    """So that a client which reads only after it has sent everything learns why."""
    upload = manager.rest_stub.RestUploadSource(timeout=20)
    await send(upload, 64)
    assert (await failure(upload)).error.reason == "SOURCE_INVALID"


async def test_a_refused_upload_is_not_read_for_ever(manager: PodManager) -> None:
    upload = manager.rest_stub.RestUploadSource(timeout=20)
    with pytest.raises((grpc.aio.AioRpcError, asyncio.InvalidStateError)):
        await send(upload, 4096)
