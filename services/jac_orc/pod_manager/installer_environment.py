"""What the installer gets of this process's environment, and what of it may show in the installer's output.

The installer hands its environment on to the build of a package, which is code of whoever wrote the package. So it gets
what installers and compilers need, and nothing else. Its output is shown to callers: values that look secret are
removed from it. That protects from accidents only. A hostile build can encode what it prints, or send it elsewhere;
the policy's `builds: false` is what keeps it from running.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from urllib.parse import unquote

from jac_orc.core import config
from jac_orc.pod_manager.texts import hidden

_BASIC = ("PATH", "HOME", "LANG", "LC_*", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
_INSTALLER = ("UV_*", "XDG_*", "SSL_CERT_*", "NETRC", "GIT_*", "*_PROXY", "*_proxy", "USER", "LOGNAME", "SHELL")
_BUILDS = (
    "CC", "CXX", "CPP", "AR", "AS", "LD", "NM", "RANLIB", "STRIP", "FC", "F77", "F90", "LIBS", "*FLAGS", "CPATH",
    "*_INCLUDE_PATH", "LIBRARY_PATH", "PKG_CONFIG*", "MAKE*", "CMAKE_*", "NINJA*", "MESON*", "SKBUILD_*",
    "SETUPTOOLS_*", "MAX_JOBS", "CARGO_*", "RUST*", "CUDA*", "NVCC*", "ROCM_*", "OPENBLAS*", "MKL*", "OMP_*",
    "JAVA_HOME", "SOURCE_DATE_EPOCH",
)  # fmt: skip
_SECRET = re.compile(
    r"(?:\A|_)(?:PASS|KEY|AUTH|TOKEN|CREDENTIALS?)(?:_|\Z)|PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN\Z|APIKEY"
)
_USER_INFO = re.compile(r"://([^/\s@]*)@")
_LEAST = 4
"""Characters of a secret: shorter ones are in too many words."""


@dataclass(frozen=True)
class Settings:
    """Each field is read from the environment variable of its name in capitals behind `INSTALLER_`."""

    variables: tuple[str, ...] = ()
    """Further variables that the installer gets, as names or shell patterns such as `AWS_*`."""


def environment() -> dict[str, str]:
    """Return the environment of the installer and of the builds that it runs."""
    further = config.load(Settings, prefix="INSTALLER_").variables
    return {
        name: value
        for name, value in config.environment().items()
        if _is_one(name, further)
        or (_is_one(name, (*_BASIC, *_INSTALLER, *_BUILDS)) and (name.startswith("UV_") or not _is_secret(name)))
    } | {"UV_PYTHON_DOWNLOADS": "never"}


def basic_environment() -> dict[str, str]:
    """Return what any program needs."""
    return {name: value for name, value in config.environment().items() if _is_one(name, _BASIC)}


class Redaction:
    """Removes this process's secrets from text; a call returns the text without them."""

    def __init__(self) -> None:
        found = {each for each in _secrets(config.environment()) if len(each) >= _LEAST}
        longest_first = sorted(found, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if found else None

    def __call__(self, text: str) -> str:
        if self._pattern is not None:
            text = self._pattern.sub("***", text)
        return hidden(text)


def _secrets(environment: Mapping[str, str]) -> Iterator[str]:
    for name, value in environment.items():
        if _is_secret(name):
            yield from (value, *value.splitlines())
        for user_info in _USER_INFO.findall(value):
            user, _, password = user_info.partition(":")
            yield from (user_info, password or user, unquote(password or user))
            yield base64.b64encode(unquote(user_info).encode()).decode()


def _is_one(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _is_secret(name: str) -> bool:
    is_git_setting = name.startswith("GIT_CONFIG_KEY_") or name == "GIT_SSL_KEY"  # a setting's name, a path
    return not is_git_setting and _SECRET.search(name.upper()) is not None
