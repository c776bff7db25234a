"""The one tree of errors: a class for each reason, the same on both sides of the wire."""

from __future__ import annotations

import pytest
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

from jac_orc import errors
from jac_orc.errors import REASONS, OrcError, error, exception_raised, from_status, to_status
from jac_orc.v1 import errors_pb2

CODES = [number for name, number in code_pb2.Code.items() if name != "OK"]
CLASSES: list[type[OrcError]] = [OrcError, *OrcError.__subclasses__()]


def test_every_reason_of_the_proto_has_a_class_and_no_other_has() -> None:
    names = {name.removeprefix("ERROR_REASON_") for name in list(errors_pb2.ErrorReason.keys())}
    assert set(REASONS) == names - {"UNSPECIFIED"}
    assert set(REASONS.values()) <= set(CLASSES)


def test_the_public_names_are_the_tree_and_its_functions() -> None:
    assert set(errors.__all__) == {cls.__name__ for cls in CLASSES} | {"error", "from_status", "to_status"}


def test_a_reason_outside_the_list_is_a_fault_of_the_caller() -> None:
    with pytest.raises(KeyError):
        error("NO_SUCH_REASON", "text")


@pytest.mark.parametrize("reason", REASONS)
def test_each_reason_comes_back_as_it_went(reason: str) -> None:
    violation = error_details_pb2.BadRequest.FieldViolation(field="f", description="d")
    details = [
        error_details_pb2.BadRequest(field_violations=[violation]),
        errors_pb2.ExceptionInfo(type="a.B", message="m", notes=["n"]),
    ]
    sent = error(reason, "what was wrong: é", {"key": "value"}, details)
    status = status_pb2.Status.FromString(to_status(sent).SerializeToString())
    got = from_status(status)
    assert type(got) is type(sent) is REASONS[reason]
    assert (got.code, got.reason, got.message) == (sent.code, reason, "what was wrong: é")
    assert got.metadata == {"key": "value"} and list(got.details) == details
    assert str(got) == got.message


@pytest.mark.parametrize("code", CODES)
def test_each_code_has_a_class_that_keeps_it(code: int) -> None:
    got = from_status(status_pb2.Status(code=code, message="text"))
    assert isinstance(got, OrcError)
    assert got.code == code, "a status that is passed on stays what it was"
    assert (got.reason, got.message) == ("INTERNAL", "text")
    assert to_status(got).code == code


def test_codes_and_classes_go_together() -> None:
    codes = [cls.code for cls in OrcError.__subclasses__()]
    assert len(set(codes)) == len(codes)


def test_details_of_others_are_left_out() -> None:
    foreign = error_details_pb2.ErrorInfo(reason="X", domain="example.com", metadata={"a": "b"})
    packed, unknown = any_pb2.Any(), any_pb2.Any(type_url="type.googleapis.com/no.such.Type", value=b"\xff")
    packed.Pack(foreign)
    got = from_status(status_pb2.Status(code=5, message="m", details=[packed, unknown]))
    assert (got.reason, got.metadata, got.details) == ("INTERNAL", {}, ())
    assert isinstance(got, errors.NotFoundError)


def test_a_long_message_keeps_its_beginning_and_its_end() -> None:
    status = to_status(error("ENVIRONMENT_FAILED", "start" + "x" * 100_000 + "the last line"))
    assert len(status.message) < 2000
    assert status.message.startswith("start") and status.message.endswith("the last line")


@pytest.mark.parametrize(
    ("mro", "code"),
    [
        (["ValueError", "Exception"], code_pb2.INVALID_ARGUMENT), (["TypeError"], code_pb2.INVALID_ARGUMENT),
        (["ZeroDivisionError", "ArithmeticError"], code_pb2.INVALID_ARGUMENT),
        (["KeyError", "LookupError"], code_pb2.INVALID_ARGUMENT),
        (["FileNotFoundError", "OSError"], code_pb2.NOT_FOUND),
        (["PermissionError", "OSError"], code_pb2.PERMISSION_DENIED),
        (["NotImplementedError", "RuntimeError"], code_pb2.UNIMPLEMENTED),
        (["TimeoutError"], code_pb2.DEADLINE_EXCEEDED),
        (["MemoryError"], code_pb2.RESOURCE_EXHAUSTED), (["OSError"], code_pb2.UNKNOWN), ([], code_pb2.UNKNOWN),
        (["RuntimeError", "Exception", "BaseException"], code_pb2.UNKNOWN),
    ],
)  # fmt: skip
def test_an_exception_of_the_modules_code_has_the_contracts_code(mro: list[str], code: int) -> None:
    failure = exception_raised(mro, errors_pb2.ExceptionInfo(type="m.E", message="text"))
    assert (failure.code, failure.reason, failure.message) == (code, "EXCEPTION_RAISED", "m.E: text")
    got = from_status(to_status(failure))
    assert (got.code, got.reason, got.metadata) == (code, "EXCEPTION_RAISED", {"type": "m.E"})
    assert got.details[0] == errors_pb2.ExceptionInfo(type="m.E", message="text")


def test_a_status_travels_whatever_text_it_has() -> None:
    failure = error("UNKNOWN_FIELD", "a lone \ud800 surrogate", {"field": "\ud800"})
    assert status_pb2.Status.FromString(to_status(failure).SerializeToString()).code == code_pb2.INVALID_ARGUMENT
