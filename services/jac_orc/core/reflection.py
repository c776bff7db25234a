"""gRPC server reflection in both its versions, which differ in nothing but the package's name."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import ServiceDescriptor
from grpc_reflection.v1alpha import reflection, reflection_pb2

Request = reflection_pb2.ServerReflectionRequest
"""Its message, in both versions."""


def servicer(names: Sequence[str]) -> reflection.aio.ReflectionServicer:
    """Return what answers for both versions: that these services exist, and what they are.

    The v1 descriptor is made from v1alpha's. The messages keep their names, so that one servicer fits both.
    """
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(_reflection_v1_file(reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]))
    return reflection.aio.ReflectionServicer(names, pool)


def _reflection_v1_file(alpha: ServiceDescriptor) -> bytes:
    """The file descriptor of `grpc.reflection.v1`, which the Python package doesn't have."""
    file = descriptor_pb2.FileDescriptorProto()
    file.ParseFromString(alpha.file.serialized_pb)
    old, new = f".{file.package}.", ".grpc.reflection.v1."
    file.name, file.package = "grpc/reflection/v1/reflection.proto", "grpc.reflection.v1"
    for message in file.message_type:
        for field in filter(lambda field: field.type_name, message.field):
            field.type_name = field.type_name.replace(old, new)
    for method in file.service[0].method:
        method.input_type = method.input_type.replace(old, new)
        method.output_type = method.output_type.replace(old, new)
    return file.SerializeToString()
