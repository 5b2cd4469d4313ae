from appliance.config.load import parse
from appliance.console.views.proposal import by_field, diff_lines, problems, proposal
from appliance.domain.orders import Reloaded
from appliance.editing import Edited

TEXT = '[server]\nlisten = 3\n\n[[models]]\nname = "m"\ntargets = 5\nkind = 1\n'


def edited(*, ok: bool, **more: object) -> Edited:
    facts: dict[str, object] = {"problems": (), "reload": Reloaded(ok=ok, models=("m",)), **more}
    return Edited(ok=ok, written=False, etag="e", diff="--- now\n+++ then\n@@ -1 +1 @@\n-a\n+b\n c\n", **facts)  # type: ignore[arg-type]


def test_a_difference_has_tones() -> None:
    lines = diff_lines(edited(ok=True).diff)
    assert [(line["text"], line["tone"]) for line in lines] == [
        ("@@ -1 +1 @@", "place"),
        ("-a", "minus"),
        ("+b", "plus"),
        (" c", ""),
    ]
    assert diff_lines("") == []


def test_a_problem_has_the_lines_around_it_and_its_field() -> None:
    _, found = parse(TEXT)
    first, second, third = problems(found, TEXT)
    assert (first["line"], first["setting"]) == (2, "server.listen")
    assert [(line["number"], line["wrong"]) for line in first["excerpt"]] == [
        (1, False),
        (2, True),
        (3, False),
        (4, False),
    ]
    assert (second["line"], third["line"]) == (6, 7)
    assert [line["number"] for line in third["excerpt"]] == [5, 6, 7]
    assert set(by_field(found, "models")) == {"targets", "kind"}
    assert problems(found, None)[0]["excerpt"] == []


def test_what_may_be_written_says_what_it_does_and_what_may_not_says_why() -> None:
    assert proposal(edited(ok=True))["effects"] == ["models: m"]
    refused = proposal(edited(ok=False, reload=Reloaded(ok=False, problems=("restart it",))))
    assert (refused["effects"], refused["refusals"]) == ([], ("restart it",))
    _, found = parse(TEXT)
    assert proposal(edited(ok=False, problems=tuple(found)), TEXT)["refusals"] == []
