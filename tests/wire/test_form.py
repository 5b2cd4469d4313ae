import contextlib
import time

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.domain.calls import Operation
from appliance.errors import GatewayError
from appliance.wire.form import parse_form, prompt_of, with_model, with_prompt

TYPE = "multipart/form-data; boundary=xYz"


def field(name: str, value: bytes, more: str = "") -> bytes:
    return f'--xYz\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + value + b"\r\n"


END = b"--xYz--\r\n"
MODEL = field("model", b"whisper")
SOUND = field("file", b"RIFF\r\n\x00--xY\xff" * 100, '; filename="a.wav"\r\nContent-Type: audio/wav')


def model_of(body: bytes, content_type: str = TYPE) -> str:
    return parse_form(Operation.TRANSCRIPTION, body, content_type).model


def refusal(body: bytes, content_type: str = TYPE) -> tuple[str, str | None]:
    with pytest.raises(GatewayError) as caught:
        model_of(body, content_type)
    return caught.value.code, caught.value.param


@pytest.mark.parametrize("body", [MODEL + SOUND + END, SOUND + MODEL + END, b"preamble\r\n" + SOUND + MODEL + END])
@pytest.mark.parametrize("content_type", [TYPE, 'Multipart/Form-Data; charset=utf-8; boundary="xYz"'])
def test_the_model_is_found_wherever_it_stands(body: bytes, content_type: str) -> None:
    assert model_of(body, content_type) == "whisper"
    assert with_model(body, content_type, "large") == body.replace(b"\r\n\r\nwhisper", b"\r\n\r\nlarge")


def test_a_form_as_the_sdks_write_it() -> None:
    request = httpx.Request("POST", "http://x", data={"model": "a/b é"}, files={"file": ("a.wav", b"x" * 9)})
    assert model_of(request.read(), request.headers["content-type"]) == "a/b é"


@pytest.mark.parametrize("body", [b"", SOUND + END, field("model", b"") + END, field("Model", b"x") + END])
def test_a_form_without_a_model_is_400(body: bytes) -> None:
    assert refusal(body) == ("missing_required_parameter", "model")


@pytest.mark.parametrize(
    "body",
    [
        MODEL + SOUND + MODEL + END,
        field("model", b"\xff\xfe") + END,
        field("model", b"m" * 513) + END,
        field("model", b"m" * 9999) + END,
    ],
)
def test_a_model_that_is_there_twice_or_no_name_is_422(body: bytes) -> None:
    assert refusal(body) == ("invalid_payload", "model")


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"whisper"}',
        MODEL,
        MODEL[:-2],
        b"--xYz\r\n\r\nwhisper\r\n" + END,
        MODEL + b"--xYz\r\nContent-Disposition: form-data; name*=utf-8''model\r\n\r\nother\r\n" + END,
        MODEL + field("x", b"1", "; name*=utf-8''model") + END,
        MODEL + b'--xYz\r\nContent-Disposition: form-data;\r\n name="model"\r\n\r\nother\r\n' + END,
        MODEL + b'--xYz\r\nContent-Disposition: form-data; name="mo\\del"\r\n\r\nother\r\n' + END,
        MODEL + b"--xYz\r\n" + b"x: y\r\n" * 2000 + b"\r\nother\r\n" + END,
        field("x", b"") * 65 + MODEL + END,
    ],
)
def test_what_is_no_form_or_can_be_read_in_two_ways_is_422(body: bytes) -> None:
    assert refusal(body) == ("invalid_payload", None)


@pytest.mark.parametrize("content_type", ["", "application/json", "multipart/form-data", "multipart/mixed; boundary=x"])
def test_another_content_type_is_422(content_type: str) -> None:
    assert refusal(MODEL + END, content_type) == ("invalid_payload", None)


def test_a_file_name_that_looks_like_a_field_is_none() -> None:
    assert refusal(field("file", b"x", '; filename="a; name=model"') + END)[0] == "missing_required_parameter"


@given(st.binary(max_size=300), st.integers(0, 60))
def test_any_bytes_are_a_call_or_a_typed_refusal(noise: bytes, at: int) -> None:
    for body in (noise, MODEL[:at] + noise + MODEL[at:] + END):
        with contextlib.suppress(GatewayError):
            name = model_of(body)
            assert model_of(with_model(body, TYPE, "other")) == "other"
            assert name


def test_a_large_form_is_looked_through_in_no_time() -> None:
    body = field("file", b"\r\n--xY" * 5_000_000) + MODEL + END
    start = time.perf_counter()
    assert model_of(body) == "whisper"
    assert time.perf_counter() - start < 0.5


def test_the_prompt_that_goes_with_a_recording_is_found_and_replaced() -> None:
    body = MODEL + field("prompt", b"names: Ann") + SOUND + END
    assert prompt_of(body, TYPE) == "names: Ann"
    assert with_prompt(body, TYPE, "names: X") == body.replace(b"names: Ann", b"names: X")
    assert prompt_of(MODEL + SOUND + END, TYPE) == ""
    assert with_prompt(MODEL + SOUND + END, TYPE, "") == MODEL + SOUND + END


@pytest.mark.parametrize("fields", [field("prompt", b"\xff"), field("prompt", b"a") + field("prompt", b"b")])
def test_a_prompt_that_can_be_read_in_two_ways_or_in_none_is_refused(fields: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        prompt_of(MODEL + fields + END, TYPE)
    assert (caught.value.code, caught.value.param) == ("invalid_payload", "prompt")
