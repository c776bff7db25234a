"""What the user's own source requires is judged as a spec's requirements are. The installer is the real one."""

from __future__ import annotations

import io
import json
import socket
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from jac_orc.errors import OrcError
from jac_orc.pod_manager import installer_environment
from jac_orc.pod_manager.locks import Locks
from jac_orc.pod_manager.model import Lock, ModuleSpec
from jac_orc.pod_manager.policy import Policy
from jac_orc.pod_manager.sources import SourceRef, Sources

BACKEND = """
import os
def prepare_metadata_for_build_wheel(directory, config_settings=None):
    os.mkdir(os.path.join(directory, "shop-1.dist-info"))
    with open(os.path.join(directory, "shop-1.dist-info", "METADATA"), "w") as file:
        file.write(open("metadata").read())
    return "shop-1.dist-info"
def build_wheel(*arguments): raise NotImplementedError
def build_sdist(*arguments): raise NotImplementedError
"""
SYSTEM = "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n"


@pytest.fixture(autouse=True)
def leftovers(no_child_left: None, no_task_left: None) -> None:
    """No test leaves anything behind."""


@pytest.fixture(autouse=True)
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All that there is to install: `liked`, which requires `needed`, and `other`; and a newer `liked` elsewhere."""
    for folder, name, version, more in (
        ("index", "liked", "1", "Requires-Dist: needed\n"), ("index", "needed", "1", ""), ("index", "needed", "2", ""),
        ("index", "other", "1", ""), ("elsewhere", "liked", "9", ""),
    ):  # fmt: skip
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / f"{name}-{version}-py3-none-any.whl").write_bytes(wheel(name, version, more))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    configure(tmp_path, tmp_path / "index")
    return tmp_path / "index"


def configure(root: Path, found: Path) -> None:
    """The operator's own settings of the installer."""
    (root / "uv").mkdir(exist_ok=True)
    (root / "uv" / "uv.toml").write_text(f"no-index = true\nfind-links = ['{found}']\n")


def metadata(name: str, version: str, more: str) -> str:
    return f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{more}"


def wheel(name: str, version: str, more: str) -> bytes:
    data, info = io.BytesIO(), f"{name}-{version}.dist-info"
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr(f"{info}/METADATA", metadata(name, version, more))
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return data.getvalue()


def sdist(files: dict[str, str]) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"shop-1/{name}")
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    return data.getvalue()


def built(requirements: list[str]) -> dict[str, str]:
    """A project whose own code says what it requires."""
    lines = "".join(f"Requires-Dist: {each}\n" for each in requirements)
    project = f"{SYSTEM}[project]\nname = 'shop'\nversion = '1'\ndynamic = ['dependencies']\n"
    return {"backend.py": BACKEND, "metadata": metadata("shop", "1", lines), "pyproject.toml": project}


def folder(sources: Sources, files: dict[str, str]) -> SourceRef:
    return sources.add_files({name: text.encode() for name, text in files.items()})


def project(sources: Sources, requirements: list[str]) -> SourceRef:
    return folder(
        sources, {"pyproject.toml": f"[project]\nname = 'shop'\nversion = '1'\ndependencies = {requirements}"}
    )


def own_extra(sources: Sources, requirements: list[str]) -> SourceRef:
    text = (
        f"[project]\nname = 'shop'\nversion = '1'\ndependencies = ['shop[x]']\noptional-dependencies.x = {requirements}"
    )
    return folder(sources, {"pyproject.toml": text})


def requirements_txt(sources: Sources, requirements: list[str]) -> SourceRef:
    return folder(sources, {"requirements.txt": "\n".join(requirements)})


def computing(sources: Sources, requirements: list[str]) -> SourceRef:
    return folder(sources, built(requirements))


def own_wheel(sources: Sources, requirements: list[str]) -> SourceRef:
    data = wheel("shop", "1", "".join(f"Requires-Dist: {each}\n" for each in requirements))
    return sources.add("shop-1-py3-none-any.whl", data)


def own_sdist(sources: Sources, requirements: list[str]) -> SourceRef:
    files = built(requirements)
    return sources.add("shop-1.tar.gz", sdist({**files, "PKG-INFO": metadata("shop", "1", "")}))


Source = Callable[[Sources, list[str]], SourceRef]
FORMS = [requirements_txt, project, own_extra, computing, own_wheel, own_sdist]
COMPUTED = [own_extra, computing, own_wheel, own_sdist]


class Resolving:
    """Locks below one directory, under one policy."""

    def __init__(self, root: Path, *allowed: str, builds: bool = True) -> None:
        self.sources = Sources(root / "sources")
        self.lines = list[str]()
        policy = Policy(allowed_requirements=allowed or None, builds=builds)
        self._locks = Locks(root / "locks", self.sources, policy)

    async def lock(self, source: SourceRef | None, *requirements: str) -> Lock:
        return await self._locks.resolve(ModuleSpec("shop", requirements, source=source), self.lines.append)

    async def known(self, source: SourceRef) -> Lock | None:
        return await self._locks.known(ModuleSpec("shop", source=source))

    async def failure(self, source: SourceRef | None, *requirements: str) -> OrcError:
        with pytest.raises(OrcError) as caught:
            await self.lock(source, *requirements)
        return caught.value


def names(lock: Lock) -> list[str]:
    """What is installed beside the source itself."""
    return [pin for pin in lock.packages if not pin.startswith("shop @ ")]


@pytest.mark.parametrize("form", FORMS)
async def test_what_a_source_requires_is_judged_by_the_policy(tmp_path: Path, form: Source) -> None:
    strict = Resolving(tmp_path, "liked")
    lock = await strict.lock(form(strict.sources, ["liked"]))
    assert names(lock) == ["liked==1", "needed==2"], "what it requires itself comes along unasked"
    assert lock.text.count("--hash=sha256:") == len(lock.packages) and "#" not in lock.text
    for refused in (["liked", "other"], ["needed", "liked"], ["Other"]):
        failure = await strict.failure(form(strict.sources, refused))
        assert failure.reason == "REQUIREMENT_REFUSED", failure.message
        assert "may not be required" in failure.message
    nothing = Resolving(tmp_path, "nothing")
    assert names(await nothing.lock(form(nothing.sources, []))) == []


@pytest.mark.parametrize("form", FORMS)
async def test_without_a_list_a_source_may_require_anything(tmp_path: Path, form: Source) -> None:
    free = Resolving(tmp_path)
    assert names(await free.lock(form(free.sources, ["other", "liked"]))) == ["liked==1", "needed==2", "other==1"]


@pytest.mark.parametrize("form", FORMS)
async def test_what_is_kept_is_judged_anew(tmp_path: Path, index: Path, form: Source) -> None:
    """As after a restart with another policy; the versions stay."""
    free = Resolving(tmp_path)
    source = form(free.sources, ["liked"])
    lock = await free.lock(source)
    (index / "needed-3-py3-none-any.whl").write_bytes(wheel("needed", "3", ""))
    assert (await Resolving(tmp_path, "other").failure(source)).reason == "REQUIREMENT_REFUSED"
    assert await Resolving(tmp_path, "liked").lock(source) == lock


async def test_a_folder_shares_its_environment_with_equal_requirements(tmp_path: Path) -> None:
    free = Resolving(tmp_path / "oddly named, ä ~${HOME}[x]%20")
    forms: list[Source] = [requirements_txt, project, own_extra, computing]
    locks = [await free.lock(form(free.sources, ["liked"])) for form in forms]
    assert len({lock.digest for lock in locks}) == 1 and locks[0].packages == ["liked==1", "needed==2"]


@pytest.mark.parametrize("form", FORMS)
async def test_a_source_requires_no_path_of_this_machine(tmp_path: Path, form: Source) -> None:
    free = Resolving(tmp_path)
    elsewhere = (tmp_path / "elsewhere" / "liked-9-py3-none-any.whl").as_uri()
    failure = await free.failure(form(free.sources, [f"liked @ {elsewhere}"]))
    assert failure.reason == "SOURCE_INVALID", failure.message
    assert "only https URLs are allowed" in failure.message


@pytest.mark.parametrize("builds", [True, False])
async def test_the_installer_follows_no_address_in_a_wheel_that_is_refused(tmp_path: Path, *, builds: bool) -> None:
    (tmp_path / "host").mkdir()
    (tmp_path / "host" / "setup.py").write_text(f"open({str(tmp_path / 'run')!r}, 'w')")
    free = Resolving(tmp_path, builds=builds)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        http = f"http://127.0.0.1:{listener.getsockname()[1]}/liked-9-py3-none-any.whl"
        for address in (http, f"git+{http}", f"git+{(tmp_path / 'host').as_uri()}", (tmp_path / "host").as_uri()):
            failure = await free.failure(own_wheel(free.sources, ["other", f"liked @ {address}"]))
            assert failure.reason == "SOURCE_INVALID" and "METADATA" in failure.message, failure.message
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert not (tmp_path / "run").exists() and free.lines == []


async def test_a_wheels_extras_and_other_pythons_are_not_judged(tmp_path: Path) -> None:
    strict = Resolving(tmp_path, "liked")
    left_out = ["other ; extra == 'dev'", "other @ file:///x ; extra == 'dev'", "other ; python_version < '3'"]
    assert names(await strict.lock(own_wheel(strict.sources, ["liked", *left_out]))) == ["liked==1", "needed==2"]


def choosing(root: Path) -> dict[str, str]:
    """What would send the installer elsewhere if it heeded it."""
    path = root / "elsewhere" / "liked-9-py3-none-any.whl"
    index = f"[tool.uv]\nfind-links = ['{path.parent}']\n"
    return {"sources": f"[tool.uv.sources]\nliked = {{path = '{path}'}}\n", "index": index}


@pytest.mark.parametrize("what", ["sources", "index"])
@pytest.mark.parametrize("form", [project, own_extra, computing])
async def test_a_folder_chooses_no_place_by_settings_of_the_installer(tmp_path: Path, form: Source, what: str) -> None:
    free = Resolving(tmp_path)
    tree = free.sources.folder(form(free.sources, ["liked"]))
    files = {file.name: file.read_text() for file in tree.iterdir()}
    files["pyproject.toml"] += "\n" + choosing(tmp_path)[what]
    failure = await free.failure(folder(free.sources, files))
    assert failure.reason == "SOURCE_INVALID" and "operator" in failure.message


@pytest.mark.parametrize("what", ["sources", "index"])
async def test_in_an_archive_they_have_no_effect(tmp_path: Path, what: str) -> None:
    free, chosen, pkg_info = Resolving(tmp_path), choosing(tmp_path)[what], metadata("shop", "1", "")
    named = f"[project]\nname = 'shop'\nversion = '1'\ndependencies = ['liked']\n{chosen}"
    computed = built(["liked"])
    for files in (
        {"pyproject.toml": named, "PKG-INFO": pkg_info},
        {**computed, "pyproject.toml": computed["pyproject.toml"] + chosen, "PKG-INFO": pkg_info},
    ):
        files["uv.toml"] = f"find-links = ['{tmp_path / 'elsewhere'}']\n"
        source = free.sources.add("shop-1.tar.gz", sdist(files))
        assert names(await free.lock(source)) == ["liked==1", "needed==2"]


@pytest.mark.parametrize("form", FORMS)
async def test_the_operators_own_settings_count(tmp_path: Path, form: Source) -> None:
    configure(tmp_path, tmp_path / "elsewhere")
    free = Resolving(tmp_path)
    assert names(await free.lock(form(free.sources, ["liked"]))) == ["liked==9"]


async def test_constraints_and_overrides_of_a_project_hold(tmp_path: Path) -> None:
    free = Resolving(tmp_path)
    text = "[project]\nname = 'shop'\nversion = '1'\ndependencies = ['liked']\n[tool.uv]\n"
    for line in ("constraint-dependencies = ['needed<2']", "override-dependencies = ['needed==1']"):
        lock = await free.lock(folder(free.sources, {"pyproject.toml": text + line}))
        assert lock.packages == ["liked==1", "needed==1"]
    overriding = folder(free.sources, {"pyproject.toml": f"{text}override-dependencies = ['needed==1']"})
    assert (await Resolving(tmp_path, "liked").failure(overriding)).reason == "REQUIREMENT_REFUSED"


async def test_hashes_in_a_requirements_file_are_the_only_ones(tmp_path: Path) -> None:
    free = Resolving(tmp_path)
    lock = await free.lock(requirements_txt(free.sources, [f"other==1 \\\n --hash=sha256:{'0' * 64}"]))
    assert lock.text == f"other==1 \\\n    --hash=sha256:{'0' * 64}\n"


@pytest.mark.parametrize("form", COMPUTED[1:])
async def test_another_python_that_code_asks_for_is_told(tmp_path: Path, form: Source) -> None:
    free = Resolving(tmp_path)
    failure = await free.failure(form(free.sources, ["liked\nRequires-Python: >=3.99"]))
    assert failure.reason == "ENVIRONMENT_FAILED" and "Python>=3.99" in failure.message


async def test_a_source_requires_so_much_and_no_more_whoever_says_so(tmp_path: Path, index: Path) -> None:
    many = [f"m{number}" for number in range(1001)]
    for name in many:
        (index / f"{name}-1-py3-none-any.whl").write_bytes(wheel(name, "1", ""))
    free = Resolving(tmp_path)
    for form in FORMS:
        failure = await free.failure(form(free.sources, many))
        assert failure.reason == "SOURCE_INVALID" and "of at most 1,000" in failure.message


async def test_a_source_may_require_its_own_extras(tmp_path: Path) -> None:
    free, files = Resolving(tmp_path), built(["liked; extra == 'dev'\nProvides-Extra: dev"])
    files["pyproject.toml"] = files["pyproject.toml"].replace("'dependencies'", "'optional-dependencies'")
    assert names(await free.lock(folder(free.sources, {**files, "requirements.txt": "-e .\nother"}))) == ["other==1"]
    source = folder(free.sources, {**files, "requirements.txt": "-e .[dev]\nother"})
    assert (await free.lock(source)).packages == ["liked==1", "needed==2", "other==1"]
    assert (await Resolving(tmp_path, "other").failure(source)).reason == "REQUIREMENT_REFUSED"


async def test_without_builds_no_code_of_a_package_runs(tmp_path: Path, index: Path) -> None:
    ran = tmp_path / "ran"
    strict, free, files = Resolving(tmp_path, builds=False), Resolving(tmp_path / "free"), built(["liked"])
    files["backend.py"] = f"open({str(ran)!r}, 'w').close()\n{BACKEND}"
    for source in (folder(strict.sources, files), own_sdist(strict.sources, ["liked"])):
        failure = await strict.failure(source)
        assert (failure.reason, ran.exists()) == ("REQUIREMENT_REFUSED", False)
        assert "`builds: false`" in failure.message and "upload a wheel" in failure.message
    (index / "shop-1.tar.gz").write_bytes(sdist({**files, "PKG-INFO": metadata("shop", "1", "")}))
    failure = await strict.failure(None, "shop")
    assert (failure.reason, ran.exists()) == ("ENVIRONMENT_FAILED", False)
    assert "`builds: false`" in failure.message and "require versions that have wheels" in failure.message
    for form in (project, requirements_txt, own_wheel):
        assert names(await strict.lock(form(strict.sources, ["liked"]))) == ["liked==1", "needed==2"]
    assert (await free.lock(None, "shop")).packages == ["liked==1", "needed==2", "shop==1"] and ran.exists()


def printing(more: str) -> dict[str, str]:
    """A project whose build prints its environment, then fails."""
    files = built([])
    files["backend.py"] = f"import os\nfor item in os.environ.items(): print(*item)\n{more}\nraise SystemExit(1)\n"
    return files


SECRETS = {
    "UV_INDEX_OURS_PASSWORD": "in-a-variable", "UV_PUBLISH_TOKEN": "a-token",
    "HTTPS_PROXY": "http://user:in-a-proxy@p.invalid", "UV_INDEX": "ours=https://user:in-an-index@a.invalid",
    "UV_EXTRA_INDEX_URL": "https://token-of-a-user@a.invalid/x https://user:in%20a%20url@a.invalid/y",
    "OURS_API_KEY": "of-a-service", "AWS_SECRET_ACCESS_KEY": "of-a-cloud", "CARGO_REGISTRY_TOKEN": "of-a-registry",
    "OURS": "only-ours",
}  # fmt: skip
HIDDEN = (
    "in-a-variable", "a-token", "in-a-proxy", "token-of-a-user", "in%20a%20url", "in a url", "in-an-index",
    "of-a-service", "of-a-cloud", "of-a-registry", "only-ours", "dXNlcjppbiBhIHVybA",
)  # fmt: skip


def test_git_keeps_the_settings_that_an_operator_gives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "credential.helper", "GIT_CONFIG_VALUE_0": "store"}
    for name, value in {**given, "GIT_SSL_KEY": "/etc/git.key", "GIT_TOKEN": "a-token"}.items():
        monkeypatch.setenv(name, value)
    found = installer_environment.environment()
    assert given.items() <= found.items() and "GIT_SSL_KEY" in found and "GIT_TOKEN" not in found
    assert installer_environment.Redaction()("credential.helper a-token") == "credential.helper ***"


async def test_no_caller_sees_a_secret_of_the_installer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    free = Resolving(tmp_path)
    code = "import base64; print(base64.b64encode(b'user:in a url').decode(), 'in a url', 'x' * 500 + 'in-a-variable')"
    failure = await free.failure(folder(free.sources, printing(code)))
    told = "\n".join([failure.message, *free.lines])
    assert failure.reason == "ENVIRONMENT_FAILED" and "UV_INDEX_OURS_PASSWORD ***" in told, "it does get what it needs"
    assert [each for each in HIDDEN if each in told] == []
    others = ("OURS", "OURS_API_KEY", "AWS_SECRET_ACCESS_KEY", "CARGO_REGISTRY_TOKEN")
    assert [name for name in others if f"{name} " in told] == []
    monkeypatch.setenv("INSTALLER_VARIABLES", "OU*, AWS_SECRET_ACCESS_KEY")
    await free.failure(folder(free.sources, printing("#")))
    told = "\n".join(free.lines)
    assert "OURS only-ours" in told and "AWS_SECRET_ACCESS_KEY ***" in told, "an operator may hand on more"


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://evil.example", "-r /proc/self/environ", "evil @ file:///etc/passwd", "evil", "evil>=1",
        "evil @ https://user:hush@evil.example/x.whl", "    --hash=sha256:00 --pre", "    -r x", "evil==1 \\\n--pre",
        "evil==1\x0b--pre", "evil==1\u2028--pre", "evil==1\r--pre", "evil==${HOME}", "./evil", "evil==1 # x",
    ],
)  # fmt: skip
async def test_the_installers_answer_is_input_too(tmp_path: Path, line: str) -> None:
    """An index has a hand in it, and in a cluster any build that can write to the store."""
    free = Resolving(tmp_path)
    await free.lock(None, "other")
    (kept,) = (tmp_path / "locks").iterdir()
    document = json.loads(kept.read_text())
    kept.write_text(json.dumps({"text": f"{document['text']}{line}\n"}))
    failure = await free.failure(None, "other")
    assert failure.reason == "ENVIRONMENT_FAILED" and "can't be installed safely" in failure.message
    assert "hush" not in failure.message and failure.message.isprintable()


INFO = """
def build_wheel(directory, config_settings=None, metadata_directory=None):
    import zipfile
    with zipfile.ZipFile(os.path.join(directory, "shop-7-py3-none-any.whl"), "w") as wheel:
        wheel.writestr("shop-7.dist-info/METADATA", open("metadata").read())
        wheel.writestr("shop-7.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("shop-7.dist-info/entry_points.txt", "[orc.plugins]\\na = shop:a\\n")
        wheel.writestr("shop-7.dist-info/RECORD", "")
    with open("left-behind", "w"): pass
    return "shop-7-py3-none-any.whl"
"""


async def test_the_metadata_of_a_folder_is_built_once_and_where_builds_are_allowed(tmp_path: Path) -> None:
    backend = BACKEND.replace("def build_wheel(*arguments): raise NotImplementedError", INFO)
    backend = backend.replace("shop-1.", "shop-7.")
    table = "[project]\nname = 'shop'\ndynamic = ['version']\n"
    files = {"pyproject.toml": SYSTEM + table, "backend.py": backend, "metadata": metadata("shop", "7", "")}
    strict = Resolving(tmp_path, builds=False)
    source = folder(strict.sources, files)
    home = strict.sources.home(source)
    assert (await strict.lock(source)).text == ""
    assert "no builds" in (home / "about" / "failure.txt").read_text()
    free = Resolving(tmp_path)
    folder(free.sources, files)  # uploaded again, it is tried again
    assert await free.known(source) is None and not (home / "about").exists()
    assert (await free.lock(source)).text == ""
    (info,) = (home / "about").iterdir()
    assert {file.name for file in info.iterdir()} >= {"METADATA", "entry_points.txt", "RECORD", "top_level.txt"}
    assert not (info / "direct_url.json").exists() and "file:" not in (info / "RECORD").read_text()
    assert not (home / "tree" / "left-behind").exists()
    free.lines.clear()
    assert await free.known(source) == await free.lock(source) and free.lines == []
