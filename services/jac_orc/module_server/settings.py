"""The module server's settings."""

from __future__ import annotations

import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Each field is read from the environment variable of its name in capitals."""

    module_name: str
    """The import name of the module to serve."""
    pod_name: str = ""
    """The pod's name in log lines; empty: the hostname, which in a cluster is the pod's name."""
    port: int = 50051
    """Where to listen; 0 picks a free port, told over `notify_fd`."""
    host: str = "0.0.0.0"  # noqa: S104 - in a container, pods are reached from outside; on one machine it is loopback
    """The address to listen on."""
    pod_address: str | None = None
    """The IP address at which the pod is reached, as its endpoint has it; None: `host`, or where the hostname leads."""
    pod_manager_url: str | None = None
    """`HOST:PORT` of the pod manager, which is asked where an object's pod is; None: it can't be asked."""
    guest_python: str = sys.executable
    """The interpreter of the module's own environment, which runs the guests."""
    source_folders: str = ""
    """Folders from which the module is imported before any of its environment, separated as those in PATH.

    The last one has all of the user's code. Each pod imports from a copy of it, its working directory."""
    source_home: str = ""
    """The folder with all that is stored of the user's code, its metadata included; empty: there is no more."""
    working_directory: str = ""
    """Where the pod's working directory is created; empty: in a temporary directory, which ends with this process."""
    environment_fd: int | None = None
    """Holds the environment as long as this process lives; None: nobody removes it."""
    workers: int = 1
    """How many guests run the module's code."""
    max_concurrency: int = 16
    """How many calls run at a time, over all guests."""
    queue: int = 1000
    """How many more calls may wait; the next one is refused."""
    timeout: float = 300.0
    """Seconds that a call may take if its caller sets no deadline. Such a stream may last longer: it ends once no item
    was sent and read for so long."""
    import_timeout: float = 300.0
    """Seconds that importing the module may take; large machine-learning packages take a while on a cold disk."""
    cancel_grace: float = 2.0
    """Seconds that a cancelled call has to end; one that goes on keeps its place, and the log says so."""
    response_grace: float = 20.0
    """Seconds that a guest has to read that a call is cancelled, until it is replaced: C code holds its interpreter."""
    max_drain: float = 600.0
    """Seconds that calls in flight have to end when the server stops, unless `timeout` is shorter."""
    exit_grace: float = 3.0
    """Seconds that a guest has to end as an interpreter does, with atexit handlers and threads, until it is killed."""
    lame_duck: float = 0.3
    """Seconds between telling NOT_SERVING and refusing new calls, in which clients and proxies turn elsewhere."""
    max_answer_bytes: int = 64 * 1024 * 1024
    """How large a message's value may be: what Envoy and gRPC are set up to carry in one piece."""
    max_value_bytes: int = 512 * 1024 * 1024
    """How large a value may be that comes or goes in parts, and those together that are on their way to a guest."""
    max_objects: int = 10_000
    """How many objects a guest keeps; a call that would make one more is refused."""
    max_object_bytes: int = 1024 * 1024 * 1024
    """How many bytes these may have together, by their own account."""
    object_lease: float = 900.0
    """Seconds that an object lives after its last use."""
    allowed_modules: tuple[str, ...] = ()
    """Modules that give access to the host and that others may lead to all the same: `allow` of the policy."""
    refused_modules: tuple[str, ...] = ()
    """Further modules that no module may lead to: `refuse` of the policy."""
    log_level: str = "info"
    """The least level that is logged."""
    log_file: str | None = None
    """Where the log goes; None: standard output."""
    termination_log: str | None = None
    """A file for why the module can't be imported, as JSON, for whoever finds the server ended; None: nobody does."""
    notify_fd: int | None = None
    """A pipe to tell when the module can be called or can't be imported, as one JSON line; None: nobody asks."""
    reports: str | None = None
    """A socket of this machine that receives how often a guest was replaced; None: only the log says so."""
    lifeline_fd: int | None = None
    """A socket whose end of file means that the whole system stops; None: only SIGTERM does."""
