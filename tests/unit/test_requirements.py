"""Requirements are written for the installer in one form, and nothing else ever is."""

from __future__ import annotations

import pytest

from jac_orc.pod_manager.requirements import installer_file, parse

HASH = "sha256:" + "0" * 64
OWN = "file:///sources/0f/tree"


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("NumPy", "numpy"), ("a.b_C", "a-b-c"), ("a >= 1,<2", "a<2,>=1"), ("a(>=1)", "a>=1"), ("a[Y_y,x]", "a[x,y-y]"),
        ("a;python_version>'3'", 'a ; python_version > "3"'), ("a~=1.0 ; extra=='x'", 'a~=1.0 ; extra == "x"'),
        ("a@https://h.example/a.whl#sha256=00", "a @ https://h.example/a.whl#sha256=00"),
        ("a @ git+https://h.example:8443/o/a.git@v1#subdirectory=b/c ; os_name=='nt'",
         'a @ git+https://h.example:8443/o/a.git@v1#subdirectory=b/c ; os_name == "nt"'),
    ],
)  # fmt: skip
def test_a_requirement_has_one_form(text: str, canonical: str) -> None:
    parsed = parse(f"{text} --hash={HASH}  --hash {HASH}")
    assert (parsed.text, parsed.hashes) == (canonical, (HASH, HASH))
    assert parse(canonical).text == canonical, "which is its own form"
    assert installer_file([canonical, f"{canonical} --hash={HASH} --hash=md5:{'0' * 32}", OWN], OWN).count("\n") == 3


@pytest.mark.parametrize(
    "line",
    [
        "", " ", " a", "a ", "a\\", "a\n", "a\nb", "a\rb", "a\u2028b", "a\0", "\ta", "-r x", "--pre", "a --pre", "a #x",
        f"a --hash={HASH} --pre", f"a --hash={HASH}\\", "a --hash=x", "a @ https://h/${HOME}", "a/b", "./a",
        "/etc/passwd",
        "lib.whl", "A", "a_b", "https://h/a.whl", "file:///etc/passwd", OWN + "x", "C:\\x", "a[x", "a b", "\u00e4",
    ],
)  # fmt: skip
def test_nothing_else_is_written_for_the_installer(line: str) -> None:
    with pytest.raises(ValueError, match="no line for the installer"):
        installer_file(["numpy", line], OWN)


def test_its_own_address_is_one_line_too() -> None:
    for own in ("file:///a\n--pre", "file:///a b", "file:///a\\", "--pre"):
        with pytest.raises(ValueError, match="no line for the installer"):
            installer_file([own], own)
