"""The documents as pages: Markdown and the OpenAPI document to HTML that needs nothing but one style sheet.

Nothing in a page is inline or from elsewhere, so that it may be shown under `default-src 'self'`.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

JSON = Mapping[str, Any]

_SHELL = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title} · Bellhub</title>
<link rel="icon" href="{up}static/icon.svg">
<link rel="stylesheet" href="{up}static/docs.css">
</head>
<body>
<nav>{links}</nav>
<main>
{body}</main>
</body>
</html>
"""
METHODS = ("get", "put", "post", "patch", "delete")


def page(markdown: str, pages: Sequence[str], up: str) -> str:
    """A whole page. `pages` are the names it links to at the top; `up` leads from its address to the root."""
    body = _MARKDOWN.render(markdown)
    title = re.sub(r"^# |[`*]", "", markdown.partition("\n")[0])
    links = " ".join(f'<a href="{up}docs/{escape(name)}">{escape(name)}</a>' for name in pages)
    reference = f'<a href="{up}docs">reference</a> {links} <a href="{up}openapi.json">openapi.json</a>'
    return _SHELL.format(title=escape(title), up=up, links=reference, body=body)


def slug(heading: str) -> str:
    """The anchor of a heading, as code forges make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


# ---- Markdown ----------------------------------------------------------------------------------------


def _anchored(markdown: MarkdownIt) -> None:
    """Headings get ids, links to other documents lead to their pages, and nothing is styled inline."""
    markdown.core.ruler.push("anchors", lambda state: _adapt(state.tokens))


def _adapt(tokens: Sequence[Token]) -> None:
    for token, following in zip(tokens, [*tokens[1:], None], strict=True):
        if token.type == "heading_open" and following is not None:
            text = "".join(part.content for part in following.children or ())
            token.attrSet("id", slug(text))
        token.attrs.pop("style", None)
        for part in token.children or ():
            href = str(part.attrGet("href") or "")
            if part.type == "link_open" and "://" not in href:
                part.attrSet("href", re.sub(r"^([\w-]+)\.md(?=$|#)", r"\1", href))


_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table").use(_anchored)


# ---- the reference -----------------------------------------------------------------------------------


def reference(document: JSON) -> str:
    """The OpenAPI document in Markdown: every operation under its tag, and the schemas they name."""
    return "\n".join(_reference(document)) + "\n"


def _reference(document: JSON) -> Iterator[str]:
    yield f"# {document['info']['title']}\n\n{document['info']['description']}"
    for tag in document["tags"]:
        yield f"\n## {tag['name']}\n\n{tag.get('description', '')}\n"
        yield from ("| | |", "|---|---|")
        for method, path, operation in operations(document):
            if tag["name"] in operation["tags"]:
                yield f"| [`{method.upper()} {path}`](#{operation['operationId'].lower()}) | {operation['summary']} |"
        for method, path, operation in operations(document):
            if tag["name"] in operation["tags"]:
                yield from _operation(document, method, path, operation)
    yield "\n## Schemas\n"
    for name, schema in document["components"]["schemas"].items():
        yield f"\n### {name}\n\n{schema.get('description', '')}\n"
        yield from _schema(schema)
        yield from _examples(schema.get("examples", ()))


def operations(document: JSON) -> Iterator[tuple[str, str, JSON]]:
    """Method, path and description of every operation."""
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield method, path, item[method]


def _operation(document: JSON, method: str, path: str, operation: JSON) -> Iterator[str]:
    yield f"\n### {operation['operationId']}\n\n`{method.upper()} {path}`\n\n{operation['summary']}."
    yield f"\n{operation.get('description', '')}\n"
    schemes = [" and ".join(needed) for needed in operation.get("security", ()) if needed]
    permission = operation.get("x-permission")
    who = " or ".join(schemes) + (f"; the permission `{permission}`" if permission else "")
    yield f"Credentials: {who or 'none'}.\n"
    shared = document["paths"][path].get("parameters", [])
    parameters = [resolved(document, parameter) for parameter in [*shared, *operation.get("parameters", ())]]
    if parameters:
        yield from ("| parameter | in | type | |", "|---|---|---|---|")
        for parameter in parameters:
            optional = "" if parameter.get("required") else "optional. "
            kind, said = _type(parameter["schema"]), _cell(parameter.get("description", ""))
            yield f"| `{parameter['name']}` | {parameter['in']} | {kind} | {optional}{said} |"
        yield ""
    if "requestBody" in operation:
        content = resolved(document, operation["requestBody"])["content"]["application/json"]
        yield f"Body: {_type(content['schema'])}\n"
        yield from _examples(example["value"] for example in content["examples"].values())
    yield from ("| status | | body |", "|---|---|---|")
    for status, response in operation["responses"].items():
        response = resolved(document, response)
        kinds = [_type(media["schema"]) for media in response.get("content", {}).values() if "schema" in media]
        yield f"| {status} | {_cell(response['description'])} | {' '.join(kinds)} |"
    yield ""


def _examples(values: Iterable[Any]) -> Iterator[str]:
    for value in values:
        yield f"```json\n{json.dumps(value, indent=2, ensure_ascii=False)}\n```\n"


def resolved(document: JSON, part: JSON) -> JSON:
    """What a reference of the document leads to; anything else is itself."""
    if "$ref" not in part:
        return part
    found: JSON = document
    for step in part["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    return resolved(document, found)


def _schema(schema: JSON) -> Iterator[str]:
    properties = schema.get("properties", {})
    if not properties:
        yield f"{_type(schema)}\n"
        return
    yield from ("| field | type | |", "|---|---|---|")
    for name, field in properties.items():
        optional = "" if name in schema.get("required", ()) else "optional. "
        yield f"| `{name}` | {_type(field)} | {optional}{_cell(field.get('description', ''))} |"
    yield ""


def _type(schema: JSON | bool) -> str:
    """A schema in few words; a named one as a link to it."""
    if isinstance(schema, bool):
        return "anything" if schema else "nothing"
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for word in ("oneOf", "anyOf"):
        if word in schema:
            return " or ".join(dict.fromkeys(map(_type, schema[word])))
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(value)}`" for value in schema["enum"])
    if "items" in schema:
        return f"list of {_type(schema['items'])}{_bounds(schema)}"
    kinds = schema.get("type", "anything")
    named = " or ".join(kinds) if isinstance(kinds, list) else kinds
    if fields := schema.get("properties"):
        named += " {" + ", ".join(f"`{name}`" for name in fields) + "}"
    return named + (f" ({schema['format']})" if "format" in schema else "") + _bounds(schema)


def _bounds(schema: JSON) -> str:
    for low, high in (("minLength", "maxLength"), ("minimum", "maximum"), ("minItems", "maxItems")):
        if high in schema:
            return f" {schema.get(low, 0)}–{schema[high]}"
    return ""


def _cell(text: str) -> str:
    """Text for one cell of a table: in one line, and without the mark between cells."""
    return " ".join(text.split()).replace("|", "\\|")
