"""How a template is read: what its expressions say beyond Jinja's own meaning."""

from __future__ import annotations

from types import CodeType

from jinja2 import nodes
from jinja2.visitor import NodeTransformer

from .environment import environment


class _ShowingJson(NodeTransformer):
    """Has ``a ~ b`` put together what placeholders would show, as ``[a, b] | join`` does."""

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802 - the visitor looks for this name
        self.generic_visit(node)
        given = {"lineno": node.lineno, "environment": node.environment}
        return nodes.Filter(nodes.List(node.nodes, **given), "join", [], [], None, None, **given)


class _OnlyWhereNeeded(NodeTransformer):
    """Has what a ``default(…)`` names worked out only in rows that need it: in others it may be missing itself."""

    def visit_Filter(self, node: nodes.Filter) -> nodes.Expr:  # noqa: N802 - the visitor looks for this name
        self.generic_visit(node)
        if node.name not in ("default", "d") or node.node is None or len(node.args) != 1 or node.kwargs:
            return node
        given = {"lineno": node.lineno, "environment": node.environment}
        there = nodes.Test(node.node, "defined", [], [], None, None, **given)
        return nodes.CondExpr(there, node.node, node.args[0], **given)


class _NullIsNone(NodeTransformer):
    """Has ``a == none`` ask what ``a is none`` does: null is undefined, and cannot be compared."""

    def visit_Compare(self, node: nodes.Compare) -> nodes.Expr:  # noqa: N802 - the visitor looks for this name
        self.generic_visit(node)
        sides = [node.expr, node.ops[0].expr]
        asked = [side for side in sides if not (isinstance(side, nodes.Const) and side.value is None)]
        if len(node.ops) != 1 or node.ops[0].op not in ("eq", "ne") or len(asked) != 1:
            return node
        given = {"lineno": node.lineno, "environment": node.environment}
        test = nodes.Test(asked[0], "none", [], [], None, None, **given)
        return test if node.ops[0].op == "eq" else nodes.Not(test, **given)


def code_of(tree: nodes.Template) -> CodeType:
    """Compile a template, whose tree it changes."""
    return environment().compile(_OnlyWhereNeeded().visit(tree))


def parsed(source: str) -> nodes.Template:
    """Read a template."""
    environment().room.begin()
    tree: nodes.Template = _NullIsNone().visit(_ShowingJson().visit(environment().parse(source)))
    return tree
