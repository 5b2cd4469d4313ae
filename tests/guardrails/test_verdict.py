from appliance.guardrails.verdict import Finding, blocked

EMAIL = Finding("pii", "block", "email", "PII detected")
CARD = Finding("pii", "block", "card", "PII detected")
FLAGGED = Finding("words", "flag", "keyword", "Keyword found")


def test_a_finding_shows_its_category_and_its_message_and_nothing_else() -> None:
    assert EMAIL.shown() == {"category": "email", "message": "PII detected"}


def test_flags_and_redactions_do_not_block() -> None:
    assert blocked([]) is None
    assert blocked([FLAGGED, Finding("pii", "redact", "email", "PII detected")]) is None


def test_the_first_guardrail_that_blocks_tells_all_it_found_once() -> None:
    other = Finding("secrets", "block", "secret", "Secret detected")
    block = blocked([FLAGGED, EMAIL, other, EMAIL, CARD])

    assert block is not None
    assert (block.guardrail, block.findings) == ("pii", (EMAIL, CARD))
