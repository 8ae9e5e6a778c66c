"""Prompt templates: as in Dify's own Template node, and without delays for others."""

import os
import threading
import time
from pathlib import Path
from typing import Any

import jinja2
import pytest

from rag_cache import templates
from rag_cache.errors import BadInput


def render(template: str, **variables: Any) -> str:
    return templates.render({"template": template, "variables": variables}).text


def test_a_template_is_filled_in_and_compiled_once() -> None:
    source = "Answer {{ query }} from:{% for item in context %}\n- {{ item.content }}{% endfor %}\n."
    given = {
        "template": source,
        "query": "why?",
        # An array arrives as its JSON text: Dify's panel has a control for texts only.
        "context": '[{"content": "a"}, {"content": "b"}]',
    }
    first, second = templates.render(given), templates.render(given)
    assert first.text == second.text == "Answer why? from:\n- a\n- b\n."
    assert (first.hit, second.hit) == (False, True)


@pytest.mark.parametrize("context", ["plain text", "[no list", "{no object"])
def test_a_context_that_is_a_text_stays_one(context: str) -> None:
    given = {"template": "{{ context }}", "context": context}
    assert templates.render(given).text == context


VALUES: dict[str, Any] = {
    "items": ["p", "q", "p"],
    "table": {"b": 2, "a": 1},
    "rows": [
        {"city": "Rome", "nights": 3, "tags": ["old", "warm"]},
        {"city": "Oslo", "nights": 5, "tags": []},
        {"city": "Bonn", "nights": 3, "tags": ["old"]},
    ],
    "text": "The quick <brown> fox jumps over the lazy dog",
    "n": 7,
    "x": 2.5,
    "day": "2026-11-26",
    "none": None,
    "yes": True,
    "zh": "标签和印记",
}
# Usual parts of prompts, rendered here and by a plain jinja2.Template, as in Dify.
SAME = [
    "{{ text }} & {{ zh }}",
    "{{ table|tojson }} {{ rows|tojson }} {{ zh|tojson }} {{ text|tojson }}",
    "{{ missing|default('x') }}{{ none|default('y', true) }}{{ '' or 'z' }}",
    "{% for i in items %}{{ loop.index }}/{{ loop.length }} {% endfor %}",
    "{% for k, v in table|dictsort %}{{ k }}={{ v }};{% endfor %}",
    "{% for i in [1, [2, [3]]] recursive %}{% if i is iterable %}{{ loop(i) }}{% else %}{{ i }}{% endif %}{% endfor %}",
    "{% macro m(x, y=2) %}[{{ x }}{{ y }}]{% endmacro %}{{ m(1) }}{{ m(2, y=3) }}",
    "{% set ns = namespace(n=0) %}{% for i in range(5) %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}",
    "{{ 'aXbX'|replace('X', '-') }}{{ 'a' ~ 1 ~ none }}",
    "{{ rows|rejectattr('tags')|map(attribute='city')|join(',') }}",
    "{{ text|truncate(20) }} {{ text|truncate(20, true) }} {{ text|truncate(20, false, '…') }} {{ ('word ' * 900)|truncate(800)|length }}",
    "{{ text|wordcount }} {{ text|wordwrap(12) }}",
    "{{ text|striptags }} {{ text|escape }} {{ text|e }} {{ text|urlencode }} {{ {'q': 'a b'}|urlencode }}",
    "{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{% raw %}{{ no }}{% endraw %}",
    "a line\n\n  {% if yes %}\n  indented\n  {% endif %}\nlast line\n",
    "\r\nlines of another kind\r\n",
]


@pytest.mark.parametrize("source", SAME)
def test_a_template_renders_as_difys_own_node_renders_it(source: str) -> None:
    assert render(source, **VALUES) == jinja2.Template(source).render(**VALUES)


def test_undefined_variables_are_named() -> None:
    with pytest.raises(BadInput) as raised:
        render("{{ known }} {{ customer }} {{ order.id }}", known=1)
    assert "add customer, order to Variables (variables)" in str(raised.value)
    with pytest.raises(BadInput, match="no attribute 'id'"):
        render("{{ order.id }}", order={})


def test_an_empty_field_of_the_tool_is_named_by_itself() -> None:
    with pytest.raises(BadInput) as raised:
        templates.render({"template": "{{ query }} {{ context }} {{ lang }}"})
    assert str(raised.value) == (
        "The template uses missing values: fill in Context (context) and Query "
        "(query); add lang to Variables (variables)."
    )


def test_a_retrieval_that_found_nothing_is_no_missing_context() -> None:
    given = {"template": "[{{ context }}]{{ query }}", "context": "", "query": ""}
    assert templates.render(given).text == "[]"


BOMBS = {
    "three nested loops over 10,000 items": "{% for a in r %}{% for b in r %}{% for c in r %}x{% endfor %}{% endfor %}{% endfor %}",
    "a huge *": "{{ 'a' * 1000000000 }}",
    "a tower of **": "{{ 9 ** 99 ** 99 ** 99 }}",
    "a huge range end": "{{ range(1000000000000)|list }}",
    "text that doubles": "{% set n = namespace(s='0123456789') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}{{ n.s }}",
    "lists that double": "{% set n = namespace(s=['x']) %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ n.s }}",
    "a wide format": "{{ '%1000000000d' % 1 }}",
    "macros that call twice": "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
    "a macro without end": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "slow filters of long text": "{% for i in range(3) %}{{ longer|title }}{% endfor %}",
    "more text than fits": "{% for i in range(20) %}{{ longer }}{% endfor %}",
    "brackets": "{{ " + "(" * 4000 + "1" + ")" * 4000 + " }}",
    "tags": "{{ a }}{% if b %}x{% endif %}" * 600,
    "loops in loops": "{% for i in r %}" * 235 + "{% endfor %}" * 235,
    "an attribute of many parts": "{{ r|sort(attribute='" + "," * 300 + "') }}",
    "a block that calls itself": "{% block b %}{{ self.b() }}{% endblock %}",
    "a namespace in itself": "{% set s = namespace(v=0) %}{% set s.v = s %}{{ s }}{% for i in range(10 ** 5) %}{{ s.v.v }}{% endfor %}",
    "a list of a hundred million": "{{ 1 in [0] * 100000000 }}",
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_ends_and_the_next_template_is_rendered(name: str) -> None:
    """Some are refused, some end quickly, some are ended by the kernel."""
    variables: dict[str, Any] = {
        "r": list(range(10000)),
        "far": list(range(10000, 20000)),
        "long": "x" * 100_000,
        "far_text": "y" * 5_000,
        "longer": "xx " * 100_000,
        "a": 1,
        "b": 2,
        "d": {"d": {}},
    }
    for _ in range(15):
        variables["d"] = {"d": variables["d"]}
    began = time.process_time()
    try:
        assert len(render(BOMBS[name], **variables)) <= 400_000
    except BadInput as error:
        assert str(error).endswith(".")  # noqa: PT017 - it may end without an error
    # This process only waited, whatever the template did.
    assert time.process_time() - began < 0.5
    assert render("{{ 1 + 1 }}") == "2"


def test_a_prompt_as_large_as_may_be_with_many_variables_is_rendered() -> None:
    source = "".join(f"Line {n} of a long prompt: {{{{ v{n} }}}}\n" for n in range(100))
    source += "plain words " * 900
    values = {f"v{n}": n for n in range(100)}
    assert render(source, **values) == jinja2.Template(source).render(**values)


def test_other_requests_have_turns_while_a_template_works() -> None:
    turns, done = 0, threading.Event()

    def other() -> None:
        nonlocal turns
        while not done.is_set():
            turns += 1
            time.sleep(0)

    thread = threading.Thread(target=other)
    thread.start()
    with pytest.raises(BadInput, match="too much time or memory"):
        render(
            "{% for a in r %}{% for b in r %}{% endfor %}{% endfor %}", r=[0] * 10**4
        )
    done.set()
    thread.join(5)
    assert turns > 20


def test_the_process_that_renders_has_none_of_this_ones_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ANSWER_CACHE_REDIS_URL", "redis://:hunter2@host")
    templates.worker.close()
    render("x")
    process = templates.worker._process
    assert process is not None
    assert "hunter2" not in Path(f"/proc/{process.pid}/environ").read_text()


def test_a_worker_that_was_killed_is_replaced() -> None:
    assert render("a") == "a"
    process = templates.worker._process
    assert process is not None
    os.kill(process.pid, 9)
    with pytest.raises(BadInput, match="was stopped"):
        render("a")
    # The next process starts before any caller waits for it.
    following = templates.worker._process
    assert following is not None
    assert following.pid != process.pid
    assert render("a") == "a"


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ ().__class__.__bases__[0].__subclasses__() }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ self._TemplateReference__context }}",
        "{{ '{0.__class__}'.format(1) }}",
        "{{ ''['__class__'] }}",
        "{{ range.__self__ }}",
        "{{ 1|attr('__class__') }}",
        "{% import 'os' as os %}",
        "{% include '/etc/passwd' %}",
        "{% extends 'x' %}",
    ],
)
def test_the_sandbox_has_no_way_out(source: str) -> None:
    with pytest.raises(BadInput):
        render(source, d={"a": 1}, l=[])


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({}, "template"),
        ({"template": " "}, "template"),
        ({"template": "{{ a"}, "line 1"),
        ({"template": "{% for %}"}, "line 1"),
        ({"template": "{{ a|nofilter }}"}, "nofilter"),
        ({"template": "x" * 20_001}, "20000"),
        ({"template": "x", "variables": "[1]"}, "variables"),
    ],
)
def test_a_bad_parameter_is_one_sentence(parameters: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said) as raised:
        templates.render(parameters)
    assert "\n" not in str(raised.value)


def test_a_sentence_is_short_however_long_what_it_is_about() -> None:
    for source in (
        "{{ {}[k] }}",
        "".join(f"{{{{ {'name' * 50}{n} }}}}" for n in range(90)),
    ):
        with pytest.raises(BadInput) as raised:
            render(source, k="x" * 100_000)
        assert len(str(raised.value)) < 6000


def test_half_a_surrogate_pair_becomes_a_question_mark() -> None:
    assert render("{{ '\\ud800' }}") == "?"


def test_more_templates_than_are_remembered_are_compiled_again() -> None:
    for number in range(600):
        render(f"template {number}")
    given = {"template": "template 0", "variables": {}}
    assert not templates.render(given).hit
    assert templates.render(given).hit
