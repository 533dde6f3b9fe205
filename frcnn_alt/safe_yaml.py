"""Reading yaml (configs, overlays, tables) without running what it could run, and merging config files so.

Beside config and compat, because several rooms read yaml. detectron2's ``merge_from_file`` loads a file that the safe
loader of PyYAML refuses with the unsafe one, which runs whatever its tags name. Stock configs need two of these tags,
and both are read here without running anything: ``!!python/tuple``, and ``!!python/object/apply:eval`` over a formula
of numbers, with which some configs write the sizes of anchors or of images.
"""

import ast
import io
import itertools
import operator
import os
import tempfile
from typing import IO, Any, Dict, List

import yaml
from detectron2.config import CfgNode
from detectron2.config.compat import guess_version

__all__ = ["load_yaml", "load_yaml_with_base", "merge_config_file"]

_MOST_CHARACTERS = 1 << 20  # detectron2's longest config has 10,000
_MOST_VALUES = 100_000  # with every alias written out: nine lists of nine aliases each are a thousand million
_MOST_OPERATIONS = 10_000
_MOST_FILES = 50  # one on top of the other
_DEEPEST = 50  # brackets; PyYAML takes seconds over thousands of them

_OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Pow: operator.pow,
}


class _Formula:
    """Numbers, + - * / // **, int(), range(), lists, tuples, and lists made by ``for ... in``; nothing else."""

    def __init__(self, text: str):
        self._left = _MOST_OPERATIONS
        value = self._of(ast.parse(text.strip(), mode="eval").body, {})
        self.value = value if not isinstance(value, range) else [self._of(ast.Constant(one), {}) for one in value]

    def _of(self, node: ast.AST, names: Dict[str, Any]) -> Any:
        self._left -= 1
        if self._left < 0:
            raise ValueError("it takes too many operations")
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            return node.value
        if isinstance(node, ast.Name) and node.id in names:
            return names[node.id]
        if isinstance(node, (ast.List, ast.Tuple)):
            return [self._of(element, names) for element in node.elts]
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -self._number(node.operand, names)
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            left, right = self._number(node.left, names), self._number(node.right, names)
            if max(abs(left), abs(right)) > 1e9 or (isinstance(node.op, ast.Pow) and abs(right) > 64):
                raise ValueError("its numbers are too large")
            return _OPERATORS[type(node.op)](left, right)
        if isinstance(node, ast.ListComp) and len(node.generators) == 1:
            loop = node.generators[0]
            if isinstance(loop.target, ast.Name) and not loop.ifs and not loop.is_async:
                values = self._of(loop.iter, names)
                # Of numbers alone: a name of a list would stand for it as often as it is written, level by level.
                if isinstance(values, range) or (isinstance(values, list) and set(map(type, values)) <= {int, float}):
                    return [self._of(node.elt, {**names, loop.target.id: value}) for value in values]
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
            numbers = [int(self._number(argument, names)) for argument in node.args]
            if node.func.id == "int" and len(numbers) == 1:
                return numbers[0]
            if node.func.id == "range" and 1 <= len(numbers) <= 3:
                return range(*numbers)
        raise ValueError(f"only formulas of numbers are read, no {type(node).__name__}")

    def _number(self, node: ast.AST, names: Dict[str, Any]) -> Any:
        value = self._of(node, names)
        if type(value) not in (int, float):
            raise ValueError("it calculates with something else than numbers")
        return value


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, with the two tags of stock configs, and no file larger than its text looks."""

    def get_single_data(self) -> Any:
        node = self.get_single_node()
        if node is None:
            return None
        self._count(node, {})
        return self.construct_document(node)

    def _count(self, node: yaml.Node, known: Dict[yaml.Node, int]) -> int:
        """Number of values below `node`, each alias counted as often as it stands there."""
        if isinstance(node, yaml.ScalarNode):
            return 1
        if node not in known:
            known[node] = -1  # until it is counted
            children = (
                [one for pair in node.value for one in pair] if isinstance(node, yaml.MappingNode) else node.value
            )
            known[node] = 1 + sum(self._count(child, known) for child in children)
        if not 0 <= known[node] <= _MOST_VALUES:
            what = "contains itself" if known[node] < 0 else f"stands for more than {_MOST_VALUES:,} values"
            raise yaml.constructor.ConstructorError(None, None, f"what is written here {what}", node.start_mark)
        return known[node]

    def tuple_as_list(self, node: yaml.Node) -> List[Any]:
        return self.construct_sequence(node, deep=True)

    def formula(self, node: yaml.Node) -> Any:
        arguments = self.construct_sequence(node, deep=True)
        if len(arguments) != 1 or not isinstance(arguments[0], str):
            problem = "!!python/object/apply:eval takes one text"
        else:
            try:
                return _Formula(arguments[0]).value
            except (ArithmeticError, MemoryError, RecursionError, SyntaxError, TypeError, ValueError) as error:
                problem = f"a formula cannot be read, and is not run: {error}"
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


_Loader.add_constructor("tag:yaml.org,2002:python/tuple", _Loader.tuple_as_list)
_Loader.add_constructor("tag:yaml.org,2002:python/object/apply:eval", _Loader.formula)


def load_yaml(file: IO[str]) -> Any:
    """Read one yaml document: plain containers, texts, numbers and dates; tuples come as lists.

    Raises:
        yaml.YAMLError: it is no yaml, asks for anything else, or is or stands for far more than a config holds.
    """
    try:
        text = file.read(_MOST_CHARACTERS + 1)
        if len(text) > _MOST_CHARACTERS:
            raise yaml.YAMLError(f"it has more than {_MOST_CHARACTERS:,} characters")
        if max(itertools.accumulate((c in "[{") - (c in "]}") for c in text), default=0) > _DEEPEST:
            raise yaml.YAMLError(f"it has more than {_DEEPEST} brackets inside each other")
        loader = _Loader(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.YAMLError:
        raise
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply") from None
    except (ArithmeticError, AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        # Not UTF-8; a date of a 13th month; a number of thousands of digits; and what PyYAML trips over.
        raise yaml.YAMLError(f"it cannot be read: {error}") from error


def load_yaml_with_base(path: str) -> Any:
    """Read a yaml file and the files that its ``_BASE_`` names, as detectron2's method of this name, but safely.

    Raises:
        yaml.YAMLError: as of `load_yaml`; or ``_BASE_`` leads back to itself.
        OSError: a file cannot be opened.
    """
    opened = itertools.count(1)

    class ConfigFile(CfgNode):
        """fvcore follows ``_BASE_`` from file to file and reads each with PyYAML; it gets what `load_yaml` has read."""

        @classmethod
        def _open_cfg(cls, filename: str) -> IO[str]:
            if next(opened) > _MOST_FILES:
                raise yaml.YAMLError(f"its _BASE_ leads back to itself, or to more than {_MOST_FILES} files")
            with super()._open_cfg(filename) as file:
                return io.StringIO(yaml.safe_dump(load_yaml(file), sort_keys=False))

    return ConfigFile.load_yaml_with_base(path, allow_unsafe=False)


def merge_config_file(cfg: CfgNode, path: str) -> None:
    """``cfg.merge_from_file(path)`` of detectron2, but nothing that stands in the file is run.

    Args:
        cfg: changed in place; not frozen.
        path: a config file, or one that is laid over it.

    Raises:
        yaml.YAMLError: as of `load_yaml_with_base`.
        OSError: a file cannot be opened.
        KeyError, AssertionError, ValueError, TypeError, AttributeError: of detectron2, about keys and their values.
    """
    loaded = load_yaml_with_base(path)
    if "VERSION" not in loaded:
        loaded["VERSION"] = guess_version(CfgNode(loaded), path)
    with tempfile.TemporaryDirectory() as folder:  # merge_from_file takes nothing else
        plain = os.path.join(folder, os.path.basename(path))
        with open(plain, "w", encoding="utf-8") as file:
            yaml.safe_dump(loaded, file, sort_keys=False)
        cfg.merge_from_file(plain, allow_unsafe=False)
