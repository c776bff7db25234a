"""The user's own code: uploaded, replaced without a failed call, taken back where it doesn't start."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.callers import calls_all_the_while
from tests.e2e.local_system import LocalSystem
from tests.e2e.system import System, reason, wait_until

PROJECT = Path(__file__).parent.parent / "guests" / "orc_shop"


def project(**changed: str) -> dict[str, bytes]:
    """The sample project's files; `prices` replaces that module's text."""
    files = {
        str(file.relative_to(PROJECT)): file.read_bytes()
        for file in PROJECT.rglob("*")
        if file.is_file() and file.suffix in (".py", ".toml")
    }
    return {**files, **{f"src/orc_shop/{name}.py": text.encode() for name, text in changed.items()}}


def zipped(files: dict[str, bytes]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return data.getvalue()


def upload(system: System, name: str, data: bytes) -> Any:
    """The answer to an upload over REST, in many pieces."""
    pieces = (data[i : i + 1000] for i in range(0, len(data), 1000))
    headers = {"content-type": "application/octet-stream"}
    return system.http.post(f"/v1/sources/{name}", content=pieces, headers=headers)


def uploaded(system: System, name: str, data: bytes) -> Any:
    """How a spec names the source."""
    response = upload(system, name, data)
    assert response.status_code == 200, response.text
    answer = response.json()
    assert answer["size"] == str(len(data))
    assert answer["source"] == {"digest": f"sha256:{hashlib.sha256(data).hexdigest()}", "file_name": name}
    return {"uploaded": answer["source"]}


@pytest.fixture
def shop(deploy: Callable[..., Any]) -> Callable[..., Any]:
    """Deploys the sample project from a source."""
    return lambda source, **more: deploy("orc_shop", source=source, **more)


def test_a_project_is_replaced_under_load_without_a_failed_call(shop: Callable[..., Any], system: System) -> None:
    module = shop(uploaded(system, "orc-shop.zip", zipped(project())))
    assert module["spec"]["requirements"] == []
    assert module["status"]["environment"]["packages"] == ["orc-guest-version==1.0"]
    assert system.call("orc_shop", "dependency") == "1.0", "its own dependency is installed"
    with calls_all_the_while(system, "orc_shop", "price", 3) as answers:
        changed = uploaded(system, "orc-shop.zip", zipped(project(prices="def price(pieces):\n    return 0\n")))
        response = system.http.patch("/v1/modules/orc_shop", json={"source": changed})
        assert response.status_code == 200, response.text
        before = len(answers)
        wait_until(lambda: len(answers) > before + 50)
    assert set(answers) == {6, 0} and set(answers[before + 4 :]) == {0}


def test_a_version_that_does_not_start_is_taken_back(shop: Callable[..., Any], system: System) -> None:
    module = shop({"files": {"contents": encoded(project())}})
    with calls_all_the_while(system, "orc_shop", "price", 3) as answers:
        broken = {"files": {"contents": encoded(project(prices="raise RuntimeError('half an edit')\n"))}}
        response = system.http.patch("/v1/modules/orc_shop", json={"source": broken})
        assert (response.status_code, reason(response)) == (400, "MODULE_IMPORT_FAILED")
        assert "half an edit" in response.json()["message"]
    assert set(answers) == {6}
    assert system.module("orc_shop")["spec"]["source"] == module["spec"]["source"]


def test_what_is_not_waited_for_is_taken_back_too(shop: Callable[..., Any], system: System) -> None:
    module = shop({"files": {"contents": encoded(project())}})
    broken = {"files": {"contents": encoded(project(prices="1 +\n"))}}
    response = system.http.patch("/v1/modules/orc_shop?wait=false", json={"source": broken})
    assert response.status_code == 200 and response.json()["spec"]["source"] != module["spec"]["source"]
    wait_until(lambda: system.module("orc_shop")["spec"]["source"] == module["spec"]["source"])
    assert system.call("orc_shop", "price", 2) == 4


def test_a_deletion_during_a_rollout_is_final(shop: Callable[..., Any], system: System) -> None:
    shop({"files": {"contents": encoded(project())}})
    slow = {"files": {"contents": encoded(project(prices="import time\ntime.sleep(60)\n"))}}
    answers: list[Any] = []
    patch = threading.Thread(
        target=lambda: answers.append(system.http.patch("/v1/modules/orc_shop", json={"source": slow}))
    )
    patch.start()
    wait_until(lambda: len(system.pids("guest", "orc_shop")) == 2)
    assert system.http.delete("/v1/modules/orc_shop").status_code == 200
    patch.join(10)
    assert (answers[0].status_code, reason(answers[0])) == (503, "MODULE_UNAVAILABLE")
    assert system.http.get("/v1/modules/orc_shop").status_code == 404
    assert system.left("orc_shop") == []


def test_dependencies_that_code_computes_follow_every_file(shop: Callable[..., Any], system: System) -> None:
    files = {
        "pyproject.toml": b"""
            [project]
            name = "orc-shop"
            version = "1"
            dynamic = ["dependencies"]
            [build-system]
            requires = []
            build-backend = "orc_backend"
            backend-path = ["."]
        """,
        "orc_backend.py": b"""
import os
def prepare_metadata_for_build_wheel(directory, config_settings=None):
    os.mkdir(os.path.join(directory, "orc_shop-1.dist-info"))
    needed = open("needed").read().strip()
    with open(os.path.join(directory, "orc_shop-1.dist-info", "METADATA"), "w") as file:
        file.write(f"Metadata-Version: 2.1\\nName: orc-shop\\nVersion: 1\\nRequires-Dist: {needed}\\n")
    return "orc_shop-1.dist-info"
def build_wheel(*arguments): raise NotImplementedError
def build_sdist(*arguments): raise NotImplementedError
""",
        "needed": b"orc-guest-version==1.0",
        "orc_shop.py": b"import orc_guest_version\ndef dependency():\n    return orc_guest_version.version()\n",
    }
    shop({"files": {"contents": encoded(files)}})
    assert system.call("orc_shop", "dependency") == "1.0"
    files["needed"] = b"orc-guest-version==2.0"
    response = system.http.patch("/v1/modules/orc_shop", json={"source": {"files": {"contents": encoded(files)}}})
    assert response.status_code == 200, response.text
    assert system.call("orc_shop", "dependency") == "2.0"


def encoded(files: dict[str, bytes]) -> dict[str, str]:
    return {path: base64.b64encode(content).decode() for path, content in files.items()}


def test_a_script_is_uploaded_as_it_is(shop: Callable[..., Any], system: System) -> None:
    code = b"import orc_guest_version\ndef price(pieces): return open('x', 'w').write(orc_guest_version.version())\n"
    script = b"# /// script\n# dependencies = ['orc-guest-version==1.0']\n# ///\n" + code
    module = shop(uploaded(system, "orc_shop.py", script))
    assert module["status"]["environment"]["packages"] == ["orc-guest-version==1.0"]
    assert system.call("orc_shop", "price", 1) == 3
    response = upload(system, "orc-shop.py", script)
    assert (response.status_code, reason(response)) == (400, "SOURCE_INVALID")
    assert "rename it to orc_shop.py" in response.json()["message"]


def test_an_equal_source_is_the_same_spec(shop: Callable[..., Any], system: System) -> None:
    first = shop({"files": {"contents": encoded(project())}})
    same = {"files": {"contents": encoded(project())}}
    again = system.http.post("/v1/modules", json={"module_name": "orc_shop", "source": same})
    assert again.status_code == 200 and again.json()["uid"] == first["uid"]
    other = {"files": {"contents": encoded(project(more=""))}}
    differing = system.http.post("/v1/modules", json={"module_name": "orc_shop", "source": other})
    assert (differing.status_code, reason(differing)) == (409, "MODULE_SPEC_DIFFERS")


def test_requirements_txt_and_its_constraints_hold(shop: Callable[..., Any], system: System) -> None:
    files = {
        "orc_shop.py": b"import orc_guest_version\ndef dependency():\n    return orc_guest_version.version()\n",
        "requirements.txt": b"-c limits/constraints.txt\norc-guest-version\n",
        "limits/constraints.txt": b"orc-guest-version<2\n",
    }
    shop({"files": {"contents": encoded(files)}})
    assert system.call("orc_shop", "dependency") == "1.0"
    files["limits/constraints.txt"] = b"orc-guest-version<3\n"
    response = system.http.patch("/v1/modules/orc_shop", json={"source": {"files": {"contents": encoded(files)}}})
    assert response.status_code == 200, response.text
    assert system.call("orc_shop", "dependency") == "2.0"


def test_a_wheel_and_an_sdist_are_installed(shop: Callable[..., Any], system: System) -> None:
    info = {
        "METADATA": b"Metadata-Version: 2.1\nName: orc-shop\nVersion: 1\nRequires-Dist: orc-guest-version==2.0\n",
        "WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": b"",
    }
    info = {f"orc_shop-1.dist-info/{name}": content for name, content in info.items()}
    code = {"orc_shop.py": b"import orc_guest_version\ndef price(pieces):\n    return orc_guest_version.version()\n"}
    source = uploaded(system, "orc_shop-1-py3-none-any.whl", zipped({**code, **info}))
    packages = shop(source)["status"]["environment"]["packages"]
    assert system.call("orc_shop", "price", 1) == "2.0" and "orc-guest-version==2.0" in packages

    data = io.BytesIO()
    setup = b"from setuptools import setup\nsetup(name='orc-shop', version='2', py_modules=['orc_shop'])\n"
    files = {"PKG-INFO": b"Metadata-Version: 2.1\nName: orc-shop\nVersion: 2\n", "setup.py": setup,
             "orc_shop.py": b"def price(pieces):\n    return 'built'\n"}  # fmt: skip
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"orc_shop-2/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    source = uploaded(system, "orc_shop-2.tar.gz", data.getvalue())
    response = system.http.patch("/v1/modules/orc_shop", json={"source": source})
    assert response.status_code == 200, response.text
    assert system.call("orc_shop", "price", 1) == "built"


INFO = b"""
from importlib import metadata
VERSION = metadata.version("orc-shop")
def plugins():
    return [(point.name, point.load()()) for point in metadata.entry_points(group="orc.plugins")]
def tea(): return "green"
def files(): return sorted(str(file) for file in metadata.files("orc-shop") if file.suffix == ".py")
def read(): return next(file for file in metadata.files("orc-shop") if file.suffix == ".py").read_text()[:20]
"""
POINTS = b'[project.entry-points."orc.plugins"]\ntea = "orc_shop:tea"\n'
PROJECT_TABLE = b'[project]\nname = "orc-shop"\n'
SETUP_CFG = b"""
[metadata]
name = orc-shop
version = 2.5
[options]
packages = orc_shop
[options.entry_points]
orc.plugins =
    tea = orc_shop:tea
"""


@pytest.mark.parametrize(
    ("layout", "project_files"),
    [
        ("src/", {"pyproject.toml": PROJECT_TABLE + b'version = "2.5"\n' + POINTS}),
        ("", {"setup.cfg": SETUP_CFG, "setup.py": b"__import__('setuptools').setup()"}),
    ],
    ids=["static", "built"],
)
def test_a_folder_has_its_metadata(
    shop: Callable[..., Any], system: System, layout: str, project_files: dict[str, bytes]
) -> None:
    files = {f"{layout}orc_shop/__init__.py": INFO, **project_files}
    module = shop({"files": {"contents": encoded(files)}})
    assert module["status"]["environment"]["packages"] == []
    assert system.call("orc_shop", "VERSION") == "2.5"
    assert system.call("orc_shop", "plugins") == [["tea", "green"]]
    assert "orc_shop/__init__.py" in system.call("orc_shop", "files")
    assert system.call("orc_shop", "read") == "\nfrom importlib impo"


def test_metadata_that_cannot_be_built_is_a_hint_where_it_is_needed(shop: Callable[..., Any], system: System) -> None:
    broken = PROJECT_TABLE + b'dynamic = ["version"]\n[build-system]\nrequires = []\nbuild-backend = "no_backend"\n'
    files = {"pyproject.toml": broken, "orc_shop.py": b"def price(pieces): return pieces\n"}
    shop({"files": {"contents": encoded(files)}})
    assert system.call("orc_shop", "price", 3) == 3
    files["orc_shop.py"] = INFO
    response = system.http.patch("/v1/modules/orc_shop", json={"source": {"files": {"contents": encoded(files)}}})
    assert (response.status_code, reason(response)) == (400, "MODULE_IMPORT_FAILED")
    assert "PackageNotFoundError" in response.json()["message"]
    assert "the source's own metadata could not be built: " in response.json()["message"]
    assert "no_backend" in response.json()["message"]


def test_a_poetry_project_is_read_by_poetry(shop: Callable[..., Any], system: System) -> None:
    files = {
        "pyproject.toml": b"""
            [tool.poetry]
            name = "orc-shop"
            version = "1"
            description = ""
            authors = []
            packages = [{include = "orc_shop.py"}]
            [tool.poetry.dependencies]
            python = ">=3.8"
            orc-guest-version = "^1.0"
            [build-system]
            requires = ["poetry-core"]
            build-backend = "poetry.core.masonry.api"
        """,
        "orc_shop.py": b"import orc_guest_version\nfrom importlib import metadata\ndef dependency():\n"
        b"    return orc_guest_version.version()\ndef own():\n    return metadata.version('orc-shop')\n",
    }
    module = shop({"files": {"contents": encoded(files)}})
    assert system.call("orc_shop", "own") == "1"
    assert module["status"]["environment"]["packages"] == ["orc-guest-version==1.0"]
    assert system.call("orc_shop", "dependency") == "1.0"


def test_the_policy_judges_what_a_source_requires(new_system: Callable[..., LocalSystem], tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("requirements: [orc-guest-*]\n")
    system = new_system("--policy", str(tmp_path / "policy.yaml")).start()
    files = {"orc_shop.py": b"def price(pieces):\n    return pieces\n", "requirements.txt": b"orc-guest-version\n"}
    spec = {"module_name": "orc_shop", "source": {"files": {"contents": encoded(files)}}}
    created = system.post("/v1/modules", spec)
    assert created.status_code == 200, created.text
    files["requirements.txt"] = b"orc-guest-version\nidna\n"
    changed = {"source": {"files": {"contents": encoded(files)}}}
    response = system.http.patch("/v1/modules/orc_shop", json=changed)
    assert (response.status_code, reason(response)) == (403, "REQUIREMENT_REFUSED")
    assert "idna" in response.json()["message"]
    assert system.module("orc_shop")["spec"] == created.json()["spec"], "it is taken back"
    assert system.call("orc_shop", "price", 3) == 3


def test_bad_sources_are_refused(system: System) -> None:
    for name, data, status, expected in (
        ("a.zip", zipped({"../evil.py": b""}), 400, "SOURCE_INVALID"),
        ("a.zip", b"no archive", 400, "SOURCE_INVALID"),
        ("a.zip", b"", 400, "SOURCE_INVALID"),
        ("a.exe", zipped({"a.py": b""}), 400, "SOURCE_INVALID"),
        ("a.whl", zipped({"a.py": b""}), 400, "SOURCE_INVALID"),
    ):
        response = upload(system, name, data)
        assert (response.status_code, reason(response)) == (status, expected), response.text
    nowhere = {"digest": "sha256:" + "0" * 64, "file_name": "a.zip"}
    spec = {"module_name": "orc_shop", "source": {"uploaded": nowhere}}
    response = system.http.post("/v1/modules", json=spec)
    assert (response.status_code, reason(response)) == (404, "SOURCE_NOT_FOUND")
    headers = {"content-type": "text/plain"}
    assert system.http.post("/v1/sources/a.zip", content=b"", headers=headers).status_code == 415
    assert system.stored("sources/.*") == set()


def test_a_module_of_the_standard_library_cannot_be_replaced(system: System) -> None:
    spec = {"module_name": "random", "source": {"files": {"contents": encoded({"random.py": b""})}}}
    response = system.http.post("/v1/modules", json=spec)
    assert (response.status_code, reason(response)) == (400, "SPEC_INVALID")
    assert "standard library" in response.json()["message"]


def test_a_module_named_like_the_standard_librarys_within_the_source_breaks_nothing(
    shop: Callable[..., Any], system: System
) -> None:
    code = b"import random\ndef price(pieces):\n    return random.choice([pieces])\n"
    shop({"files": {"contents": encoded({"orc_shop.py": code, "random.py": b"raise SystemExit\n"})}})
    assert system.call("orc_shop", "price", 5) == 5
