"""`jac-orc up` as a command: what it says, what it refuses, how it stops."""

from __future__ import annotations

import base64
import os
import re
import signal
import socket
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.e2e.local_system import LocalSystem, listening
from tests.e2e.system import wait_until
from tests.feature.front_files import api_keys

pytestmark = pytest.mark.one_machine("`jac-orc up` is the system of one machine")


def refusal(system: LocalSystem, *options: str) -> str:
    """The one line with which the command refuses, by exit code 2, having started nothing."""
    process = system.launch(*options)
    assert process.wait(30) == 2, system.output + system.errors
    (line,) = system.errors.splitlines()
    assert system.output == ""
    wait_until(lambda: not system.pids())
    return line


@pytest.mark.parametrize("option", ["--port", "--pod-manager-port", "--xds-port"])
def test_a_taken_port(new_system: Callable[..., LocalSystem], option: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = refusal(new_system(), option, str(port))
    assert str(port) in line
    assert option in line


@pytest.mark.parametrize("port", ["-1", "65536"])
def test_a_port_that_is_none(new_system: Callable[..., LocalSystem], port: str) -> None:
    process = new_system().launch("--port", port)
    assert process.wait(30) == 2


def test_a_state_directory_in_use(system: LocalSystem, new_system: Callable[..., LocalSystem]) -> None:
    line = refusal(new_system(), "--state-dir", str(system.state))
    assert "in use" in line
    assert str(system.process.pid) in line
    assert system.call("math", "sqrt", 9) == 3.0


def test_a_state_directory_that_cannot_be_made(new_system: Callable[..., LocalSystem]) -> None:
    assert "/dev/null" in refusal(new_system(), "--state-dir", "/dev/null/state")


def test_a_state_directory_with_too_long_a_path(new_system: Callable[..., LocalSystem], tmp_path: Path) -> None:
    assert "too long" in refusal(new_system(), "--state-dir", str(tmp_path / ("x" * 100)))


@pytest.mark.parametrize(
    "content",
    ["allow: os", "[os]", "deny: [os]", "allow: [1]", "{", None],
    ids=["text", "list", "key", "int", "yaml", "no file"],
)
def test_a_bad_policy_file(new_system: Callable[..., LocalSystem], tmp_path: Path, content: str | None) -> None:
    policy = tmp_path / "policy.yaml"
    if content is not None:
        policy.write_text(content)
    assert str(policy) in refusal(new_system(), "--policy", str(policy))


def test_a_policy_file_is_followed(new_system: Callable[..., LocalSystem], tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("allow: [glob]\nrefuse: [math]\n")
    system = new_system().start("--policy", str(policy))
    assert system.call("glob", "escape", "*") == "[*]"
    assert system.try_call("math", "sqrt", 9).json()["details"][0]["reason"] == "MODULE_REFUSED"


def test_a_first_call_to_try_is_printed(system: LocalSystem) -> None:
    sample = "/run_module?module_name=numpy&method_name=array' -H 'Content-Type: application/json'"
    wait_until(lambda: "Ctrl-C" in system.output)
    assert f'curl -X POST \'http://127.0.0.1:{system.port}{sample} -d \'{{"args": [16, 20, 24], "kwargs": {{}}}}\'' in (
        system.output
    )
    assert re.search(r"ready in \d+\.\d s", system.output)


def test_it_listens_on_loopback_only(system: LocalSystem) -> None:
    own = system.ports()
    text = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    addresses = [line.split()[1] for line in text.splitlines() if len(line.split()) > 9 and line.split()[3] == "0A"]
    mine = [address for address in addresses if int(address.rpartition(":")[2], 16) in own]
    assert mine
    loopback = {"0100007F", "0000000000000000FFFF00000100007F"}
    assert {address.rpartition(":")[0] for address in mine} <= loopback


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_lets_calls_in_flight_end_and_leaves_nothing(
    new_system: Callable[..., LocalSystem], number: signal.Signals
) -> None:
    system = new_system().start()
    system.call("orc_guest_slow", "nap", 0)
    ports = system.ports()
    assert system.port in ports
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(system.call, "orc_guest_slow", "nap", 1.5)
        wait_until(lambda: "napping 1.5" in system.http.get("/v1/modules/orc_guest_slow:logs").text)
        os.killpg(system.process.pid, number)
        assert call.result() == 1.5
    assert system.process.wait(40) == 0
    assert system.pids() == []
    assert not ports & {port for port, _ in listening()}
    assert system.errors == ""
    system.start("--port", str(system.port))
    assert [module["name"] for module in system.http.get("/v1/modules").json()["modules"]] == ["orc_guest_slow"]
    assert system.call("orc_guest_slow", "nap", 0) == 0


def test_a_second_signal_does_not_wait(new_system: Callable[..., LocalSystem]) -> None:
    system = new_system().start()
    system.call("orc_guest_slow", "nap", 0)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(system.try_call, "orc_guest_slow", "nap", 300)
        wait_until(lambda: "napping 300" in system.http.get("/v1/modules/orc_guest_slow:logs").text)
        os.killpg(system.process.pid, signal.SIGINT)
        wait_until(lambda: "stopping" in system.output)
        os.killpg(system.process.pid, signal.SIGINT)
        assert isinstance(call.exception(60), httpx.TransportError)
    assert system.process.wait(40) == 0
    assert system.pids() == []


def test_a_signal_while_starting(new_system: Callable[..., LocalSystem]) -> None:
    system = new_system()
    process = system.launch()
    wait_until(lambda: system.pids("pod_manager"))
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(40) == 0
    assert system.pids() == []


def test_logs_of_modules_are_shown(system: LocalSystem) -> None:
    system.call("orc_guest_crashing", "say", "to be seen in the terminal")
    wait_until(lambda: re.search(r"orc_guest_crashing-\w+ \| to be seen in the terminal", system.output))


def test_a_cache_directory_that_cannot_be_made(new_system: Callable[..., LocalSystem]) -> None:
    assert "--cache-dir" in refusal(new_system(), "--cache-dir", "/dev/null/cache")


def test_a_log_level_that_is_none(new_system: Callable[..., LocalSystem]) -> None:
    process = new_system().launch("--log-level", "bogus")
    assert process.wait(30) == 2


def test_api_keys_and_the_access_log(
    new_system: Callable[..., LocalSystem], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With keys it is ready although it refuses clients that have none; with `all` the log has what succeeds, too."""
    monkeypatch.setenv("POD_MANAGER_ACCESS_LOG", "all")
    (tmp_path / "keys.yaml").write_text(api_keys(alice="a" * 32))
    monkeypatch.setenv("POD_MANAGER_API_KEYS", str(tmp_path / "keys.yaml"))
    system = new_system().start()
    assert system.http.get("/v1/modules").status_code == 401
    key = {"x-api-key": "a" * 32, "x-request-id": "with-a-key"}
    assert system.http.get("/v1/modules", headers=key).status_code == 200
    log = system.state / "logs" / "envoy.log"
    wait_until(lambda: "with-a-key" in log.read_text())
    assert "a" * 32 not in log.read_text()


def test_other_users_can_not_look_into_it(new_system: Callable[..., LocalSystem]) -> None:
    """Not even into what an earlier version has left."""
    system = new_system()
    system.state.mkdir()
    system.state.chmod(0o755)
    (system.state / "modules").mkdir()
    (system.state / "modules").chmod(0o755)
    (system.state / "modules" / "old.txt").touch()
    system.start()
    code = base64.b64encode(b"import os\ndef mask():\n    return os.umask(0)\n").decode()
    source = {"files": {"contents": {"mine.py": code}}}
    created = system.http.post("/v1/modules", json={"module_name": "mine", "source": source})
    assert created.status_code == 200, created.text
    mask = os.umask(0)
    os.umask(mask)
    assert system.call("mine", "mask") == mask, "a module's own files have the modes that they have at home"
    found = {path: stat.S_IMODE(path.lstat().st_mode) for path in (system.state, *system.state.rglob("*"))}
    found = {path: mode for path, mode in found.items() if "__pycache__" not in path.parts}  # the module's own
    assert len(found) > 15
    assert not {str(path): oct(mode) for path, mode in found.items() if mode & 0o077}
    assert stat.S_IMODE((system.cache / "environments").stat().st_mode) == 0o700


def test_a_state_directory_that_can_not_be_private(new_system: Callable[..., LocalSystem], tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o1777)
    (tmp_path / "link").symlink_to(tmp_path)
    assert "shared by all users" in refusal(new_system(), "--state-dir", str(tmp_path / "shared"))
    assert "symbolic link" in refusal(new_system(), "--state-dir", str(tmp_path / "link"))


def test_the_logs_of_its_own_processes_are_bounded(system: LocalSystem) -> None:
    logs = system.state / "logs"
    with (logs / "envoy.log").open("a") as log:
        log.write(("x" * 999 + "\n") * 5000)
    wait_until(lambda: (logs / "envoy.log").stat().st_size < 1_000_000)
    assert (logs / "envoy.log.1").stat().st_size >= 5_000_000
    assert system.http.get("/nowhere", headers={"x-request-id": "after-rotation"}).status_code == 404
    wait_until(lambda: "after-rotation" in (logs / "envoy.log").read_text())
    assert "\0" not in (logs / "envoy.log").read_text()
    wait_until(lambda: "envoy | WARNING: GET /nowhere 404" in system.output)
