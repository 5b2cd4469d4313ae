import json
import re
import tomllib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config.load import parse
from appliance.config.masking import MASK, _shown, command_line, effective, masked, model, restored, with_secrets
from appliance.config.schema import Config, Model, Tls
from appliance.diagnosis.bundle import own_parts
from appliance.diagnosis.redaction import Redaction
from appliance.errors import OperatorError
from tests.fakes.settings import sections

HASH = "sha256:" + "0" * 64
TEXT = f"""\
[[keys]]
name = "a"
hash = "{HASH}"  # of alice
[[runtimes]]
name = "r"
engine = "vllm"
model = "/m"
args = ["--tokenizer", "t", "--hf-token", "canary-1", "--api-secret=canary-2", '--max-tokens=3']
env = {{ HF_TOKEN = 'canary-3' }}
[[runtimes]]
name = "q"
engine = "command"
command = ["serve", "{{port}}", "--password"]
[runtimes.env]
X = "canary-1"
"""


def test_secrets_are_masked_and_the_rest_is_as_it_was() -> None:
    found = masked(TEXT)
    assert "canary" not in found.text
    assert HASH not in found.text
    assert 'hash = "***1***"  # of alice' in found.text
    words = """args = ["--tokenizer", "t", "--hf-token", "***2***", "--api-secret=***3***", '--max-tokens=3']"""
    assert words in found.text
    assert 'X = "***2***"' in found.text  # the same secret
    assert found.secrets == (f'"{HASH}"', '"canary-1"', '"canary-2"', "'canary-3'")
    assert restored(found.text, found.secrets) == TEXT


def test_an_edited_text_gets_its_secrets_back_wherever_they_went() -> None:
    found = masked(TEXT)
    moved = f'[[keys]]\nname = "b"\nhash = "sha256:{"1" * 64}"\n' + found.text
    again = masked(restored(moved, found.secrets), found.secrets)
    assert again.text == moved.replace(f'"sha256:{"1" * 64}"', '"***5***"')
    with pytest.raises(OperatorError, match=r'"\*\*\*7\*\*\*" stands for no value'):
        restored('x = "***7***"', found.secrets)


@pytest.mark.parametrize(
    ("secret", "written"),
    [
        ('"s"', '"--api-key=s"'),
        ("'s\"'", "'--api-key=s\"'"),
        ('"""\ns"""', '"""--api-key=s"""'),
        ("12", '"--api-key=12"'),
    ],
)
def test_a_secret_can_be_moved_behind_a_flag_and_away_from_it(secret: str, written: str) -> None:
    assert restored('x = ["--api-key=***1***"]', [secret]) == f"x = [{written}]"
    assert restored("x = '***1***'", [secret]) == f"x = {secret}"


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        # What follows a flag that tells of a secret, whatever it looks like.
        (["--api-key", "X", "--port", "80"], ["--api-key", MASK, "--port", "80"]),
        (["--api-key", "--X", "y"], ["--api-key", MASK, "y"]),
        (["--api-key=X"], ["--api-key=***"]),
        (["--hf-token", "X", "-hft", "X"], ["--hf-token", MASK, "-hft", MASK]),
        (["--db.password=X", "--apiKey", "X"], ["--db.password=***", "--apiKey", MASK]),
        (["--auth", "u:X", "DB_PASS=X"], ["--auth", MASK, "DB_PASS=***"]),
        (["--auth-tokens", "X,Y"], ["--auth-tokens", MASK]),
        # Where a secret is kept is none.
        (["--api-key-file", "/k", "--ssl-keyfile=/k", "--token_path", "/t"],) * 2,
        # Nor is what else engines call a token or a key.
        (["--tokenizer", "t", "--tokenizer-mode=auto", "--max-num-batched-tokens", "8192", "--max-tokens=3"],) * 2,
        (["--return-tokens-as-token-ids", "x", "--keep", "3", "--stop-token-ids", "1"],) * 2,
        (["--served-model-name", "a:b", "--keywords", "x", "--bypass", "x", "--author=x"],) * 2,
        (["--override-kv", "tokenizer.ggml.add_bos_token=bool:false", '--hf={"num_key_value_heads": 8}'],) * 2,
        # Headers, variables, JSON and URLs.
        (["-H", "Authorization: Bearer X"], ["-H", "Authorization: ***"]),
        (["-H", "x-api-key: X", "--header=Cookie: X"], ["-H", "x-api-key: ***", "--header=Cookie: ***"]),
        (["env", "HF_TOKEN=X", "-eAPI_KEY=X", "A=b"], ["env", "HF_TOKEN=***", "-eAPI_KEY=***", "A=b"]),
        (['--extra={"a": 1, "api_key": "X"}'], ['--extra={"a": 1, "api_key": ***']),
        (["http://u:X@h/v1", "https://X@h", "http://u:X@X@h"], ["http://***@h/v1", "https://***@h", "http://***@h"]),
        (["http://h/?api_key=X"], ["http://h/?api_key=***"]),
        # A command line of a shell, as one word.
        (["sh", "-c", "serve --port 80 --api-key X"], ["sh", "-c", "serve --port 80 --api-key ***"]),
        (["sk-0123456789abcdef"], [MASK]),
        (["nvapi-0123456789", "gho_0123456789", "github_pat_0123456789"], [MASK, MASK, MASK]),
    ],
)
def test_a_command_line_keeps_its_flags_and_loses_their_secrets(words: list[str], shown: list[str]) -> None:
    assert command_line(words) == shown


def test_what_is_in_effect_is_shown_without_secrets() -> None:
    config, _ = parse(TEXT)
    assert config is not None
    facts = effective(config)
    assert "canary-" not in str(facts)
    assert HASH not in str(facts)
    assert facts["runtimes"][0]["args"] == [
        "--tokenizer",
        "t",
        "--hf-token",
        MASK,
        "--api-secret=***",
        "--max-tokens=3",
    ]
    assert facts["runtimes"][1]["env"] == {"X": "***"}
    assert facts["server"]["drain"] == 30


def test_of_a_configuration_without_secrets_everything_is_shown() -> None:
    assert MASK not in json.dumps(effective(Config()))
    tables = set(sections()) - {Config, Tls}
    names = {field.name for table in tables for field in msgspec.structs.fields(table)}
    telling = {name for name in names if _shown("v", (name,), "") == MASK}
    assert telling == {"hash", "env", "auth", "key_prefix", "provider_keys"}  # two are shown, one has files


def test_what_only_sounds_like_a_secret_is_shown() -> None:
    text = """\
server = { auth = "open", key_prefix = "sk-", tls = { cert = "/c.pem", key = "/k.pem" } }
limits = { tokens_per_day = 3 }
backends = [{ key_env = "HF_TOKEN", key_file = "/k", url = "http://h:1/v1" }]
keys = [{ provider_keys = { openai = "/k" } }]
guardrails = [{ patterns = ["Bearer [a-z]+", "https?://[^/]+@"] }]
runtimes = [{ model = "/models/hf_llama-3-8b.gguf", args = ["--ssl-keyfile", "/k"] }]
"""
    assert masked(text).text == text


PLACES = [
    '[[runtimes]]\nname = "r"\nengine = "command"\ncommand = [{}]',
    '[[runtimes]]\nname = "r"\nengine = "vllm"\nmodel = "m"\nargs = [{}]',
]
WRITTEN = [
    '"--api-key", "@"',
    "'--api-key=@'",
    '"--hf-token", "@"',
    '"--hf-token=@"',
    '"--db-password", """@"""',
    '"-H", "Authorization: @"',
    '"-H", "x-api-key: @"',
    '"-H", "Authorization: Basic @"',
    '"HF_TOKEN=@"',
    """'{{"api_key": "@"}}'""",
    '"http://user:@@h/v1"',
    '"http://@@h/v1"',
    '"sh", "-c", "exec serve --token @"',
]
GOOD = [
    *(place.format(words) for place in PLACES for words in WRITTEN),
    '[[runtimes]]\nname = "r"\nengine = "vllm"\nmodel = "m"\nenv = { X = "@" }',
    '[[runtimes]]\nname = "r"\nengine = "vllm"\nmodel = "m"\n[runtimes.env]\nX = "@"',
    '[[models]]\nname = "m"\ntargets = ["r"]\ndefaults = { extra = { api_key = "@" }, h = ["Bearer @"] }',
    '[[providers]]\nname = "openai"\nproxy = "http://user:@@proxy:3128"',
]
WRONG = [  # shown with its problems, and not in effect
    '[[runtimes]]\nargs = "--api-key @"',
    '[[runtimes]]\nargs = "serve --api-key=@ --port 80"',
    '[[runtimes]]\nenv = "HF_TOKEN=@"',
    '[[runtimes]]\nenv = ["@"]',
    '[[runtime]]\nargs = ["--api-key", "@"]\nenv = { X = "@" }',
    '[runtimes.r]\nargs = ["--api-key=@"]\n[runtimes.r.env]\nX = "@"',
    '[[backends]]\nkey = "@"',
    '[[backends]]\nheaders = { Authorization = "@", x-api-key = "@" }',
    '[[backends]]\nurl = "http://user:@@h"',
    '[server]\npassword = "@"',
    'keys = ["@"]',
    '[[keys]]\nhash = "@"',
]
canary = st.from_regex(r"[A-Za-z0-9_.~+/-]{4,24}qz", fullmatch=True)


@given(st.sampled_from(GOOD + WRONG), canary)
def test_no_secret_comes_out_by_any_door(place: str, secret: str) -> None:
    in_url = "://" in place
    secret = secret.replace("/", "_") if in_url else secret
    text = re.sub("@(?=@)|@(?!(h|proxy))", lambda _: secret, place) + "\n"
    assert secret in text
    found = masked(text)
    assert secret not in found.text
    assert restored(found.text, found.secrets) == text
    assert tomllib.loads(found.text).keys() == tomllib.loads(text).keys()
    config, _ = parse(text)
    assert (config is not None) == (place in GOOD)
    if config is not None:
        assert secret not in json.dumps(effective(config))
        assert secret not in own_parts("1", config, [], None, "", Redaction())["config.json"]


@given(st.lists(st.text("abc\"'\\\n#=", max_size=6), max_size=4))
def test_any_values_come_back(values: list[str]) -> None:
    rows = "\n".join(f"V{at} = {_quoted(value)}" for at, value in enumerate(values))
    text = f'[[runtimes]]\nname = "r"\nargs = [{", ".join(map(_quoted, ("--key=" + v for v in values)))}]\n[runtimes.env]\n{rows}\n'
    found = masked(text)
    assert restored(found.text, found.secrets) == text
    assert found.text.count("***") == 4 * len(values)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


FORCED = {
    "api_key": "canary-1",
    "pin_key": 1234,
    "url": "https://me:canary-2@box/v1",
    "headers": [{"authorization": "Bearer canary-3"}, {"name": "plain"}],
    "keys": ["canary-4", "canary-5"],
    "seed": 1,
    "stop": ["***"],
}


def test_settings_of_a_model_come_back_as_they_were_shown() -> None:
    shown = model(Model(name="m", targets=("t",), forced=FORCED))
    assert "canary" not in str(shown)
    assert "1234" not in str(shown)
    assert shown["forced"]["url"] == "https://***@box/v1"
    assert with_secrets({"forced": shown["forced"], "kind": "chat"}, {"forced": FORCED}) == {
        "forced": FORCED,
        "kind": "chat",
    }


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"api_key": MASK, "seed": 2}, {"api_key": "canary-1", "seed": 2}),
        ({"api_key": "new"}, {"api_key": "new"}),
        ({"seed": True}, {"seed": True}),  # which equals 1
        ({"headers": [{"authorization": MASK}]}, {"headers": [{"authorization": "Bearer canary-3"}]}),
        (
            {"headers": [{"x": 1}, {"name": "plain"}, {"authorization": MASK}]},
            {"headers": [{"x": 1}, {"name": "plain"}, {"authorization": "Bearer canary-3"}]},
        ),
        ({"stop": ["***"]}, {"stop": ["***"]}),
        ({"stop": ["***", "x"]}, {"stop": ["***", "x"]}),
        ({"pin_key": "***"}, {"pin_key": 1234}),
        ({"keys": [MASK, MASK]}, {"keys": ["canary-4", "canary-5"]}),
        ({"keys": [MASK, "x"]}, {"keys": ["canary-4", "x"]}),
        ({"keys": [MASK]}, None),  # which of them?
        ({"url": "https://***@elsewhere/v1"}, None),
        ({"other_key": MASK}, None),
        ({"seed": MASK}, None),
        (None, None),
    ],
)
def test_a_mask_stands_for_what_is_in_its_place_or_is_refused(
    wanted: dict[str, object] | None, found: dict[str, object] | None
) -> None:
    if found is not None or wanted is None:
        assert with_secrets({"forced": wanted}, {"forced": FORCED}) == {"forced": found}
    else:
        with pytest.raises(OperatorError, match=r"`forced\.\S+` stands for no value"):
            with_secrets({"forced": wanted}, {"forced": FORCED})


def test_where_nothing_was_masked_a_mask_is_only_refused_where_a_secret_should_be() -> None:
    assert with_secrets({"defaults": {"stop": ["***"]}}, {}) == {"defaults": {"stop": ["***"]}}
    with pytest.raises(OperatorError, match=r"\*\*\* in `defaults\.api_key` stands for no value that is there"):
        with_secrets({"defaults": {"api_key": "***"}}, {"defaults": {"seed": 1}})
