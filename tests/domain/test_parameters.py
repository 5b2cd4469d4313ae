import re
from pathlib import Path

import appliance
from appliance.domain.engines import ENGINES
from appliance.domain.parameters import RULES


def test_the_document_lists_every_field_with_its_reason() -> None:
    text = (Path(appliance.__file__).parent / "docs" / "parameters.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (.*) \| (.*) \| (.*) \|$", text, re.MULTILINE)
    assert [(name, why, engines) for name, _, why, engines in rows] == [
        (name, rule.why, ", ".join(sorted(rule.unknown_to))) for name, rule in RULES.items()
    ]
    for name, allowed, *_ in rows:
        rule = RULES[name]
        assert ("refused" in allowed) == (rule.kind == "refused")
        assert rule.kind not in ("number", "items") or rule.setting in allowed
        assert all(member in allowed for member in rule.without)


def test_only_engines_that_there_are_do_not_know_a_field() -> None:
    assert {engine for rule in RULES.values() for engine in rule.unknown_to} <= ENGINES.keys()
