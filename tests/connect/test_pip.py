"""pip's file edited: our options set, all else as it was."""

from __future__ import annotations

import pytest

from millpond.connect.pip import set_option

URL = "http://127.0.0.1:8080/pypi/simple/"
LINE = f"index-url = {URL}\n"


@pytest.mark.parametrize(
    ("text", "edited"),
    [
        ("", f"[global]\n{LINE}"),
        ("# mine\n", f"# mine\n[global]\n{LINE}"),
        ("[global]\ntimeout = 3", f"[global]\n{LINE}timeout = 3"),
        ("[global]", f"[global]\n{LINE}"),
        ("[install]\nindex-url = x\n", f"[install]\nindex-url = x\n[global]\n{LINE}"),
        ("[list]\nx = 1", f"[list]\nx = 1\n[global]\n{LINE}"),
        ("[global]\n# c\nindex-url = old\n; d\n[x]\n", f"[global]\n# c\n{LINE}; d\n[x]\n"),
        ("[global]\nINDEX_URL: old\nx = 1\n", f"[global]\n{LINE}x = 1\n"),
        ("[global]\nindex-url =\n  old\n\nx = 1\n", f"[global]\n{LINE}\nx = 1\n"),
        ("[global]\nno-index-url = 1\n", f"[global]\n{LINE}no-index-url = 1\n"),
        ("[global]\r\nx = 1\r\n", f"[global]\r\nindex-url = {URL}\r\nx = 1\r\n"),
    ],
)
def test_one_option_is_set_and_every_other_line_stays(text, edited):
    assert set_option(text, "global", "index-url", URL) == edited
