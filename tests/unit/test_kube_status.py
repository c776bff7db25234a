"""What the objects of a module tell people."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf import json_format

from jac_orc.errors import error, to_status
from jac_orc.pod_manager.backends.kube import builders, objects, status
from jac_orc.pod_manager.backends.kube.objects import Record
from jac_orc.pod_manager.backends.kube.pods import SERVER, Cluster, Document, Runtime
from jac_orc.pod_manager.model import Module, ModulePhase, ModuleSpec, PodPhase

NOW = 1_790_000_000.0
SINCE = "2026-09-21T13:20:00Z"  # 53 minutes before
CLUSTER = Cluster("jac-orc", "jac-cloud-orc:1")
RECORD = Record(ModuleSpec("math", replicas=2), 3, NOW, "new", {"old": 2, "new": 3})


def deployment(**status_fields: Any) -> Document:
    made = objects.deployment(CLUSTER, RECORD, Runtime())
    made["metadata"] |= {"uid": "u", "generation": 7, "creationTimestamp": SINCE, "resourceVersion": "1"}
    made["status"] = status_fields
    return made


def pod(name: str = "math-1", *, revision: str = "", container: Document | None = None, **conditions: str) -> Document:
    container = {"name": SERVER, "image": "jac-cloud-orc:1", "restartCount": 0, **(container or {})}
    return {
        "metadata": {
            "name": name,
            "labels": {objects.REVISION_LABEL: revision or RECORD.revision},
            "creationTimestamp": SINCE,
        },
        "status": {
            "phase": "Running",
            "conditions": [{"type": kind, "status": value} for kind, value in conditions.items()],
            "containerStatuses": [container],
        },
    }


def ready(name: str) -> Document:
    return pod(name, container={"state": {"running": {}}}, Ready="True")


def slices(**conditions: Any) -> list[Document]:
    """The endpoints of pods, by name, with their conditions."""
    return [
        {"endpoints": [{"addresses": [f"10.0.0.{number}"], "conditions": value, "targetRef": {"name": name}}]}
        for number, (name, value) in enumerate(conditions.items(), 1)
    ]


def module(pods: list[Document], endpoints: list[Document] | None = None, **more: Any) -> Module:
    build = more.pop("build", None)
    return status.module_of(deployment(**more), RECORD, pods, endpoints or [], NOW, build, None)


def test_a_module_whose_pods_are_ready() -> None:
    found = module(
        [ready("a"), ready("b")], slices(a={"ready": True, "serving": True}, b={"ready": True, "serving": True})
    )
    assert found.phase is ModulePhase.READY and found.settled
    assert [(each.name, each.address, each.generation) for each in found.pods] == [
        ("a", "10.0.0.1:50051", 3), ("b", "10.0.0.2:50051", 3),
    ]  # fmt: skip


def test_a_pod_that_ends_keeps_its_address_while_it_serves() -> None:
    leaving = ready("a")
    found = module([leaving], slices(a={"ready": False, "serving": True, "terminating": True}))
    assert [(each.phase, each.address) for each in found.pods] == [(PodPhase.DRAINING, "10.0.0.1:50051")]
    found = module([leaving], slices(a={"ready": False, "serving": False, "terminating": True}))
    assert [(each.phase, each.address) for each in found.pods] == [(PodPhase.DRAINING, "")]


def test_readiness_is_what_the_endpoints_say() -> None:
    assert not module([ready("a"), ready("b")]).ready


def test_an_old_pod_tells_its_generation() -> None:
    old = pod("a", revision="old", container={"state": {"running": {}}})
    assert [each.generation for each in module([old]).pods] == [2]


def test_a_rollout_is_observed_only_once_it_has_ended() -> None:
    answering = {"ready": True, "serving": True}
    old = pod("c", revision="old", container={"state": {"running": {}}})
    leaving = {"ready": False, "serving": True, "terminating": True}
    ended, not_yet = RECORD.generation, RECORD.generation - 1
    for pods, endpoints, expected in (
        (["a"], {"a": answering}, not_yet),
        (["a", "b"], {"a": answering}, not_yet),
        (["a", "b"], {"a": answering, "b": answering}, ended),
        (["a", "b", "c"], {"a": answering, "b": answering, "c": answering}, not_yet),
        (["a", "b", "c"], {"a": answering, "b": answering, "c": leaving}, ended),
    ):
        found = module([old if name == "c" else ready(name) for name in pods], slices(**endpoints))
        assert found.observed_generation == expected
        assert found.settled == (expected == ended and len(pods) == 2)


def test_scaling_by_others_is_seen() -> None:
    made = deployment()
    made["spec"]["replicas"] = 5
    assert status.module_of(made, RECORD, [], [], NOW, None, None).spec.replicas == 5


@pytest.mark.parametrize(
    ("container", "reason", "text"),
    [
        (
            {"state": {"waiting": {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "x"'}}},
            "IMAGE_UNAVAILABLE", "can't be pulled: Back-off",
        ),
        (
            {"state": {"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "keys" not found'}}},
            "POD_FAILED", 'secret "keys" not found',
        ),
        (
            {"state": {"running": {}}, "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}},
            "OUT_OF_MEMORY", "more memory than it may",
        ),
        (
            {
                "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "restartCount": 3,
                "lastState": {"terminated": {"exitCode": 1, "message": '{"text": "boom", "time": ""}\nplain'}},
            },
            "POD_FAILED", "exit code 1, 4 times; its last lines:\nboom\nplain",
        ),
    ],
)  # fmt: skip
def test_faults_of_pods(container: Document, reason: str, text: str) -> None:
    found = module([pod(container=container)])
    assert found.error is not None
    assert found.phase is ModulePhase.FAILED
    assert found.error.reason == reason
    assert text in found.error.message


def test_an_image_that_somebody_has_set_is_told_of_while_the_old_pods_serve() -> None:
    """`kubectl set image` changes neither the record nor the labels of the pods."""
    answering = {"ready": True, "serving": True}
    message = "failed to resolve reference: not found"
    for reason in ("ErrImagePull", "ImagePullBackOff"):
        container = {"image": "nope:1", "state": {"waiting": {"reason": reason, "message": message}}}
        found = module([ready("a"), ready("b"), pod("c", container=container)], slices(a=answering, b=answering))
        assert found.phase is ModulePhase.READY and not found.settled
        told = found.error.message if found.error else found.progress
        assert told == f"the image nope:1 can't be pulled: {message}"
        assert (found.error is not None) == (reason == "ImagePullBackOff"), "a first failure may be a passing one"


def test_what_a_server_has_left_is_told_as_it_was() -> None:
    failure = error("MODULE_IMPORT_FAILED", "importing math failed: no such thing", {"module": "math"})
    message = json.dumps({"error": json_format.MessageToDict(to_status(failure))})
    found = module([pod(container={"state": {"terminated": {"exitCode": 1, "message": message}}})])
    assert found.error is not None
    assert (found.error.reason, found.error.message) == (failure.reason, failure.message)


@pytest.mark.parametrize("message", ["", "{}", '{"error": 5}', '{"error": {"code": "x"}}', "null", "[1]"])
def test_a_termination_message_that_is_odd_is_no_fault_of_ours(message: str) -> None:
    crashed = {"state": {"terminated": {"exitCode": 1, "message": message}}}
    assert module([pod(container=crashed)]).error is None


def test_one_crash_is_no_fault() -> None:
    crashed = {"state": {"running": {}}, "lastState": {"terminated": {"exitCode": 137, "reason": "Error"}}}
    assert module([pod(container=crashed)]).error is None


def test_faults_of_older_pods_and_of_leaving_ones_dont_count() -> None:
    crashing = {"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"exitCode": 1}}}
    leaving = pod("b", container=crashing)
    leaving["metadata"]["deletionTimestamp"] = SINCE
    assert module([pod("a", revision="old", container=crashing), leaving]).error is None


def test_a_pod_without_a_node_waits_before_it_fails() -> None:
    waiting = pod()
    waiting["status"]["containerStatuses"] = []
    condition = {
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "Insufficient cpu",
        "lastTransitionTime": SINCE,
    }  # fmt: skip
    waiting["status"]["conditions"] = [condition]
    late = status.module_of(deployment(), RECORD, [waiting], [], NOW, None, None, patience=900)
    assert late.error is not None and late.error.reason == "POD_UNSCHEDULABLE"
    for patience in (900, 10):
        soon = status.module_of(
            deployment(), RECORD, [waiting], [], NOW - 53 * 60 + patience - 25, None, None, patience=patience
        )
        assert (soon.error, soon.phase) == (None, ModulePhase.STARTING)
        assert soon.progress == "waiting for a node: Insufficient cpu"
    condition["reason"], condition["message"] = "SchedulingGated", ""
    gated = status.module_of(deployment(), RECORD, [waiting], [], NOW - 53 * 60, None, None, patience=900)
    assert (gated.error, gated.progress) == (None, "waiting for a node: SchedulingGated")


def test_a_pod_whose_claim_does_not_exist_fails_at_once() -> None:
    message = 'persistentvolumeclaim "jac-orc-stroe" not found'
    condition = {
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
        "lastTransitionTime": SINCE,
    }  # fmt: skip
    waiting = pod(container={"name": builders.BUILDER})
    waiting["status"]["conditions"] = [condition]
    found = status.build_of(job(), [waiting], NOW - 53 * 60 + 1, patience=900)
    assert found.error is not None and message in found.error.message


def creating(reason: str = "ContainerCreating", *, has_network: str = "", name: str = SERVER) -> Document:
    """A pod that got its node at `SINCE`, and whose container isn't created yet."""
    made = pod(container={"name": name, "state": {"waiting": {"reason": reason}}})
    conditions = {"PodScheduled": "True", **({"PodReadyToStartContainers": has_network} if has_network else {})}
    made["metadata"]["namespace"] = "jac-orc"
    made["status"]["conditions"] = [
        {"type": kind, "status": value, "lastTransitionTime": SINCE} for kind, value in conditions.items()
    ]
    return made


@pytest.mark.parametrize("has_network", ["", "False"])
@pytest.mark.parametrize("reason", ["ContainerCreating", "PodInitializing"])
def test_a_pod_without_volumes_or_network_says_so_and_fails_in_the_end(reason: str, has_network: str) -> None:
    since, stuck = NOW - 3200, creating(reason, has_network=has_network)
    look = "kubectl -n jac-orc describe pod math-1"
    for seconds, progress in ((29, ""), (31, f"waiting for its volumes or its network; this may say why: {look}")):
        found = status.module_of(deployment(), RECORD, [stuck], [], since + seconds, None, None, patience=900)
        assert (found.error, found.progress) == (None, progress)
    found = status.module_of(deployment(), RECORD, [stuck], [], since + 901, None, None, patience=900)
    assert found.error is not None and found.error.reason == "POD_FAILED"
    assert found.error.message.startswith("the pod's volumes or its network are not ready after 901 s")
    builder = creating(reason, has_network=has_network, name=builders.BUILDER)
    assert look in status.build_of(job(), [builder], since + 31, patience=900).progress
    assert status.build_of(job(), [builder], since + 901, patience=900).error is not None


@pytest.mark.parametrize(("has_network", "changed"), [("True", SINCE), ("False", "2026-09-21T14:13:00Z")])
def test_a_slow_pull_and_a_network_that_is_set_up_again_are_no_fault(has_network: str, changed: str) -> None:
    """A pod has both before its images are pulled. A reboot of its node takes the network."""
    waiting = creating(has_network=has_network)
    waiting["status"]["conditions"][1]["lastTransitionTime"] = changed
    found = status.module_of(deployment(), RECORD, [waiting], [], NOW, None, None, patience=900)
    assert (found.error, found.progress) == (None, "")


def test_pods_that_the_quota_refuses() -> None:
    text = 'pods "math-1" is forbidden: exceeded quota: small'
    condition = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": text}
    found = module([], conditions=[condition])
    assert found.error is not None
    assert found.error.reason == "QUOTA_EXCEEDED"


def job(*conditions: str) -> Document:
    return {
        "metadata": {"name": "j", "namespace": "jac-orc", "creationTimestamp": SINCE},
        "status": {"conditions": [{"type": kind, "status": "True", "message": "why"} for kind in conditions]},
    }


def test_a_builder_that_fails_tells_what_it_has_left() -> None:
    failure = error("ENVIRONMENT_FAILED", "the requirements can't be installed: no such thing")
    message = json.dumps({"error": json_format.MessageToDict(to_status(failure))})
    ended = pod(container={"name": builders.BUILDER, "state": {"terminated": {"exitCode": 1, "message": message}}})
    ended["status"]["phase"] = "Failed"
    found = status.build_of(job(), [ended], NOW)
    assert found.error is not None
    assert found.error.message == failure.message


def test_a_builder_that_has_done_its_work_is_no_fault() -> None:
    ended = pod(container={"name": builders.BUILDER, "state": {"terminated": {"exitCode": 0}}})
    ended["status"]["phase"] = "Succeeded"
    assert status.build_of(job("Complete"), [ended], NOW).error is None
    assert status.is_complete(job("Complete")) and not status.is_complete(job())


def test_a_job_that_has_failed_without_a_word() -> None:
    found = status.build_of(job("Failed"), [], NOW)
    assert found.error is not None
    assert found.error.reason == "ENVIRONMENT_FAILED"


def test_a_builder_tells_how_far_it_is() -> None:
    running = pod(container={"name": builders.BUILDER, "state": {"running": {}}})
    found = status.build_of(job(), [running], NOW, (ModulePhase.DOWNLOADING, "Downloading numpy (15.9MiB)"))
    assert (found.phase, found.progress) == (ModulePhase.DOWNLOADING, "Downloading numpy (15.9MiB)")
    assert status.build_of(None, [], NOW).progress.startswith("waiting")


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ('pods "j-" is forbidden: exceeded quota: small, requested: pods=1', "QUOTA_EXCEEDED"),
        (
            'pods "j-" is forbidden: violates PodSecurity "restricted:latest"',
            "CLUSTER_REFUSED",
        ),
        (
            'pods "j-" is forbidden: error looking up service account orc/jac-orc-module: no',
            "CLUSTER_REFUSED",
        ),
        ('pods "j-" is forbidden: minimum cpu usage per Container is 500m, but request is 100m', "CLUSTER_REFUSED"),
        ('admission webhook "policy.example" denied the request: no', "CLUSTER_REFUSED"),
    ],
)
def test_a_builder_that_is_refused_a_pod_fails(said: str, reason: str) -> None:
    found = status.build_of(job(), [], NOW, refusal=said)
    assert found.error is not None
    assert (found.error.reason, said in found.error.message) == (reason, True)
    assert status.build_of(job(), [pod(container={"name": builders.BUILDER})], NOW, refusal=said).error is None
    assert status.build_of(job("Complete"), [], NOW, refusal=said).error is None


def test_a_builder_that_is_being_deleted_is_not_judged() -> None:
    going = job()
    going["metadata"]["deletionTimestamp"] = SINCE
    found = status.build_of(going, [], NOW, refusal="exceeded quota")
    assert (found.error, found.progress) == (None, "waiting for the build of its environment to start")


def test_a_builder_that_gets_no_pod_tells_where_to_look() -> None:
    since = NOW - 53 * 60
    assert status.build_of(job(), [], since).progress == "waiting for the builder's pod to start"
    assert "kubectl -n jac-orc describe job j" in status.build_of(job(), [], since + 40).progress
    assert "describe" not in status.build_of(job(), [pod(container={"name": builders.BUILDER})], NOW).progress
    assert "describe" not in status.build_of(job("Complete"), [], NOW).progress


def evicted() -> Document:
    gone = pod("old")
    message = 'Usage of EmptyDir volume "tmp" exceeds the limit "8Mi".'
    return {**gone, "status": {"phase": "Failed", "reason": "Evicted", "message": message}}


def test_an_eviction_is_reported_until_a_pod_is_ready_again() -> None:
    found = module([evicted(), pod("new", container={"state": {"running": {}}})])
    assert "EmptyDir" in found.progress and found.error is None and [each.name for each in found.pods] == ["new"]
    endpoints = slices(a={"ready": True, "serving": True}, b={"ready": True, "serving": True})
    assert module([evicted(), ready("a"), ready("b")], endpoints).progress == ""


def test_an_eviction_is_not_reported_once_nothing_replaces_the_pod() -> None:
    """Evicted pods stay until the cluster removes them, which may take very long."""
    older = evicted()
    older["metadata"]["labels"][objects.REVISION_LABEL] = "old"
    assert module([older, pod("new", container={"state": {"running": {}}})]).progress == ""
    scaled = deployment()
    scaled["spec"]["replicas"] = 0
    assert status.module_of(scaled, RECORD, [evicted()], [], NOW, None, None).progress == ""


def test_a_builder_that_is_evicted_says_why() -> None:
    """One that exceeds its own limit would do so again, so nothing waits for the Job to replace it."""
    failure = status.build_of(job(), [evicted()], NOW).error
    assert failure is not None and failure.reason == "POD_FAILED" and "EmptyDir" in failure.message


def builder(name: str, created: str, state: Document, phase: str = "Running", **conditions: str) -> Document:
    made = pod(name, container={"name": builders.BUILDER, "state": state}, **conditions)
    made["metadata"]["creationTimestamp"], made["status"]["phase"] = created, phase
    return made


DISRUPTED = {
    "evicted": {"status": {"reason": "Evicted", "message": "The node was low on resource: memory."}},
    "shut down": {"status": {"reason": "Terminated", "message": "Pod was terminated in response to node shutdown."}},
    "drained": {"metadata": {"deletionTimestamp": SINCE}},
}


@pytest.mark.parametrize("how", DISRUPTED)
def test_a_builder_that_the_cluster_ends_fails_only_with_its_job(how: str) -> None:
    disrupted = "False" if how == "drained" else "True"
    ended = builder("one", SINCE, {"terminated": {"exitCode": 137}}, "Failed", DisruptionTarget=disrupted)
    for part, fields in DISRUPTED[how].items():
        ended[part] |= fields
    assert status.build_of(job(), [ended], NOW).error is None
    failure = status.build_of(job("Failed"), [ended], NOW).error
    assert failure is not None and failure.reason == "POD_FAILED"


@pytest.mark.parametrize("state", [{"running": {}}, {"waiting": {"reason": "ContainerCreating"}}])
def test_only_the_newest_pod_of_a_builder_counts(state: Document) -> None:
    older = builder("z", "2026-09-21T13:20:00Z", {"terminated": {"exitCode": 1, "reason": "OOMKilled"}}, "Failed")
    newest = builder("a", "2026-09-21T13:21:00Z", state)
    for pods in ([older, newest], [newest, older]):
        assert status.build_of(job(), pods, NOW).error is None
    condition = {"type": "PodScheduled", "status": "False", "message": "Insufficient cpu", "lastTransitionTime": SINCE}
    newest["status"]["conditions"], older["status"]["conditions"] = [condition], [{**condition, "message": "too late"}]
    found = status.build_of(job(), [older, newest], NOW, patience=1e6)
    assert found.progress == "waiting for a node: Insufficient cpu"
