"""The pod manager's settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import platformdirs


@dataclass(frozen=True)
class Settings:
    """Each field is read from the environment variable of its name in capitals behind `POD_MANAGER_`."""

    backend: Literal["local", "kubernetes"] = "local"
    """Where pods run: as processes of this machine, or in a cluster."""
    host: str = "127.0.0.1"
    """The address of the gRPC API; clients come through Envoy, so it is loopback."""
    port: int = 50050
    """The port of the gRPC API."""
    peers_port: int | None = None
    """Port at which module servers ask for their module's pods, and can do nothing else; None: they ask at `port`."""
    xds_host: str = "127.0.0.1"
    """The address of the xDS server for Envoy; in a cluster one that only Envoy's pods may reach."""
    xds_port: int = 18000
    """Its port, never public."""
    front_host: str = "127.0.0.1"
    """The address on which Envoy shall listen."""
    front_port: int = 8080
    """The port on which Envoy shall listen: REST, gRPC and gRPC-Web."""
    tls_port: int = 8443
    """The port on which Envoy shall listen with TLS, if there is a `certificate`."""
    certificate: str = ""
    """The path, where Envoy runs, of a file with an SDS response that names its certificate `front`; empty: no TLS."""
    api_keys: str = ""
    """The path, where Envoy runs, of a file with an ECDS response, the filter `api_keys`; empty: anyone may call."""
    access_log: Literal["off", "failures", "all"] = "failures"
    """Which requests Envoy writes to its standard output, as one JSON line each."""
    allowed_hosts: tuple[str, ...] = ("localhost", "127.0.0.1", "[::1]", "*.modules.local")
    """The values of `Host` that Envoy lets in; others may be a web page that had its name pointed here."""
    state_dir: Path = platformdirs.user_state_path("jac-orc")
    """Where modules, pods and logs are kept."""
    cache_dir: Path = platformdirs.user_cache_path("jac-orc")
    """Where environments are kept; they can be built again."""
    cache_bytes: int = 20 * 1024**3
    """How many bytes of environments are kept that no module uses; those not used for longest go first."""
    cache_days: float = 30.0
    """For how many days an environment that no module uses is kept."""
    install_timeout: float = 1800.0
    """Seconds that one run of the installer may take; large packages take minutes to download or to compile."""
    source_archive_bytes: int = 256 * 1024**2
    """How large an archive of a user's own code may be."""
    source_unpacked_bytes: int = 1024**3
    """How large its files may be together."""
    source_files: int = 20_000
    """How many files it may have."""
    liveness_period: float = 10.0
    """Seconds between two health checks of a pod, Envoy or the pod manager on this machine; 0: no checks. A process
    that fails six in a row is replaced."""
    spares: int = 0
    """How many module servers are started ahead of need, each with the memory of an idle module, some 31 MB."""
    auto_deploy: bool = True
    """Whether a call to a module that isn't deployed deploys it; otherwise such a call is answered by 404."""
    held_calls: int = 1000
    """How many calls of one module are held while it is not ready; further ones are refused at once, `QUEUE_FULL`."""
    held_bytes: int = 128 * 1024**2
    """How many bytes their messages may have together; one message has 64 MiB at most."""
    held_calls_total: int = 5000
    """How many calls of all modules are held."""
    held_bytes_total: int = 256 * 1024**2
    """How many bytes their messages may have together."""
    policy_file: Path | None = None
    """The operator's policy, a YAML file (`policy.load`); None: the default policy."""
    namespace: str = ""
    """The cluster's namespace in which modules are deployed; empty: that of this pod, or of the kubeconfig."""
    service: str = ""
    """The Service of the pod managers, by which Envoy and the modules reach them; empty: `host` is their address."""
    pod_name: str = ""
    """The name of this pod, whose image the modules' pods run, too; empty: `image` names it."""
    image: str = ""
    """The image of the modules' pods and of the builders of environments, if not this pod's own."""
    module_account: str = "jac-orc-module"
    """The service account of these pods, which needs no right."""
    store_claim: str = ""
    """The PersistentVolumeClaim that is mounted at /store here and there, with environments and sources; empty: only
    modules of the standard library can be deployed."""
    store_folder: str = ""
    """The folder of that volume which is this pod manager's, for volumes that several share; empty: all of it."""
    tmp_size: str = "2Gi"
    """How much a pod of a module may write to its /tmp before the kubelet evicts it; a spec may set its own limit. At
    least 1Mi, as is `build_tmp_size`."""
    build_tmp_size: str = "8Gi"
    """The same of a Job that builds an environment."""
    scheduling_timeout: float = 900.0
    """Seconds that a pod may wait for a node, and then for its volumes and its network, before a create or an update
    fails; cluster autoscalers take minutes."""
    max_drain: float = 600.0
    """Seconds that the calls of a pod that stops have to end, unless the module's `timeout` is shorter; cluster
    autoscalers wait no longer either. What is left then ends with POD_STOPPING."""
    stop_grace: float = 2.0
    """Seconds that requests, creations among them, have to end when the pod manager stops. Calls that it forwards have
    `max_drain`."""
    run_id: str = "standalone"
    """Pods of the same run are taken over by the next pod manager, those of another run are ended."""
    log_level: str = "info"
    """The least level that is logged."""
    notify_fd: int | None = None
    """A pipe to tell that the servers listen; None: nobody asks."""
    lifeline_fd: int | None = None
    """A socket whose end of file means that the whole system stops; None: only SIGTERM does."""
