"""`jac-orc doctor`: finds what is wrong, in a cluster or on this machine."""

from __future__ import annotations

import dataclasses
import json

from jac_orc.cli import show
from jac_orc.cli.checks import State
from jac_orc.cli.failures import UsageError
from jac_orc.cli.options import Place
from jac_orc.cli.place import DEFAULT_URL, find


async def examine(place: Place, *, as_json: bool) -> bool:
    """Looks at everything and prints what it finds; returns whether there is no fault."""
    found = find(place, any_context=True)
    if isinstance(found, str):
        from jac_orc.cli import local_doctor

        subject = f"this machine, and {found}"
        checks = await local_doctor.examine(found, expected=bool(place.url) or found != DEFAULT_URL)
    else:
        try:
            from jac_orc.cli import cluster_doctor
        except ModuleNotFoundError as failure:
            text = f"looking at a cluster needs {failure.name}: pip install 'jac-cloud-orc[pod-manager]'"
            raise UsageError(text) from failure
        subject = f"context {found.context or '(the current one)'}, namespace {found.namespace}"
        checks = await cluster_doctor.examine(found)
    healthy = all(check.state is not State.FAULT for check in checks)
    if as_json:
        document = {"healthy": healthy, "subject": subject, "checks": [dataclasses.asdict(each) for each in checks]}
        show.say(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        show.say(f"{subject}\n")
        rows: list[tuple[str, str, str]] = []
        for check in checks:
            rows.append((check.name, check.state.value, check.found))
            if check.fix:
                rows.append(("", "", f"→ {check.fix}"))
        show.table(("CHECK", "STATE", "FOUND"), rows)
    return healthy
