import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ModulePhase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODULE_PHASE_UNSPECIFIED: _ClassVar[ModulePhase]
    MODULE_PHASE_BUILDING: _ClassVar[ModulePhase]
    MODULE_PHASE_STARTING: _ClassVar[ModulePhase]
    MODULE_PHASE_READY: _ClassVar[ModulePhase]
    MODULE_PHASE_FAILED: _ClassVar[ModulePhase]
    MODULE_PHASE_DELETING: _ClassVar[ModulePhase]
    MODULE_PHASE_IDLE: _ClassVar[ModulePhase]
    MODULE_PHASE_RESOLVING: _ClassVar[ModulePhase]
    MODULE_PHASE_DOWNLOADING: _ClassVar[ModulePhase]
    MODULE_PHASE_IMPORTING: _ClassVar[ModulePhase]

class PodPhase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    POD_PHASE_UNSPECIFIED: _ClassVar[PodPhase]
    POD_PHASE_STARTING: _ClassVar[PodPhase]
    POD_PHASE_READY: _ClassVar[PodPhase]
    POD_PHASE_DRAINING: _ClassVar[PodPhase]
    POD_PHASE_CRASHED: _ClassVar[PodPhase]
    POD_PHASE_IMPORTING: _ClassVar[PodPhase]

class WatchEvent(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WATCH_EVENT_UNSPECIFIED: _ClassVar[WatchEvent]
    WATCH_EVENT_CHANGED: _ClassVar[WatchEvent]
    WATCH_EVENT_DELETED: _ClassVar[WatchEvent]
MODULE_PHASE_UNSPECIFIED: ModulePhase
MODULE_PHASE_BUILDING: ModulePhase
MODULE_PHASE_STARTING: ModulePhase
MODULE_PHASE_READY: ModulePhase
MODULE_PHASE_FAILED: ModulePhase
MODULE_PHASE_DELETING: ModulePhase
MODULE_PHASE_IDLE: ModulePhase
MODULE_PHASE_RESOLVING: ModulePhase
MODULE_PHASE_DOWNLOADING: ModulePhase
MODULE_PHASE_IMPORTING: ModulePhase
POD_PHASE_UNSPECIFIED: PodPhase
POD_PHASE_STARTING: PodPhase
POD_PHASE_READY: PodPhase
POD_PHASE_DRAINING: PodPhase
POD_PHASE_CRASHED: PodPhase
POD_PHASE_IMPORTING: PodPhase
WATCH_EVENT_UNSPECIFIED: WatchEvent
WATCH_EVENT_CHANGED: WatchEvent
WATCH_EVENT_DELETED: WatchEvent

class Module(_message.Message):
    __slots__ = ("name", "spec", "status", "uid", "generation", "create_time", "update_time")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    spec: ModuleSpec
    status: ModuleStatus
    uid: str
    generation: int
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., spec: _Optional[_Union[ModuleSpec, _Mapping]] = ..., status: _Optional[_Union[ModuleStatus, _Mapping]] = ..., uid: _Optional[str] = ..., generation: _Optional[int] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ModuleSpec(_message.Message):
    __slots__ = ("module_name", "requirements", "source", "replicas", "resources", "env", "secrets", "workers", "max_concurrency", "queue", "timeout", "python_version", "autoscaling", "expose", "labels", "constraints", "import_timeout", "image", "annotations", "node_selector", "tolerations", "affinity", "priority_class", "service_account")
    class EnvEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class AnnotationsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class NodeSelectorEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    MODULE_NAME_FIELD_NUMBER: _ClassVar[int]
    REQUIREMENTS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    ENV_FIELD_NUMBER: _ClassVar[int]
    SECRETS_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    MAX_CONCURRENCY_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    PYTHON_VERSION_FIELD_NUMBER: _ClassVar[int]
    AUTOSCALING_FIELD_NUMBER: _ClassVar[int]
    EXPOSE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    CONSTRAINTS_FIELD_NUMBER: _ClassVar[int]
    IMPORT_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    ANNOTATIONS_FIELD_NUMBER: _ClassVar[int]
    NODE_SELECTOR_FIELD_NUMBER: _ClassVar[int]
    TOLERATIONS_FIELD_NUMBER: _ClassVar[int]
    AFFINITY_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_CLASS_FIELD_NUMBER: _ClassVar[int]
    SERVICE_ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    module_name: str
    requirements: _containers.RepeatedScalarFieldContainer[str]
    source: ModuleSource
    replicas: int
    resources: Resources
    env: _containers.ScalarMap[str, str]
    secrets: _containers.RepeatedScalarFieldContainer[str]
    workers: int
    max_concurrency: int
    queue: int
    timeout: _duration_pb2.Duration
    python_version: str
    autoscaling: Autoscaling
    expose: _containers.RepeatedScalarFieldContainer[str]
    labels: _containers.ScalarMap[str, str]
    constraints: _containers.RepeatedScalarFieldContainer[str]
    import_timeout: _duration_pb2.Duration
    image: str
    annotations: _containers.ScalarMap[str, str]
    node_selector: _containers.ScalarMap[str, str]
    tolerations: _containers.RepeatedCompositeFieldContainer[Toleration]
    affinity: _struct_pb2.Struct
    priority_class: str
    service_account: str
    def __init__(self, module_name: _Optional[str] = ..., requirements: _Optional[_Iterable[str]] = ..., source: _Optional[_Union[ModuleSource, _Mapping]] = ..., replicas: _Optional[int] = ..., resources: _Optional[_Union[Resources, _Mapping]] = ..., env: _Optional[_Mapping[str, str]] = ..., secrets: _Optional[_Iterable[str]] = ..., workers: _Optional[int] = ..., max_concurrency: _Optional[int] = ..., queue: _Optional[int] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., python_version: _Optional[str] = ..., autoscaling: _Optional[_Union[Autoscaling, _Mapping]] = ..., expose: _Optional[_Iterable[str]] = ..., labels: _Optional[_Mapping[str, str]] = ..., constraints: _Optional[_Iterable[str]] = ..., import_timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., image: _Optional[str] = ..., annotations: _Optional[_Mapping[str, str]] = ..., node_selector: _Optional[_Mapping[str, str]] = ..., tolerations: _Optional[_Iterable[_Union[Toleration, _Mapping]]] = ..., affinity: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., priority_class: _Optional[str] = ..., service_account: _Optional[str] = ...) -> None: ...

class ModuleSource(_message.Message):
    __slots__ = ("files", "zip", "wheel", "sdist", "uploaded")
    FILES_FIELD_NUMBER: _ClassVar[int]
    ZIP_FIELD_NUMBER: _ClassVar[int]
    WHEEL_FIELD_NUMBER: _ClassVar[int]
    SDIST_FIELD_NUMBER: _ClassVar[int]
    UPLOADED_FIELD_NUMBER: _ClassVar[int]
    files: SourceFiles
    zip: bytes
    wheel: SourceWheel
    sdist: SourceDistribution
    uploaded: UploadedSource
    def __init__(self, files: _Optional[_Union[SourceFiles, _Mapping]] = ..., zip: _Optional[bytes] = ..., wheel: _Optional[_Union[SourceWheel, _Mapping]] = ..., sdist: _Optional[_Union[SourceDistribution, _Mapping]] = ..., uploaded: _Optional[_Union[UploadedSource, _Mapping]] = ...) -> None: ...

class UploadedSource(_message.Message):
    __slots__ = ("digest", "file_name")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    FILE_NAME_FIELD_NUMBER: _ClassVar[int]
    digest: str
    file_name: str
    def __init__(self, digest: _Optional[str] = ..., file_name: _Optional[str] = ...) -> None: ...

class SourceDistribution(_message.Message):
    __slots__ = ("file_name", "data")
    FILE_NAME_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    file_name: str
    data: bytes
    def __init__(self, file_name: _Optional[str] = ..., data: _Optional[bytes] = ...) -> None: ...

class SourceFiles(_message.Message):
    __slots__ = ("contents",)
    class ContentsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    CONTENTS_FIELD_NUMBER: _ClassVar[int]
    contents: _containers.ScalarMap[str, bytes]
    def __init__(self, contents: _Optional[_Mapping[str, bytes]] = ...) -> None: ...

class SourceWheel(_message.Message):
    __slots__ = ("file_name", "data")
    FILE_NAME_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    file_name: str
    data: bytes
    def __init__(self, file_name: _Optional[str] = ..., data: _Optional[bytes] = ...) -> None: ...

class Resources(_message.Message):
    __slots__ = ("cpu", "memory", "gpu", "cpu_limit", "memory_limit", "tmp")
    CPU_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    GPU_FIELD_NUMBER: _ClassVar[int]
    CPU_LIMIT_FIELD_NUMBER: _ClassVar[int]
    MEMORY_LIMIT_FIELD_NUMBER: _ClassVar[int]
    TMP_FIELD_NUMBER: _ClassVar[int]
    cpu: str
    memory: str
    gpu: int
    cpu_limit: str
    memory_limit: str
    tmp: str
    def __init__(self, cpu: _Optional[str] = ..., memory: _Optional[str] = ..., gpu: _Optional[int] = ..., cpu_limit: _Optional[str] = ..., memory_limit: _Optional[str] = ..., tmp: _Optional[str] = ...) -> None: ...

class Toleration(_message.Message):
    __slots__ = ("key", "operator", "value", "effect", "toleration_seconds")
    KEY_FIELD_NUMBER: _ClassVar[int]
    OPERATOR_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    EFFECT_FIELD_NUMBER: _ClassVar[int]
    TOLERATION_SECONDS_FIELD_NUMBER: _ClassVar[int]
    key: str
    operator: str
    value: str
    effect: str
    toleration_seconds: int
    def __init__(self, key: _Optional[str] = ..., operator: _Optional[str] = ..., value: _Optional[str] = ..., effect: _Optional[str] = ..., toleration_seconds: _Optional[int] = ...) -> None: ...

class Autoscaling(_message.Message):
    __slots__ = ("min_replicas", "max_replicas", "target_concurrency", "target_cpu")
    MIN_REPLICAS_FIELD_NUMBER: _ClassVar[int]
    MAX_REPLICAS_FIELD_NUMBER: _ClassVar[int]
    TARGET_CONCURRENCY_FIELD_NUMBER: _ClassVar[int]
    TARGET_CPU_FIELD_NUMBER: _ClassVar[int]
    min_replicas: int
    max_replicas: int
    target_concurrency: int
    target_cpu: int
    def __init__(self, min_replicas: _Optional[int] = ..., max_replicas: _Optional[int] = ..., target_concurrency: _Optional[int] = ..., target_cpu: _Optional[int] = ...) -> None: ...

class ModuleStatus(_message.Message):
    __slots__ = ("phase", "pods", "ready_replicas", "observed_generation", "error", "progress", "environment")
    PHASE_FIELD_NUMBER: _ClassVar[int]
    PODS_FIELD_NUMBER: _ClassVar[int]
    READY_REPLICAS_FIELD_NUMBER: _ClassVar[int]
    OBSERVED_GENERATION_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    phase: ModulePhase
    pods: _containers.RepeatedCompositeFieldContainer[Pod]
    ready_replicas: int
    observed_generation: int
    error: _status_pb2.Status
    progress: str
    environment: ModuleEnvironment
    def __init__(self, phase: _Optional[_Union[ModulePhase, str]] = ..., pods: _Optional[_Iterable[_Union[Pod, _Mapping]]] = ..., ready_replicas: _Optional[int] = ..., observed_generation: _Optional[int] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., progress: _Optional[str] = ..., environment: _Optional[_Union[ModuleEnvironment, _Mapping]] = ...) -> None: ...

class ModuleEnvironment(_message.Message):
    __slots__ = ("python_version", "packages", "digest")
    PYTHON_VERSION_FIELD_NUMBER: _ClassVar[int]
    PACKAGES_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    python_version: str
    packages: _containers.RepeatedScalarFieldContainer[str]
    digest: str
    def __init__(self, python_version: _Optional[str] = ..., packages: _Optional[_Iterable[str]] = ..., digest: _Optional[str] = ...) -> None: ...

class Pod(_message.Message):
    __slots__ = ("name", "phase", "address", "restarts", "generation", "stuck_calls", "guest_replacements")
    class GuestReplacementsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    RESTARTS_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    STUCK_CALLS_FIELD_NUMBER: _ClassVar[int]
    GUEST_REPLACEMENTS_FIELD_NUMBER: _ClassVar[int]
    name: str
    phase: PodPhase
    address: str
    restarts: int
    generation: int
    stuck_calls: int
    guest_replacements: _containers.ScalarMap[str, int]
    def __init__(self, name: _Optional[str] = ..., phase: _Optional[_Union[PodPhase, str]] = ..., address: _Optional[str] = ..., restarts: _Optional[int] = ..., generation: _Optional[int] = ..., stuck_calls: _Optional[int] = ..., guest_replacements: _Optional[_Mapping[str, int]] = ...) -> None: ...

class CreateModuleRequest(_message.Message):
    __slots__ = ("spec", "wait")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    spec: ModuleSpec
    wait: bool
    def __init__(self, spec: _Optional[_Union[ModuleSpec, _Mapping]] = ..., wait: _Optional[bool] = ...) -> None: ...

class CreateModuleResponse(_message.Message):
    __slots__ = ("module",)
    MODULE_FIELD_NUMBER: _ClassVar[int]
    module: Module
    def __init__(self, module: _Optional[_Union[Module, _Mapping]] = ...) -> None: ...

class GetModuleRequest(_message.Message):
    __slots__ = ("module_name", "ask_pods")
    MODULE_NAME_FIELD_NUMBER: _ClassVar[int]
    ASK_PODS_FIELD_NUMBER: _ClassVar[int]
    module_name: str
    ask_pods: bool
    def __init__(self, module_name: _Optional[str] = ..., ask_pods: _Optional[bool] = ...) -> None: ...

class GetModuleResponse(_message.Message):
    __slots__ = ("module",)
    MODULE_FIELD_NUMBER: _ClassVar[int]
    module: Module
    def __init__(self, module: _Optional[_Union[Module, _Mapping]] = ...) -> None: ...

class ListModulesRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListModulesResponse(_message.Message):
    __slots__ = ("modules", "next_page_token")
    MODULES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    modules: _containers.RepeatedCompositeFieldContainer[Module]
    next_page_token: str
    def __init__(self, modules: _Optional[_Iterable[_Union[Module, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class UpdateModuleRequest(_message.Message):
    __slots__ = ("spec", "update_mask", "wait")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    spec: ModuleSpec
    update_mask: _field_mask_pb2.FieldMask
    wait: bool
    def __init__(self, spec: _Optional[_Union[ModuleSpec, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., wait: _Optional[bool] = ...) -> None: ...

class UpdateModuleResponse(_message.Message):
    __slots__ = ("module",)
    MODULE_FIELD_NUMBER: _ClassVar[int]
    module: Module
    def __init__(self, module: _Optional[_Union[Module, _Mapping]] = ...) -> None: ...

class ScaleModuleRequest(_message.Message):
    __slots__ = ("module_name", "replicas", "wait")
    MODULE_NAME_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    module_name: str
    replicas: int
    wait: bool
    def __init__(self, module_name: _Optional[str] = ..., replicas: _Optional[int] = ..., wait: _Optional[bool] = ...) -> None: ...

class ScaleModuleResponse(_message.Message):
    __slots__ = ("module",)
    MODULE_FIELD_NUMBER: _ClassVar[int]
    module: Module
    def __init__(self, module: _Optional[_Union[Module, _Mapping]] = ...) -> None: ...

class DeleteModuleRequest(_message.Message):
    __slots__ = ("module_name",)
    MODULE_NAME_FIELD_NUMBER: _ClassVar[int]
    module_name: str
    def __init__(self, module_name: _Optional[str] = ...) -> None: ...

class DeleteModuleResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class UploadSourceRequest(_message.Message):
    __slots__ = ("file_name", "digest", "data", "left_out")
    class LeftOutEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    FILE_NAME_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    file_name: str
    digest: str
    data: bytes
    left_out: _containers.ScalarMap[str, str]
    def __init__(self, file_name: _Optional[str] = ..., digest: _Optional[str] = ..., data: _Optional[bytes] = ..., left_out: _Optional[_Mapping[str, str]] = ...) -> None: ...

class UploadSourceResponse(_message.Message):
    __slots__ = ("source", "size")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    source: UploadedSource
    size: int
    def __init__(self, source: _Optional[_Union[UploadedSource, _Mapping]] = ..., size: _Optional[int] = ...) -> None: ...

class WatchModulesRequest(_message.Message):
    __slots__ = ("module_name",)
    MODULE_NAME_FIELD_NUMBER: _ClassVar[int]
    module_name: str
    def __init__(self, module_name: _Optional[str] = ...) -> None: ...

class WatchModulesResponse(_message.Message):
    __slots__ = ("event", "module")
    EVENT_FIELD_NUMBER: _ClassVar[int]
    MODULE_FIELD_NUMBER: _ClassVar[int]
    event: WatchEvent
    module: Module
    def __init__(self, event: _Optional[_Union[WatchEvent, str]] = ..., module: _Optional[_Union[Module, _Mapping]] = ...) -> None: ...

class ReadLogsRequest(_message.Message):
    __slots__ = ("module_name", "follow", "tail")
    MODULE_NAME_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    TAIL_FIELD_NUMBER: _ClassVar[int]
    module_name: str
    follow: bool
    tail: int
    def __init__(self, module_name: _Optional[str] = ..., follow: _Optional[bool] = ..., tail: _Optional[int] = ...) -> None: ...

class ReadLogsResponse(_message.Message):
    __slots__ = ("time", "pod", "stream", "text", "call_id")
    TIME_FIELD_NUMBER: _ClassVar[int]
    POD_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    time: _timestamp_pb2.Timestamp
    pod: str
    stream: str
    text: str
    call_id: str
    def __init__(self, time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., pod: _Optional[str] = ..., stream: _Optional[str] = ..., text: _Optional[str] = ..., call_id: _Optional[str] = ...) -> None: ...

class PlanModuleRequest(_message.Message):
    __slots__ = ("spec",)
    SPEC_FIELD_NUMBER: _ClassVar[int]
    spec: ModuleSpec
    def __init__(self, spec: _Optional[_Union[ModuleSpec, _Mapping]] = ...) -> None: ...

class PlanModuleResponse(_message.Message):
    __slots__ = ("spec", "manifests")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    MANIFESTS_FIELD_NUMBER: _ClassVar[int]
    spec: ModuleSpec
    manifests: str
    def __init__(self, spec: _Optional[_Union[ModuleSpec, _Mapping]] = ..., manifests: _Optional[str] = ...) -> None: ...
