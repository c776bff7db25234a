"""The guest's file as a module: it is no part of the package, and is run by path."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

from jac_orc.module_server.guest_process import GUEST


def load() -> ModuleType:
    """Runs the file under a name of its own."""
    spec = importlib.util.spec_from_file_location("_guest_under_test", GUEST)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


guest = load()
