"""The editor over a real file."""

from pathlib import Path

import pytest
import trio

from appliance.config.edit import change_model
from appliance.domain.orders import Reloaded
from appliance.errors import GatewayError, OperatorError
from tests.fakes.editing import HASH, TEXT, editor


async def test_what_is_shown_has_no_secret_and_can_be_sent_back_as_it_is(tmp_path: Path) -> None:
    subject, reloads, path = editor(tmp_path)
    shown = await subject.shown()
    assert shown.text is not None
    assert HASH not in shown.text
    assert (shown.problems, shown.edit, shown.effective["models"][0]["name"]) == ((), "all", "m")
    edited = await subject.propose(shown.text + "# more\n", etag=shown.etag)
    assert (edited.ok, edited.written) == (True, True)
    assert path.read_text() == TEXT.replace("EDIT", "all") + "# more\n"
    assert reloads.loaded == [path.read_text()]
    assert edited.etag == (await subject.shown()).etag
    assert edited.diff.endswith("+# more\n")


async def test_two_editors_do_not_overwrite_each_other(tmp_path: Path) -> None:
    subject, _, path = editor(tmp_path)
    shown = await subject.shown()
    assert shown.text is not None
    await subject.change(lambda text: change_model(text, "m", {"kind": "chat"}), etag=shown.etag)
    with pytest.raises(GatewayError) as caught:
        await subject.propose(shown.text, etag=shown.etag)
    assert caught.value.code == "config_changed"
    assert 'kind = "chat"' in path.read_text()


async def test_problems_have_lines_and_nothing_is_written(tmp_path: Path) -> None:
    subject, reloads, path = editor(tmp_path)
    for text, line in (("[server]\nlisten = 3\n", 2), ("\n[server", 2)):
        edited = await subject.propose(text)
        assert (edited.ok, edited.written, [problem.line for problem in edited.problems]) == (False, False, [line])
        assert edited.why_not(subject.path)[0].startswith(f"{path}:{line}:")
        assert "# Ours." in edited.diff
        assert HASH not in edited.diff
    assert reloads.loaded == []
    assert path.read_text() == TEXT.replace("EDIT", "all")


async def test_what_cannot_be_loaded_is_not_written_or_put_back(tmp_path: Path) -> None:
    subject, reloads, path = editor(tmp_path)
    for word, loaded in (("REFUSED", 0), ("LATE", 1)):
        edited = await subject.propose(f"{path.read_text()}# {word}\n")
        assert (edited.ok, edited.written, edited.why_not(subject.path)) == (False, False, ["a restart is needed"])
        assert path.read_text() == TEXT.replace("EDIT", "all")
        assert len(reloads.loaded) == loaded


async def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    subject, reloads, path = editor(tmp_path)
    edited = await subject.change(lambda text: change_model(text, "m", {"active": False}), dry_run=True)
    assert (edited.ok, edited.written, edited.reload.models) == (True, False, ("m",))
    assert "+active = false\n" in edited.diff
    assert (reloads.loaded, path.read_text()) == ([], TEXT.replace("EDIT", "all"))


@pytest.mark.parametrize(
    ("edit", "models", "rest"), [("off", False, False), ("models", True, False), ("all", True, True)]
)
async def test_what_may_be_changed_from_afar(tmp_path: Path, edit: str, *, models: bool, rest: bool) -> None:
    subject, _, path = editor(tmp_path, edit)
    backend = TEXT.replace("EDIT", edit).replace("127.0.0.1:1", "127.0.0.1:2")
    for text, may in ((TEXT.replace("EDIT", edit).replace('"b/x"', '"b/y"'), models), (backend, rest)):
        before = path.read_text()
        assert (await subject.propose(text, dry_run=True)).allowed is may
        if may:
            assert (await subject.propose(text)).written
        else:
            with pytest.raises(GatewayError, match="config_protected"):
                await subject.propose(text)
            assert path.read_text() == before
            assert (await subject.propose(text, on_the_box=True)).written
        path.write_text(before)


async def test_a_file_that_is_broken_is_not_shown_and_can_be_replaced(tmp_path: Path) -> None:
    subject, _, path = editor(tmp_path)
    path.write_text(f'hash = "{HASH}\n')
    shown = await subject.shown()
    assert shown.text is None
    assert shown.problems[0].line == 1
    with pytest.raises(OperatorError, match="stands for no value"):
        await subject.propose(TEXT.replace("EDIT", "all").replace(HASH, "***1***"))
    assert (await subject.propose(TEXT.replace("EDIT", "all"), etag=shown.etag)).written


async def test_cancelled_between_the_file_and_the_reload_both_happen(tmp_path: Path) -> None:
    subject, reloads, path = editor(tmp_path)
    with trio.CancelScope() as scope:
        real = reloads.reload

        async def reload(dry_run: bool = False, text: str | None = None) -> Reloaded:
            if not dry_run:
                scope.cancel()
            return await real(dry_run, text)

        reloads.reload = reload  # type: ignore[method-assign]
        await subject.change(lambda text: f"{text}# more\n")
    assert reloads.loaded == [path.read_text()]
    assert path.read_text().endswith("# more\n")
