"""Checks by name, and what came of them as JSON: what runs inside the environments of the SDK matrix.

Whatever Python an SDK wants is what runs this, so it uses the standard library only.
"""

import inspect
import json
import os
import traceback
from collections.abc import Callable
from typing import Any

URL = os.environ["GATEWAY_URL"]
KEY = os.environ["GATEWAY_KEY"]
CHECKS: dict[str, Callable[[], Any]] = {}


def check(function: Callable[[], Any]) -> Callable[[], Any]:
    """Register one check under its function's name."""
    CHECKS[function.__name__] = function
    return function


def raises(kind: Any, call: Callable[[], Any], *, says: str = "") -> Any:
    """The exception that a call raises; anything else is a failed check."""
    try:
        call()
    except kind as error:
        if says in str(error):
            return error
        raise AssertionError(str(error)) from error
    raise AssertionError(f"{kind} was not raised")


def main() -> None:
    """Run every check; its name and "" or its traceback."""
    results = {}
    for name, function in CHECKS.items():
        try:
            outcome = function()
            assert not inspect.iscoroutine(outcome)
            results[name] = ""
        except Exception:  # noqa: BLE001 - it is the result
            results[name] = traceback.format_exc()[-1500:]
    print(json.dumps(results))
