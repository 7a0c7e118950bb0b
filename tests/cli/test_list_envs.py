"""list: every id in a line, and with every option of its task where a word asks for it."""

import dataclasses

from g2rpo_env import env_ids
from g2rpo_env.cli.options import task_options


def test_every_id_and_every_option_is_listed(command):
    status, text, _ = command("list", "all")
    assert status == 0
    for env_id in env_ids():
        assert env_id in text
        for field in dataclasses.fields(task_options(env_id)):
            assert f"--{field.name.replace('_', '-')}" in text


def test_without_a_word_there_is_a_line_per_id_and_no_option(command):
    status, text, _ = command("list")
    assert status == 0 and all(env_id in text for env_id in env_ids())
    assert "--" not in text and len(text.splitlines()) < 3 * len(env_ids())


def test_a_word_finds_ids_and_first_lines_whatever_its_case(command):
    status, text, _ = command("list", "addition")
    assert status == 0 and "g2rpo_env/Addition-v0" in text and "--digits" in text and "Chain-v0" not in text
    status, _, error = command("list", "adition")
    assert status == 1 and "word='adition' must be in one of " in error


def test_two_words_are_refused_unless_the_first_one_is_recipes(command):
    status, _, error = command("list", "addition", "chain")
    assert status == 1 and "words='addition chain' must be a word, recipes, or recipes NAME" in error
