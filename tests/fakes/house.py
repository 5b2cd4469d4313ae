"""One house for the examples that users print in their documents: their names, their keys, engines behind them."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.fakes.product import Product, free_port, product, runtime

KEYS = {"basics": "bos_live_sk_test", "client": "cgt_your_token", "plain": "YOUR_API_KEY"}
_TGI = '[[backends]]\nname = "tgi"\nengine = "tgi"\nurl = "http://127.0.0.1:{port}"\n'
_MODEL = '[[models]]\nname = "{name}"\nkind = "{kind}"\ntargets = ["{target}"]\n{more}\n'


def _model(name: str, target: str, kind: str = "chat", more: str = "") -> str:
    return _MODEL.format(name=name, kind=kind, target=target, more=more)


@contextlib.contextmanager
def house(state: Path) -> Iterator[Product]:
    """The product with every model that the documents name."""
    tables = "\n".join(
        [
            _TGI.format(port=free_port()),
            runtime("smart"),
            runtime("text-embedding-3-small", kinds='["embedding"]'),
            runtime("ill", "--status", "418"),
            runtime("mute", "--first-byte-delay", "30"),
            _model("basics-chat-smart", "smart", more="default = true"),
            _model("basics-embed-small", "text-embedding-3-small", "embedding"),
            _model("gpt-4", "smart"),
            _model("Qwen/Qwen2.5-7B-Instruct", "smart"),
            _model("BAAI/bge-small-en-v1.5", "text-embedding-3-small", "embedding"),
            _model("on-tgi", "tgi/x", kind=""),
            _model("gone", "smart", more="active = false"),
            _model("down", "tgi/x"),
        ]
    )
    with product(state, tables, "first_byte_timeout = '2s'", {"API_KEYS": ",".join(KEYS.values())}) as running:
        running.ready("basics-chat-smart", "basics-embed-small", "ill", "mute")
        yield running


def run(*argv: str, text: str = "") -> str:
    """What a printed example writes when it is run; it must succeed."""
    done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def shell(script: str) -> str:
    """Run lines of a shell."""
    return run("bash", "-eu", text=script)


def python(script: str) -> str:
    """Run lines of Python, in a process of their own."""
    return run(sys.executable, "-W", "error", "-", text=script)
