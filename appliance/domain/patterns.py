"""Names of models in the configuration that stand for several."""

import re
from functools import lru_cache


def covers(pattern: str, name: str) -> bool:
    """Whether a pattern is for a name; "*" stands for any run of characters, everything else for itself."""
    return pattern in ("*", name) or ("*" in pattern and _compiled(pattern).fullmatch(name) is not None)


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    # Not fnmatch: model names hold brackets and question marks of their own.
    return re.compile(".*".join(re.escape(part) for part in pattern.split("*")), re.DOTALL)
