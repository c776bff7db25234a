"""gRPC server reflection in both its versions, which differ in nothing but the package's name."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import ServiceDescriptor
from grpc_reflection.v1alpha import reflection, reflection_pb2


def reflecting(names: Sequence[str]) -> tuple[list[ServiceDescriptor], reflection.aio.ReflectionServicer]:
    """Return the services, and what answers for both: it tells these names and theirs.

    The v1 descriptor is made from v1alpha's. The messages keep their names, so that one servicer fits both.
    """
    alpha = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]
    pool = descriptor_pool.Default()
    v1 = pool.AddSerializedFile(_reflection_v1_file(alpha)).services_by_name["ServerReflection"]
    return [alpha, v1], reflection.aio.ReflectionServicer([*names, alpha.full_name, v1.full_name], pool)


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
