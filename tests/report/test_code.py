"""Code: the modules whose hashes count, and that comments and docstrings change nothing."""

from g2rpo_env.report.code import hash_code, hash_loaded_code, strip_code


def test_the_code_that_counts_is_what_a_run_loads():
    import g2rpo_env.agents.generators
    import g2rpo_env.checks.single
    import g2rpo_env.report.plots
    import g2rpo_env.study.runner  # noqa: F401

    names = set(hash_loaded_code())
    assert {
        "g2rpo_env.controllers.rules",
        "g2rpo_env.agents.grpo",
        "g2rpo_env.experiments.arms",
        "g2rpo_env.study.runs",
    } <= names
    assert not any(name.startswith(("g2rpo_env.checks", "g2rpo_env.report", "g2rpo_env.cli.app")) for name in names)
    assert "g2rpo_env.study.claims" not in names
    assert "g2rpo_env.agents.generators" not in names  # an earlier name: it would be compared with what it stands for


def test_a_comment_is_no_change_of_code():
    source = 'def f(x):\n    """Say."""\n    y = "# no comment"  # one\n\n    return x + y\n\nZ = 1\n"""About Z."""\n'
    plain = 'def f(x):\n    y = "# no comment"\n    return x + y\nZ = 1'
    assert strip_code(source) == strip_code(plain) == plain
    assert strip_code(plain.replace("x + y", "y + x")) != plain


def test_one_hash_stands_for_all_of_the_code():
    assert len(hash_code()) == 16 and hash_code() == hash_code()
