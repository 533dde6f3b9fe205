"""The keys of a config, flat."""

from typing import Any, Dict


def leaf_keys(node: Dict[str, Any], prefix: str = "") -> Dict[str, Any]:
    """{dotted key: value} of a config (a CfgNode is a dict) or of a yaml file that was read."""
    found = {}
    for name, value in node.items():
        if isinstance(value, dict):
            found.update(leaf_keys(value, f"{prefix}{name}."))
        else:
            found[prefix + name] = value
    return found
