"""A guest's process until a server takes it over.

Little is imported here, as `__main__` starts the first guest before it imports the rest of the server.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence

from jac_orc import guest
from jac_orc.core import config
from jac_orc.guest import wire
from jac_orc.module_server.working_directory import prepare

_START = os.path.join(os.path.dirname(guest.__file__), "start.py")
# Of this process's environment only what any program needs reaches the user's code, so that no setting leaks.
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE")
_INHERITED_PREFIXES = ("OPENBLAS_", "OMP_", "MKL_", "CUDA_", "NVIDIA_")
_SOCKET_BUFFER = 4 * 1024 * 1024


class IdleGuest:
    """A guest's process that answers no calls yet, and this side's end of its wire."""

    def __init__(self, python: str) -> None:
        """Start one with this interpreter; raises OSError if that fails."""
        self._python = python
        self._environment = dict(_visible(config.environment()))
        self._is_loading = False
        self.socket, theirs = socket.socketpair()
        try:
            with theirs:
                self.socket.setblocking(False)
                for end in (self.socket, theirs):  # as much of it as the system allows
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER)
                # In a session of its own; forked by this thread, whose end ends it (prctl(2), PR_SET_PDEATHSIG).
                self.child = subprocess.Popen(
                    [python, "-u", _START, str(theirs.fileno()), str(os.getpid())], env=self._environment,
                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                    pass_fds=(theirs.fileno(),), start_new_session=True,
                )  # fmt: skip
        except OSError:
            self.socket.close()
            raise

    def load(self, module: str, folders: Sequence[str], directory: str = "", home: str = "") -> None:
        """Have it import the module, if it does not already; the other parameters are those of `prepare`.

        Its answer is for the server to read. Raises OSError if the directory can't be created.
        """
        if not self._is_loading:
            document = prepare(directory, module, folders, home)
            self._is_loading = True
            body = json.dumps({"module": module, **document}).encode()
            with contextlib.suppress(OSError):  # it has ended, as the server will learn
                self.socket.sendall(wire.frame(wire.LOAD, body=body))

    def fits(self, python: str) -> bool:
        """Return whether it is what one would be that is started now with this interpreter."""
        same = self._python == python and self._environment == dict(_visible(config.environment()))
        return same and self.child.poll() is None

    def stop(self) -> None:
        """End it."""
        self.socket.close()
        self.child.kill()
        self.child.communicate()


def first() -> IdleGuest | None:
    """Start the guest that this process's environment asks for; a spare server's has no module to import yet.

    None if that fails: the server will try again, and report why.
    """
    environment = config.environment()
    try:
        idle = IdleGuest(environment.get("GUEST_PYTHON") or sys.executable)
    except OSError:
        return None
    # Until the server can end what the module starts, a signal to stop waits: `lifecycle.stop_requested` lets it in.
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))
    if (module := environment.get("MODULE_NAME")) and config.spare_fd() is None:
        with contextlib.suppress(OSError):  # the server will try again, and report why
            folders = folders_in(environment.get("SOURCE_FOLDERS", ""))
            idle.load(module, folders, environment.get("WORKING_DIRECTORY", ""), environment.get("SOURCE_HOME", ""))
    return idle


def folders_in(text: str) -> list[str]:
    """Return the folders that SOURCE_FOLDERS names."""
    return list(filter(None, text.split(os.pathsep)))


def _visible(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, value in environment.items():
        if name.startswith(config.MODULE_ENV_PREFIX):
            yield name.removeprefix(config.MODULE_ENV_PREFIX), value
        elif name in _INHERITED or name.startswith(_INHERITED_PREFIXES):
            yield name, value
