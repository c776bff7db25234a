"""A guest that doesn't keep to the protocol: its calls fail promptly, and the server goes on."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import grpc
import pytest

from tests.feature.conftest import Start
from tests.feature.module_servers import failure

SCRIPT = Path(__file__).with_name("hostile_guest.py")
ANSWERS = re.findall(r'^    "(\w+)": lambda', SCRIPT.read_text(), re.MULTILINE)


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
def test_a_call_fails_promptly(start_server: Start, hostile: str, answer: str) -> None:
    server = start_server("any", python=behaving(hostile, answer)).serving()
    if answer == "answer_twice":
        assert server.call("f", timeout=3) == 1
    else:
        told = failure(server.call, "f", timeout=3)
        assert told.error.reason in ("GUEST_DIED", "INTERNAL", "TOO_LARGE", "EXCEPTION_RAISED"), told
        assert (told.code is grpc.StatusCode.UNAVAILABLE) == (told.error.reason == "GUEST_DIED")
        assert "Traceback" not in told.error.message
    assert server.process.poll() is None and server.health() in ("SERVING", "NOT_SERVING")


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
