"""Health, from the first moment to the last: NOT_SERVING until the module is imported and while the server stops."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.feature.conftest import Start
from tests.feature.module_servers import SERVICE, ModuleServer, failure, failure_of, wait_until


def listening_port(server: ModuleServer) -> int:
    """Where the server says in its log that it listens, before it can be called."""
    lines = [line["text"] for line in server.log() if line["text"].startswith("listening on")]
    return int(lines[0].partition(",")[0].rpartition(":")[2]) if lines else 0


def test_every_service_is_serving(plain: ModuleServer) -> None:
    for service in ("", SERVICE):
        assert plain.health(service) == "SERVING"
    with pytest.raises(grpc.RpcError) as caught:
        plain.health("no.such.Service")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_nothing_is_served_until_the_module_is_imported(start_server: Start, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    server = start_server("orc_feature_gate", module_env_gate=gate)
    server.port = wait_until(lambda: listening_port(server))
    for service in ("", SERVICE):
        assert server.health(service) == "NOT_SERVING"
    watch = health_pb2_grpc.HealthStub(server.channel).Watch(health_pb2.HealthCheckRequest(), timeout=10)
    assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
    waiting = server.begin("opened")
    gate.write_text("")
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    watch.cancel()
    assert server.told() == {"port": server.port}
    assert server.health(SERVICE) == "SERVING"
    assert waiting.result(5).result.bool_value, "a call that came too early waits"


def test_stopping_while_the_module_is_imported(start_server: Start, tmp_path: Path) -> None:
    server = start_server("orc_feature_gate", module_env_gate=tmp_path / "gate")
    server.port = wait_until(lambda: listening_port(server))
    waiting = server.begin("opened")
    wait_until(lambda: server.health() == "NOT_SERVING")  # over the same connection
    server.process.send_signal(signal.SIGTERM)
    told = failure_of(waiting.exception(5)).error
    assert (told.reason, told.metadata["begun"]) == ("POD_STOPPING", "false")
    assert server.close() == 0
    assert server.guests() == set()


def test_stopping_lets_a_call_end(start_server: Start, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    server = start_server("orc_feature_waits").serving()
    call = server.begin("until", str(gate))
    wait_until(lambda: server.call("pid"))
    server.process.send_signal(signal.SIGTERM)
    wait_until(lambda: not_serving(server))
    assert not call.done()
    gate.write_text("")
    assert call.result(5).result.string_value == "done"
    assert server.close() == 0


def not_serving(server: ModuleServer) -> bool:
    """Whether the server tells so, or takes no more calls."""
    try:
        return server.health() == "NOT_SERVING"
    except grpc.RpcError as error:
        return error.code() is grpc.StatusCode.UNAVAILABLE


def test_a_watch_tells_of_the_stop(start_server: Start, tmp_path: Path) -> None:
    server = start_server("orc_feature_waits", lame_duck=0.3).serving()
    watch = health_pb2_grpc.HealthStub(server.channel).Watch(health_pb2.HealthCheckRequest(service=SERVICE), timeout=10)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    server.process.send_signal(signal.SIGTERM)
    assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
    watch.cancel()
    assert server.close() == 0


def test_a_call_that_outlasts_the_grace_ends_with_the_server(start_server: Start, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    server = start_server("orc_feature_waits", exit_grace=0.3, max_drain=0.3).serving()
    call = server.begin("stubborn", str(marker))
    guest = int(wait_until(lambda: marker.exists() and marker.read_text()))
    assert server.stop() == 0
    assert call.exception().code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    wait_until(lambda: not Path(f"/proc/{guest}").exists())


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("orc_feature_nothing", "No module named 'orc_feature_nothing'"),
        ("orc_feature_raises", "the price list is missing"),
        ("orc_feature_exits", "SystemExit"), ("orc_feature_dies", "exit code 7"),
        ("math.nothing", "'math' is not a package"),
    ],
)  # fmt: skip
def test_a_module_that_cannot_be_imported_ends_the_server(start_server: Start, module: str, words: str) -> None:
    server = start_server(module)
    told: Any = server.told()
    assert words in told["error"]["message"] and "importing" in told["error"]["message"]
    assert told["error"]["details"][0]["reason"] == "MODULE_IMPORT_FAILED"
    assert server.close() == 1


@pytest.mark.parametrize(
    ("files", "advice"),
    [
        (["src/Shop.py", "src/shape/x.py", "docs/x.md", "_x.py", "a-b/x.py"], "in src/, or name what is there: Shop, "),
        (["a-b/shop.py"], "put it at the top of the source or in src/"),
    ],
)
def test_a_source_without_the_module_is_told_with_what_it_has(
    start_server: Start, tmp_path: Path, files: list[str], advice: str
) -> None:
    for name in files:
        (tmp_path / "code" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "code" / name).touch()
    folders = [folder for folder in (tmp_path / "code" / "src", tmp_path / "code") if folder.exists()]
    told = start_server("shop", source_folders=os.pathsep.join(map(str, folders))).told()["error"]["message"]
    first, *rest = told.splitlines()
    assert first == "importing shop failed: builtins.ModuleNotFoundError: No module named 'shop'"
    assert advice in rest[0]
    there = rest[0].partition("there: ")[2]
    assert set(filter(None, there.split(", "))) == ({"Shop", "shape", "docs"} if "Shop" in there else set())


def test_a_module_that_misses_another_one_is_not_told_what_there_is(start_server: Start, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("import shap\n")
    told = start_server("shop", source_folders=tmp_path).told()["error"]["message"]
    assert "No module named 'shap'" in told and "what is there" not in told


def test_an_import_that_takes_too_long_is_ended(start_server: Start, tmp_path: Path) -> None:
    server = start_server("orc_feature_gate", module_env_gate=tmp_path / "gate", import_timeout=0.5)
    told = server.told()
    assert told["error"]["details"][0]["reason"] == "MODULE_IMPORT_FAILED" and "0.5 s" in told["error"]["message"]
    assert server.close() == 1


def test_a_module_that_replaces_itself_is_served(start_server: Start) -> None:
    server = start_server("orc_feature_replaced").serving()
    assert server.call("greet") == "hello"


def test_a_module_that_starts_threads_and_prints_is_served(start_server: Start) -> None:
    server = start_server("orc_feature_noisy").serving()
    assert server.call("fine") == 1
    wait_until(lambda: "imported" in [line["text"] for line in server.log()])
    assert failure(server.call, "nothing").error.reason == "FUNCTION_NOT_FOUND"
