"""How each client is pointed at this server, ready to paste. No key is written out: clients read it from a variable.

A recipe is text with marks: `@root@` and `@v1@` (the server's URLs), `@model@` and `@body@` (a request) are put there
in the quotes of the language that the text is in; `@ask@` (a question), `@key@` (the variable) and `@port@` (how a
container gets port 3000 and reaches the server) as they are. Every recipe was tried against the product where the
client can be installed; `docs/commands.md` says which.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from appliance.config.check import is_loopback

KEY = "APPLIANCE_KEY"
_ASK = "Write one sentence about the sea."
_MARK = re.compile(r"@(root|v1|model|body|ask|key|port)@")


@dataclass(frozen=True, slots=True)
class Part:
    """Something to paste.

    Attributes:
        about: where it goes.
        text: what to paste, without a line that needs editing.
    """

    about: str
    text: str


@dataclass(frozen=True, slots=True)
class Step:
    """A part before server and model are known.

    Attributes:
        about: where it goes; may hold `@key@`.
        quote: how its language writes a text.
        text: with marks.
    """

    about: str
    quote: Callable[[str], str]
    text: str

    def filled(self, url: str, model: str) -> Part:
        """The part for a server's root URL and a model."""
        body = json.dumps({"model": model, "stream": True, "messages": [{"role": "user", "content": _ASK}]})
        quoted = {"root": url, "v1": f"{url}/v1", "model": model, "body": body}
        marks = {name: self.quote(value) for name, value in quoted.items()}
        marks |= {"ask": _ASK, "key": KEY, "port": _port_3000(url)}
        return Part(*(_MARK.sub(lambda mark: marks[mark[1]], text) for text in (self.about, self.text)))


@dataclass(frozen=True, slots=True)
class Recipe:
    """One client.

    Attributes:
        title: what it is called.
        steps: what to paste, one after the other.
    """

    title: str
    steps: tuple[Step, ...]

    def parts(self, url: str, model: str) -> list[Part]:
        """What to paste, for a server's root URL and a model."""
        return [step.filled(url, model) for step in self.steps]


def _port_3000(url: str) -> str:
    """Docker's options; a server on this machine's loopback is out of reach for a network of the container's own."""
    host = urlsplit(url).hostname or ""
    return "--network host -e PORT=3000" if is_loopback(host) else "-p 3000:8080"


def _sh(text: str) -> str:
    """A word of a shell, in quotes only where it needs them."""
    return text if all(mark.isalnum() or mark in "-._:/@" for mark in text) else "'" + text.replace("'", "'\\''") + "'"


def _shell(text: str, about: str = "a shell") -> Step:
    return Step(about, _sh, text)


def _python(text: str) -> Step:
    return Step("Python", repr, text)


def _node(text: str) -> Step:
    return Step("a file that ends in .mjs", json.dumps, text)


def _file(about: str, text: str) -> Step:
    """TOML and YAML write a text as JSON does."""
    return Step(about, json.dumps, text)


RECIPES: dict[str, Recipe] = {
    "curl": Recipe(
        "curl",
        (
            _shell(
                """curl -N @root@/v1/chat/completions -H "Authorization: Bearer $@key@" """
                """-H 'Content-Type: application/json' -d @body@"""
            ),
        ),
    ),
    "openai-python": Recipe(
        "OpenAI's SDK for Python",
        (
            _shell("pip install openai"),
            _python("""import os
from openai import OpenAI

client = OpenAI(base_url=@v1@, api_key=os.environ["@key@"])
answer = client.chat.completions.create(
    model=@model@, messages=[{"role": "user", "content": "@ask@"}]
)
print(answer.choices[0].message.content)"""),
        ),
    ),
    "openai-node": Recipe(
        "OpenAI's SDK for Node",
        (
            _shell("npm install openai"),
            _node("""import OpenAI from 'openai';

const client = new OpenAI({ baseURL: @v1@, apiKey: process.env.@key@ });
const answer = await client.chat.completions.create({
  model: @model@,
  messages: [{ role: 'user', content: '@ask@' }],
});
console.log(answer.choices[0].message.content);"""),
        ),
    ),
    "anthropic-python": Recipe(
        "Anthropic's SDK for Python",
        (
            _shell("pip install anthropic"),
            _python("""import os
from anthropic import Anthropic

client = Anthropic(base_url=@root@, api_key=os.environ["@key@"])
message = client.messages.create(
    model=@model@, max_tokens=1024, messages=[{"role": "user", "content": "@ask@"}]
)
print("".join(block.text for block in message.content if block.type == "text"))"""),
        ),
    ),
    "anthropic-node": Recipe(
        "Anthropic's SDK for Node",
        (
            _shell("npm install @anthropic-ai/sdk"),
            _node("""import Anthropic from '@anthropic-ai/sdk';

const client = new Anthropic({ baseURL: @root@, apiKey: process.env.@key@ });
const message = await client.messages.create({
  model: @model@,
  max_tokens: 1024,
  messages: [{ role: 'user', content: '@ask@' }],
});
console.log(message.content.map((block) => block.text ?? '').join(''));"""),
        ),
    ),
    "claude-code": Recipe(
        "Claude Code",
        (
            _shell(
                """export ANTHROPIC_BASE_URL=@root@
export ANTHROPIC_AUTH_TOKEN="$@key@"
export ANTHROPIC_MODEL=@model@
export ANTHROPIC_DEFAULT_HAIKU_MODEL=@model@
export ANTHROPIC_DEFAULT_SONNET_MODEL=@model@
export ANTHROPIC_DEFAULT_OPUS_MODEL=@model@
export CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1
claude""",
                "a shell; its prompts are long: give the model a context of 32,768 tokens or more",
            ),
        ),
    ),
    "codex": Recipe(
        "Codex",
        (
            _file(
                "~/.codex/config.toml",
                """model = @model@
model_provider = "appliance"

[model_providers.appliance]
name = "appliance"
base_url = @v1@
env_key = "@key@"
wire_api = "responses\"""",
            ),
            _shell("codex"),
        ),
    ),
    "langchain": Recipe(
        "LangChain for Python",
        (
            _shell("pip install langchain-openai"),
            _python("""import os
from langchain_openai import ChatOpenAI

model = ChatOpenAI(model=@model@, base_url=@v1@, api_key=os.environ["@key@"])
print(model.invoke("@ask@").content)"""),
        ),
    ),
    "vercel": Recipe(
        "Vercel's AI SDK for Node",
        (
            _shell("npm install ai @ai-sdk/openai-compatible"),
            _node("""import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { generateText } from 'ai';

const box = createOpenAICompatible({ name: 'appliance', baseURL: @v1@, apiKey: process.env.@key@ });
const { text } = await generateText({ model: box(@model@), prompt: '@ask@' });
console.log(text);"""),
        ),
    ),
    "open-webui": Recipe(
        "Open WebUI",
        (
            _shell(
                "docker run -d @port@ --name open-webui -v open-webui:/app/backend/data "
                "-e ENABLE_OLLAMA_API=false "
                '-e OPENAI_API_BASE_URL=@v1@ -e OPENAI_API_KEY="$@key@" -e DEFAULT_MODELS=@model@ '
                "ghcr.io/open-webui/open-webui:main",
                "a shell, then http://localhost:3000 in a browser",
            ),
        ),
    ),
    "librechat": Recipe(
        "LibreChat",
        (
            _file(
                "librechat.yaml; @key@ goes into LibreChat's .env",
                """version: 1.2.1
endpoints:
  custom:
    - name: "Appliance"
      apiKey: "${@key@}"
      baseURL: @v1@
      models:
        default: [@model@]
        fetch: true
      titleConvo: true
      titleModel: "current_model\"""",
            ),
        ),
    ),
    "continue": Recipe(
        "Continue",
        (
            _file(
                "~/.continue/config.yaml; @key@ goes into ~/.continue/.env",
                """name: Appliance
version: 1.0.0
schema: v1
models:
  - name: @model@
    provider: openai
    model: @model@
    apiBase: @v1@
    apiKey: ${{ secrets.@key@ }}
    roles: [chat, edit, apply]""",
            ),
        ),
    ),
}
