"""The same for packages from an index, which the system installs for their import names."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.suite.cases import check_answers, check_complete, modules
from tests.suite.conftest import Report

MODULES = modules("sklearn.txt", "sklearn_models.txt", "numpy.txt", "numpy_more.txt", "pandas.txt", "pillow.txt")


@pytest.mark.parametrize("way", ["local", "rest", "run_module", "call", "python"])
@pytest.mark.parametrize(("file", "module"), MODULES)
def test_answers(report: Callable[[str, str], Report], file: str, module: str, way: str) -> None:
    check_answers(report(file, module), module, way)


@pytest.mark.parametrize(("file", "module"), MODULES)
def test_no_function_is_forgotten(report: Callable[[str, str], Report], file: str, module: str) -> None:
    check_complete(report(file, module))
