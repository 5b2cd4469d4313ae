"""Every field of a request that could harm an engine or those who share it, and how it is judged (`parameters`).

Sources: the request classes of vLLM 0.33 and llama-server b10359, and what went wrong with them elsewhere: fetches of
addresses inside the network (`image_url`), templates and grammars that never end, vectors that are read as a program's
data (`prompt_embeds`), the slot or the place in line of somebody else (`id_slot`, `priority`).
"""

from dataclasses import dataclass
from typing import Literal

Setting = Literal["most_choices", "most_logprobs", "most_stops", "most_tools", "schema_size"]
_VLLM = frozenset({"vllm", "sglang"})
_LLAMA = frozenset({"llama.cpp"})


@dataclass(frozen=True, slots=True)
class Rule:
    """How one field is judged.

    Attributes:
        kind: "refused" whatever its value; "number" and "items" are at most the setting; "schema" is at most as large
            and as deep as the settings say; "object" too, and has none of `without`; "media" is inline.
        why: what it could do, for the message.
        setting: what bounds it.
        without: members that the object must not have.
        unknown_to: engines that ignore it, so that it passes.
    """

    kind: Literal["refused", "number", "items", "schema", "object", "media"]
    why: str
    setting: Setting = "schema_size"
    without: tuple[str, ...] = ()
    unknown_to: frozenset[str] = frozenset()


_CHOICES = "each answer takes a slot of its own"
_PROBABILITIES = "probabilities of many tokens slow every step down"
_EACH_STEP = "it is gone through at each token"
_COMPILED = "it is compiled before the first token, which may take the engine for ever"
_TEMPLATE = "a template is a program, which runs in the engine"
_OTHERS = "it touches what belongs to others"

RULES: dict[str, Rule] = {
    "n": Rule("number", _CHOICES, "most_choices"),
    "n_cmpl": Rule("number", _CHOICES, "most_choices", unknown_to=_VLLM),
    "best_of": Rule("number", _CHOICES, "most_choices"),
    "use_beam_search": Rule("refused", "beams multiply the work of each token", unknown_to=_LLAMA),
    "logprobs": Rule("number", _PROBABILITIES, "most_logprobs"),
    "top_logprobs": Rule("number", _PROBABILITIES, "most_logprobs"),
    "n_probs": Rule("number", _PROBABILITIES, "most_logprobs", unknown_to=_VLLM),
    "prompt_logprobs": Rule("refused", "those of a whole prompt can use up the GPU's memory", unknown_to=_LLAMA),
    "stop": Rule("items", _EACH_STEP, "most_stops"),
    "stop_sequences": Rule("items", _EACH_STEP, "most_stops"),  # of Messages
    "stop_token_ids": Rule("items", _EACH_STEP, "most_stops", unknown_to=_LLAMA),
    "bad_words": Rule("items", _EACH_STEP, "most_stops", unknown_to=_LLAMA),
    "logit_bias": Rule("schema", _EACH_STEP),
    "allowed_token_ids": Rule("schema", _EACH_STEP, unknown_to=_LLAMA),
    "samplers": Rule("items", _EACH_STEP, "most_stops", unknown_to=_VLLM),
    "tools": Rule("items", _COMPILED, "most_tools"),
    "response_format": Rule("schema", _COMPILED),
    "output_config": Rule("schema", _COMPILED),  # of Messages
    "json_schema": Rule("schema", _COMPILED, unknown_to=_VLLM),
    "structured_outputs": Rule("object", _COMPILED, without=("grammar", "regex", "structural_tag"), unknown_to=_LLAMA),
    "guided_json": Rule("schema", _COMPILED, unknown_to=_LLAMA),
    "guided_choice": Rule("schema", _COMPILED, unknown_to=_LLAMA),
    "guided_regex": Rule("refused", _COMPILED, unknown_to=_LLAMA),
    "guided_grammar": Rule("refused", _COMPILED, unknown_to=_LLAMA),
    "structural_tag": Rule("refused", _COMPILED, unknown_to=_LLAMA),
    "grammar": Rule("refused", _COMPILED, unknown_to=_VLLM),
    "grammar_triggers": Rule("refused", _COMPILED, unknown_to=_VLLM),
    "chat_template": Rule("refused", _TEMPLATE),
    "chat_template_kwargs": Rule("object", _TEMPLATE, without=("chat_template", "tokenize")),
    "id_slot": Rule("refused", "it takes a slot away from others, and its cache with it", unknown_to=_VLLM),
    "slot_id": Rule("refused", "it takes a slot away from others, and its cache with it", unknown_to=_VLLM),
    "n_discard": Rule("refused", "an answer would go on for ever, in a context that is thrown away", unknown_to=_VLLM),
    "lora": Rule("refused", "it changes what the model is, and empties the cache", unknown_to=_VLLM),
    "priority": Rule("refused", "it overtakes others in the engine", unknown_to=_LLAMA),
    "kv_transfer_params": Rule("refused", _OTHERS, unknown_to=_LLAMA),
    "logits_processors": Rule("refused", "it names code that runs in the engine", unknown_to=_LLAMA),
    "prompt_embeds": Rule("refused", "it is read as a program's data", unknown_to=_LLAMA),
    "mm_processor_kwargs": Rule("refused", "it decides how much memory an image takes", unknown_to=_LLAMA),
    "media_io_kwargs": Rule("refused", "it decides how much memory a video takes", unknown_to=_LLAMA),
    "image_embeds": Rule("refused", "it is read as a program's data", unknown_to=_LLAMA),
    "audio_embeds": Rule("refused", "it is read as a program's data", unknown_to=_LLAMA),
    "vllm_xargs": Rule("refused", "it reaches into the engine's extensions", unknown_to=_LLAMA),
    "media": Rule("media", "the engine would fetch it, from inside this network"),
}
