"""The syntax tree of a template, changed so that its every step pays."""

from collections.abc import Iterable
from typing import Final, cast

from jinja2 import TemplateSyntaxError, nodes
from jinja2.visitor import NodeTransformer

from rag_cache.purse import CHARACTERS

_BODIES: Final = 16  # nodes that one with a body of its own counts for
_NODES: Final = 8  # of a loop's or macro's body, for one unit
# Blocks within blocks, and steps of an expression within one another: compiling takes
# the longer the deeper they are.
_MAX_NESTING: Final = 12
_MAX_STEPS: Final = 30
_BLOCKS: Final = (
    *(nodes.For, nodes.If, nodes.Macro, nodes.CallBlock, nodes.FilterBlock),
    *(nodes.With, nodes.Block, nodes.AssignBlock, nodes.Scope),
)
# What a single template has no use for.
_REFUSED: Final = (
    *(nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends, nodes.Block),
    nodes.ScopedEvalContextModifier,
)
# What compiling a template may cost, by its nodes and how deep they are.
_MAX_COMPILING: Final = 12_000
_DEAR: Final = (nodes.Operand, nodes.Getitem, nodes.Getattr, nodes.Filter)


def check(tree: nodes.Template) -> None:
    """Raise TemplateSyntaxError for what is not to be compiled."""
    compiling = 0
    waiting: list[tuple[nodes.Node, int, int]] = [(tree, 0, 0)]
    while waiting:
        node, depth, steps = waiting.pop()
        if isinstance(node, _REFUSED):
            said = "include, import, extends, block and autoescape are not available"
            raise TemplateSyntaxError(said, node.lineno or 1)
        if isinstance(node, nodes.Filter | nodes.Test) and node.name.startswith("_"):
            raise TemplateSyntaxError(f"there is no {node.name}", node.lineno or 1)
        compiling += (3 if isinstance(node, _DEAR) else 1) * (4 + depth)
        if compiling > _MAX_COMPILING:
            said = "there are too many tags and expressions; render it in parts"
            raise TemplateSyntaxError(said, node.lineno or 1)
        depth += isinstance(node, _BLOCKS)
        if depth > _MAX_NESTING:
            said = f"blocks are nested more than {_MAX_NESTING} deep"
            raise TemplateSyntaxError(said, node.lineno or 1)
        steps = steps + 1 if isinstance(node, nodes.Expr) else 0
        if steps > _MAX_STEPS:
            said = f"an expression has more than {_MAX_STEPS} steps within one another"
            raise TemplateSyntaxError(said, node.lineno or 1)
        waiting += [(child, depth, steps) for child in node.iter_child_nodes()]


_HAVE_BODIES: Final = (nodes.For, nodes.Macro, nodes.CallBlock, nodes.AssignBlock)


def _filtered(node: nodes.Node, name: str, *arguments: int) -> nodes.Filter:
    given: list[nodes.Expr] = [nodes.Const(argument) for argument in arguments]
    made = nodes.Filter(cast("nodes.Expr", node), name, given, [], None, None)
    made.set_lineno(node.lineno, override=False)
    return made


def _price(body: Iterable[nodes.Node]) -> int:
    """What it costs to go through a body once, besides what its parts pay."""
    units = sum(
        _BODIES if isinstance(node, _HAVE_BODIES) else 1
        for part in body
        for node in (part, *part.find_all(nodes.Node))
    )
    return 1 + units // _NODES


class Toll(NodeTransformer):
    """Puts a filter that pays wherever work hides from the environment's hooks."""

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802
        test = [node.test] if node.test is not None else []
        price = _price([*node.body, *node.else_, *test])
        self.generic_visit(node)
        node.iter = _filtered(node.iter, "_each", price)
        if node.recursive:  # Called again, it goes through what is not paid for.
            node.body.insert(0, self._toll(node, price))
        return node

    def visit_Macro(self, node: nodes.Macro) -> nodes.Macro:  # noqa: N802
        return self._with_toll(node)

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.CallBlock:  # noqa: N802
        return self._with_toll(node)

    def _with_toll[N: (nodes.Macro, nodes.CallBlock)](self, node: N) -> N:
        # An argument that is not given costs more than a node.
        price = _price([*node.body, *(node.args * 6), *node.defaults])
        self.generic_visit(node)
        node.body.insert(0, self._toll(node, price))
        return node

    @staticmethod
    def _toll(node: nodes.Node, price: int) -> nodes.Output:
        nothing = nodes.Const("")
        nothing.set_lineno(node.lineno)
        toll = nodes.Output([_filtered(nothing, "_toll", price)])
        toll.set_lineno(node.lineno, override=False)
        return toll

    def visit_Compare(self, node: nodes.Compare) -> nodes.Expr:  # noqa: N802
        self.generic_visit(node)
        if any(operand.op in ("in", "notin") for operand in node.ops):
            return self._searched(node)
        node.expr = _filtered(node.expr, "_deep")
        for operand in node.ops:
            operand.expr = _filtered(operand.expr, "_deep")
        return node

    @staticmethod
    def _searched(node: nodes.Compare) -> nodes.Expr:
        """A test instead of the operator: it sees both sides, and pays for them."""
        if len(node.ops) > 1:
            said = "in can't be chained with other comparisons"
            raise TemplateSyntaxError(said, node.lineno or 1)
        operand = node.ops[0]
        test = nodes.Test(node.expr, "in", [operand.expr], [], None, None)
        test.set_lineno(node.lineno, override=False)
        if operand.op == "in":
            return test
        negated = nodes.Not(test)
        negated.set_lineno(node.lineno, override=False)
        return negated

    def visit_Concat(self, node: nodes.Concat) -> nodes.Filter:  # noqa: N802
        self.generic_visit(node)
        parts = nodes.List(node.nodes)
        parts.set_lineno(node.lineno, override=False)
        return _filtered(parts, "_text")

    def __init__(self) -> None:
        # Within a chain of attributes, or a literal: it is paid for as one. A filter
        # around each part would take long to compile.
        self._within: type[nodes.Node] | None = None

    def visit_Getattr(self, node: nodes.Getattr) -> nodes.Expr:  # noqa: N802
        return self._made(node, nodes.Getattr)

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Expr:  # noqa: N802
        # A slice is a copy, wherever it stands in a chain.
        kind = nodes.Slice if isinstance(node.arg, nodes.Slice) else nodes.Getattr
        return self._made(node, kind)

    def visit_List(self, node: nodes.List) -> nodes.Expr:  # noqa: N802
        return self._made(node, nodes.List)

    def visit_Dict(self, node: nodes.Dict) -> nodes.Expr:  # noqa: N802
        return self._made(node, nodes.List)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Expr:  # noqa: N802
        """A list instead, unless it is what a loop or a set assigns to."""
        if node.ctx != "load":
            self.generic_visit(node)
            return node
        made = nodes.List(node.items)
        made.set_lineno(node.lineno, override=False)
        return self._made(made, nodes.List)

    def visit_Pair(self, node: nodes.Pair) -> nodes.Pair:  # noqa: N802
        self.generic_visit(node)
        node.key = _filtered(node.key, "_key")
        return node

    def _made(self, node: nodes.Expr, kind: type[nodes.Node]) -> nodes.Expr:
        price = sum(1 for _ in node.find_all(nodes.Expr)) // 2
        outer, self._within = self._within, kind
        self.generic_visit(node)
        self._within = outer
        if (outer is kind and kind is not nodes.Slice) or getattr(
            node, "ctx", "load"
        ) != "load":
            return node
        return _filtered(node, "_once", price)

    def visit_Output(self, node: nodes.Output) -> nodes.Output:  # noqa: N802
        self.generic_visit(node)
        node.nodes = [self._paid_output(part) for part in node.nodes]
        return node

    @staticmethod
    def _paid_output(part: nodes.Expr) -> nodes.Expr:
        if not isinstance(part, nodes.TemplateData):
            return _filtered(part, "_deep")
        if len(part.data) < CHARACTERS:
            return part
        constant = nodes.Const(part.data)
        constant.set_lineno(part.lineno)
        return _filtered(constant, "_once")
