import json

import httpx
import pytest

from appliance.scripted.replies import BadRequest
from appliance.scripted.tasks import knows, of_json, sound, transcript

FORM = {"file": ("a.wav", b"RIFF\r\n\x00")}


def form(**fields: str) -> bytes:
    return httpx.Request("POST", "http://x", data={"model": "w"} | fields, files=FORM).read()


def test_what_fits_best_comes_first() -> None:
    reply = of_json("/v1/rerank", {"query": "red car", "documents": ["a dog", "a red car", "red"], "top_n": 2}, "m")
    assert reply is not None
    assert [result["index"] for result in reply["results"]] == [1, 2]
    assert reply["model"] == "m"


@pytest.mark.parametrize(
    "path", ["/v1/rerank", "/v1/score", "/detokenize", "/v1/moderations", "/v1/images/generations"]
)
def test_what_is_missing_is_told(path: str) -> None:
    assert knows(path)
    with pytest.raises(BadRequest, match="is required"):
        of_json(path, {}, "m")


def test_tokens_go_there_and_back() -> None:
    reply = of_json("/tokenize", {"prompt": "a bcd"}, "m")
    assert reply is not None
    assert (reply["count"], reply["tokens"]) == (2, [1, 3])
    back = of_json("/detokenize", {"tokens": reply["tokens"]}, "m")
    assert back is not None
    assert back["prompt"] == "x xxx"


def test_the_same_recording_has_the_same_transcript_in_every_format() -> None:
    text = json.loads(transcript(form(), "m")[1])["text"]
    assert transcript(form(response_format="text"), "m") == ("text/plain; charset=utf-8", text.encode() + b"\n")
    kind, events = transcript(form(stream="true"), "m")
    assert kind == "text/event-stream"
    assert json.loads(events.split(b"\n\n")[1].removeprefix(b"data: "))["text"] == text


def test_a_form_without_a_recording_is_refused() -> None:
    with pytest.raises(BadRequest):
        transcript(b"--b--", "m")
    with pytest.raises(BadRequest):
        sound({})


def test_sound_comes_in_pieces() -> None:
    pieces = list(sound({"input": "hi"}))
    assert pieces[0].data.startswith(b"RIFF")
    assert sum(piece.token for piece in pieces) == 16


def test_other_routes_are_unknown() -> None:
    assert not knows("/v1/x")
    assert of_json("/v1/x", {}, "m") is None
