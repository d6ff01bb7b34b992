"""/docs: the API description as one page of text, without scripts and without content from other hosts."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

_STYLE = """body{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222;background:#fff}
code,pre,summary{font-family:monospace}pre{background:#f4f4f4;padding:.7em;overflow:auto}h2{margin-top:2em}
summary{cursor:pointer;padding:.3em;background:#eef3f8}details{margin:.4em 0}table{border-collapse:collapse}
td,th{text-align:left;vertical-align:top;padding:.15em 1.2em .15em 0}b{display:inline-block;min-width:4.5em}"""
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    f"style-src 'sha256-{_HASH}'",
    "Referrer-Policy": "no-referrer",
}


def page(described: Mapping[str, Any]) -> str:
    """A whole page in HTML of an OpenAPI description, with its style, for a server without pages."""
    title = _text(described["info"]["title"])
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{_STYLE}</style>"
    return f"{head}{body(described)}</html>\n"


def body(described: Mapping[str, Any]) -> str:
    """The HTML of an OpenAPI description, without head and style."""
    info = described["info"]
    parts = [
        f"<h1>{_text(info['title'])} {_text(info['version'])}</h1>{_prose(info.get('description', ''))}",
        "<p>For programs: <a href=openapi.json>openapi.json</a></p><h2>Routes</h2>",
    ]
    for path, methods in described["paths"].items():
        for method, route in methods.items():
            parts += _route(method, path, route)
    parts.append("<h2>Shapes</h2>")
    for name, shape in described["components"]["schemas"].items():
        parts += _shape(name, shape)
    return "".join(parts)


def _route(method: str, path: str, route: Mapping[str, Any]) -> Iterator[str]:
    yield f"<details><summary><b>{_text(method.upper())}</b> {_text(path)}</summary>{_prose(route['description'])}"
    asked = [
        (
            _text(f"{parameter['name']} ({parameter['in']})"),
            _kind(parameter["schema"]),
            parameter.get("description", ""),
        )
        for parameter in route.get("parameters", [])
    ]
    yield _table(("parameter", "type", ""), asked)
    for media, body in route.get("requestBody", {}).get("content", {}).items():
        yield f"<p>Body: <code>{_text(media)}</code>, {_kind(body['schema'])}</p>"
        for name, example in body.get("examples", {}).items():
            yield f"<p>{_text(example.get('summary', name))}</p>{_json(example['value'])}"
    answers = [
        (_text(status), _answer(answer), answer.get("description", ""))
        for status, answer in sorted(route["responses"].items())
    ]
    yield _table(("status", "response", ""), answers) + "</details>"


def _answer(answer: Mapping[str, Any]) -> str:
    found = [
        f"{_text(media)} {_kind(content.get('schema', {}))}" for media, content in answer.get("content", {}).items()
    ]
    return ", ".join(found)


def _shape(name: str, shape: Mapping[str, Any]) -> Iterator[str]:
    about = _prose(shape.get("description", ""))
    yield f'<details id="{_text(name)}"><summary>{_text(name)}</summary>{about}'
    if "properties" in shape:
        needed = shape.get("required", [])
        rows = [
            (_text(field) + (" (required)" if field in needed else ""), _kind(property_), _about(property_))
            for field, property_ in shape["properties"].items()
        ]
        yield _table(("field", "type", ""), rows)
    else:
        yield f"<p>{_kind(shape)}</p>"
    yield "</details>"


def _about(schema: Mapping[str, Any]) -> str:
    parts = [str(schema.get("description", ""))]
    parts += [f"Default: {json.dumps(schema['default'])}."] if "default" in schema else []
    parts += [f"Example: {json.dumps(schema['examples'][0])[:80]}."] if schema.get("examples") else []
    return " ".join(part for part in parts if part)


def _kind(schema: Mapping[str, Any]) -> str:
    """A type in a few words, with links to shapes; HTML."""
    if "$ref" in schema:
        name = _text(schema["$ref"].rsplit("/", 1)[1])
        return f'<a href="#{name}">{name}</a>'
    for word in ("anyOf", "oneOf"):
        if word in schema:
            return " or ".join(_kind(option) for option in schema[word])
    if "enum" in schema or "const" in schema:
        return " or ".join(
            f"<code>{_text(json.dumps(value))}</code>" for value in schema.get("enum", [schema.get("const")])
        )
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    limits = [f"{word} {schema[word]}" for word in ("minimum", "maximum", "minLength", "maxLength") if word in schema]
    return _text(", ".join([str(schema.get("type", "any")), *limits]))


def _table(heads: tuple[str, ...], rows: list[tuple[str, str, str]]) -> str:
    """Rows whose last cell is text; the others are HTML."""
    if not rows:
        return ""
    top = "".join(f"<th>{_text(head)}</th>" for head in heads)
    lines = [
        f"<tr><td><code>{name}</code></td><td>{kind}</td><td>{_words(about)}</td></tr>" for name, kind, about in rows
    ]
    return f"<table><tr>{top}</tr>{''.join(lines)}</table>"


def _json(value: Any) -> str:
    return f"<pre>{_text(json.dumps(value, indent=2))}</pre>"


def _prose(text: str) -> str:
    return "".join(f"<p>{_words(part)}</p>" for part in text.split("\n\n") if part)


def _words(text: str) -> str:
    """A sentence; words in backticks are code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", _text(text))


def _text(value: Any) -> str:
    return escape(str(value))
