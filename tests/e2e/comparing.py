# SPDX-License-Identifier: Apache-2.0
"""Loads test modules so that `assert a == b` says both values when it fails. Each side is evaluated once, before the
comparison: evaluated again for the message, it would be other traffic with another result."""
import ast
import importlib.util
import sys

OPERATORS = {ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Is: "is",
             ast.IsNot: "is not", ast.In: "in", ast.NotIn: "not in"}


def failed(source, operators, values, message):
    """What the AssertionError says: the comparison as written, its values, the test's own message."""
    shown = " ".join(word for pair in zip(map(_short, values), [*operators, ""]) for word in pair if word)
    return f"{source}: {shown}" + (f": {message}" if message is not None else "")


def _short(value):
    text = repr(value)
    return text if len(text) <= 600 else text[:600] + " …"


class Comparisons(ast.NodeTransformer):
    """assert A < B, MESSAGE  becomes  v0, v1 = A, B; assert v0 < v1, failed(...)"""

    def visit_Assert(self, node):
        if not isinstance(node.test, ast.Compare):
            return node
        sides = [node.test.left, *node.test.comparators]
        names = [f"_side_{number}" for number in range(len(sides))]

        def load(name):
            return ast.Name(name, ast.Load())
        keep = ast.Assign([ast.Tuple([ast.Name(n, ast.Store()) for n in names], ast.Store())], ast.Tuple(sides, ast.Load()))
        test = ast.Compare(load(names[0]), node.test.ops, [load(n) for n in names[1:]])
        operators = [ast.Constant(OPERATORS[type(op)]) for op in node.test.ops]
        said = ast.Call(load("_failed"), [ast.Constant(ast.unparse(node.test)), ast.List(operators, ast.Load()),
                                          ast.List([load(n) for n in names], ast.Load()), node.msg or ast.Constant(None)], [])
        return [ast.fix_missing_locations(ast.copy_location(new, node)) for new in (keep, ast.Assert(test, said))]


def load(path):
    """Imports a test file, its comparisons rewritten."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    module._failed = failed
    exec(compile(Comparisons().visit(ast.parse(path.read_text())), str(path), "exec"), vars(module))
