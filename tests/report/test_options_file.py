"""config.toml: groups after options, and what cannot be said stands at its head."""

import tomllib

from g2rpo_env.report.options_file import write_options


def test_the_file_says_how_it_repeats_the_run_and_is_read_back(tmp_path):
    options = {
        "task": {"digits": 1, "traces": {"repeats": 2}},
        "seed": 3,
        "name": 'a \\ "b"\n# c',
        "rates": [1e-5, 2.0],
    }
    path = write_options(tmp_path, options)
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# Repeats the run: g2rpo-env train --config config.toml --out ANOTHER\nseed = 3\n")
    assert tomllib.loads(text) == options


def test_a_run_that_options_cannot_say_has_the_reasons_first(tmp_path):
    text = write_options(tmp_path, {"seed": 3}, ["ppo is no recipe", "two\nlines"]).read_text(encoding="utf-8")
    assert text.startswith(
        "# This run cannot be repeated by g2rpo-env train: ppo is no recipe; two\n# lines.\nseed = 3"
    )
    assert tomllib.loads(text) == {"seed": 3}
