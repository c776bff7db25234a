"""Which call `create` suggests."""

from __future__ import annotations

import pytest

from jac_orc.cli.first_call import arguments
from jac_orc.v1 import module_pb2 as pb


def member(
    name: str, result: str, *parameters: tuple[str, str], kind: pb.MemberKind = pb.MEMBER_KIND_FUNCTION
) -> pb.Member:
    """A function with these parameters, by name and annotation."""
    by_name = pb.PARAMETER_KIND_POSITIONAL_OR_KEYWORD
    made = [pb.Parameter(name=name, type=annotation, kind=by_name) for name, annotation in parameters]
    return pb.Member(name=name, kind=kind, type=result, parameters=made)


@pytest.mark.parametrize(
    ("found", "given"),
    [
        (member("total", "float", ("prices", "list[float]")), {"prices": [1.5, 2.5]}),
        (member("greet", "str", ("name", "str"), ("times", "int")), {"name": "text", "times": 1}),
        (member("version", "str"), {}),
        (member("counts", "dict[str, int]"), {}),
        (member("fetch", "list[str]", kind=pb.MEMBER_KIND_COROUTINE), {}),
        # pandas has these.
        (member("api.extensions.register_dataframe_accessor", "Callable[[TypeT], TypeT]", ("name", "str")), None),
        (member("read_iceberg", "pandas.DataFrame", ("table_identifier", "str")), None),
        (member("reset_option", "None", ("pat", "str")), None),
        (member("get_option", "Any", ("pat", "str")), None),
        (member("read_html", "list[DataFrame]", ("io", "str")), None),
        # requests has this.
        (member("utils.address_in_network", "bool", ("ip", "str"), ("net", "str")), None),
        (member("Shop", "int", kind=pb.MEMBER_KIND_CLASS), None),
        (member("unknown", ""), None),
        # A module may put any text into its globals(); the suggestion is pasted into a shell.
        (member("x$(id)", "str"), None),
        (member("x;id", "str", ("name", "str")), None),
        (member("x\n", "str"), None),
        (member("", "str"), None),
        (member("many", "int", *((name, "int") for name in "abcd")), None),
    ],
    ids=lambda each: each.name if isinstance(each, pb.Member) else "",
)
def test_arguments_that_can_be_made_up(found: pb.Member, given: dict[str, object] | None) -> None:
    assert arguments(found) == given
