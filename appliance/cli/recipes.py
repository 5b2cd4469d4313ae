"""How each client is pointed at this server, ready to paste. No key is written out: clients read it from a variable.

Every recipe was tried against the product where the client can be installed; `docs/commands.md` says which.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass

KEY = "APPLIANCE_KEY"
_ASK = "Write one sentence about the sea."


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
class Recipe:
    """One client.

    Attributes:
        title: what it is called.
        parts: what to paste, for a server's root URL and a model.
    """

    title: str
    parts: Callable[[str, str], list[Part]]


def _curl(url: str, model: str) -> list[Part]:
    body = json.dumps({"model": model, "stream": True, "messages": [{"role": "user", "content": _ASK}]})
    shown = body.replace("'", "'\\''")
    return [
        Part(
            "a shell",
            f'curl -N {url}/v1/chat/completions -H "Authorization: Bearer ${KEY}" '
            f"-H 'Content-Type: application/json' -d '{shown}'",
        )
    ]


def _openai_python(url: str, model: str) -> list[Part]:
    return [
        Part("a shell", "pip install openai"),
        Part(
            "Python",
            f"""import os
from openai import OpenAI

client = OpenAI(base_url={url + "/v1"!r}, api_key=os.environ["{KEY}"])
answer = client.chat.completions.create(
    model={model!r}, messages=[{{"role": "user", "content": "{_ASK}"}}]
)
print(answer.choices[0].message.content)""",
        ),
    ]


def _openai_node(url: str, model: str) -> list[Part]:
    return [
        Part("a shell", "npm install openai"),
        Part(
            "a file that ends in .mjs",
            f"""import OpenAI from 'openai';

const client = new OpenAI({{ baseURL: {_js(url + "/v1")}, apiKey: process.env.{KEY} }});
const answer = await client.chat.completions.create({{
  model: {_js(model)},
  messages: [{{ role: 'user', content: '{_ASK}' }}],
}});
console.log(answer.choices[0].message.content);""",
        ),
    ]


def _anthropic_python(url: str, model: str) -> list[Part]:
    return [
        Part("a shell", "pip install anthropic"),
        Part(
            "Python",
            f"""import os
from anthropic import Anthropic

client = Anthropic(base_url={url!r}, api_key=os.environ["{KEY}"])
message = client.messages.create(
    model={model!r}, max_tokens=1024, messages=[{{"role": "user", "content": "{_ASK}"}}]
)
print("".join(block.text for block in message.content if block.type == "text"))""",
        ),
    ]


def _anthropic_node(url: str, model: str) -> list[Part]:
    return [
        Part("a shell", "npm install @anthropic-ai/sdk"),
        Part(
            "a file that ends in .mjs",
            f"""import Anthropic from '@anthropic-ai/sdk';

const client = new Anthropic({{ baseURL: {_js(url)}, apiKey: process.env.{KEY} }});
const message = await client.messages.create({{
  model: {_js(model)},
  max_tokens: 1024,
  messages: [{{ role: 'user', content: '{_ASK}' }}],
}});
console.log(message.content.map((block) => block.text ?? '').join(''));""",
        ),
    ]


def _langchain(url: str, model: str) -> list[Part]:
    return [
        Part("a shell", "pip install langchain-openai"),
        Part(
            "Python",
            f"""import os
from langchain_openai import ChatOpenAI

model = ChatOpenAI(model={model!r}, base_url={url + "/v1"!r}, api_key=os.environ["{KEY}"])
print(model.invoke("{_ASK}").content)""",
        ),
    ]


def _vercel(url: str, model: str) -> list[Part]:
    return [
        Part("a shell", "npm install ai @ai-sdk/openai-compatible"),
        Part(
            "a file that ends in .mjs",
            f"""import {{ createOpenAICompatible }} from '@ai-sdk/openai-compatible';
import {{ generateText }} from 'ai';

const box = createOpenAICompatible({{ name: 'appliance', baseURL: {_js(url + "/v1")}, apiKey: process.env.{KEY} }});
const {{ text }} = await generateText({{ model: box({_js(model)}), prompt: '{_ASK}' }});
console.log(text);""",
        ),
    ]


def _claude_code(url: str, model: str) -> list[Part]:
    names = ("ANTHROPIC_MODEL", *(f"ANTHROPIC_DEFAULT_{size}_MODEL" for size in ("HAIKU", "SONNET", "OPUS")))
    lines = [
        f"export ANTHROPIC_BASE_URL={_sh(url)}",
        f'export ANTHROPIC_AUTH_TOKEN="${KEY}"',
        *(f"export {name}={_sh(model)}" for name in names),
        "export CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1",
        "claude",
    ]
    return [Part("a shell; its prompts are long: give the model a context of 32,768 tokens or more", "\n".join(lines))]


def _codex(url: str, model: str) -> list[Part]:
    return [
        Part(
            "~/.codex/config.toml",
            f"""model = {json.dumps(model)}
model_provider = "appliance"

[model_providers.appliance]
name = "appliance"
base_url = {json.dumps(url + "/v1")}
env_key = "{KEY}"
wire_api = "responses\"""",
        ),
        Part("a shell", "codex"),
    ]


def _open_webui(url: str, model: str) -> list[Part]:
    command = (
        f"docker run -d -p 3000:8080 --name open-webui -v open-webui:/app/backend/data -e ENABLE_OLLAMA_API=false "
        f'-e OPENAI_API_BASE_URL={_sh(url + "/v1")} -e OPENAI_API_KEY="${KEY}" -e DEFAULT_MODELS={_sh(model)} '
        "ghcr.io/open-webui/open-webui:main"
    )
    return [Part("a shell, then http://localhost:3000 in a browser", command)]


def _librechat(url: str, model: str) -> list[Part]:
    return [
        Part(
            f"librechat.yaml; {KEY} goes into LibreChat's .env",
            f"""version: 1.2.1
endpoints:
  custom:
    - name: "Appliance"
      apiKey: "${{{KEY}}}"
      baseURL: {json.dumps(url + "/v1")}
      models:
        default: [{json.dumps(model)}]
        fetch: true
      titleConvo: true
      titleModel: "current_model\"""",
        )
    ]


def _continue(url: str, model: str) -> list[Part]:
    return [
        Part(
            f"~/.continue/config.yaml; {KEY} goes into ~/.continue/.env",
            f"""name: Appliance
version: 1.0.0
schema: v1
models:
  - name: {json.dumps(model)}
    provider: openai
    model: {json.dumps(model)}
    apiBase: {json.dumps(url + "/v1")}
    apiKey: ${{{{ secrets.{KEY} }}}}
    roles: [chat, edit, apply]""",
        )
    ]


RECIPES: dict[str, Recipe] = {
    "curl": Recipe("curl", _curl),
    "openai-python": Recipe("OpenAI's SDK for Python", _openai_python),
    "openai-node": Recipe("OpenAI's SDK for Node", _openai_node),
    "anthropic-python": Recipe("Anthropic's SDK for Python", _anthropic_python),
    "anthropic-node": Recipe("Anthropic's SDK for Node", _anthropic_node),
    "claude-code": Recipe("Claude Code", _claude_code),
    "codex": Recipe("Codex", _codex),
    "langchain": Recipe("LangChain for Python", _langchain),
    "vercel": Recipe("Vercel's AI SDK for Node", _vercel),
    "open-webui": Recipe("Open WebUI", _open_webui),
    "librechat": Recipe("LibreChat", _librechat),
    "continue": Recipe("Continue", _continue),
}


def _js(text: str) -> str:
    return json.dumps(text)


def _sh(text: str) -> str:
    """A word of a shell, in quotes only where it needs them."""
    return text if all(mark.isalnum() or mark in "-._:/@" for mark in text) else "'" + text.replace("'", "'\\''") + "'"
