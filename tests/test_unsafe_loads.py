"""No file is read by anything that could run it: every call in the package that might is known, with its reason."""

import ast

import pytest
from scripts import REPOSITORY

# (file, call): why it is there.
ALLOWED = {
    ("frcnn_alt/safe_pickle.py", "pickle.Unpickler"): "the base of the unpickler that admits arrays alone",
    ("frcnn_alt/safe_yaml.py", "load_yaml_with_base"): "with allow_unsafe=False, of what load_yaml has read",
    ("frcnn_alt/engine/defaults.py", "importlib.import_module"): "--import, which is there to run a person's own code",
    ("frcnn_alt/compat.py", "importlib.import_module"): "of modules named in the program",
    ("frcnn_alt/proposals/matlab_files.py", "loadmat"): "of variables that checked_variables has looked through",
    ("frcnn_alt/modeling/mean_image.py", "loadmat"): "of variables that checked_variables has looked through",
    ("frcnn_alt/data/safe_xml.py", "ET.fromstring"): "of a file without entities",
}

# Never: they run what they read, or may.
_UNSAFE = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "importlib.import_module", "loadmat"}
_UNSAFE |= {f"pickle.{name}" for name in ("load", "loads", "Unpickler")}
_UNSAFE |= {
    f"{module}.{name}" for module in ("dill", "joblib", "marshal", "shelve") for name in ("load", "loads", "open")
}
_UNSAFE |= {f"yaml.{name}" for name in ("load", "load_all", "unsafe_load", "full_load", "Loader", "UnsafeLoader")}
_UNSAFE |= {"yaml.safe_load", "yaml.FullLoader"}  # the first is safe, but nine lines of aliases fill the memory
_UNSAFE |= {
    f"{module}.{name}" for module in ("ET", "ElementTree") for name in ("parse", "fromstring", "iterparse", "XML")
}
_UNSAFE |= {"load_proposals_into_dataset"}  # detectron2's, which unpickles
# Only with this argument.
_ONLY_WITH = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
    "read_array": ("allow_pickle", False),
    "merge_from_file": ("allow_unsafe", False),
    "CfgNode.load_yaml_with_base": ("allow_unsafe", False),
    "load_cfg": ("allow_unsafe", False),  # yacs's has no such argument: never
}


def _name(node):
    """ "torch.load" of ``torch.load``, "load" of anything else that ends so."""
    if isinstance(node, ast.Attribute):
        return f"{node.value.id}.{node.attr}" if isinstance(node.value, ast.Name) else node.attr
    return node.id if isinstance(node, ast.Name) else ""


def unsafe_calls(source):
    """(line, name) of all calls, and classes to be built upon, that could run what they read."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef):
            found += [(node.lineno, _name(base)) for base in node.bases if _name(base) in _UNSAFE]
        if not isinstance(node, ast.Call):
            continue
        name = _name(node.func)
        last = name.rsplit(".", 1)[-1]
        given = {word.arg: word.value for word in node.keywords}
        if any(word == "shell" and getattr(value, "value", True) for word, value in given.items()):
            found.append((node.lineno, f"{name}(shell=...)"))
        if name in _UNSAFE or (last in ("loadmat", "load_proposals_into_dataset", "unsafe_load", "import_module")):
            found.append((node.lineno, name if name in _UNSAFE else last))
        for which in (name, last):
            if which in _ONLY_WITH:
                word, value = _ONLY_WITH[which]
                if not (isinstance(given.get(word), ast.Constant) and given[word].value is value):
                    found.append((node.lineno, which))
                break
    return found


def files():
    return sorted([*(REPOSITORY / "frcnn_alt").rglob("*.py"), *(REPOSITORY / "tools").glob("*.py")])


def test_no_file_is_read_by_what_could_run_it():
    used, unknown = set(), []
    for path in files():
        place = path.relative_to(REPOSITORY).as_posix()
        for line, name in unsafe_calls(path.read_text()):
            used.add((place, name))
            if (place, name) not in ALLOWED:
                unknown.append(f"{place}:{line}: {name}")
    assert not unknown, "read it with checkpointing.read, safe_pickle, safe_yaml, data.safe_xml or safe_matlab"
    assert {key for key in ALLOWED if key[1] != "load_yaml_with_base"} <= used, "it is not there any more"


@pytest.mark.parametrize(
    "line",
    [
        "pickle.load(f)",
        "pickle.loads(b)",
        "class A(pickle.Unpickler): pass",
        "torch.load(p)",
        "torch.load(p, weights_only=False)",
        "torch.load(p, weights_only=flag)",
        "yaml.load(f, Loader=yaml.FullLoader)",
        "yaml.unsafe_load(f)",
        "np.load(p, allow_pickle=True)",
        "np.load(p)",
        "np.lib.format.read_array(f, allow_pickle=True)",
        "cfg.merge_from_file(p)",
        "CfgNode.load_yaml_with_base(p, allow_unsafe=True)",
        "CfgNode.load_cfg(f)",
        "eval(text)",
        "exec(text)",
        "os.system('ls')",
        "subprocess.run('ls', shell=True)",
        "subprocess.Popen(words, shell=flag)",
        "ET.parse(p)",
        "scipy.io.loadmat(p)",
        "importlib.import_module(name)",
    ],
)
def test_each_kind_is_noticed(line):
    assert unsafe_calls(line)


@pytest.mark.parametrize(
    "line",
    [
        "torch.load(p, map_location='cpu', weights_only=True)",
        "np.load(p, allow_pickle=False)",
        "model.eval()",
        "json.load(f)",
        "cfg.merge_from_file(p, allow_unsafe=False)",
        "subprocess.Popen(words, shell=False)",
        "re.compile('a')",
    ],
)
def test_what_is_safe_passes(line):
    assert not unsafe_calls(line)
