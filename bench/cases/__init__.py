"""What is measured, a case each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.cases import cold, documents, machine, memory, python_client, stages, streams, throughput
from bench.results import Run


@dataclass(frozen=True)
class Case:
    """A case and the heading of its table."""

    title: str
    run: Callable[[Run], None]


CASES = {
    "rest": Case("REST through Envoy", throughput.rest),
    "grpc": Case("gRPC to the module server", throughput.grpc),
    "stages": Case("Processor time a call", stages.run),
    "calls": Case("Calls with the Python client", python_client.calls),
    "arrays": Case("Arrays with the Python client", python_client.arrays),
    "stream": Case("Generators", streams.run),
    "json": Case("Long lists as JSON", documents.run),
    "cold": Case("From nothing to the first answer", cold.run),
    "machine": Case("One machine", machine.run),
    "memory": Case("Memory left behind", memory.run),
}
