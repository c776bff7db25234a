"""How messages show text from outside."""

from __future__ import annotations

import pytest

from jac_orc.pod_manager.texts import hidden, shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://u:p@host/x", "https://…@host/x"),
        ("https://token@host/x@1", "https://…@host/x@1"),
        ("https://u:p@ss/word@host/x", "https://…@host/x"),
        ("https://u:pa/ss@host/x", "https://…@host/x"),
        ("https://u:1:2@host", "https://…@host"),
        ("https://u::pa/ss@host", "https://…@host"),
        ("https://u:secret", "https://…@"),
        ("https://u:p@[::1]:80/x", "https://…@[::1]:80/x"),
        ("a https://u:p@host and http://v:q@other", "a https://…@host and http://…@other"),
        ("git+https://github.com/x/y@v1", "git+https://github.com/x/y@v1"),
        ("http://host:8080/x@y", "http://host:8080/x@y"),
        ("http://host:8080", "http://host:8080"),
        ("no answer from http://host:8080: refused", "no answer from http://host:8080: refused"),
        ("http://[::1]:80/x@y", "http://[::1]:80/x@y"),
        ("file:///x:y@z", "file:///x:y@z"),
    ],
)
def test_no_password_of_a_url_is_shown(text: str, expected: str) -> None:
    assert hidden(text) == expected
    assert shown(text) == repr(expected)


@pytest.mark.parametrize("user_info", ["t" * 2000, "u:" + "t" * 2000])
def test_a_password_that_is_longer_than_what_is_shown_is_hidden(user_info: str) -> None:
    assert shown(f"https://{user_info}@host/x") == "'https://…@host/x'"
