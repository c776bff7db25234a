"""Settings from the environment: the only place that reads it.

A service's settings are one frozen dataclass. Each field is read from the environment variable of its name in capitals
behind the class's prefix, so that `Settings.port` with no prefix is `PORT`.
"""

from __future__ import annotations

import os
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")

MODULE_ENV_PREFIX = "MODULE_ENV_"
"""Before the names of a module's own environment variables, in the environment of its server."""


class ConfigurationError(Exception):
    """A setting is missing or faulty; the message names the variable."""


def prepare_grpc() -> None:
    """Sets gRPC up for what runs here; called before it is imported. What the operator has set stays.

    Its fork handlers serve children that go on without exec, which there are none of here, and while calls are in
    flight they make a child that does exec fail now and then. Its event engine reads in threads of its own, each call
    being handed from one to the next: without it a server's poller reads itself, at a fifth less time a call.
    """
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener")


def grpc_server() -> str:
    """Return which gRPC server answers: GRPC_SERVER, `queue` or `aio`; empty: a trial call decides."""
    text = os.environ.get("GRPC_SERVER", "")
    if text not in {"", "queue", "aio"}:
        raise ConfigurationError(f"GRPC_SERVER={text!r}: expected queue or aio")
    return text


def keep_queue_server() -> None:
    """Save this process, and those that it starts, another trial call."""
    os.environ["GRPC_SERVER"] = "queue"


def environment() -> dict[str, str]:
    """A copy of this process's environment, for the processes that it starts."""
    return dict(os.environ)


def replace_environment(environment: Mapping[str, str]) -> None:
    """Makes this the process's environment."""
    os.environ.clear()
    os.environ.update(environment)


def spare_fd() -> int | None:
    """The socket over which this process, a spare one, is told what it shall be; None where it knows."""
    text = os.environ.get("SPARE_FD", "")
    return int(text) if text else None


def load(settings: type[T], environ: Mapping[str, str] | None = None, prefix: str = "") -> T:
    """The settings, from the environment; a variable that isn't there or is empty leaves the field's default.

    Raises ConfigurationError for a field without default that isn't there, and for a value of the wrong type.
    """
    import dataclasses  # noqa: PLC0415 - takes 7 ms, for which a module server's first guest would wait

    environ = os.environ if environ is None else environ
    hints = typing.get_type_hints(settings)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(settings):  # type: ignore[arg-type]
        variable = prefix + field.name.upper()
        text = environ.get(variable, "")
        if text:
            values[field.name] = _convert(variable, text, hints[field.name])
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigurationError(f"the environment variable {variable} is not set")
    return settings(**values)


def _convert(variable: str, text: str, hint: Any) -> Any:
    kinds = typing.get_args(hint) if type(None) in typing.get_args(hint) else (hint,)
    kind = next(k for k in kinds if k is not type(None))
    if kind is bool:
        if text.lower() not in {"true", "false", "1", "0", "yes", "no"}:
            raise ConfigurationError(f"{variable}={text!r}: expected true or false")
        return text.lower() in {"true", "1", "yes"}
    if typing.get_origin(kind) is typing.Literal:
        if text not in typing.get_args(kind):
            raise ConfigurationError(f"{variable}={text!r}: expected {' or '.join(typing.get_args(kind))}")
        return text
    if typing.get_origin(kind) is tuple:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    try:
        return kind(text)
    except ValueError:
        raise ConfigurationError(f"{variable}={text!r}: expected {kind.__name__}") from None
