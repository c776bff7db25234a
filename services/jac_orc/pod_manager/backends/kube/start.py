"""Finds out, once, what a pod manager in a cluster has to know of itself."""

from __future__ import annotations

from jac_orc.core import addresses
from jac_orc.core.config import ConfigurationError
from jac_orc.pod_manager.backends.kube.backend import KubernetesBackend
from jac_orc.pod_manager.backends.kube.client import KubeClient, NotFoundInClusterError
from jac_orc.pod_manager.backends.kube.pods import Cluster
from jac_orc.pod_manager.backends.kube.store import Store
from jac_orc.pod_manager.environments import Environments
from jac_orc.pod_manager.policy import Policy
from jac_orc.pod_manager.settings import Settings
from jac_orc.pod_manager.sources import Sources
from jac_orc.pod_manager.spec_checks import tmp_fault


async def kubernetes_backend(
    settings: Settings, environments: Environments, sources: Sources, policy: Policy
) -> tuple[KubernetesBackend, str]:
    """The backend, and the IP address at which Envoy reaches this pod manager or its like.

    Raises ConfigurationError, and OrcError where the cluster can't be reached.
    """
    for name in ("tmp_size", "build_tmp_size"):
        if fault := tmp_fault(getattr(settings, name)):
            raise ConfigurationError(f"POD_MANAGER_{name.upper()}: {fault}")
    client, namespace = await KubeClient.connect()
    namespace = settings.namespace or namespace
    image, pull_policy, pull_secrets = settings.image, "IfNotPresent", tuple[str, ...]()
    peers_port = settings.port if settings.peers_port is None else settings.peers_port
    address, url = settings.host, addresses.join(settings.host, peers_port)
    try:
        if not image:
            pod = await client.get(f"/api/v1/namespaces/{namespace}/pods/{settings.pod_name or 'POD_MANAGER_POD_NAME'}")
            containers = {each["name"]: each for each in pod["spec"]["containers"]}  # a mesh may have added its own
            container = containers.get("pod-manager") or pod["spec"]["containers"][0]
            image, pull_policy = container["image"], container["imagePullPolicy"]
            pull_secrets = tuple(each["name"] for each in pod["spec"].get("imagePullSecrets", ()))
        if settings.service:
            service = await client.get(f"/api/v1/namespaces/{namespace}/services/{settings.service}")
            address, url = service["spec"]["clusterIP"], f"{settings.service}.{namespace}.svc:{peers_port}"
    except NotFoundInClusterError as failure:
        text = f"{failure}; set POD_MANAGER_POD_NAME (or POD_MANAGER_IMAGE) and POD_MANAGER_SERVICE to what is there"
        raise ConfigurationError(text) from failure
    cluster = Cluster(namespace, image, pull_policy, pull_secrets, url, settings, policy)
    store = Store(environments, sources) if settings.store_claim else None
    return KubernetesBackend(client, cluster, store), address
