"""What `jac-orc up` shows of a log line."""

from __future__ import annotations

import json

import pytest

from jac_orc.cli.up import render


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é", "plain é"),
        ("two\nlines\tand a tab", "two\n           lines\tand a tab"),
        ("\x1b[31mred\x07\r\x9b", "\\x1b[31mred\\x07\\r\\x9b"),
    ],
)
def test_nothing_that_a_terminal_obeys_is_shown(text: str, shown: str) -> None:
    line = json.dumps({"time": "", "level": "info", "stream": "stdout", "text": text})
    assert render("math-1", line) == f"         math-1 | {shown}"


def test_a_line_that_is_no_json_is_shown_as_it_is() -> None:
    assert render("envoy", "[warning] x").endswith("envoy | [warning] x")
