"""Requirements as the installer gets them.

A requirement comes from a spec, from a source, or from the installer's own answer, which a hostile index can influence.
It is parsed, and only text made from its parts is written to a file for the installer. So no line of such a file is an
option, a comment, a path or a variable.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from jac_orc.pod_manager.texts import plain_fault, shown

MAX_BYTES = 16 * 1024
"""The size of one requirement; some distributions have a hundred hashes."""
_ARCHIVE = re.compile(r"\.(?:whl|zip|egg|gz|bz2|xz|lz|lzma|zst|tar|t[gbxl]z)\Z", re.IGNORECASE)
_HASH = re.compile("sha(256|384|512):[0-9a-fA-F]{64,128}")
_URL = re.compile(
    r"(?P<git>git\+)?https://(?P<user>[^/?#@]*@)?(?:[A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?"
    r"(?P<path>/[A-Za-z0-9._~:@!$&()*+,;=%/-]*)?(?:\?[A-Za-z0-9._~:@!$&()*+,;=%/?-]*)?"
    r"(?:\#(?P<fragment>[A-Za-z0-9._~:@!$&()*+,;=%/?\[\]-]*))?"
)
_NAME = r"[a-z0-9]+(?:-[a-z0-9]+)*(?:\[[a-z0-9.,-]+\])?"
_BODY = r"(?=\Z| @ | ; | --|[<>=!~])(?:(?! --| #|\$\{)[ -~])*(?<![\\ ])"
_LINE = re.compile(rf"{_NAME}{_BODY}(?: --hash=[a-z0-9]+:[0-9a-fA-F]{{32,128}})*")
_QUOTE_IN_QUOTES = re.compile(r"""'[^'"]*"[^']*'""")


@dataclass(frozen=True)
class Parsed:
    """A requirement's parts."""

    name: str
    """The distribution's normalised name."""
    text: str
    """The whole requirement, in one form whatever it was written like, without its hashes."""
    url: str
    hashes: tuple[str, ...] = ()
    """The only hashes that are allowed; empty: any."""

    @property
    def is_wheel(self) -> bool:
        """Whether the URL is a wheel's, which needs no build."""
        return not self.url.startswith("git+") and urlsplit(self.url).path.endswith(".whl")


def parse(text: str, *, any_url: bool = False) -> Parsed:
    """Parse a PEP 508 requirement that hashes may follow, as in pip's files: `numpy==2.3.5 --hash=sha256:…`.

    Raises ValueError that says what is wrong with the requirement, its URL included unless `any_url` allows all.
    """
    if fault := plain_fault(text, MAX_BYTES):
        raise ValueError(f"{shown(text)} {fault}")
    pin, *hashes = (part.strip() for part in re.split(r" --hash[= ]", text))
    try:
        requirement = Requirement(pin)
    except InvalidRequirement as failure:
        raise ValueError(f"{shown(text)} is no PEP 508 requirement: {str(failure).splitlines()[0][:120]}") from None
    except RecursionError:
        raise ValueError(f"{shown(text)} is no PEP 508 requirement: it is nested too deep") from None
    parsed = Parsed(canonicalize_name(requirement.name), _canonical(requirement), requirement.url or "", tuple(hashes))
    if fault := _fault(pin, requirement, parsed) or ("" if any_url else url_fault(parsed.url)):
        raise ValueError(f"{shown(text)}: {fault}")
    return parsed


def requirement_fault(text: str) -> str:
    """Return what is wrong with a requirement; empty if nothing is."""
    try:
        parse(text)
    except ValueError as failure:
        return str(failure)
    return ""


def installer_file(lines: Iterable[str], own: str = "") -> str:
    """Return the text of a requirements file with these lines.

    Each is a requirement in its canonical form, followed by its hashes, or `own`, the address of the user's own source.
    Raises ValueError for a line that the installer might read as anything else, whatever was checked before.
    """
    checked = list(lines)
    for line in checked:
        if not (_LINE.fullmatch(line) or (own and line == own and re.fullmatch(r"file:///[!-~]+(?<!\\)", own))):
            raise ValueError(f"{shown(line)} is no line for the installer")
    return "".join(f"{line}\n" for line in checked)


def _canonical(requirement: Requirement) -> str:
    extras = f"[{','.join(sorted(map(canonicalize_name, requirement.extras)))}]" if requirement.extras else ""
    wanted = f" @ {requirement.url}" if requirement.url else str(requirement.specifier)
    marker = f" ; {requirement.marker}" if requirement.marker else ""
    return f"{canonicalize_name(requirement.name)}{extras}{wanted}{marker}"


def _fault(pin: str, requirement: Requirement, parsed: Parsed) -> str:
    if "${" in parsed.text:
        return "variables are not filled in"
    if _ARCHIVE.search(requirement.name):
        return "the name is that of a file, not of a distribution"
    if faulty := [each for each in parsed.hashes if not _HASH.fullmatch(each)]:
        return f"{shown(faulty[0], 80)} is no hash like sha256:0f1e…"
    if not _LINE.fullmatch(parsed.text) or _QUOTE_IN_QUOTES.search(pin):
        return "write the version and the marker without a quote in quotes, a # or -- after a space, or a \\ at the end"
    return ""


def url_fault(url: str) -> str:
    """Return what is wrong with a requirement's URL; empty if nothing is, or if there is none.

    Its host must be clear to any reader, it must not show a password, and it must stay within what it names.
    """
    if not url:
        return ""
    if not url.startswith(("https://", "git+https://")):
        return "only https URLs are allowed"
    match = _URL.fullmatch(url)
    if not match:
        return "give a URL like https://example.com/shop-1.0-py3-none-any.whl; percent-encode special characters"
    if match["user"]:
        return (
            "remove the user name and password, which anyone who sees the module would see; the operator configures "
            "them, in the file that NETRC names or by a credential helper of git"
        )
    if match["git"] and "@-" in (match["path"] or ""):
        return "what follows @ is no branch, tag or commit"
    folder = re.search(r"(?:^|&)subdirectory=([^&]*)", match["fragment"] or "")
    if folder and (unquote(folder[1]).startswith("/") or ".." in unquote(folder[1]).split("/")):
        return "its subdirectory leads out of the repository"
    return ""
