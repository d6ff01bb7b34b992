"""Makes a drawing of a molecule fit for a page: only shapes and text, no styles, black as the page's text colour."""

from __future__ import annotations

import re
from xml.etree import ElementTree

MOST_BYTES = 4 << 20
_SVG = "{http://www.w3.org/2000/svg}"
_SHAPES = frozenset({"svg", "g", "path", "circle", "ellipse", "line", "polygon", "polyline", "text", "tspan"})
_NAMES = """
    d cx cy r rx ry x y x1 y1 x2 y2 dx dy points viewBox data-atoms class fill fill-rule fill-opacity stroke
    stroke-width stroke-linecap stroke-linejoin stroke-opacity stroke-dasharray opacity font-size font-family
    font-style font-weight text-anchor dominant-baseline transform
"""
_KEPT = frozenset(_NAMES.split())
_PLAIN = re.compile(r"[A-Za-z0-9#.,\s%()+_-]*", re.ASCII)
_BLACK = re.compile(r"#0{3}(?:0{3})?|black", re.IGNORECASE)


def inline(text: str) -> str | None:
    """The drawing as an element for a page; None for a text that is no such drawing. Every element and attribute is
    from a list, `style` becomes attributes, and backgrounds are left out: nothing of the file reaches the page as it
    is."""
    if len(text) > MOST_BYTES or "<!DOCTYPE" in text or "<!ENTITY" in text:
        return None
    try:
        root = ElementTree.fromstring(re.sub(r"^\s*<\?xml[^>]*\?>", "", text))
    except (ElementTree.ParseError, ValueError):
        return None
    return _element(root) if root.tag == f"{_SVG}svg" else None


def _element(found: ElementTree.Element) -> str:
    name = found.tag.removeprefix(_SVG)
    if name not in _SHAPES or not found.tag.startswith(_SVG):
        return ""
    attributes = {key: value for key, value in _attributes(found) if key in _KEPT and _PLAIN.fullmatch(value)}
    inside = "".join(_element(child) + (_text(child.tail) if name in ("text", "tspan") else "") for child in found)
    own = _text(found.text) if name in ("text", "tspan") else ""
    words = "".join(f' {key}="{value}"' for key, value in attributes.items())
    return f"<{name}{words}>{own}{inside}</{name}>"


def _attributes(found: ElementTree.Element) -> list[tuple[str, str]]:
    pairs = [(key, value) for key, value in found.attrib.items() if key != "style"]
    for part in found.attrib.get("style", "").split(";"):
        key, colon, value = part.partition(":")
        if colon:
            pairs.append((key.strip(), value.strip()))
    return [
        (key, "currentColor" if _BLACK.fullmatch(value) and key in ("fill", "stroke") else value)
        for key, value in pairs
    ]


def _text(text: str | None) -> str:
    return (text or "").replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
