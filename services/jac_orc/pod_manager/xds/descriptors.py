"""The descriptor set of Envoy's transcoder, computed from the generated Python modules."""

from __future__ import annotations

from functools import cache

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FileDescriptor
from google.rpc import error_details_pb2, status_pb2

from jac_orc.v1 import errors_pb2, module_pb2, rest_pb2

SERVICES = (
    module_pb2.DESCRIPTOR.services_by_name["ModuleService"].full_name,
    rest_pb2.DESCRIPTOR.services_by_name["PodManagerRestService"].full_name,
)

# The transcoder prints an error's details only if it knows the type of every one of them, and otherwise answers an
# empty body: the last three are here for that.
_ROOTS = (module_pb2, rest_pb2, errors_pb2, status_pb2, error_details_pb2)


@cache
def descriptor_set() -> bytes:
    """The serialized FileDescriptorSet: each file once, after the files it imports; the same bytes each time."""
    files: dict[str, FileDescriptor] = {}
    for root in _ROOTS:
        _collect(root.DESCRIPTOR, files)
    result = descriptor_pb2.FileDescriptorSet()
    for file in files.values():
        file.CopyToProto(result.file.add())
    return result.SerializeToString(deterministic=True)


def _collect(file: FileDescriptor, files: dict[str, FileDescriptor]) -> None:
    if file.name in files:
        return
    for dependency in file.dependencies:
        _collect(dependency, files)
    files[file.name] = file
