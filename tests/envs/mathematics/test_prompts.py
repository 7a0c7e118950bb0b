"""Templates; chat templates whose special tokens no problem can write."""

from typing import Any

import pytest

from g2rpo_env import Problem, Task, TokenEnv, TokenVectorEnv, Verdict
from g2rpo_env.encoding import measure
from g2rpo_env.envs.dataset import RowSource
from g2rpo_env.envs.mathematics.prompts import TEMPLATES, chat_frame, template_frame, template_text
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.tokenizer import char_tokenizer, decode, encode
from g2rpo_env.verdict import Outcome

# -- templates ------------------------------------------------------------------------------------------------------


def test_a_template_is_a_name_or_a_text() -> None:
    assert template_text("plain") == "{question}\n" and template_text("Q: {question}\nA:\n") == "Q: {question}\nA:\n"
    assert all(text.endswith("\n") for name, text in TEMPLATES.items() if name != "chat")
    for bad in ("no place", "{question}{question}", ""):
        with pytest.raises(ConfigurationError, match="exactly once, or be one of plain, boxed, think, chat"):
            template_text(bad)


# -- special tokens -------------------------------------------------------------------------------------------------


def test_the_frame_of_a_chat_has_the_special_tokens_of_the_template(chat_tokenizer: Any) -> None:
    start, end = chat_tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])
    frame = chat_frame(chat_tokenizer)
    assert frame.before.tolist() == [start] and frame.head == "user\n" and frame.tail == ""
    assert decode(chat_tokenizer, frame.after) == "<|im_end|>\n<|im_start|>assistant\n" and frame.after[0] == end
    frame = chat_frame(chat_tokenizer, "Mind <|im_end|>.")
    assert decode(chat_tokenizer, frame.before) == "<|im_start|>system\nMind <|im_end|>.<|im_end|>\n<|im_start|>"
    assert frame.before.tolist().count(end) == 1  # that of the system's message is text


class Never:
    """A verifier that takes nothing."""

    def __call__(self, problems: Any, completions: Any) -> list[Verdict]:
        """Return wrong verdicts."""
        return [Verdict(Outcome.WRONG)] * len(problems)


def test_a_literal_special_token_in_a_problem_is_text_and_the_frame_alone_is_special(chat_tokenizer: Any) -> None:
    start, end = chat_tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])
    problem = Problem("p", "Say <|im_end|> and <|im_start|>", ("Done <|im_end|>\n",), "#1", "1")
    frame = chat_frame(chat_tokenizer)
    task = Task(RowSource([problem], "train"), Never(), tokenizer=chat_tokenizer, max_new_tokens=4, frame=frame)
    encoded = task.encode(problem)
    plain = encode(chat_tokenizer, "user\n" + problem.prompt)[0]
    assert end not in plain and start not in plain
    assert encoded.prompt_T.tolist() == [*frame.before, *plain.tolist(), *frame.after]
    first, last = encoded.text_start, encoded.text_end
    assert decode(chat_tokenizer, encoded.prompt_T[first:last]) == problem.prompt
    assert (encoded.prompt_T == end).sum() == 1 and end not in encoded.solution_T
    # The observation holds it whole, in one environment and in lanes, and is measured so.
    env, envs = TokenEnv(task), TokenVectorEnv(task, 2)
    observation, info = env.reset(seed=0)
    assert info["prompt_length"] == len(encoded.prompt_T)
    assert observation["tokens"][: info["prompt_length"]].tolist() == encoded.prompt_T.tolist()
    assert envs.reset(seed=0)[1]["prompt_length"].tolist() == [info["prompt_length"]] * 2
    [(_, size)] = measure(chat_tokenizer, [problem], task.frame)
    assert size.prompt == len(encoded.prompt_T) and task.length == size.prompt + size.revealable + 4


def test_a_tokenizer_without_a_chat_template_is_refused(chat_tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="template='chat' needs a tokenizer with a chat template"):
        chat_frame(char_tokenizer())
    monkeypatch.setattr(chat_tokenizer, "chat_template", "{{ messages[0]['content'] }}{{ messages[0]['content'] }}")
    with pytest.raises(ConfigurationError, match="must hold the text of the user exactly once"):
        chat_frame(chat_tokenizer)


def test_only_the_chat_template_has_a_frame_and_a_message_of_the_system(chat_tokenizer: Any) -> None:
    assert template_frame(chat_tokenizer, "plain", None) == ((), ())
    assert template_frame(chat_tokenizer, "chat", "Hi") == chat_frame(chat_tokenizer, "Hi")
    with pytest.raises(ConfigurationError, match="system='Hi' must come with template='chat'"):
        template_frame(chat_tokenizer, "plain", "Hi")


def test_a_frame_of_ids_that_are_no_tokens_is_refused() -> None:
    source = RowSource([Problem("p", "Q\n", (), "#1", "1")], "train")
    with pytest.raises(ConfigurationError, match=r"frame=.* must hold token ids in \[0, 258\)"):
        Task(source, Never(), frame=((258,), ()))
