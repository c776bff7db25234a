"""The pod manager: creates, scales and deletes modules, and tells Envoy where they are."""

from jac_orc.core.config import prepare_grpc

prepare_grpc()
