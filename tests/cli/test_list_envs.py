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


def test_where_problems_come_from_stands_beside_each_id(command):
    _, text, _ = command("list")
    sources = {line.split()[0]: line.split()[1] for line in text.splitlines() if line.startswith("g2rpo_env/")}
    assert sources["g2rpo_env/Addition-v0"] == "generated" and sources["g2rpo_env/GSM8K-v0"] == "data"
    assert set(sources) == set(env_ids())


def test_one_generated_environment_shows_its_spaces_and_an_episode(command):
    status, text, _ = command("list", "addition")
    assert status == 0 and "action       Discrete(258)" in text and "observation  Dict(" in text
    lines = text.splitlines()
    place = lines.index("an episode of the ground truth, the prompt dim:")
    assert "+" in lines[place + 1] and "=" in lines[place + 1]
    assert lines[-1].startswith("reward 1  verdict correct  answer '")
    assert "an episode" not in command("list", "all")[1]


def test_one_of_data_says_how_to_see_a_problem(command):
    status, text, _ = command("list", "gsm8k")
    assert status == 0 and "play --env g2rpo_env/GSM8K-v0 --data DIR shows one" in " ".join(text.split())
