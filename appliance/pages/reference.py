"""The API's description as a page."""

from typing import Any

from appliance.pages.markdown import escaped

_TAGS = {
    "openai": "OpenAI",
    "messages": "Anthropic Messages",
    "realtime": "Realtime",
    "models": "Models",
    "server": "The server itself",
    "operating": "Operating it",
}


def reference(document: dict[str, Any]) -> str:
    """The page's HTML."""
    by_tag: dict[str, list[str]] = {tag: [] for tag in _TAGS}
    for path, methods in document["paths"].items():
        for method, described in methods.items():
            by_tag[described["tags"][0]].append(_operation(method.upper(), path, described, document))
    parts = [
        "<h1>API reference</h1>",
        f"<p>{escaped(document['info']['description'])}</p>",
        '<p>The same for programs: <a href="/openapi.json">/openapi.json</a>.</p>',
    ]
    for tag, operations in by_tag.items():
        parts += [f'<h2 id="about-{tag}">{escaped(_TAGS[tag])}</h2>', *operations] if operations else []
    return "\n".join(parts)


def _operation(method: str, path: str, described: dict[str, Any], document: dict[str, Any]) -> str:
    parts = [
        f'<h3 id="{escaped(described["operationId"])}"><code>{method} {escaped(path)}</code></h3>',
        f"<p>{escaped(described['summary'])}. {_marked(described.get('description', ''))}</p>",
    ]
    rows = [(parameter["name"], parameter["in"], parameter["description"]) for parameter in _parameters(described)]
    rows += _fields(described, document)
    if rows:
        parts.append(_table(("Field", "Type", "Meaning"), rows))
    refusals = _refusals(described, document)
    if refusals:
        parts.append(f"<details><summary>Errors</summary>{_table(('Status', 'Codes'), refusals)}</details>")
    return "\n".join(parts)


def _parameters(described: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"description": "", **parameter} for parameter in described.get("parameters", ())]


def _fields(described: dict[str, Any], document: dict[str, Any]) -> list[tuple[str, str, str]]:
    content = described.get("requestBody", {}).get("content", {})
    rows = []
    for kind in content.values():
        schema = _resolved(kind["schema"], document)
        for name, member in schema.get("properties", {}).items():
            needed = "required" if name in schema.get("required", ()) else ""
            rows.append((name, _type(member, document), needed))
    return rows


def _resolved(schema: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    found: dict[str, Any] = document["components"]["schemas"][name] if name else schema
    return found


def _type(schema: dict[str, Any], document: dict[str, Any]) -> str:
    """A type in a few words, with its bounds."""
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_type(one, document) for one in schema["anyOf"] if one != {"type": "null"}))
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    schema = _resolved(schema, document)
    words = str(schema.get("type", "anything"))
    if words == "array":
        words = f"array of {_type(schema.get('items', {}), document)}"
    bounds = [f"{sign} {schema[name]}" for name, sign in (("minimum", "≥"), ("maximum", "≤")) if name in schema]
    return ", ".join([words, *bounds])


def _refusals(described: dict[str, Any], document: dict[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for status, answer in described["responses"].items():
        if name := answer.get("$ref", "").rpartition("/")[2]:
            rows.append((status, document["components"]["responses"][name]["description"]))
    return rows


def _table(head: tuple[str, ...], rows: list[Any]) -> str:
    cells = "".join(f"<th>{escaped(cell)}</th>" for cell in head)
    lines = "".join("<tr>" + "".join(f"<td>{_marked(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{lines}</tbody></table>"


def _marked(text: str) -> str:
    """Text with its words between backticks as code, and its lines as lines."""
    parts = escaped(text).split("`")
    marked = "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))
    return marked.replace("\n", "<br>")
