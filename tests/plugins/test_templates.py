"""Prompt templates: what Dify's own Template node renders, and what would hold others up."""

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
# What prompts are made of, rendered here and by a plain jinja2.Template, as Dify does it.
SAME = [
    "{{ text }} & {{ zh }}",
    "{{ table|tojson }} {{ rows|tojson }} {{ zh|tojson }} {{ text|tojson }}",
    "{{ table|tojson(indent=2) }}",
    "{{ missing|default('x') }}{{ none|default('y', true) }}{{ '' or 'z' }}",
    "{{ 'y' if nothing is defined else 'n' }}",
    "{% for i in items %}{{ loop.index }}/{{ loop.length }} {% endfor %}",
    "{% for i in items %}{{ loop.index0 }}{{ loop.revindex }}{{ loop.first }}{{ loop.last }}{% endfor %}",
    "{% for i in items %}{{ loop.previtem|default('-') }}{{ loop.nextitem|default('-') }}{% endfor %}",
    "{% for i in items %}{{ loop.cycle('odd', 'even') }}{{ loop.changed(i) }}{% endfor %}",
    "{% for k, v in table|dictsort %}{{ k }}={{ v }};{% endfor %}",
    "{% for k, v in table.items() %}{{ k }}{{ v }}{% endfor %}",
    "{% for r in rows if r.nights > 3 %}{{ r.city }}{% else %}none{% endfor %}",
    "{% for r in rows if r.nights > 9 %}{{ r.city }}{% else %}none{% endfor %}",
    "{% for i in [1, [2, [3]]] recursive %}{% if i is iterable %}{{ loop(i) }}{% else %}{{ i }}{% endif %}{% endfor %}",
    "{% macro m(x, y=2) %}[{{ x }}{{ y }}]{% endmacro %}{{ m(1) }}{{ m(2, y=3) }}",
    "{% macro m() %}{{ caller(1) }}{% endmacro %}{% call(x) m() %}[{{ x }}]{% endcall %}",
    "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, a=3) }}",
    "{{ items|map('upper')|join(', ') }}",
    "{{ items[:1] }}{{ 'p' in items }}{{ items|length }}",
    "{{ ' a '.strip().upper() }}{{ 'a-b'.split('-')|last }}",
    "{% set ns = namespace(n=0) %}{% for i in range(5) %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}",
    "{{ 2 ** 10 }} {{ 7 // 2 }} {{ 7 % 4 }} {{ 7 / 2 }} {{ 'ab' * 2 }} {{ '%s!' % 'a' }}",
    "{{ 'aXbX'|replace('X', '-') }}{{ 'a' ~ 1 ~ none }}",
    "{% if 1 < 2 < 3 %}yes{% elif n %}no{% endif %}",
    "{{ '%s and %s' % ('a', 2) }} {{ '%05.1f' % 2.25 }} {{ '%(a)s-%(b)05d'|format(a='x', b=42) }}",
    "{% for a, b in [(1, 2), (3, 4)] %}{{ a + b }} {% endfor %}",
    "{{ [1, 2, 3]|sum }} {{ rows|sum(attribute='nights') }}",
    "{{ rows|map(attribute='city')|list }} {{ rows|map(attribute='x', default='?')|join }}",
    "{{ rows|selectattr('nights', 'equalto', 3)|map(attribute='city')|join(',') }}",
    "{{ rows|rejectattr('tags')|map(attribute='city')|join(',') }}",
    "{{ items|select('equalto', 'p')|list }} {{ items|reject('equalto', 'p')|list }}",
    "{% for g in rows|groupby('nights') %}{{ g.grouper }}:{{ g.list|length }} {% endfor %}",
    "{% for row in items|batch(2, '-') %}{{ row|join }} {% endfor %}",
    "{% for part in items|slice(2) %}{{ part|join }} {% endfor %}",
    "{{ items|unique|join }} {{ items|sort|join }} {{ items|sort(reverse=true)|join }}",
    "{{ rows|sort(attribute='nights,city')|map(attribute='city')|join(' ') }}",
    "{{ items|reverse|join }} {{ 'abc'|reverse }} {{ items|first }} {{ items|last }}",
    "{{ [3, 1, 2]|min }} {{ [3, 1, 2]|max }} {{ rows|max(attribute='nights') }}",
    "{{ x|round }} {{ 2.345|round(2) }} {{ 2.5|round(0, 'floor') }} {{ '42'|int }} {{ 'x'|int(7) }} {{ '1.5'|float }} {{ -3|abs }}",
    "{{ text|upper }} {{ text|lower }} {{ 'a word'|title }} {{ 'a word'|capitalize }}",
    "{{ text|truncate(20) }} {{ text|truncate(20, true) }} {{ text|truncate(20, false, '…') }} {{ ('word ' * 900)|truncate(800)|length }}",
    "{{ text|wordcount }} {{ text|wordwrap(12) }}",
    "{{ 'a\nb'|indent }} {{ 'a\nb'|indent(2, true) }} {{ 'a\nb'|indent('> ') }}",
    "{{ text|striptags }} {{ text|escape }} {{ text|e }} {{ text|urlencode }} {{ {'q': 'a b'}|urlencode }}",
    "{{ '  x '|trim }}{{ 'xxaxx'|trim('x') }} {{ 'a'|center(5) }}|",
    "{{ 1234567|filesizeformat }} {{ items|pprint }}",
    "{{ {'class': 'a', 'id': none}|xmlattr }}",
    "{{ n|string ~ x|string }} {{ 'ab'|list }} {{ table|list }} {{ table|items|list }}",
    "{{ day[:4] }}/{{ day.split('-')[1] }}/{{ day[-2:] }} {{ day > '2026-01-01' }}",
    "{{ yes }} {{ none }} {{ true and n }} {{ not yes }} {{ none is none }}",
    "{{ items is iterable }} {{ n is odd }} {{ n is divisibleby(7) }} {{ text is string }} {{ table is mapping }} {{ items is sequence }} {{ n is number }} {{ 'A' is upper }}",
    "{{ n in [1, 7] }} {{ 'q' not in items }} {{ n is in [7] }} {{ n is sameas 7 }}",
    "{{ ', '.join(items) }} {{ 'bab'.replace('b', 'c') }} {{ 'ab'.startswith(('x', 'a')) }} {{ 'a,b'.partition(',') }}",
    "{{ 'a'.zfill(3) }} {{ 'a'.ljust(3) }}| {{ 'abc'.index('c') }} {{ 'abc'.removeprefix('a') }}",
    "{{ '{} {:>5} {:.1%}'.format(1, 'a', 0.5) }}",
    "{{ table.get('z', 'no') }} {{ table.keys()|list }} {{ table.values()|list }} {{ table['a'] }}",
    "{{ rows[0].city }} {{ rows[-1]['city'] }} {{ rows[0].tags[1] }} {{ rows|length }}",
    "{% filter upper %}a{{ text }}{% endfilter %}{% set x %}b{{ n }}{% endset %}{{ x }}",
    "{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{% raw %}{{ no }}{% endraw %}",
    "{# a comment #}a{%- if yes %} b {%- endif %} c\n{%+ if yes %}d{% endif %}",
    "a line\n\n  {% if yes %}\n  indented\n  {% endif %}\nlast line\n",
    "\r\nlines of another kind\r\n",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set c = [a, b] %}{{ c }} {{ (a, b) }}",
    "{{ items|join(', ', ) }} {{ [1, 2.0, 'x', none, true] }} {{ {'a': [1]} }} {{ range(3) }} {{ range(3)|list }}",
    "{{ 1e22 }} {{ 0.1 + 0.2 }} {{ 10 ** 20 }} {{ 1_000 }} {{ 0x1f }}",
    "{% for a in cycler('x', 'y').items %}{{ a }}{% endfor %}{% set j = joiner(', ') %}{{ j() }}a{{ j() }}b",
    "{{ dict(a=1, b=2) }} {{ (rows|first).city }} {{ rows|map(attribute='tags')|sum(start=[]) }}",
    "{{ items|random in items }} {{ 'x'|forceescape }} {{ 'www.a.example'|urlize }}",
    "{% if none %}a{% elif not items %}b{% else %}c{% endif %}",
    "{% for r in rows %}{{ loop.index }}. {{ r.city }} ({{ r.nights }} {{ 'night' if r.nights == 1 else 'nights' }}){% if not loop.last %}; {% endif %}{% endfor %}",
]


def test_at_least_sixty_templates_are_compared() -> None:
    assert len(SAME) >= 60


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
        "The template uses what it was not given: fill in Context (context) and Query "
        "(query); add lang to Variables (variables)."
    )


def test_a_retrieval_that_found_nothing_is_no_missing_context() -> None:
    given = {"template": "[{{ context }}]{{ query }}", "context": "", "query": ""}
    assert templates.render(given).text == "[]"


BOMBS = {
    "three nested loops over 10,000 items": "{% for a in r %}{% for b in r %}{% for c in r %}x{% endfor %}{% endfor %}{% endfor %}",
    "a huge *": "{{ 'a' * 1000000000 }}",
    "a huge * of a list": "{{ [0] * 1000000000 }}",
    "a huge **": "{{ 10 ** 100000000 }}",
    "a tower of **": "{{ 9 ** 99 ** 99 ** 99 }}",
    "a huge range end": "{{ range(1000000000000)|list }}",
    "a range end beyond all": "{% for i in range(10 ** 30) %}{% endfor %}",
    "text that doubles": "{% set n = namespace(s='0123456789') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}{{ n.s }}",
    "text that doubles by +": "{% set n = namespace(s='0123456789') %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}{{ n.s }}",
    "lists that double": "{% set n = namespace(s=['x']) %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ n.s }}",
    "lists that double, as JSON": "{% set n = namespace(s=['x']) %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ n.s|tojson }}",
    "lists that double, in their namespace": "{% set n = namespace(s=['x']) %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ n }}",
    "a wide format": "{{ '%1000000000d' % 1 }}",
    "a wide format by filter": "{{ '%1000000000d'|format(1) }}",
    "a wide format by argument": "{{ '%*d' % (1000000000, 1) }}",
    "a wide center": "{{ 'a'|center(1000000000) }}",
    "a wide indent": "{{ 'a\nb'|indent(1000000000) }}",
    "a long search in each turn": "{% for i in range(10000) %}{% if i in far %}{% endif %}{% endfor %}",
    "a long test in each turn": "{% for i in range(10000) %}{% if i is in far %}{% endif %}{% endfor %}",
    "a sort in each turn": "{% for i in range(10000) %}{{ r|sort|first }}{% endfor %}",
    "a comparison in each turn": "{% for i in range(10000) %}{% if r == far %}{% endif %}{% endfor %}",
    "a copy in each turn": "{% for i in range(90000) %}{% set x = r[:] %}{% endfor %}",
    "a long text in each turn": "{% for i in range(90000) %}{% set x %}" + "y" * 15000 + "{% endset %}{% endfor %}",
    "macros that call twice": "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
    "a macro without end": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "a loop without end": "{% for i in r recursive %}{{ loop(r) }}{% endfor %}",
    "joined by long text": "{{ range(10000)|join(long) }}",
    "replaced by long text": "{{ long|replace('x', long) }}",
    "slow filters of long text": "{% for i in range(3) %}{{ longer|title }}{% endfor %}",
    "more text than fits": "{% for i in range(20) %}{{ longer }}{% endfor %}",
    "brackets": "{{ " + "(" * 4000 + "1" + ")" * 4000 + " }}",
    "tags": "{{ a }}{% if b %}x{% endif %}" * 600,
    "operators": "{{ 1" + "+1" * 9000 + " }}",
    "digits": "{{ " + "9" * 6000 + " }}",
    "a tuple of tuples as a key": "{% set a = (1, 1) %}" + "{% set a = (a, a) %}" * 29 + "{{ {}[a] }}",
    "a tuple of tuples in a literal": "{% set a = (1, 1) %}" + "{% set a = (a, a) %}" * 29 + "{{ {a: 1} }}",
    "nesting without end": "{% set n = namespace(a=()) %}{% for i in range(90000) %}{% set n.a = " + "(" * 15 + "n.a" + ",)" * 15 + " %}{% endfor %}{{ n.a }}",
    "lists in namespaces": "{% set n = namespace(a=[]) %}{% for i in range(1500) %}{% set n.a = [n.a, [0] * 100000] %}{% endfor %}ok",
    "a format that repeats": "{% set t = '%(a)s' * 20000 %}{{ t % {'a': long} }}",
    "a format that repeats, by filter": "{% set t = '%(a)s' * 20000 %}{{ t|format(a=long) }}",
    "a format of lists that double": "{% set a = [1, 1] %}" + "{% set a = [a, a] %}" * 22 + "{{ '%s' % (a,) }}",
    "many lines indented": "{{ ('\n' * 100000)|indent('xxxxxxxxxxxxxxxxxxxx', true, true) }}",
    "JSON indented": "{{ r|tojson(10000) }}",
    "slices": "{% for i in range(1000) %}{% set x = [1]|slice(10000)|list %}{% endfor %}ok",
    "batches": "{% for i in range(1000) %}{% set x = [1]|batch(10000, 0)|list %}{% endfor %}ok",
    "a sum of lists": "{{ range(8000)|map(attribute='x', default=r)|sum(start=[]) }}",
    "maps of maps": "{{ range(40000)" + "|map(attribute='x.x.x', default=1)" * 15 + "|list }}",
    "attributes in a loop": "{% for i in range(90000) %}{% if d" + ".d" * 15 + " %}{% endif %}{% endfor %}ok",
    "assignments in a loop": "{% for i in range(90000) %}" + "{% set a = b %}" * 500 + "{% endfor %}ok",
    "division of long numbers": "{% set a = ('F7' * 45000)|int(base=16) %}{% for i in range(100) %}{{ a // 3 }}{% endfor %}",
    "rounding far": "{% for i in range(5000) %}{% set x = 7|round(10000, 'floor') %}{% endfor %}ok",
    "loops in loops": "{% for i in r %}" * 235 + "{% endfor %}" * 235,
    "a chain of attributes": "{{ d" + ".d" * 100 + " }}",
    "a purse that is filled again": "{{ 1|_once(-1000000000000) }}{% for i in r %}{% for j in r %}{% endfor %}{% endfor %}",
    "the same by name": "{{ [1]|map('_toll', -1000000000000)|list }}{% for i in r %}{% for j in r %}{% endfor %}{% endfor %}",
    "a width behind a key": "{{ '%(a)1000000000d' % {'a': 1} }}",
    "a format that is no text": "{{ ['%1000000000d']|format(1) }}",
    "lines of other kinds indented": "{{ ('\\r' * 99999)|indent('x' * 9000, true, true) }}",
    "a search from the right": "{{ long.rfind('ab' + 'x' * 50000) }}",
    "a search by in": "{% for i in range(2000) %}{% if far_text in long %}{% endif %}{% endfor %}",
    "a strip of many letters": "{{ long.strip(far_text) }}{{ long|trim(far_text) }}",
    "counting in a range": "{% set n = range(100000) %}{% for i in range(8000) %}{{ n.count('a') }}{% endfor %}",
    "counting in a list": "{{ ([r] * 20000).count(far) }}",
    "a loop as a value": "{% set a = [1, 1] %}{% set b = [1, 1] %}" + "{% set a = [a, a] %}{% set b = [b, b] %}" * 25 + "{% for i in [0, a, b] %}{{ loop|sort|length }}{% endfor %}",
    "slices of slices": "{% for i in range(4000) %}{% if r" + "[:]" * 15 + " %}{% endif %}{% endfor %}",
    "an attribute of many parts": "{{ r|sort(attribute='" + "," * 300 + "') }}",
    "macros of many arguments": "{% macro m(" + ",".join(f"v{n}" for n in range(1000)) + ") %}{% endmacro %}{% for i in range(90000) %}{{ m() }}{% endfor %}",
    "deep and wide": "{% for i in r %}" * 12 + "{{ [" + "r[i]," * 480 + "] }}" + "{% endfor %}" * 12,
    "a block that calls itself": "{% block b %}{{ self.b() }}{% endblock %}",
    "a list in a list of a list": "{% set a = [1, 1] %}" + "{% set a = [a, a] %}" * 40 + "{{ a }}",
    "a list that is compared": "{% set a = [1, 1] %}{% set b = [1, 1] %}" + "{% set a = [a, a] %}{% set b = [b, b] %}" * 40 + "{{ a == b }}",
    "a namespace in itself": "{% set s = namespace(v=0) %}{% set s.v = s %}{{ s }}{% for i in range(10 ** 5) %}{{ s.v.v }}{% endfor %}",
    "a list of a hundred million": "{{ 1 in [0] * 100000000 }}",
    "a text that is joined of nothing": "{{ ''.join([''] * 10 ** 8) }}",
    "a width by format": "{{ '{:1000000000}'.format(1) }}",
    "a precision by format": "{{ '{:.100000000f}'.format(1.0) }}",
    "sort by many attributes": "{{ range(100)|sort(attribute='" + "a," * 5000 + "') }}",
    "minus upon minus": "{{ " + "-" * 19000 + "1 }}",
    "a list that grows by itself": "{% for i in range(60) %}{% if r.extend(r) %}{% endif %}{% endfor %}",
    "fifty characters": "{{ (['x' * 99999] * 999)|map('wordcount')|sum }}",
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_ends_and_the_next_template_is_rendered(name: str) -> None:
    """Some are refused, some are over soon, some are ended by the kernel."""
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
        assert str(error).endswith(".")  # noqa: PT017 - it may be over without one
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
    # The next one starts before anybody waits for it.
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
