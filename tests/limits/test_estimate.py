import base64
import json

import pytest

from appliance.domain.calls import Call, Operation
from appliance.limits.estimate import OUTPUT_UNKNOWN, input_estimate, output_allowed


def call(body: bytes, operation: Operation = Operation.CHAT, most_output: int | None = None) -> Call:
    return Call(operation, "m", body, most_output=most_output)


@pytest.mark.parametrize(("size", "tokens"), [(0, 0), (3, 0), (4, 1), (1000, 250), (10**6, 250_000)])
def test_the_input_is_estimated_by_the_size_of_the_body(size: int, tokens: int) -> None:
    assert input_estimate(call(b"x" * size)) == tokens


def test_what_is_known_to_be_text_is_not_looked_through() -> None:
    body = b'"data":"' + b"x" * 10**6 + b'"'
    assert input_estimate(call(body)) < 2000
    assert input_estimate(Call(Operation.CHAT, "m", body, plain=True)) == len(body) // 4


@pytest.mark.parametrize(
    "operation", [Operation.COUNT_TOKENS, Operation.RESPONSE_TOKENS, Operation.TOKENIZE, Operation.DETOKENIZE]
)
def test_counting_tokens_costs_none(operation: Operation) -> None:
    counting = call(b"x" * 1000, operation)
    assert (input_estimate(counting), output_allowed(counting)) == (0, 0)


@pytest.mark.parametrize("operation", [Operation.EMBEDDING, Operation.RERANK, Operation.SPEECH, Operation.IMAGE])
def test_what_is_no_text_has_no_output(operation: Operation) -> None:
    assert output_allowed(call(b"x" * 1000, operation)) == 0


def test_a_recording_counts_as_one() -> None:
    form = Call(Operation.TRANSCRIPTION, "m", b"x" * 10**6, content_type="multipart/form-data; boundary=x")
    assert (input_estimate(form), output_allowed(form)) == (1000, OUTPUT_UNKNOWN)


@pytest.mark.parametrize(("most", "tokens"), [(None, OUTPUT_UNKNOWN), (0, 0), (5000, 5000)])
def test_the_output_is_what_the_request_allows(most: int | None, tokens: int) -> None:
    assert output_allowed(call(b"{}", most_output=most)) == tokens


PICTURE = base64.b64encode(b"\x00" * 300_000).decode()
IMAGE_URL = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}}
SOURCE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PICTURE}}


@pytest.mark.parametrize("part", [IMAGE_URL, SOURCE], ids=["chat", "messages"])
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
@pytest.mark.parametrize("count", [1, 3])
def test_a_picture_counts_as_a_picture_and_not_by_its_bytes(
    part: object, separators: tuple[str, str], count: int
) -> None:
    body = json.dumps({"content": [part] * count, "text": "x" * 4000}, separators=separators).encode()
    assert 1000 * count + 1000 <= input_estimate(call(body)) <= 1000 * count + 1200


def test_data_that_never_ends_is_counted_once() -> None:
    assert input_estimate(call(b"base64," + b"A" * 100_000)) == 1000 + 1
