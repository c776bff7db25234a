"""What a failed call tells: the status, the reason, and the module's exception as data."""

from __future__ import annotations

import grpc
import pytest

from tests.feature.module_servers import ModuleServer, failure

Code = grpc.StatusCode


@pytest.mark.parametrize(
    ("kind", "code", "type_name"),
    [
        ("ValueError", Code.INVALID_ARGUMENT, "builtins.ValueError"),
        ("TypeError", Code.INVALID_ARGUMENT, "builtins.TypeError"),
        ("ZeroDivisionError", Code.INVALID_ARGUMENT, "builtins.ZeroDivisionError"),
        ("KeyError", Code.INVALID_ARGUMENT, "builtins.KeyError"),
        ("IndexError", Code.INVALID_ARGUMENT, "builtins.IndexError"),
        ("FileNotFoundError", Code.NOT_FOUND, "builtins.FileNotFoundError"),
        ("PermissionError", Code.PERMISSION_DENIED, "builtins.PermissionError"),
        ("NotImplementedError", Code.UNIMPLEMENTED, "builtins.NotImplementedError"),
        ("TimeoutError", Code.DEADLINE_EXCEEDED, "builtins.TimeoutError"),
        ("memory", Code.RESOURCE_EXHAUSTED, "builtins.MemoryError"),
        ("RuntimeError", Code.UNKNOWN, "builtins.RuntimeError"),
        ("RecursionError", Code.UNKNOWN, "builtins.RecursionError"), ("OSError", Code.UNKNOWN, "builtins.OSError"),
        ("price", Code.INVALID_ARGUMENT, "orc_feature_plain.PriceError"),
        ("custom", Code.UNKNOWN, "orc_feature_plain.CustomError"), ("base", Code.UNKNOWN, "orc_feature_plain.Base"),
        ("exit", Code.UNKNOWN, "builtins.SystemExit"), ("interrupt", Code.UNKNOWN, "builtins.KeyboardInterrupt"),
        ("stop", Code.UNKNOWN, "builtins.StopIteration"),
        ("cancelled", Code.UNKNOWN, "asyncio.exceptions.CancelledError"),
        ("lying", Code.UNKNOWN, "orc_feature_plain.LyingError"),
        ("opaque", Code.INVALID_ARGUMENT, "orc_feature_plain.OpaqueError"),
        ("fenced", Code.INVALID_ARGUMENT, "orc_feature_plain.FencedError"),
        ("surrogate", Code.INVALID_ARGUMENT, "builtins.ValueError"),
        ("empty", Code.INVALID_ARGUMENT, "builtins.ValueError"),
    ],
)  # fmt: skip
def test_an_exception_becomes_its_status(plain: ModuleServer, kind: str, code: Code, type_name: str) -> None:
    told = failure(plain.call, "fails", kind)
    assert (told.code, told.info.reason, told.exception.type) == (code, "EXCEPTION_RAISED", type_name)
    assert told.info.metadata["type"] == type_name
    assert kind not in ("opaque", "fenced") or "its text" in told.exception.message
    assert plain.call("add", 1) == 3


def test_the_exception_tells_the_modules_own_frames(plain: ModuleServer) -> None:
    told = failure(plain.call, "own_type_error")
    assert told.exception.message == 'can only concatenate str (not "int") to str'
    assert told.error.message == f"builtins.TypeError: {told.exception.message}"
    assert "orc_feature_plain.py" in told.exception.traceback and "return a + b" in told.exception.traceback
    assert "jac_orc/guest" not in told.exception.traceback


def test_a_type_error_within_the_module_is_its_own(plain: ModuleServer) -> None:
    told = failure(plain.call, "wrong_inner_call")
    assert told.error.reason == "EXCEPTION_RAISED" and "missing 1 required" in told.exception.message


def test_causes_and_notes_are_told(plain: ModuleServer) -> None:
    told = failure(plain.call, "fails_deep", "deep", 2)
    assert told.exception.message == told.exception.cause.message == told.exception.cause.cause.message == "deep"
    assert list(told.exception.cause.cause.notes) == ["a note"]


@pytest.mark.parametrize("text", ["x", "é", "\u4e2d", "\U0001f600", "\0\x7f%"])
def test_a_long_exception_still_arrives(plain: ModuleServer, text: str) -> None:
    """Details travel in headers, of which a client takes 8 KiB by default; text that isn't ASCII takes more of it."""
    told = failure(plain.call, "fails_deep", text * 20_000, 5)
    assert told.code is Code.INVALID_ARGUMENT
    assert told.exception.type == "builtins.ValueError"
    assert told.exception.message.startswith(text * 10)
    assert told.exception.traceback


def test_near_matches_are_named(plain: ModuleServer) -> None:
    told = failure(plain.call, "ad")
    assert (told.code, told.error.reason) == (Code.NOT_FOUND, "FUNCTION_NOT_FOUND")
    assert "did you mean add" in told.error.message and "add" in told.error.metadata["near"].split(",")


@pytest.mark.parametrize(
    ("method", "args", "kwargs", "parameter"),
    [
        ("add", [], {}, "a"), ("add", [1], {"c": 1}, "c"), ("add", [1], {"a": 2}, "a"), ("add", [1, 2, 3], {}, "b"),
        ("only_named", [1], {}, ""), ("positional", [], {"a": 1}, "a"), ("nothing", [1], {}, ""),
        ("async_add", [1], {}, "b"),
        ("Shape", [], {}, "name"),
    ],
)  # fmt: skip
def test_arguments_that_do_not_bind_name_the_parameter(
    plain: ModuleServer, method: str, args: list[int], kwargs: dict[str, int], parameter: str
) -> None:
    told = failure(plain.call, method, *args, **kwargs)
    assert (told.code, told.error.reason) == (Code.INVALID_ARGUMENT, "ARGUMENTS_DO_NOT_BIND")
    assert told.error.metadata.get("parameter", "") == parameter
    assert told.error.message.startswith(f"{method}(")


def test_sys_exit_in_a_coroutine_ends_neither_guest_nor_loop(plain: ModuleServer) -> None:
    guest = plain.call("pid")
    told = failure(plain.call, "exit_coroutine", timeout=3)
    assert (told.error.reason, told.exception.type) == ("EXCEPTION_RAISED", "builtins.SystemExit")
    assert plain.call("async_add", 1, 2, timeout=3) == 3
    assert plain.call("pid") == guest
