"""benchmarks/mutations.yaml keeps up with the package: every piece of text to replace is there exactly once."""

import pytest
from scripts import REPOSITORY, load_script

mutations = load_script("benchmarks/mutations.py")


@pytest.mark.parametrize("mutation", mutations.read_mutations(), ids=lambda mutation: mutation["rule"])
def test_it_applies_and_its_tests_exist(mutation):
    changed = mutations.mutated(mutation, REPOSITORY)
    assert changed != (REPOSITORY / mutation["file"]).read_text("utf-8")
    for path in mutation["tests"].split():
        assert (REPOSITORY / path).exists(), path


def test_a_text_that_is_not_there_is_named():
    stale = {"rule": "a rule", "file": "setup.py", "old": "nowhere to be found", "new": "", "tests": ""}
    with pytest.raises(ValueError, match="a rule: setup.py holds 'nowhere to be found' 0 times"):
        mutations.mutated(stale, REPOSITORY)
