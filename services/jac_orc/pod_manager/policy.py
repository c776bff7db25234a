"""The operator's policy: what users may deploy, and which modules a call may deploy by itself."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from packaging.utils import canonicalize_name

from jac_orc.core.config import ConfigurationError
from jac_orc.errors import OrcError, error
from jac_orc.guest.host_access import HostAccess
from jac_orc.pod_manager.images import canonical_pattern, spellings
from jac_orc.pod_manager.model import ModuleSpec
from jac_orc.pod_manager.requirements import parse

_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*\Z", re.ASCII)
_REQUIREMENT = re.compile(r"[A-Za-z0-9._*?\[\]!-]+\Z")
_SECRET = re.compile(r"[a-z0-9.*?\[\]!-]+\Z")
_NAME = re.compile(r"[A-Za-z0-9./_*?\[\]!-]+\Z")
_IMAGE = re.compile(r"[A-Za-z0-9.:/@_*?\[\]!-]+\Z")


@dataclass(frozen=True)
class Policy:
    """What users may deploy. Of the lists that may be None, None allows anything and an empty list nothing."""

    allowed: tuple[str, ...] = ()
    """Modules that a call may deploy although they give access to the host, with what is below them."""
    refused: tuple[str, ...] = ()
    """Modules that nobody may deploy, with what is below them; stronger than `allowed`."""
    guess: bool = True
    """Whether a module without `requirements` gets the distribution that is known to provide it."""
    allowed_requirements: tuple[str, ...] | None = None
    """Distributions that a spec may require, as normalised names or shell patterns. Their own dependencies are free."""
    secrets: tuple[str, ...] | None = None
    """Secrets that a spec may name, as shell patterns."""
    images: tuple[str, ...] | None = None
    """Images that a spec may name, as shell patterns in their canonical form (`images.canonical_pattern`)."""
    service_accounts: tuple[str, ...] = ()
    """ServiceAccounts that a spec may name, as shell patterns: an account is what others have granted to it."""
    priority_classes: tuple[str, ...] | None = None
    """PriorityClasses that a spec may name, as shell patterns."""
    labels: tuple[str, ...] | None = None
    """Labels that a spec may set, as shell patterns of their names. Reserved names are always refused."""
    annotations: tuple[str, ...] | None = None
    """Annotations that a spec may set, as shell patterns of their names. Reserved names are always refused."""
    builds: bool = True
    """Whether the installer may build packages, which runs code of theirs; otherwise it installs wheels only."""

    @cached_property
    def _host(self) -> HostAccess:
        return HostAccess(self.allowed, self.refused)

    @property
    def environment(self) -> dict[str, str]:
        """The variables that tell a module server which names its module must not lead to."""
        return {"ALLOWED_MODULES": ",".join(self.allowed), "REFUSED_MODULES": ",".join(self.refused)}

    def check(self, spec: ModuleSpec) -> None:
        """Raise OrcError (PERMISSION_DENIED) if anything in the spec is not allowed, on create, update or plan."""
        if entry := self._host.refusing(spec.module_name):
            text = f"the operator's policy refuses the module {spec.module_name} (`refuse` has {entry})"
            raise error("MODULE_REFUSED", text, {"module": spec.module_name})
        self.check_requirements(spec.requirements)
        self.check_constraints(spec.constraints)
        named: dict[str, Iterable[str]] = {
            "secrets": spec.secrets, "images": [spec.image], "labels": spec.labels, "annotations": spec.annotations,
            "service_accounts": [spec.service_account], "priority_classes": [spec.priority_class],
        }  # fmt: skip
        for key, values in named.items():
            for value in filter(None, values):
                if not _matches(spellings(value) if key == "images" else [value], getattr(self, key)):
                    raise _not_allowed(key, value)

    def check_call(self, module_name: str) -> None:
        """Raise OrcError if a call may not deploy the module, since it gives access to the host."""
        if access := self._host.of(module_name):
            text = f"{module_name} gives access to the host ({access}), so a call does not deploy it; create it first: "
            text += f"jac-orc create {module_name}, or POST /create_pod/{module_name}"
            raise error("MODULE_REFUSED", text, {"module": module_name, "access": access})

    def check_requirements(self, requirements: Sequence[str]) -> None:
        """Raise OrcError for a requirement that is not allowed. One with an address is judged by its name, too."""
        for requirement in requirements:
            try:
                parsed = [parse(requirement)]
            except ValueError:
                parsed = []  # no pattern matches it
            if not self.builds and any(each.url and not each.is_wheel for each in parsed):
                raise self.build_refused(requirement, "give the URL of a wheel")
            if not _matches([each.name for each in parsed], self.allowed_requirements):
                shown = requirement[:100]
                message = f"{shown} may not be required; an operator can add it to `requirements` in the policy file"
                raise error("REQUIREMENT_REFUSED", message, {"requirement": shown})

    def check_constraints(self, constraints: Sequence[str]) -> None:
        """Raise OrcError for a constraint with an address that could not be required: it chooses what is installed."""
        self.check_requirements([each for each in constraints if "@" in each])

    def build_refused(self, what: str, advice: str) -> OrcError:
        """Return the error that reports what would have to be built, while `builds` is false."""
        message = f"{what[:100]} has to be built, and the policy allows no builds (`builds: false`); {advice}"
        return error("REQUIREMENT_REFUSED", message, {"requirement": what[:100]})


def _matches(spellings: Iterable[str], patterns: Sequence[str] | None) -> bool:
    """Whether one of a value's spellings matches one of the patterns."""
    return patterns is None or any(fnmatchcase(each, pattern) for each in spellings for pattern in patterns)


def _not_allowed(key: str, value: str) -> OrcError:
    shown = value[:200]
    text = f"the operator's policy does not allow {shown!r} in `{key}`; an operator can add it in the policy file"
    return error("POLICY_REFUSED", text, {"key": key, "value": shown})


def fingerprint(environment: Mapping[str, str]) -> str:
    """Return a text that differs for each `Policy.environment`; empty by default."""
    return json.dumps(dict(environment), sort_keys=True) if any(environment.values()) else ""


def load(file: Path | None) -> Policy:
    """Return the policy of a YAML file; without a file, the default.

    Raises ConfigurationError, which names the file, the key and its form, for a file that cannot be read or is not of
    that form.
    """
    if file is None:
        return Policy()
    try:
        document = yaml.load(file.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - a SafeLoader
        return _policy({} if document is None else document)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as failure:
        raise ConfigurationError(f"the policy file {file} can't be read: {failure}") from failure
    except ValueError as fault:
        raise ConfigurationError(f"the policy file {file}: {fault}") from None


class _Loader(yaml.SafeLoader):
    """Refuses a key that appears twice, of which YAML's own loader silently takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if twice := next((key for index, key in enumerate(keys) if key in keys[:index]), None):
            raise ValueError(f"the key `{twice}` appears twice")
        return super().construct_mapping(node, deep)


@dataclass(frozen=True)
class _List:
    """A key of the policy file whose value is a list."""

    key: str
    field: str
    """The field of the policy that has it."""
    form: str
    entry: re.Pattern[str]
    canonical: Callable[[str], str] = str
    """Return an entry as the policy has it."""

    def read(self, value: object) -> tuple[str, ...]:
        """Return the entries. Raises ValueError for a value of another form."""
        if not isinstance(value, list):
            raise ValueError(f"`{self.key}` must be a list of {self.form}")
        for each in value:
            if not isinstance(each, str) or not self.entry.match(each):
                raise ValueError(f"`{self.key}` must be a list of {self.form}; {str(each)[:100]!r} is none")
        return tuple(map(self.canonical, value))


_LISTS = (
    _List("allow", "allowed", "module names", _MODULE),
    _List("refuse", "refused", "module names", _MODULE),
    _List("requirements", "allowed_requirements", "distributions, without versions", _REQUIREMENT, canonicalize_name),
    _List("secrets", "secrets", "names of Secrets, or patterns of them", _SECRET),
    _List("images", "images", "images, or patterns of them", _IMAGE, canonical_pattern),
    _List("service_accounts", "service_accounts", "names of ServiceAccounts, or patterns of them", _SECRET),
    _List("priority_classes", "priority_classes", "names of PriorityClasses, or patterns of them", _SECRET),
    _List("labels", "labels", "names of labels, or patterns of them", _NAME),
    _List("annotations", "annotations", "names of annotations, or patterns of them", _NAME),
)
_FLAGS = ("guess", "builds")
KEYS = (*_FLAGS, *(each.key for each in _LISTS))
"""All keys of a policy file."""


def _policy(document: object) -> Policy:
    """Raises ValueError for what is no policy."""
    if not isinstance(document, dict):
        raise ValueError(f"must have keys and values, as in `guess: false`; known keys: {', '.join(KEYS)}")
    if unknown := [str(key)[:100] for key in document if key not in KEYS]:
        raise ValueError(f"unknown key `{unknown[0]}`; known keys: {', '.join(KEYS)}")
    flags = {key: document[key] for key in _FLAGS if key in document}
    if faulty := [key for key, value in flags.items() if not isinstance(value, bool)]:
        raise ValueError(f"`{faulty[0]}` must be true or false")
    fields: dict[str, Any] = {each.field: each.read(document[each.key]) for each in _LISTS if each.key in document}
    return Policy(**flags, **fields)
