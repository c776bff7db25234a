"""The call that `create` suggests once a module is ready: one that works as it is, and makes sense."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import shlex

from jac_orc.cli.failures import CallError
from jac_orc.cli.forward import ways_in
from jac_orc.cli.place import DEFAULT_URL, Address
from jac_orc.cli.remote import Remote
from jac_orc.errors import OrcError
from jac_orc.guest.host_access import HostAccess
from jac_orc.v1 import module_pb2
from jac_orc.v1 import pod_manager_pb2 as pb

_DESCRIBE_SECONDS = 3.0
_PROBE_SECONDS = 2.0
_MOST_PARAMETERS = 3
# Modules whose functions have no annotations, or none that tells a good argument.
_KNOWN: dict[str, tuple[str, dict[str, object]]] = {
    "json": ("dumps", {"obj": {"a": 1}}),
    "math": ("sqrt", {"x": 16}),
    "numpy": ("mean", {"a": [16, 20, 24]}),
    "pandas": ("to_numeric", {"arg": "1.5"}),
    "random": ("randint", {"a": 1, "b": 6}),
    "statistics": ("mean", {"data": [1, 2, 6]}),
    "textwrap": ("shorten", {"text": "a text that is too long", "width": 12}),
}
# A value for an annotated parameter, to show what a call looks like.
_SAMPLES = {
    "int": 1,
    "float": 1.5,
    "str": "text",
    "bool": True,
    "list": [1, 2, 3],
    "list[int]": [1, 2, 3],
    "list[float]": [1.5, 2.5],
    "list[str]": ["one", "two"],
    "dict": {},
}
_JSON_RESULT = re.compile(r"(int|float|str|bool|list|dict)(\[(str, ?)?(int|float|str|bool|Any)\])?")


async def first_call(remote: Remote, module: pb.Module) -> str:
    """Return a shell command: a call of a function whose arguments can be made up, else one that describes them all."""
    name, curl = module.name, await _curl(remote, module)
    key = ' -H "x-api-key: $JAC_ORC_API_KEY"' if remote.address.api_key else ""
    # Nobody should start a process or change a file by trying a suggestion.
    call = None if HostAccess().of(name) else _KNOWN.get(name) or await _described(remote, name)
    if call is None:
        return f"{curl}/v1/modules/{name}:describe{key}"
    function, arguments = call
    body = shlex.quote(json.dumps(arguments))
    return f"{curl}/modules/{name}/{shlex.quote(function)}{key} -H 'Content-Type: application/json' -d {body}"


async def _curl(remote: Remote, module: pb.Module) -> str:
    """Return the beginning of a command of curl that reaches the gateway from the user's shell.

    A cluster's gateway may have a node port or a load balancer. The module's uid shows whether its address leads to
    this very cluster; the API key is not sent to find out.
    """
    cluster = remote.address.cluster
    if cluster is None:
        return f"curl {remote.address.url}"
    request = pb.GetModuleRequest(module_name=module.name)
    for url in await ways_in(cluster):
        with contextlib.suppress(OrcError, CallError):
            async with Remote(dataclasses.replace(Address.of(url), api_key="")) as direct:
                found = await direct.call(direct.modules.GetModule, request, _PROBE_SECONDS)
            if found.module.uid == module.uid:
                return f"curl {url}"
    return f"{cluster.by_hand} &\n  curl {DEFAULT_URL}"


async def _described(remote: Remote, name: str) -> tuple[str, dict[str, object]] | None:
    """Return a function of the module, with arguments by name; None if it has none that is simple enough."""
    with contextlib.suppress(OrcError, CallError):
        request = module_pb2.DescribeRequest(module_name=name)
        described = await remote.call(remote.calls.Describe, request, _DESCRIBE_SECONDS)
        calls = ((member.name, arguments(member)) for member in described.members)
        simple = [(function, given) for function, given in calls if given is not None]
        # Numbers before texts, as many a text has a form of its own, and something before nothing.
        simple.sort(key=lambda call: ("text" in call[1].values(), not call[1], len(call[1])))
        return simple[0] if simple else None
    return None


def arguments(member: module_pb2.Member) -> dict[str, object] | None:
    """Return arguments by name; None if some can't be made up, or the function's result isn't known to be JSON."""
    if member.kind not in (module_pb2.MEMBER_KIND_FUNCTION, module_pb2.MEMBER_KIND_COROUTINE):
        return None
    if not member.name.isidentifier() or not _JSON_RESULT.fullmatch(member.type):
        return None
    by_name = (module_pb2.PARAMETER_KIND_POSITIONAL_OR_KEYWORD, module_pb2.PARAMETER_KIND_KEYWORD_ONLY)
    variable = (module_pb2.PARAMETER_KIND_VAR_POSITIONAL, module_pb2.PARAMETER_KIND_VAR_KEYWORD)
    needed = [one for one in member.parameters if not one.optional and one.kind not in variable]
    if len(needed) > _MOST_PARAMETERS or any(one.kind not in by_name or one.type not in _SAMPLES for one in needed):
        return None
    return {one.name: _SAMPLES[one.type] for one in needed}
