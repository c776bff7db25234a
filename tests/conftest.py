"""Fixtures of all kinds of tests."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import support


def pytest_addoption(parser: pytest.Parser) -> None:
    text = "where the system is that tests/e2e runs on: this machine, or the cluster that KUBECONFIG names"
    parser.addoption("--target", choices=["local", "cluster"], default="local", help=text)
    text = "fail instead of skipping: for CI, where everything that tests need is set up"
    parser.addoption("--no-skips", action="store_true", help=text)


def pytest_configure() -> None:
    """Let the commands under test see Ctrl-C.

    A shell starts its background jobs with SIGINT ignored, and every process that they start inherits that.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    return _failed_if_skipped((yield), item.config)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    return _failed_if_skipped((yield), collector.config)


def _failed_if_skipped(report: Any, config: pytest.Config) -> Any:
    """Make a skip a failure, unless the test is expected to fail or skips are allowed."""
    if report.skipped and not hasattr(report, "wasxfail") and config.getoption("--no-skips"):
        path, line, reason = report.longrepr
        report.outcome, report.longrepr = "failed", f"{path}:{line}: {reason}; --no-skips allows no skips"
    return report


@pytest.fixture
def no_child_left() -> Iterator[None]:
    """Fails the test where it leaves a child process running."""
    before = support.own_children()
    yield
    deadline = time.monotonic() + 3
    while left := support.own_children() - before:
        if time.monotonic() > deadline:
            names = [Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ") for pid in left]
            for pid in left:
                os.kill(pid, 9)
            pytest.fail(f"processes are left: {names}")
        time.sleep(0.01)


@pytest.fixture
async def no_task_left() -> AsyncIterator[None]:
    """Fails the test where it leaves a task on its event loop."""
    before = asyncio.all_tasks()
    yield
    deadline = time.monotonic() + 3
    while left := asyncio.all_tasks() - before - {asyncio.current_task()}:
        assert time.monotonic() < deadline, f"tasks are left: {left}"
        await asyncio.sleep(0.01)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The environments of all systems, of all of pytest's processes: to compile one takes up to half a minute."""
    root = tmp_path_factory.getbasetemp()
    shared = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / "cache"
    shared.mkdir(exist_ok=True)
    return shared


@pytest.fixture(scope="session")
def guest_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The interpreter of an environment that has nothing but the modules of `tests/guests`."""
    environment = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    packages = next(environment.glob("lib/python*/site-packages"))
    (packages / "guests.pth").write_text(f"{support.GUESTS}\n")
    return str(environment / "bin" / "python")
