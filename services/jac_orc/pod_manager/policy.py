"""What an operator lets users have: no module that hands out the machine, unless it is allowed; any distribution."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import yaml

from jac_orc.core.config import ConfigurationError
from jac_orc.errors import error
from jac_orc.pod_manager.requirements import parse

# Standard-library modules whose functions run programs or code, reach memory, files, sockets or this very interpreter.
REFUSED = frozenset(
    """
    aifc antigravity asyncio atexit bdb builtins bz2 cgi cgitb code codecs codeop compileall concurrent cProfile
    ctypes dbm distutils doctest ensurepip faulthandler fcntl filecmp fileinput ftplib gc genericpath glob grp
    gzip http idlelib imaplib imp importlib inspect io lib2to3 linecache logging lzma mailbox marshal mmap
    modulefinder msvcrt multiprocessing netrc nis nntplib nt ntpath os pathlib pdb pickle pickletools pip pipes
    pkgutil poplib posix posixpath profile pstats pty pwd py_compile pyclbr pydoc readline resource rlcompleter
    runpy select selectors shelve shutil signal site smtpd smtplib socket socketserver spwd sqlite3 ssl subprocess
    sunau symtable sys sysconfig syslog tarfile telnetlib tempfile termios test threading timeit tkinter tokenize
    trace tracemalloc tty types unittest urllib uu venv wave webbrowser winreg wsgiref xmlrpc zipapp zipfile
    zipimport
    """.split()
)

_KEYS = ("allow", "refuse", "guess", "requirements")
_PATTERN = re.compile(r"[A-Za-z0-9._*?\[\]!-]+\Z")


@dataclass(frozen=True)
class Policy:
    """What users may have."""

    refused: frozenset[str] = REFUSED
    """The top-level module names that are refused."""
    guess: bool = True
    """Whether a module without `requirements` gets the distribution that is known to provide it."""
    allowed_requirements: tuple[str, ...] | None = None
    """Which distributions a spec may require, as normalised names or shell patterns; None: any. What these require
    themselves comes along unasked."""

    def check(self, module_name: str) -> None:
        """Raises OrcError for a module that is refused."""
        package = module_name.partition(".")[0]
        if package in self.refused:
            message = f"{package} hands out the machine and is refused; an operator can allow it in the policy file"
            raise error("MODULE_REFUSED", message, {"module": package})

    def check_requirements(self, requirements: Sequence[str]) -> None:
        """Raises OrcError for a requirement that isn't allowed. One with an address is judged by its name, too."""
        if self.allowed_requirements is None:
            return
        for requirement in requirements:
            try:
                name = parse(requirement).name
            except ValueError:
                name = ""  # no pattern matches it
            if not any(fnmatchcase(name, pattern) for pattern in self.allowed_requirements if name):
                shown = requirement[:100]
                message = f"{shown} may not be required; an operator can add it to `requirements` in the policy file"
                raise error("REQUIREMENT_REFUSED", message, {"requirement": shown})


def load(file: Path | None) -> Policy:
    """The policy of a YAML file, over the default: the lists `allow` and `refuse` of top-level module names, `guess`,
    true or false, and the list `requirements` of distributions.

    Raises ConfigurationError for a file that can't be read or isn't of that form.
    """
    if file is None:
        return Policy()
    try:
        document = yaml.safe_load(file.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as failure:
        raise ConfigurationError(f"the policy file {file} can't be read: {failure}") from failure
    document = {} if document is None else document
    if not isinstance(document, dict) or set(document) - set(_KEYS):
        keys = ", ".join(f"`{key}`" for key in _KEYS)
        raise ConfigurationError(
            f"the policy file {file} must have the keys {keys}, each of them optional, and no other"
        )
    try:
        return _policy(document)
    except ValueError as fault:
        raise ConfigurationError(f"the policy file {file}: {fault}") from None


def _policy(document: Mapping[str, object]) -> Policy:
    """Raises ValueError for a key with a value of the wrong kind."""
    allowed, refused = (
        [] if document.get(key) is None else _names(document[key], key, "module names") for key in ("allow", "refuse")
    )
    guess = document.get("guess", True)
    if not isinstance(guess, bool):
        raise ValueError("`guess` must be true or false")
    requirements = None
    if "requirements" in document:  # empty, it allows none
        names = _names(document["requirements"], "requirements", "distributions, without versions")
        requirements = tuple(re.sub(r"[-_.]+", "-", name).lower() for name in names)
        if not all(map(_PATTERN.match, requirements)):
            raise ValueError("`requirements` must be a list of distributions, without versions")
    return Policy((REFUSED - set(allowed)) | set(refused), guess, requirements)


def _names(entries: object, key: str, kind: str) -> list[str]:
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        raise ValueError(f"`{key}` must be a list of {kind}")
    return entries
