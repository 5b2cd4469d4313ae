from typing import Any

import pytest

from appliance.console.views.models import changes, form_of, rows, settings_of

ROW: dict[str, Any] = {
    "name": "m",
    "targets": ["q", "b/x"],
    "kind": "chat",
    "limits": {"concurrent": 4, "tokens_per_day": None},
    "defaults": {"temperature": 0.7, "options": {"a": [1, "b"]}},
    "guardrails": ("pii",),
}


@pytest.mark.parametrize("row", [ROW, {}, {"active": False, "default": True, "stripped": ["seed"], "system": "first"}])
def test_a_form_that_is_sent_back_as_it_is_changes_nothing(row: dict[str, Any]) -> None:
    assert changes(row, settings_of(form_of(row))) == {}


def test_what_becomes_its_default_is_taken_out_and_the_rest_is_left_alone() -> None:
    form = form_of(ROW) | {"kind": "", "limit_concurrent": "5", "defaults": "", "active": "", "targets": "q\r\n"}
    assert changes(ROW, settings_of(form)) == {
        "kind": None,
        "active": False,
        "targets": ["q"],
        "defaults": None,
        "limits": {"concurrent": 5},
    }


def test_a_row_says_what_can_be_done() -> None:
    models = [
        {
            "name": "m",
            "state": "ready",
            "active": True,
            "targets": ["q"],
            "source": "runtime",
            "reason": "",
            "progress": "",
        },
        {
            **ROW,
            "state": "off",
            "active": False,
            "source": "configuration",
            "reason": "",
            "progress": "",
            "default": True,
        },
    ]
    first, second = rows(models)
    assert (first["entry"], first["active"], first["tone"]) == (False, True, "good")
    assert (second["entry"], second["active"], second["tone"], second["targets"]) == (True, False, "", "q, b/x")
