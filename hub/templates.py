"""A notiflow's text in Liquid: parsed when it is stored, bounded when it is rendered.

A template is an administrator's, the values in it are anybody's. What one rendering can cost is bounded: the size of
the template, of what it writes and keeps, how deep and how often it loops, how large the operands of a filter are, and
the processor time of it all. There are no files to include. A name that is not defined is empty text. The results are
plain text: whoever shows them escapes them.
"""

import gc
import re
import time
from collections.abc import Callable, Mapping, Sized
from functools import lru_cache
from typing import Any

from liquid import BoundTemplate, Environment, Mode, RenderContext
from liquid.ast import Node
from liquid.builtin.expressions import FilteredExpression
from liquid.builtin.expressions.primitive import RangeLiteral
from liquid.exceptions import LiquidError, LiquidSyntaxError, ResourceLimitError
from liquid.expression import Expression
from liquid.token import Token

from hub.bodies import fault, refused
from hub.model import Rendered, Template
from hub.sending import link_allowed

PART_BYTES = 8 * 1024
"""Largest part of a template."""
GAP = 64
"""White characters that may follow each other."""
TIME_MS = 50
"""Processor time of one rendering."""
_OPERAND = 64 * 1024
"""Characters or items in what a filter works on, unless `_OPERANDS` says less: some take the square of it."""
_OPERANDS = {"date": 64, "strip_html": 2048, "uniq": 500, "concat": 500}
_GROWN = 1024 * 1024
"""Characters that `replace` and `join` may make, which multiply their operands."""
_BITS = 128
"""Of a number that a filter works on: each multiplication may double them."""
_MOST = {"title": 1000, "body": 10_000, "action_url": 2048}
"""Characters of what is rendered, as in a send."""
_GAP = re.compile(rf"\s{{{GAP + 1}}}")
_LEFT_OUT = ("include", "render", "tablerow")


def check_template(template: Template) -> None:
    """Raises `Refused` invalid_request with one entry in `fields` per part that cannot be rendered."""
    faults = []
    for name, text in _parts(template):
        try:
            _compiled(text)
        except LiquidError as error:
            faults.append(fault(("template", name), _words(error), "syntax"))
    if faults:
        raise refused(faults)


def render(template: Template, values: Mapping[str, Any]) -> Rendered:
    """What a recipient reads. `values`: `data`, `actor` and `recipient`, decoded JSON.

    Raises `Refused` invalid_request: a bound was exceeded, a filter refuses its operand, or what came out is no title,
    too long, or no link that users may click.
    """
    texts = {"title": "", "body": "", "action_url": ""}
    patience = _Patience()
    for name, text in _parts(template):
        texts[name] = made = _rendered(name, text, dict(values), patience).strip()
        if len(made) > _MOST[name]:
            message = f"{len(made)} characters, at most {_MOST[name]}"
            raise refused([fault(("template", name), message, "too_long")])
    if not texts["title"]:
        raise refused([fault(("template", "title"), "nothing is left of it", "empty")])
    if texts["action_url"] and not link_allowed(texts["action_url"]):
        raise refused([fault(("template", "action_url"), "must be http, https or relative", "scheme")])
    return Rendered(texts["title"], texts["body"] or None, texts["action_url"] or None)


def _parts(template: Template) -> list[tuple[str, str]]:
    parts = (("title", template.title), ("body", template.body), ("action_url", template.action_url))
    return [(name, text) for name, text in parts if text is not None]


def _rendered(name: str, text: str, values: dict[str, Any], patience: "_Patience") -> str:
    try:
        compiled = _compiled(text)
        context = _Context(compiled, globals=values)
        context.patience = patience
        buffer = context.get_buffer()
        compiled.render_with_context(context, buffer)
        return buffer.getvalue()
    except LiquidError as error:
        raise refused([fault(("template", name), _words(error), "template")]) from None
    except Exception as error:  # of a filter: it was handed a value that the library did not expect
        raise refused([fault(("template", name), f"a filter failed ({type(error).__name__})", "template")]) from error


class _TooMuch(ResourceLimitError):
    """More work than a notification may cost."""


class _Context(RenderContext):
    """Looks at the clock before every node and every filter."""

    __slots__ = ("patience",)
    patience: "_Patience"

    @property
    def disabled_tags(self) -> list[str]:
        """What the library asks before it renders any node, however often a loop comes by."""
        self.patience.test()
        return []

    @disabled_tags.setter
    def disabled_tags(self, tags: list[str]) -> None:
        """Nothing is disabled: what a template may not use, its language does not have."""

    def filter(self, name: str, token: Token | None) -> Callable[..., object]:
        """What the library asks for before each filter: hundreds may stand in one node."""
        self.patience.test()
        return super().filter(name, token)


class _Patience:
    """How long one rendering may go on: measured in processor time, which a busy machine does not use up for it, but
    that is asked for only after as much time of day, which costs far less to ask.

    It begins again, once, when all of the hub's garbage was collected meanwhile: that may take longer than this, and is
    no fault of the template, whose recipient would get nothing.
    """

    def __init__(self) -> None:
        self._again = True
        self._begin()

    def _begin(self) -> None:
        self._time, self._processor = time.monotonic() + TIME_MS / 1000, time.thread_time() + TIME_MS / 1000
        self._collections = _full_collections()

    def test(self) -> None:
        if time.monotonic() > self._time and time.thread_time() > self._processor:
            if not self._again or self._collections == _full_collections():
                raise _TooMuch(f"takes more than {TIME_MS} ms", token=None)
            self._again = False
            self._begin()


def _full_collections() -> int:
    """How often all of this process' garbage was collected."""
    return int(gc.get_stats()[-1]["collections"])


class _Language(Environment):
    """Liquid without files, tables and ranges, which could be endless, and with bounded filters."""

    block_nesting_limit = 16
    context_depth_limit = 16
    loop_iteration_limit = 1000
    local_namespace_limit = 64 * 1024
    output_stream_limit = 16 * 1024

    def setup_tags_and_filters(self, *, extra: bool = False) -> None:
        super().setup_tags_and_filters(extra=extra)
        for tag in _LEFT_OUT:
            del self.tags[tag]
        for name, function in list(self.filters.items()):
            self.filters[name] = _bounded(name, function)


def _bounded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    most = _OPERANDS.get(name, _OPERAND)

    def bounded(*operands: Any, **options: Any) -> Any:
        size = max(len(operand) if isinstance(operand, Sized) else 1 for operand in operands)
        if size > most or (name in ("replace", "join") and _product(name, *operands) > _GROWN):
            raise _TooMuch(f"{name}: an operand of {size} characters or items is too much", token=None)
        if any(isinstance(operand, int) and operand.bit_length() > _BITS for operand in operands):
            raise _TooMuch(f"{name}: a number of more than {_BITS} bits", token=None)
        return function(*operands, **options)

    for flag in ("with_context", "with_environment", "validate"):
        if hasattr(function, flag):
            setattr(bounded, flag, getattr(function, flag))
    return bounded


def _product(name: str, first: object, *others: object) -> int:
    times = len(first) if name == "join" and isinstance(first, list) else len(str(first))
    return times * max((len(str(other)) for other in others), default=1)


_LANGUAGE = _Language(tolerance=Mode.STRICT)


@lru_cache(maxsize=512)
def _compiled(text: str) -> BoundTemplate:
    """Raises LiquidError."""
    size = len(text.encode())
    if size > PART_BYTES:
        raise LiquidSyntaxError(f"{size} bytes, at most {PART_BYTES}", token=None)
    # For these the library's lexer takes time that grows with the square of the text.
    if text.rfind("{{") > text.rfind("}}"):
        raise LiquidSyntaxError("expected '}}', found end of file", token=None)
    if _GAP.search(text):
        raise LiquidSyntaxError(f"more than {GAP} white characters in a row", token=None)
    compiled = _LANGUAGE.from_string(text)
    context = RenderContext(compiled)
    for node in compiled.nodes:
        _check(node, context)
    return compiled


def _check(node: Node, context: RenderContext) -> None:
    """Refuses what the library would notice only when it renders it, or not even then."""
    waiting: list[Expression] = list(node.expressions())
    while waiting:
        expression = waiting.pop()
        if isinstance(expression, RangeLiteral):
            raise LiquidSyntaxError(f"ranges such as {expression} are not available", token=expression.token)
        if isinstance(expression, FilteredExpression):
            for used in expression.filters or ():
                used.validate_filter_arguments(_LANGUAGE)
        waiting += expression.children()
    for child in node.children(context):
        _check(child, context)


def _words(error: LiquidError) -> str:
    """What went wrong and in which line."""
    message = str(error.message)[:200]
    try:
        where = error.context()
    except ValueError:  # the library does not know itself
        where = None
    return message if where is None else f"{message}, line {where[0]}"
