"""Describe and reflection: what can be called, told by the server itself."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2
from grpc_reflection.v1alpha import reflection_pb2

from jac_orc.v1 import module_pb2
from tests.feature.conftest import Start
from tests.feature.module_servers import SERVICE, ModuleServer, failure

Kind = module_pb2.MemberKind


@pytest.fixture
def members(plain: ModuleServer) -> dict[str, Any]:
    answer = plain.stub.Describe(module_pb2.DescribeRequest())
    return {member.name: member for member in answer.members}


def test_the_module_is_told(plain: ModuleServer) -> None:
    answer = plain.stub.Describe(module_pb2.DescribeRequest(module_name="orc_feature_plain"))
    assert (answer.module_name, answer.version) == ("orc_feature_plain", "1.2.3")
    assert answer.documentation.startswith("Plain functions")
    names = [member.name for member in answer.members]
    assert names == sorted(names)
    told = failure(plain.stub.Describe, module_pb2.DescribeRequest(module_name="numpy"))
    assert told.error.reason == "MODULE_MISMATCH"


def test_members_have_their_kind(members: dict[str, Any]) -> None:
    kinds = {"add": "FUNCTION", "Shape": "CLASS", "LIMIT": "CONSTANT", "numbers": "GENERATOR", "async_add": "COROUTINE"}
    assert {name: Kind.Name(members[name].kind) for name in kinds} == {
        name: f"MEMBER_KIND_{kind}" for name, kind in kinds.items()
    }
    assert not {"sys", "os", "asyncio", "_calls", "Any"} & set(members) - {"Any"}


def test_a_function_has_its_signature_and_text(members: dict[str, Any]) -> None:
    add = members["add"]
    assert (add.documentation, add.type) == ("Adds.", "int")
    assert [(p.name, p.type, p.optional, p.default_value) for p in add.parameters] == [
        ("a", "int", False, ""), ("b", "int", True, "2"),
    ]  # fmt: skip
    kinds = [module_pb2.ParameterKind.Name(p.kind) for p in members["echo"].parameters]
    assert kinds == ["PARAMETER_KIND_VAR_POSITIONAL", "PARAMETER_KIND_VAR_KEYWORD"]
    assert members["positional"].signature == "(a: 'Any', /, b: 'Any' = 1) -> 'Any'"
    assert (members["LIMIT"].type, members["LIMIT"].signature) == ("builtins.int", "")


@pytest.mark.parametrize("module", ["math", "collections", "random"])
def test_the_standard_library_describes_itself(start_server: Start, module: str) -> None:
    server = start_server(module).serving()
    answer = server.stub.Describe(module_pb2.DescribeRequest())
    assert answer.members and all(not part.startswith("_") for m in answer.members for part in m.name.split("."))


def test_a_module_with_odd_members_describes_the_rest(start_server: Start) -> None:
    server = start_server("orc_feature_odd").serving()
    names = {member.name for member in server.stub.Describe(module_pb2.DescribeRequest()).members}
    assert names >= {"fine", "OddDefault", "odd_default", "odd_docs", "doubled"}


def ask(server: ModuleServer, version: str, **request: Any) -> Any:
    call = server.channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )
    (answer,) = call(iter([reflection_pb2.ServerReflectionRequest(**request)]), timeout=5)
    return answer


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_lists_and_describes(plain: ModuleServer, version: str) -> None:
    listed = {service.name for service in ask(plain, version, list_services="").list_services_response.service}
    assert listed >= {SERVICE, "grpc.health.v1.Health", f"grpc.reflection.{version}.ServerReflection"}
    answer = ask(plain, version, file_containing_symbol=SERVICE)
    files = [
        descriptor_pb2.FileDescriptorProto.FromString(file)
        for file in answer.file_descriptor_response.file_descriptor_proto
    ]
    assert "Call" in [method.name for file in files for service in file.service for method in service.method]
    missing = ask(plain, version, file_containing_symbol="no.such.Symbol")
    assert missing.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
    for service in listed:
        assert ask(plain, version, file_containing_symbol=service).file_descriptor_response.file_descriptor_proto
