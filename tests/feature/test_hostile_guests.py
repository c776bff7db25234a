"""A guest that doesn't keep to the protocol: its calls fail promptly, it is ended, and the server goes on."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import pytest

from jac_orc.errors import OrcError, to_status
from jac_orc.module_server.calls import Calls
from jac_orc.module_server.frames import FrameError
from jac_orc.module_server.settings import Settings
from jac_orc.v1 import module_pb2
from tests.feature.conftest import Start
from tests.feature.module_servers import ModuleServer, failure, wait_until
from tests.support import running

SCRIPT = Path(__file__).with_name("hostile_guest.py")
ANSWERS = re.findall(r'^    "(\w+)": lambda', SCRIPT.read_text(), re.MULTILINE)
ENDS = ["endless", "endless_items"]
ANSWERED = ["answer_twice", "answer_then_error"]  # the first one is an answer
TOLD = ["error_mro_items", "error_causes", "error_members"]  # odd, but an exception can be made of it


@pytest.fixture
def hostile(tmp_path: Path) -> str:
    """An interpreter that is no interpreter: the file's name tells how it behaves."""
    script = tmp_path / "hostile"
    script.write_text(f"#!{sys.executable} -I\n{SCRIPT.read_text()}")
    script.chmod(0o755)
    return str(script)


def behaving(hostile: str, behaviour: str) -> str:
    path = Path(hostile).with_name(behaviour)
    path.symlink_to(hostile)
    return str(path)


class Answer(asyncio.Future[bytes]):
    """Receives what comes of a call."""

    call_id = "a call"

    def add(self, body: bytes) -> None:
        raise FrameError("an item of no stream")

    def add_failure(self, index: int, failure: OrcError) -> None:
        raise FrameError("a failure in no batch")


async def answer_of(calls: Calls) -> bytes:
    answer = Answer()
    calls.begin(answer, 0, b"", None)
    return await answer


@pytest.mark.parametrize("answer", [*ANSWERS, *ENDS])
async def test_a_call_fails_promptly(no_child_left: None, no_task_left: None, hostile: str, answer: str) -> None:
    calls = Calls(Settings("any", guest_python=behaving(hostile, answer), cancel_grace=1), lambda serving: None)
    await calls.start("any-127.0.0.1-1")
    try:
        async with asyncio.timeout(10):  # the settings' timeout is a multiple of it
            if answer in ANSWERED:
                assert await answer_of(calls) == b""
                return
            with pytest.raises(OrcError) as caught:
                await answer_of(calls)
        assert caught.value.reason == ("EXCEPTION_RAISED" if answer in TOLD else "GUEST_DIED")
        to_status(caught.value)
    finally:
        await calls.stop(asyncio.Event())


@pytest.mark.parametrize("answer", sorted({*ANSWERS, *ENDS} - {*TOLD, *ANSWERED, "loaded_again"}))
def test_the_guest_is_ended_and_the_server_goes_on(start_server: Start, hostile: str, answer: str) -> None:
    server = start_server("any", python=behaving(hostile, answer)).serving()
    (guest,) = server.guests()
    told = failure(server.call, "f", timeout=5)
    assert (told.error.reason, told.code.name) == ("GUEST_DIED", "UNAVAILABLE")
    wait_until(lambda: not running(guest))
    wait_until(lambda: server.guests() - {guest})
    assert failure(server.call, "f", timeout=5).error.reason == "GUEST_DIED"
    assert server.stop() == 0


def stream(server: ModuleServer) -> list[bytes]:
    return list(server.stub.Stream(module_pb2.StreamRequest(method="f")))


@pytest.mark.parametrize("answer", ["endless_items", "item_of_no_stream", "garbage", "wrong_id"])
def test_streams_fail_too(start_server: Start, hostile: str, answer: str) -> None:
    """A single item is what a stream may have: it gets that, and no end."""
    server = start_server("any", python=behaving(hostile, answer), timeout=1).serving()
    expected = {"GUEST_DIED", "DEADLINE_EXCEEDED"} if answer == "item_of_no_stream" else {"GUEST_DIED"}
    assert failure(stream, server).error.reason in expected
    assert server.stop() == 0


@pytest.mark.parametrize("behaviour", ["before_load", "loads_garbage", "fails_oddly"])
def test_a_guest_that_cannot_even_start_is_told(start_server: Start, hostile: str, behaviour: str) -> None:
    server = start_server("any", python=behaving(hostile, behaviour))
    assert server.told()["error"]["details"][0]["reason"] == "MODULE_IMPORT_FAILED"
    assert server.close() == 1
