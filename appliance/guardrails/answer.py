"""What a guard model says about a text, as a finding.

Llama Guard and its kin answer `safe`, or `unsafe` and the categories on the next line (`S1,S10`); others write
`Safety: Unsafe` or `yes`. The words are settings. Nothing of an answer is ever passed on but names that the
configuration has and codes such as `S1`: a text under suspicion may have made the guard model repeat it.
"""

import re
from collections.abc import Sequence

from appliance.config.schema import Guardrail
from appliance.guardrails.verdict import Finding

_CODE = re.compile(r"[A-Z]{1,2}[0-9]{1,2}")
_UNNAMED = "unsafe"


class UnreadableError(ValueError):
    """An answer that says neither."""


def judged(answer: str, guard: Guardrail) -> list[Finding]:
    """The findings of an answer; none when the text may pass.

    Raises:
        UnreadableError: it says neither that the text may pass nor that it may not.
    """
    first, _, rest = answer.strip().partition("\n")
    unsafe, safe = (_says(first, words) for words in (guard.unsafe, guard.safe))
    if unsafe == safe:
        raise UnreadableError("it says neither that the text may pass nor that it may not")
    if safe:
        return []
    said = [word.strip() for word in re.split(r"[,;\n]", rest.partition(":")[2] or rest)]
    names = {name.casefold(): shown for name, shown in guard.categories.items()}
    known = [word for word in said if word.casefold() in names or _CODE.fullmatch(word)]
    shown = [names.get(word.casefold(), word) for word in known]
    categories = dict.fromkeys(name for name in shown if name)
    if not categories and shown:
        return []  # all that it found is allowed
    return [
        Finding(guard.name, guard.action, name, "The guard model found the text unsafe")
        for name in categories or {_UNNAMED: None}
    ]


def _says(line: str, words: Sequence[str]) -> bool:
    pattern = "|".join(re.escape(word.strip()) for word in words)
    return re.search(rf"(?<!\w)(?:{pattern})(?!\w)", line, re.IGNORECASE) is not None
