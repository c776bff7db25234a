"""The command line."""

import sys
from types import TracebackType

from jac_orc.core.config import prepare_grpc

INTERRUPTED = 130
"""The exit code after Ctrl-C."""


def _report(kind: type[BaseException], failure: BaseException, trace: TracebackType | None) -> None:
    """Print an exception that nothing caught; Ctrl-C, which can come while modules are imported, prints nothing."""
    if issubclass(kind, KeyboardInterrupt):
        raise SystemExit(INTERRUPTED)
    sys.__excepthook__(kind, failure, trace)


sys.excepthook = _report
prepare_grpc()
