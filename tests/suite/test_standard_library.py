"""Each function of these standard-library modules, called on every way and compared with the same call made here."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.suite.cases import check_answers, check_complete, modules
from tests.suite.conftest import Report

MODULES = modules("data.txt", "functional.txt", "numbers.txt", "text.txt", "time.txt", "values.txt")


@pytest.mark.parametrize("way", ["local", "rest", "run_module", "call", "python"])
@pytest.mark.parametrize(("file", "module"), MODULES)
def test_answers(report: Callable[[str, str], Report], file: str, module: str, way: str) -> None:
    check_answers(report(file, module), module, way)


@pytest.mark.parametrize(("file", "module"), MODULES)
def test_no_function_is_forgotten(report: Callable[[str, str], Report], file: str, module: str) -> None:
    check_complete(report(file, module))


def test_there_are_at_least_25_modules() -> None:
    assert len({module for _, module in MODULES}) >= 25
