"""Which modules are refused because they hand out the machine, unless the operator allows them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from jac_orc.core.config import ConfigurationError
from jac_orc.errors import error

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


@dataclass(frozen=True)
class Policy:
    """The top-level module names that are refused."""

    refused: frozenset[str] = REFUSED

    def check(self, module_name: str) -> None:
        """Raises OrcError for a module that is refused."""
        package = module_name.partition(".")[0]
        if package in self.refused:
            message = f"{package} hands out the machine and is refused; an operator can allow it in the policy file"
            raise error("MODULE_REFUSED", message, {"module": package})


def load(file: Path | None) -> Policy:
    """The policy of a YAML file with the lists `allow` and `refuse` of top-level names, over the default.

    Raises ConfigurationError for a file that can't be read or isn't of that form.
    """
    if file is None:
        return Policy()
    try:
        document = yaml.safe_load(file.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as failure:
        raise ConfigurationError(f"the policy file {file} can't be read: {failure}") from failure
    document = {} if document is None else document
    if not isinstance(document, dict) or set(document) - {"allow", "refuse"}:
        raise ConfigurationError(f"the policy file {file} must have the lists `allow` and `refuse`, and nothing else")
    lists = {name: [] if document.get(name) is None else document[name] for name in ("allow", "refuse")}
    for name, entries in lists.items():
        if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
            raise ConfigurationError(f"the policy file {file}: `{name}` must be a list of module names")
    return Policy((REFUSED - set(lists["allow"])) | set(lists["refuse"]))
