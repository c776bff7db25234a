"""What a folder of the user's own code says that it needs, and what is refused in it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from jac_orc.errors import OrcError
from jac_orc.pod_manager.source_requirements import Needs, read

PYTHON = "3.11.2"


def needs(folder: Path, files: dict[str, str | bytes]) -> Needs:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return read(folder, PYTHON)


def fault(folder: Path, files: dict[str, str | bytes]) -> str:
    with pytest.raises(OrcError) as caught:
        needs(folder, files)
    assert caught.value.reason == "SOURCE_INVALID"
    assert len(caught.value.message) < 600 and str(folder) not in caught.value.message
    return caught.value.message


# --- requirements.txt -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "requirements"),
    [
        ("numpy\npandas>=2\n", ["numpy", "pandas>=2"]),
        ("\n  # all of it\nnumpy # the newest\n\tpandas\t#\n#-i x\n", ["numpy", "pandas"]),
        ("numpy \\\n  >=2, \\\n  <3\npandas", ["numpy    >=2,    <3", "pandas"]),
        ("numpy # not \\\npandas", ["numpy", "pandas"]),
        ("# not \\\npandas \\", ["pandas"]),
        (f"numpy==2 \\\n    --hash=sha256:{'0' * 64} \\\n    --hash=sha256:{'1' * 64}\n    # via x\n",
         [f"numpy==2      --hash=sha256:{'0' * 64}      --hash=sha256:{'1' * 64}"]),
        ("a @ https://example.com/a.whl#sha256=00 # x\r\nb[c,d]; python_version > '3'\r\n",
         ["a @ https://example.com/a.whl#sha256=00", "b[c,d]; python_version > '3'"]),
        ("a @ git+https://example.com/a@main", ["a @ git+https://example.com/a@main"]),
        ("\ufeffnumpy\n", ["numpy"]),
        ("numpy\n".encode("utf-16"), ["numpy"]),
        ("", []), ("\\\n\\", []),
    ],
)  # fmt: skip
def test_lines_are_read_as_installers_do(tmp_path: Path, text: str | bytes, requirements: list[str]) -> None:
    assert needs(tmp_path, {"requirements.txt": text}) == Needs(requirements)


def test_files_of_the_source_are_referred_to(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "requirements.txt": "-r more/a.txt\n-climits.txt\nx\n-r requirements.txt\n--requirement=./more/b.txt",
        "more/a.txt": "a\n--requirement b.txt\n--constraint ../limits.txt\n",
        "more/b.txt": "b\n",
        "limits.txt": "b<2\n-r more.txt",
        "more.txt": "c<3",
    }
    found = needs(tmp_path, files)
    assert sorted(found.requirements) == ["a", "b", "x"]
    assert sorted(found.constraints) == ["b<2", "c<3"], "what constraints refer to is constraints"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--index-url https://evil.example/simple", "'--index-url' is not taken"),
        ("-i https://evil.example/simple", "'-i' is not taken"),
        ("--extra-index-url=https://user:password@evil.example", "'--extra-index-url' is not taken"),
        ("--find-links /tmp", "'--find-links' is not taken"), ("-f .", "'-f' is not taken"),
        ("--no-index", "'--no-index' is not taken"), ("--pre", "'--pre' is not taken"),
        ("--trusted-host evil.example", "'--trusted-host' is not taken"),
        ("-e git+https://example.com/x#egg=x", "NAME @ git+https://"), ("-e", "`-e .`"), ("--editable x", "`-e .`"),
        ("-e ../lib", "'../lib' is another path than the source itself; put its code into the source"),
        ("./lib", "'./lib' is another path"), ("--editable=/root/lib[x]", "'/root/lib' is another path"),
        (". -i x", "no PEP 508"), ("-e . --pre", "`-e .`"), ("-e ..", "'..' is another path"),
        ("~/lib", "another path"),
        ("file:./lib", "'file:./lib' is another path"), ("-e .[no-such]", "no extra 'no-such'"),
        ("-r ../../secret", "'../../secret' is no file of the source"),
        ("-c /etc/passwd", "'/etc/passwd' is no file of the source"),
        ("--requirement=https://evil.example/r.txt", "'https://evil.example/r.txt' is no file"),
        ("-r .", "'.' is no file"), ("-r nowhere.txt", "'nowhere.txt' is no file"), ("-r a\0b", "is no file"),
        (f"-r {'x' * 5000}", "is no file"), (f"-r{'=' * 100_000} x", "is not taken"), ("-r", "'-r' is not taken"),
        ("/root/lib", "another path"), ("file:///root/lib", "another path"),
        ("git+ssh://git@example.com/x", "no PEP 508"),
        ("https://example.com/a.whl", "no PEP 508"),
        ("a @ file:///root/a", "only https URLs"), ("a @ git+ssh://git@example.com/a", "only https URLs"),
        ("a @ http://example.com/a.whl", "only https URLs"), ("a @ git+file:///root/a", "only https URLs"),
        ("a --hash=md5:00", "no hash"), ("a --config-settings=x=y", "no PEP 508"), ("a; " + "(" * 5000, "nested"),
        ("a\u2028-i x", "U+2028"), ("a\x0c-i x", "U+000C"), ("a\x85-i x", "U+0085"), ("a\x0b#", "U+000B"),
        ("a\r-i x", "'-i' is not taken"),
    ],
    ids=lambda text: text[:40],
)  # fmt: skip
def test_nothing_else_is_taken(tmp_path: Path, line: str, words: str) -> None:
    message = fault(tmp_path, {"requirements.txt": f"numpy\n\n{line}\n", "pyproject.toml": "[project]\nname = 'shop'"})
    assert words in message
    assert message.startswith(("requirements.txt, line 3: ", "requirements.txt, line 4: ", "requirements.txt: "))
    assert "password" not in message
    if "is not taken" in words:
        assert "operator" in message and "UV_DEFAULT_INDEX" in message


def test_a_fault_is_told_with_the_file_that_has_it(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {"requirements.txt": "-r more/a.txt", "more/a.txt": "x \\\n>=1\n\n--pre \\\n"}
    assert fault(tmp_path, files).startswith("more/a.txt, line 4: '--pre'")


def test_so_many_and_no_more(tmp_path: Path) -> None:
    many = [f"a{number}" for number in range(1000)]
    assert needs(tmp_path, {"requirements.txt": "\n".join(many)}).requirements == many
    files: dict[str, str | bytes] = {"requirements.txt": "-r b.txt\nx", "b.txt": "\n".join(many)}
    assert "1,001 requirements, of at most 1,000" in fault(tmp_path, files)
    files = {"requirements.txt": "-c b.txt", "b.txt": "\n".join([*many, "x"])}
    assert "1,001 requirements, of at most 1,000" in fault(tmp_path, files)
    project = f"[project]\nname='x'\ndependencies={[*many, 'x']}"
    assert "1,001 requirements, of at most 1,000" in fault(tmp_path, {"pyproject.toml": project})


@pytest.mark.parametrize("name", ["requirements.txt", "pyproject.toml", "uv.toml"])
def test_what_cannot_be_read_is_told(tmp_path: Path, name: str) -> None:
    assert f"{name!r} is not in UTF-8" in fault(tmp_path, {name: b"# caf\xe9"})
    assert f"'{name}' is too large" in fault(tmp_path, {name: b"#" * 3_000_000})


def test_files_that_are_referred_to_count_together(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {f"{name}.txt": "#" * 1_500_000 for name in "ab"}
    assert "is too large" in fault(tmp_path, {"requirements.txt": "-r a.txt\n-r b.txt", **files})


ITSELF = [
    "-e .", "-e ./", "-e.", "--editable .", "--editable=.", ".", "./", "-e '.'", 'file:.', '-e ".//"', "-e .[]",
]  # fmt: skip
EXTRAS = ["-e .[dev]", ".[Dev]", "--editable './[dev]'", "-e .[dev, dev]"]
OPTIONAL = "[project]\nname = 'shop'\noptional-dependencies = {dev = ['a', 'b<2']}\n"


@pytest.mark.parametrize("line", ITSELF)
@pytest.mark.parametrize(
    ("files", "computed"),
    [
        ({}, False), ({"setup.py": ""}, True), ({"setup.cfg": "[options]\ninstall_requires = x"}, True),
        ({"pyproject.toml": "[project]\nname = 'shop'"}, False), ({"pyproject.toml": OPTIONAL}, False),
        ({"pyproject.toml": "[build-system]\nrequires = ['flit']"}, True),
    ],
)  # fmt: skip
def test_a_source_may_require_itself(tmp_path: Path, files: dict[str, str | bytes], computed: bool, line: str) -> None:
    assert needs(tmp_path, {"requirements.txt": f"x\n{line} # y\nz", **files}) == Needs(["x", "z"], computed=computed)


@pytest.mark.parametrize("line", EXTRAS)
def test_it_may_require_its_extras(tmp_path: Path, line: str) -> None:
    text = f"{line}\n{line}\nx"
    found = needs(tmp_path / "written", {"requirements.txt": text, "pyproject.toml": OPTIONAL})
    assert (set(found.requirements), found.computed, found.extras) == ({"a", "b<2", "x"}, False, [])
    nested = OPTIONAL.replace("'b<2'", "'shop[more]'")
    dynamic = "[project]\nname = 'shop'\ndynamic = ['optional-dependencies']"
    files: list[dict[str, str | bytes]] = [{"setup.py": ""}, {"pyproject.toml": nested}, {"pyproject.toml": dynamic}]
    for number, more in enumerate(files):
        found = needs(tmp_path / f"computed{number}", {"requirements.txt": text, **more})
        assert found == Needs(["x"], computed=True, extras=["dev"])


def test_its_extras_are_checked_as_everything_else(tmp_path: Path) -> None:
    text = OPTIONAL.replace("'a'", "'a @ file:///etc'")
    message = fault(tmp_path, {"requirements.txt": "-e .[dev]", "pyproject.toml": text})
    assert message.startswith("pyproject.toml, `optional-dependencies.dev`: ") and "only https" in message


# --- pyproject.toml ---------------------------------------------------------------------------------------------------

POETRY = "[tool.poetry.dependencies]\na = '*'\n"
PROJECT = "[project]\nname = 'shop'\nversion = '1'\n"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"pyproject.toml": PROJECT + "dependencies = ['numpy']", "requirements.txt": "x"}, Needs(["numpy"])),
        ({"pyproject.toml": PROJECT + "dependencies = []", "setup.py": ""}, Needs()),
        ({"pyproject.toml": PROJECT, "requirements.txt": "x", "setup.py": ""}, Needs(["x"])),
        ({"pyproject.toml": PROJECT}, Needs()),
        ({"pyproject.toml": PROJECT + "dynamic = ['dependencies']"}, Needs(computed=True)),
        ({"pyproject.toml": PROJECT + "dependencies = ['Shop[x]']\noptional-dependencies = {x = ['a']}"},
         Needs(computed=True)),
        ({"pyproject.toml": PROJECT + "dependencies = ['a']\n" + POETRY}, Needs(["a"])),
        ({"pyproject.toml": "build-system.build-backend = 'poetry.core.masonry.api'\n" + POETRY}, Needs(computed=True)),
        ({"pyproject.toml": "[tool.poetry]\nname = 'shop'", "requirements.txt": "x"}, Needs(["x"])),
        ({"setup.py": ""}, Needs(computed=True)),
        ({"setup.cfg": "[options]\ninstall_requires = x"}, Needs(computed=True)),
        ({"setup.cfg": "[flake8]\nmax-line-length = 120"}, Needs()),
        ({"pyproject.toml": "[tool.uv]\nconstraint-dependencies = ['b<2']\noverride-dependencies = ['c==3']\n",
          "requirements.txt": "-c c.txt", "c.txt": "d<4"}, Needs([], ["b<2", "d<4"], ["c==3"])),
        ({"pyproject.toml": PROJECT + "dependencies = ['a']\n[tool.uv.sources]\ndev = {path = '..'}"}, Needs(["a"])),
    ],
)  # fmt: skip
def test_where_a_source_says_what_it_needs(tmp_path: Path, files: dict[str, str | bytes], expected: Needs) -> None:
    assert needs(tmp_path, files) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (PROJECT + "dependencies = ['a @ file:///root/a']", "`dependencies`: 'a @ file:///root/a': only https"),
        (PROJECT + "dependencies = ['-r /etc/passwd']", "`dependencies`: '-r /etc/passwd' is no PEP 508"),
        (PROJECT + "dependencies = ['a\\n-i https://evil.example']", "is no PEP 508"),
        (PROJECT + "dependencies = 'a'", "`dependencies` is no list of strings"),
        (PROJECT + "dependencies = [1]", "`dependencies` is no list of strings"),
        (PROJECT + "dynamic = 1", "`dynamic` is no list"),
        (PROJECT + "requires-python = '^3.11'", "`requires-python` is '^3.11' and no range"),
        (PROJECT + "requires-python = ['>=3']", "`requires-python` is"),
        ("project = 5", "`project` is no table"), ("tool = []", "`tool` is no table"),
        ("[tool]\nuv = 1", "`uv` is no table"),
        (POETRY, "[tool.poetry.dependencies] only; give them in [project]"),
        (POETRY + "[build-system]\nbuild-backend = 'setuptools.build_meta'", "poetry-core"),
        ("[[tool.uv.index]]\nurl = 'https://evil.example'\ndefault = true", "'index' of [tool.uv] is not taken"),
        ("[tool.uv]\nindex-url = 'https://evil.example'", "'index-url'"),
        ("[tool.uv.pip]\nextra-index-url = ['https://evil.example']", "'extra-index-url'"),
        ("[tool.uv]\nfind-links = ['/root']", "'find-links'"),
        ("[tool.uv]\noverride-dependencies = ['a @ file:///root/a']", "only https"),
        ("[tool.uv]\nconstraint-dependencies = ['a @ file:///root/a']", "only https"),
        (PROJECT + "dependencies = ['A.B']\n[tool.uv.sources]\na_b = {path = '../a'}", "'sources.a_b' of [tool.uv]"),
        (PROJECT + "dynamic = ['dependencies']\n[tool.uv.sources]\na = {workspace = true}", "'sources.a' of [tool.uv]"),
        ("[tool.uv]\nsources = 1", "`sources` is no table"), ("[tool.uv]\npip = 1", "`pip` is no table"),
        ("[project", "pyproject.toml can't be read"), ("a = " + "[" * 100_000, "pyproject.toml can't be read"),
        ("a = " + "1" * 100_000, "pyproject.toml can't be read"),
        ("a." * 50_000 + "b = 1", "more than 1,000 dots in a line"),
    ],
    ids=lambda text: text[-40:],
)  # fmt: skip
def test_what_is_not_taken_of_a_project(tmp_path: Path, text: str, words: str) -> None:
    begin = time.process_time()
    message = fault(tmp_path, {"pyproject.toml": text})
    assert words in message
    if "of [tool.uv]" in message:
        assert "operator" in message
    assert time.process_time() - begin < 5


def test_uv_toml_chooses_no_index_either(tmp_path: Path) -> None:
    assert "'index-url'" in fault(tmp_path, {"uv.toml": "index-url = 'https://evil.example'"})
    assert "'find-links'" in fault(tmp_path, {"uv.toml": "[pip]\nfind-links = ['/root']"})


@pytest.mark.parametrize("more", ["", "dependencies = []\n", "dependencies = ['a']\n", "dynamic = ['dependencies']\n"])
def test_another_python_than_the_source_needs_is_told(tmp_path: Path, more: str) -> None:
    for fitting in (">=3.8", ">=3.11,<4", "==3.11.*", ""):
        needs(tmp_path, {"pyproject.toml": f"{PROJECT}{more}requires-python = '{fitting}'"})
    for other in (">=3.12", "<3.11", "!=3.11.2"):
        with pytest.raises(OrcError) as caught:
            needs(tmp_path, {"pyproject.toml": f"{PROJECT}{more}requires-python = '{other}'"})
        assert caught.value.reason == "ENVIRONMENT_FAILED"
        assert all(text in caught.value.message for text in (other, PYTHON, "`python_version`"))
