"""A matrix: contexts of every family begin as its tokenizer begins a text, end at its end tokens, and add up."""

from typing import Any

import numpy as np
import pytest
from tokenizer_families import FAMILIES, REFUSED, USED

from g2rpo_env import Problem, Task, TokenEnv, Verdict
from g2rpo_env.encoding import measure
from g2rpo_env.envs.dataset import RowSource
from g2rpo_env.envs.mathematics.prompts import chat_frame
from g2rpo_env.errors import TokenizerError
from g2rpo_env.guidance import GuidanceWrapper
from g2rpo_env.tokenizer import beginning, decode, encode, encode_many, known_end_tokens, load_tokenizer
from g2rpo_env.verdict import Outcome

CHATS = [name for name in USED if FAMILIES[name].template]
QUESTIONS = ["What is 1?", "def add(a, b):\n", "12+3=", "naïve 数🙂\n"]
ANSWERS = ["    return a", "Was 1 is\n  is ", "\n\n\tx ", "🙂é", "it's ## \\boxed{1}"]


class Last:
    """Correct where the completion ends with the answer."""

    def __call__(self, problems: Any, completions: Any) -> list[Verdict]:
        """Return a verdict per completion."""
        right = [c.endswith(p.answer) for p, c in zip(problems, completions, strict=True)]
        return [Verdict(Outcome.CORRECT if found else Outcome.WRONG) for found in right]


def make_task(tokenizer: Any, prompt: str, solution: str = "", **options: Any) -> Task:
    """A task with one problem whose solution is a step and the final part ``#1``."""
    problem = Problem("p", prompt, (solution,) if solution else (), "#1", "1")
    return Task(RowSource([problem], "train"), Last(), tokenizer=tokenizer, max_new_tokens=64, **options)


@pytest.mark.parametrize("name", USED)
def test_a_context_begins_as_the_tokenizer_begins_a_text(name: str) -> None:
    family = FAMILIES[name]
    tokenizer = load_tokenizer(family.tokenizer)
    assert tuple(tokenizer.convert_ids_to_tokens(beginning(tokenizer).tolist())) == family.begins
    for question in QUESTIONS:
        observation, info = TokenEnv(make_task(tokenizer, question)).reset(seed=0)
        seen = observation["tokens"][: info["prompt_length"]].tolist()
        whole = tokenizer(question)["input_ids"]
        assert seen == whole[: len(seen)]
        behind = tokenizer.convert_ids_to_tokens(whole[len(seen) :])  # of T5 and encoders, whose text is over
        assert behind == (["</s>"] if name in ("language code", "Unigram") else ["[SEP]"] * (name[:7] == "encoder"))


@pytest.mark.filterwarnings("ignore:.*share a token")
@pytest.mark.parametrize("name", CHATS)
def test_a_chat_has_the_tokens_of_its_template(name: str) -> None:
    family = FAMILIES[name]
    frame = chat_frame(family.tokenizer)
    for question in ("What is 1?", "12+3=", "naïve 数🙂", "  What is\n 1? \n"):
        task = make_task(family.tokenizer, question, frame=frame)
        encoded = task.encode(task.source.get("p"))
        messages = [{"role": "user", "content": question}]
        whole = family.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        assert encoded.prompt_T.tolist() == whole
        [(_, size)] = measure(family.tokenizer, [task.source.get("p")], task.frame)
        assert size.prompt == len(whole)
        shown = decode(family.tokenizer, encoded.prompt_T[encoded.text_start : encoded.text_end])
        assert shown.strip() == question.strip()
        begin = [token for token in whole if token == family.tokenizer.bos_token_id]
        assert len(begin) == ("bos_token" in str(family.template))


@pytest.mark.parametrize("name", CHATS)
def test_what_looks_like_a_special_token_in_a_problem_is_text(name: str) -> None:
    family = FAMILIES[name]
    tokenizer, frame = family.tokenizer, chat_frame(family.tokenizer)
    special = [tokenizer.decode([token]) for token in sorted(known_end_tokens(tokenizer))]
    trap = "a " + " ".join([*special, tokenizer.bos_token or "", "<|im_end|>", "</s>"]) + " b"
    plain, trapped = (make_task(tokenizer, text, text, frame=frame).lookup("p") for text in ("a", trap))
    for token in tokenizer.all_special_ids:
        assert (trapped.prompt_T == token).sum() == (plain.prompt_T == token).sum()
        assert token not in trapped.solution_T
    assert trap in decode(tokenizer, trapped.prompt_T) and decode(tokenizer, trapped.solution_T) == trap + "#1"


@pytest.mark.parametrize("name", USED)
def test_what_looks_like_a_special_token_in_data_is_text(name: str) -> None:
    tokenizer = FAMILIES[name].tokenizer
    added = tokenizer.added_tokens_decoder.values()
    # "▁" is a space, and CodeLlama makes an order of three parts of a text with its <FILL_ME>.
    known = [t.content for t in added if t.special and "▁" not in t.content and t.content != "<FILL_ME>"]
    trap = "a " + " ".join(known) + " b"
    for begins in (False, True):
        ids = encode(tokenizer, trap, begins)[0]
        assert not set(ids.tolist()) & set(tokenizer.all_special_ids) and decode(tokenizer, ids, begins) == trap
    assert [encode_many(tokenizer, [trap])[0].tolist()] == [encode(tokenizer, trap)[0].tolist()]


@pytest.mark.parametrize("name", USED)
def test_an_answer_ends_at_each_end_token_and_its_text_has_none(name: str) -> None:
    family = FAMILIES[name]
    tokenizer = family.tokenizer
    ends = {tokenizer.convert_ids_to_tokens(token) for token in known_end_tokens(tokenizer)}
    assert ends == set(family.ends)
    env = TokenEnv(make_task(tokenizer, "Q\n"))
    for end in family.ends:
        env.reset(seed=0)
        for token in encode(tokenizer, "is 1")[0]:
            assert not env.step(token)[2]
        _, reward, terminated, truncated, info = env.step(tokenizer.convert_tokens_to_ids(end))
        assert (terminated, truncated, reward, info["completion"]) == (True, False, 1.0, "is 1")
        assert env.action_masks()[tokenizer.convert_tokens_to_ids(end)]


@pytest.mark.filterwarnings("ignore:.*share a token")
@pytest.mark.parametrize("name", USED)
def test_the_completion_is_what_its_tokens_add_to_the_context(name: str) -> None:
    tokenizer = FAMILIES[name].tokenizer
    for question in QUESTIONS:
        for answer in ANSWERS:
            env = TokenEnv(make_task(tokenizer, question, answer, begin_tokens=()))
            guided = GuidanceWrapper(env, length=3)
            guided.reset(seed=0)
            reveal = int((env.roles == 1).sum())
            for token in [*env.task.lookup("p").solution_T[reveal:], env.task.eos_token_id]:
                _, reward, terminated, _, info = guided.step(token)
            assert terminated and reward == 1 and info["completion"] == answer + "#1"
            # The tokenizer itself says of the whole context what prompt and solution say together.
            whole = tokenizer.decode(env.context[:-1].tolist(), clean_up_tokenization_spaces=False)
            assert whole == question + answer + "#1"


@pytest.mark.parametrize("name", USED)
def test_every_text_comes_back_wherever_it_is_cut(name: str) -> None:
    tokenizer = FAMILIES[name].tokenizer
    for text in ANSWERS:
        tokens_T, end_T = encode(tokenizer, text)
        assert decode(tokenizer, tokens_T) == text and end_T[-1] == len(text) and (np.diff(end_T) >= 0).all()
        whole = [cut for cut in range(len(tokens_T)) if "\ufffd" not in decode(tokenizer, tokens_T[:cut])]
        assert [decode(tokenizer, tokens_T[:cut]) + decode(tokenizer, tokens_T[cut:]) for cut in whole] == [
            text for _ in whole
        ]


@pytest.mark.parametrize("name", REFUSED)
def test_a_tokenizer_that_loses_text_is_refused(name: str) -> None:
    with pytest.raises(TokenizerError, match=FAMILIES[name].refused):
        load_tokenizer(FAMILIES[name].tokenizer)
