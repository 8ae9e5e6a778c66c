import threading
import time
from typing import Any

import pytest

from rag_cache import templates
from rag_cache.inputs import BadInput


def render(template: str, **variables: Any) -> str:
    return templates.render({"template": template, "variables": variables}).text


def test_a_template_is_filled_in_and_compiled_once() -> None:
    source = "Answer {{ query }} from:{% for item in context %}\n- {{ item.content }}{% endfor %}\n"
    given = {
        "template": source,
        "query": "why?",
        "context": [{"content": "a"}, {"content": "b"}],
    }
    first, second = templates.render(given), templates.render(given)
    assert first.text == second.text == "Answer why? from:\n- a\n- b\n"
    assert (first.hit, second.hit) == (False, True)


def test_text_is_not_escaped() -> None:
    assert render("{{ a }} & {{ b|tojson }}", a="<b>", b={"名": 1}) == '<b> & {"名": 1}'


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ loop_less|default('x') }}", "x"),
        ("{{ 'y' if nothing is defined else 'n' }}", "n"),
        (
            "{% for i in items %}{{ loop.index }}/{{ loop.length }} {% endfor %}",
            "1/2 2/2 ",
        ),
        ("{% for k, v in table|dictsort %}{{ k }}={{ v }};{% endfor %}", "a=1;b=2;"),
        ("{% macro m(x) %}[{{ x }}]{% endmacro %}{{ m(1) }}{{ m(2) }}", "[1][2]"),
        ("{{ items|map('upper')|join(', ') }}", "P, Q"),
        (
            "{{ items[:1] }}{{ 'p' in items }}{{ items|length }}",
            "['p']True2",
        ),
        ("{{ ' a '.strip().upper() }}{{ 'a-b'.split('-')|last }}", "Ab"),
        (
            "{% set ns = namespace(n=0) %}{% for i in range(5) %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}",
            "10",
        ),
        (
            "{{ 2 ** 10 }} {{ 7 // 2 }} {{ 7 % 4 }} {{ 'ab' * 2 }} {{ '%s!' % 'a' }}",
            "1024 3 3 abab a!",
        ),
        ("{{ 'aXbX'|replace('X', '-') }}{{ 'a' ~ 1 ~ none }}", "a-b-a1None"),
        ("{% if 1 < 2 < 3 %}yes{% endif %}", "yes"),
        ("{{ '%s and %s' % ('a', 2) }} {{ '%05.1f' % 2.25 }}", "a and 2 002.2"),
        ("{% for a, b in [(1, 2), (3, 4)] %}{{ a + b }} {% endfor %}", "3 7 "),
        ("{{ [1, 2, 3]|sum }} {{ [{'n': 2}, {'n': 3}]|sum(attribute='n') }}", "6 5"),
        (
            "{{ {'a': {'b': [7]}}.a.b[0] }} {{ table['a'] }} {{ table.get('z', 'no') }}",
            "7 1 no",
        ),
        (
            "{% for i in [1, [2, [3]]] recursive %}{% if i is iterable %}{{ loop(i) }}{% else %}{{ i }}{% endif %}{% endfor %}",
            "123",
        ),
        ("{% for k, v in table.items() %}{{ k }}{{ v }}{% endfor %}", "b2a1"),
        ("{% for row in items|batch(1) %}{{ row|first }}{% endfor %}", "pq"),
        (
            "{% for g in [{'k': 1, 'v': 'a'}, {'k': 1, 'v': 'b'}]|groupby('k') %}{{ g.grouper }}{{ g.list|length }}{% endfor %}",
            "12",
        ),
        (
            "{% macro m() %}{{ caller(1) }}{% endmacro %}{% call(x) m() %}[{{ x }}]{% endcall %}",
            "[1]",
        ),
        (
            "{{ ', '.join(items) }} {{ 'bab'.replace('b', 'c') }} {{ 'ab'.startswith(('x', 'a')) }}",
            "p, q cac True",
        ),
        (
            "{{ none|default(20240101, true) }} {{ 25010 is gt 25000 }} {{ [{'y': 2024}]|selectattr('y', 'ge', 2021)|list|length }}",
            "20240101 True 1",
        ),
        (
            "{{ 'p' not in items }} {{ ('word ' * 9000)|truncate(8000)|length }}",
            "False 7997",
        ),
        ("{% filter upper %}a{% endfilter %}{% set x %}b{% endset %}{{ x }}", "Ab"),
    ],
)
def test_what_prompts_are_made_of_works(source: str, expected: str) -> None:
    assert render(source, items=["p", "q"], table={"b": 2, "a": 1}) == expected


def test_undefined_variables_are_named() -> None:
    with pytest.raises(BadInput) as raised:
        render("{{ known }} {{ customer }} {{ order.id }}", known=1)
    assert "customer, order" in str(raised.value)
    with pytest.raises(BadInput, match="no attribute 'id'"):
        render("{{ order.id }}", order={})


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
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_in_a_moment(name: str) -> None:
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
    with pytest.raises(BadInput) as raised:
        render(BOMBS[name], **variables)
    # Some are refused before they begin, others when their purse is empty. A machine
    # in trouble takes longer; what was not bounded would take minutes, or the memory.
    assert time.process_time() - began < 1
    assert str(raised.value).endswith(".")


def test_other_requests_have_turns_while_a_template_works() -> None:
    turns, done = 0, threading.Event()

    def other() -> None:
        nonlocal turns
        while not done.is_set():
            turns += 1
            time.sleep(0)

    thread = threading.Thread(target=other)
    thread.start()
    with pytest.raises(BadInput):
        render(
            "{% for a in r %}{% for b in r %}{% endfor %}{% endfor %}",
            r=list(range(10000)),
        )
    done.set()
    thread.join(5)
    assert turns > 20


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__ }}",
        "{{ ().__class__.__bases__[0].__subclasses__() }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ self._TemplateReference__context }}",
        "{{ '{0.__class__}'.format(1) }}",
        "{{ ''['__class__'] }}",
        "{{ 'a'.ljust(10) }}",
        "{{ d.update({'a': 2}) }}",
        "{{ l.append(1) }}",
        "{{ range.__self__ }}",
        "{{ 1|attr('__class__') }}",
        "{{ dict.update(d, {'a': 2}) }}",
        "{{ dict.clear(d) }}",
        "{% autoescape true %}{{ 1 }}{% endautoescape %}",
        "{% import 'os' as os %}",
        "{% include '/etc/passwd' %}",
        "{% extends 'x' %}",
        "{{ lipsum() }}",
        "{{ (1).to_bytes(10) }}",
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


def test_the_memory_of_templates_is_bounded() -> None:
    for number in range(600):
        render(f"template {number}")
    assert len(templates._compiled) <= 256
