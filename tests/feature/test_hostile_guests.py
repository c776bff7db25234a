"""A guest that doesn't keep to the protocol: its calls fail promptly, and the server goes on."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import grpc
import pytest

from jac_orc.errors import OrcError, to_status
from jac_orc.module_server.guest_process import Guest, GuestSettings
from tests.feature.conftest import Start
from tests.feature.module_servers import failure

SCRIPT = Path(__file__).with_name("hostile_guest.py")
ANSWERS = re.findall(r'^    "(\w+)": lambda', SCRIPT.read_text(), re.MULTILINE)
BODIES = [answer for answer in ANSWERS if answer.startswith("body_")] + ["answer_twice"]  # it's not the guest's to read


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


@pytest.mark.parametrize("answer", ANSWERS)
async def test_a_call_fails_promptly(no_child_left: None, no_task_left: None, hostile: str, answer: str) -> None:
    settings = GuestSettings(behaving(hostile, answer), "any", (), import_timeout=5, cancel_grace=1)
    guest = await Guest.start(settings)
    try:
        async with asyncio.timeout(3):
            if answer in BODIES:
                assert await guest.call({"op": "call"}, b"{}")
                return
            with pytest.raises(OrcError) as caught:
                await guest.call({"op": "call"}, b"{}")
        assert caught.value.reason in ("GUEST_DIED", "INTERNAL", "TOO_LARGE", "EXCEPTION_RAISED")
        to_status(caught.value)
    finally:
        await guest.stop()


@pytest.mark.parametrize("answer", ["garbage", "half_frame_then_end", "no_body", "body_no_json", "body_deep"])
def test_the_server_goes_on(start_server: Start, hostile: str, answer: str) -> None:
    server = start_server("any", python=behaving(hostile, answer)).serving()
    for _ in range(2):
        told = failure(server.call, "f", timeout=5)
        assert told.error.reason in ("GUEST_DIED", "INTERNAL"), told
    assert server.health() in ("SERVING", "NOT_SERVING")
    assert server.stop() == 0


@pytest.mark.parametrize("behaviour", ["before_load", "loads_garbage", "fails_oddly"])
def test_a_guest_that_cannot_even_start_is_told(start_server: Start, hostile: str, behaviour: str) -> None:
    server = start_server("any", python=behaving(hostile, behaviour))
    assert server.told()["error"]["details"][0]["reason"] == "MODULE_IMPORT_FAILED"
    assert server.close() == 1


def test_endless_data_does_not_keep_the_server_from_answering(start_server: Start, hostile: str) -> None:
    server = start_server("any", python=behaving(hostile, "endless")).serving()
    for _ in range(3):
        assert server.health() in ("SERVING", "NOT_SERVING")
    with pytest.raises(grpc.RpcError):
        server.call("f", timeout=0.5)
    assert server.stop() == 0
