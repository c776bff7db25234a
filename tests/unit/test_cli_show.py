"""What is told of a module's pods and of their log lines."""

from __future__ import annotations

import pytest

from jac_orc.cli import show
from jac_orc.v1 import pod_manager_pb2 as pb


@pytest.mark.parametrize(
    ("ready", "wanted", "told"),
    [(1, 1, "1 pod"), (3, 3, "3 pods"), (1, 3, "1 of 3 pods"), (3, 1, "3 pods"), (0, 0, "no pods")],
)
def test_pods_that_are_ready(ready: int, wanted: int, told: str) -> None:
    module = pb.Module(name="math", spec=pb.ModuleSpec(replicas=wanted), status=pb.ModuleStatus(ready_replicas=ready))
    assert show.ready_pods(module) == told
    if wanted:
        assert show.readiness(module, 2.1) == f"math is ready: {told} (2.1 s)"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (pb.ReadLogsResponse(pod="math-1", text="a"), "         math-1 | a"),
        (pb.ReadLogsResponse(pod="math-1", text="a\nb", call_id="1.7"), "         math-1 #1.7 | a\n           b"),
    ],
)
def test_a_log_line_names_the_call_that_wrote_it(line: pb.ReadLogsResponse, told: str) -> None:
    assert show.log_line(line) == told


def test_stuck_calls_and_replaced_guests_are_shown_where_there_are_any(capsys: pytest.CaptureFixture[str]) -> None:
    module = pb.Module(name="math", status=pb.ModuleStatus(pods=[pb.Pod(name="math-1")]))
    show.module(module)
    assert "stuck" not in capsys.readouterr().out
    module.status.pods.add(name="math-2", stuck_calls=3, guest_replacements={"killed": 2, "exited": 1})
    show.module(module)
    shown = " ".join(capsys.readouterr().out.split())
    assert "stuck calls 3 in math-2 replaced guests 1 in math-2 (exited), 2 in math-2 (killed)" in shown
