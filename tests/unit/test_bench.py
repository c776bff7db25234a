"""The benchmark's bookkeeping: what fails a run, what is kept, and what the documentation shows of it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest

from bench import document, results
from bench.__main__ import measure
from bench.cases import Case
from bench.comparison import Comparison, Numbers, Way
from bench.load import WrongAnswer
from bench.processes import ROOT, NotStarted
from bench.results import Row, Run


def way(outcomes: Iterable[float | Exception]) -> Way:
    """Return a way that gives one outcome a round."""
    left = iter(outcomes)

    def take() -> Numbers:
        outcome = next(left)
        if isinstance(outcome, Exception):
            raise outcome
        return (outcome,)

    return take


def compared(ours: Iterable[float | Exception], theirs: Iterable[float | Exception]) -> Row:
    """Return the row of a comparison of three rounds against software that isn't ours."""
    run = Run()
    with Comparison(run, "a case", rounds=3) as comparison:
        comparison.ways["ours"] = way(ours)
        with comparison.peer("a peer"):
            comparison.ways["a peer"] = way(theirs)
        comparison.compare()
        comparison.ratio("a case", "a peer", "calls/s", least=1.5)
    return run.rows[0]


def test_a_row_has_the_medians_their_ratio_and_whether_the_goal_is_reached() -> None:
    row = compared([30, 90, 20], [10, 20, 15])
    assert row.cells == ("a case", "a peer", "30 calls/s", "15 calls/s", "2.00", "≥ 1.5", "yes")


def test_a_goal_that_is_missed_is_shown() -> None:
    assert compared([10, 10, 10], [10, 10, 10]).cells[-2:] == ("≥ 1.5", "**no**")


def test_a_peer_that_fails_in_one_round_is_measured_in_the_others() -> None:
    assert compared([30] * 3, [OSError("refused"), 10, 20]).theirs == 15


def test_a_peer_that_always_fails_is_tried_twice_and_its_row_says_why() -> None:
    row = compared([30] * 3, [OSError("refused"), WrongAnswer("404")])
    assert row.cells == ("a case", "a peer", "30 calls/s", "404", "", "≥ 1.5", "not measured")


def test_a_peer_that_does_not_start_is_not_measured() -> None:
    def start() -> Way:
        raise NotStarted("no such file")

    run = Run()
    with Comparison(run, "a case") as comparison:
        comparison.ways["ours"] = way([1] * 5)
        with comparison.peer("a peer"):
            comparison.ways["a peer"] = start()
        comparison.compare()
        comparison.ratio("a case", "a peer", "calls/s")
    assert run.rows[0].why == "no such file"


def test_a_failure_of_ours_fails_the_case() -> None:
    with pytest.raises(WrongAnswer, match="404"):
        compared([30, WrongAnswer("404")], [10] * 3)


def test_a_case_that_fails_is_reported_and_the_others_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(run: Run) -> None:
        raise NotStarted("no port")

    cases = {"broken": Case("Broken", fail), "good": Case("Good", lambda run: run.figure("a size", 3.14, "MB", most=4))}
    kept: results.Cases = {}
    assert measure(cases, kept, Run(is_short=True)) == {"broken": "NotStarted: no port"}
    assert capsys.readouterr().out == "\n## Good\n\n| case | ours |\n| --- | --: |\n| a size | 3.14 MB |\n"
    assert kept == {}, "a shortened run was kept"


ROWS = [
    Row("REST, 16 connections", "FastAPI", 1200, 1000, "calls/s", least=1.2, headline=True),
    Row("REST, 16 connections", "BentoML", 1200, None, "calls/s", why="no such wheel"),
]
KEPT: results.Cases = {
    "cold": {"rows": [Row("create", ours=150, unit="ms", most=180)], "date": "d", "revision": "r", "busy": 0.25},
    "rest": {"rows": ROWS, "date": "2026-01-02", "revision": "abc1234", "busy": 0.01},
}


def test_what_is_kept_is_read_again(tmp_path: Path) -> None:
    store = tmp_path / "new" / "results.json"
    assert results.load(store) == {}
    results.save(store, KEPT)
    assert results.load(store) == KEPT


def test_the_document_is_filled_in_from_all_cases() -> None:
    text = document.document(KEPT, Path(document.__file__).with_name("benchmarks.md").read_text())
    assert "used at most 25% of the processors" in text
    assert "## REST through Envoy\n\n`make bench ARGS=rest`, 2026-01-02, commit `abc1234`:" in text
    assert "| REST, 16 connections | FastAPI | 1,200 calls/s | 1,000 calls/s | 1.20 | ≥ 1.2 | yes |" in text
    assert "|  | BentoML | 1,200 calls/s | no such wheel |  |  | not measured |" in text
    assert "| create | 150 ms | ≤ 180 ms | yes |" in text


def test_the_readme_shows_headlines_in_its_place() -> None:
    before = (ROOT / "README.md").read_text()
    after = document.readme(KEPT, before)
    table = "| case | against | ours | theirs | ratio |\n| --- | --- | --: | --: | --: |\n"
    assert f"{table}| REST, 16 connections | FastAPI | 1,200 calls/s | 1,000 calls/s | 1.20 |\n<!-- /bench" in after
    assert document.readme(KEPT, after) == after
    with pytest.raises(ValueError, match="two comments"):
        document.readme(KEPT, "# Project\n")


def test_the_plot_shows_the_peers_that_were_measured() -> None:
    bars = {"JAC Cloud Orchestrator": 1.0, "FastAPI": pytest.approx(1000 / 1200)}
    assert document.panels(KEPT) == [{"title": "REST, 16 connections", "bars": bars}]


def test_each_environment_has_its_group_and_its_lock_file() -> None:
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    locked = {path.stem for path in (ROOT / "requirements").glob("bench-*.txt")}
    written = re.search(r"^PEERS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert written is not None
    assert {name for name in groups if name.startswith("bench-")} == locked
    assert {f"bench-{name}" for name in written[1].split()} | {"bench-grpc"} == locked


def test_the_versions_that_the_document_names_are_pinned() -> None:
    assert re.fullmatch(r"Python [\d.]+(,\s+[\w-]+\s+\d[\w.]*)+", document._versions())
