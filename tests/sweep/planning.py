"""Planning the small table, as it is or altered."""

from frcnn_alt.sweep.plan import plan_sweep
from frcnn_alt.sweep.read_table import read_table


def plan_of(table, tmp_path, seeds=(0,), opts=(), **kwargs):
    tables = [read_table(str(path)) for path in ([table] if not isinstance(table, list) else table)]
    return plan_sweep(tables, str(tmp_path / "sweep"), seeds, "tools", opts, **kwargs)


def altered(small_table, tmp_path, old, new, name="altered"):
    path = tmp_path / f"{name}.yaml"
    text = small_table.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return path
