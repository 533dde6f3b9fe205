"""CONTRIBUTING's rule: public functions and methods say the types of their arguments and of what they return."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "frcnn_alt"


def public_functions(body, prefix=""):
    """(name, its node) of the functions and methods without a leading underscore; constructors are among them."""
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from public_functions(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, ast.FunctionDef) and (node.name == "__init__" or not node.name.startswith("_")):
            yield f"{prefix}{node.name}", node


def without_hint(node, is_method):
    positional = [*node.args.posonlyargs, *node.args.args]
    is_static = any(getattr(decorator, "id", "") == "staticmethod" for decorator in node.decorator_list)
    arguments = [*positional[is_method and not is_static :], *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
    missing = [argument.arg for argument in arguments if argument is not None and argument.annotation is None]
    return missing + ["return"] * (node.returns is None and node.name != "__init__")


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_public_functions_have_type_hints(path):
    functions = public_functions(ast.parse(path.read_text("utf-8")).body)
    lacking = {name: without_hint(node, "." in name) for name, node in functions}
    assert {name: missing for name, missing in lacking.items() if missing} == {}
