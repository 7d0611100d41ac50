"""Templates: what a recipient reads, what is refused when it is stored, and that none costs more than it may."""

import gc
import time
from typing import Any

import pytest

from hub.errors import Code, Refused
from hub.model import Rendered, Template
from hub.templates import PART_BYTES, TIME_MS, check_template, render

ANN = {"external_id": "ann", "first_name": "Ann", "custom_fields": {"plan": "gold"}}


def title(text: str, /, **data: Any) -> str:
    return render(Template(text), {"data": data, "actor": None, "recipient": ANN}).title


def test_data_actor_and_recipient_reach_the_text() -> None:
    template = Template(
        "{{ actor.first_name }} mentioned you",
        "Dear {{ recipient.first_name }} ({{ recipient.custom_fields.plan }}): {{ data.items[1].name | upcase }}",
        "/docs/{{ data.id | url_encode }}",
    )
    values = {"data": {"id": "a b", "items": [{}, {"name": "pen"}]}, "actor": {"first_name": "Bob"}, "recipient": ANN}
    assert render(template, values) == Rendered("Bob mentioned you", "Dear Ann (gold): PEN", "/docs/a+b")


def test_a_name_that_is_not_defined_is_empty_text() -> None:
    assert title("Hello{{ data.a.b.c }}{{ nobody }}{{ actor.first_name | upcase }}!") == "Hello!"


def test_the_text_is_plain_and_nothing_in_the_values_is_a_template() -> None:
    assert title("{{ data.x }}", x="<b>{{ recipient.first_name }}</b>") == "<b>{{ recipient.first_name }}</b>"


def test_conditions_loops_and_filters_work() -> None:
    text = "{% for n in data.names %}{{ n }}{% unless forloop.last %}, {% endunless %}{% endfor %}"
    assert title(text + "{% if data.more > 0 %} and {{ data.more }} more{% endif %}", names=["A", "B"], more=3) == (
        "A, B and 3 more"
    )
    assert title("{{ data.text | truncate: 8 }}", text="x" * 60_000) == "xxxxx..."


def test_a_body_and_a_url_that_come_out_empty_are_none() -> None:
    values = {"data": {}, "actor": None, "recipient": ANN}
    assert render(Template("Hi", " {{ data.body }} ", "{{ data.url }}"), values) == Rendered("Hi", None, None)


@pytest.mark.parametrize(
    "text",
    [
        "{{ data.x",
        "{% if data.x %}",
        "{% nothing %}",
        "{{ data.x | no_such_filter }}",
        "{% include 'other' %}",
        "{% render 'other' %}",
        "{% tablerow x in data.l %}{% endtablerow %}",
        "{% for x in (1..999999999) %}{% endfor %}",
        "{% assign x = (1..999999999) %}",
        "{% if true %}" * 30 + "{% endif %}" * 30,
        "{{ a" + "[a" * 2000 + "]" * 2000 + " }}",
        "é" * (PART_BYTES // 2 + 1),
    ],
)
def test_what_is_no_template_is_refused_when_it_is_stored(text: str) -> None:
    with pytest.raises(Refused) as refused:
        check_template(Template("fine", text))
    assert refused.value.code is Code.INVALID_REQUEST
    assert [(fault["field"], fault["reason"]) for fault in refused.value.details["fields"]] == [
        ("template.body", "syntax")
    ]


@pytest.mark.parametrize(
    "text", ["{{" * 4000, "{{ a }}" + "{{" * 3900 + "%}", "{{" + " " * 8000 + "}}", "{% if" + " \n" * 4000 + "%}"]
)
def test_what_is_no_template_is_refused_soon(text: str) -> None:
    began = time.thread_time()
    with pytest.raises(Refused):
        check_template(Template("fine", text))
    assert time.thread_time() - began < 0.5


def test_all_parts_that_are_wrong_are_named_with_what_is_wrong_and_where() -> None:
    with pytest.raises(Refused) as refused:
        check_template(Template("{{", "fine\n{% if %}", "{% unknown %}"))
    faults = {fault["field"]: fault["message"] for fault in refused.value.details["fields"]}
    assert list(faults) == ["template.title", "template.body", "template.action_url"]
    assert faults["template.action_url"] == "unexpected tag 'unknown', line 1"
    assert faults["template.body"].endswith("line 2")


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("{% for i in data.l %}" + "{% if 1 == 2 %}{% endif %}" * 300 + "{% endfor %}", {"l": [0] * 1000}),
        ("{% for i in data.l %}{% endfor %}", {"l": [0] * 1001}),
        ("{% for i in data.l %}{% for j in data.l %}x{% endfor %}{% endfor %}", {"l": [0] * 32}),
        ("{% for i in data.l %}" + "y" * 200 + "{% endfor %}", {"l": [0] * 100}),
        ("{% capture x %}{% for i in data.l %}" + "y" * 200 + "{% endfor %}{% endcapture %}", {"l": [0] * 100}),
        ("{% assign x = 9 %}{% for i in data.l %}{% assign x = x | times: x %}{% endfor %}", {"l": [0] * 100}),
        ("{% assign x = 'ab' %}{% for i in data.l %}{% assign x = x | append: x %}{% endfor %}", {"l": [0] * 100}),
        ("{% assign x = data.l %}{% for i in data.l %}{% assign x = x | concat: x %}{% endfor %}", {"l": ["b"] * 20}),
        ("{{ data.s | replace: 'a', data.s | replace: 'a', data.s }}", {"s": "a" * 30_000}),
        ("{{ data.s | split: '' | join: data.s }}", {"s": "a" * 30_000}),
        ("{{ data.l | replace: '1', data.s }}", {"l": ["1" * 30_000], "s": "a" * 30_000}),
        ("{{ data.s | split: '' | uniq }}", {"s": "ab" * 15_000}),
        ("{{ data.s | strip_html }}", {"s": "<!--" * 10_000}),
        ("{{ data.s | date: '%Y' }}", {"s": "1 " * 10_000}),
        ("{{ 1 | divided_by: 0 }}", {}),
        ("{{ data.s | base64_decode }}", {"s": "gICA"}),
        ("{{ data.s" + " | split: '' | join: ''" * 300 + " }}", {"s": "ab" * 30_000}),
        ("{{ data.s | split: ''" + " | sort_natural" * 400 + " }}", {"s": "ab" * 30_000}),
        ("{% if a" + " or a" * 150 + " %}x{% endif %}{{ data.s }}", {"s": "x" * 20_000}),
    ],
)
def test_a_rendering_that_takes_too_much_ends_soon_and_in_a_refusal(text: str, data: dict[str, Any]) -> None:
    check_template(Template(text))
    began = time.thread_time()
    with pytest.raises(Refused) as refused:
        title(text + "fine", **data)
    assert time.thread_time() - began < 0.5
    assert [fault["field"] for fault in refused.value.details["fields"]] == ["template.title"]


class Late(dict[str, str]):
    """Data whose reading takes longer than a rendering may, with a collection of all garbage in it or without."""

    def __init__(self, *collects: bool) -> None:
        super().__init__()
        self._collects = iter(collects)

    def __getitem__(self, name: str) -> str:
        end = time.thread_time() + 1.2 * TIME_MS / 1000
        if next(self._collects, False):
            gc.collect()
        while time.thread_time() < end:
            pass
        return name

    def __contains__(self, name: object) -> bool:
        return True


def test_time_in_which_the_hub_collects_its_garbage_is_not_the_templates_but_only_once() -> None:
    def rendered(*collects: bool) -> str:
        values = {"data": Late(*collects), "actor": None, "recipient": ANN}
        return render(Template("{{ data.a }}{{ recipient.first_name }}{{ data.b }}{{ data.c }}"), values).title

    for collects in ([False], [True, False], [True, True]):
        with pytest.raises(Refused):
            rendered(*collects)
    one = {"data": Late(True), "actor": None, "recipient": ANN}
    assert render(Template("{{ data.a }}{{ recipient.first_name }}"), one).title == "aAnn"


@pytest.mark.parametrize(
    ("template", "field", "reason"),
    [
        (Template("{{ data.nothing }} "), "template.title", "empty"),
        (Template("{{ data.long }}"), "template.title", "too_long"),
        (Template("x", action_url="{{ data.link }}"), "template.action_url", "scheme"),
        (Template("x", action_url="java{{ data.rest }}"), "template.action_url", "scheme"),
        (Template("x", action_url="/a b"), "template.action_url", "scheme"),
    ],
)
def test_what_comes_out_is_held_to_the_rules_of_a_send(template: Template, field: str, reason: str) -> None:
    data = {"long": "x" * 1001, "link": "javascript:alert(1)", "rest": "script:alert(1)"}
    with pytest.raises(Refused) as refused:
        render(template, {"data": data, "actor": None, "recipient": ANN})
    assert [(fault["field"], fault["reason"]) for fault in refused.value.details["fields"]] == [(field, reason)]
