"""Templates; chat templates whose special tokens no problem can write."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizer_families import FAMILIES

from g2rpo_env import GuidanceWrapper, Problem, Task, TokenEnv, TokenVectorEnv, Verdict
from g2rpo_env.encoding import encode_prompts, measure
from g2rpo_env.envs.dataset import RowSource
from g2rpo_env.envs.mathematics.math_dataset import MathDataset
from g2rpo_env.envs.mathematics.prompts import TEMPLATES, chat_frame, frame_prompt, template_text
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.reveal.placement import InPrompt
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
    assert frame_prompt(chat_tokenizer, "plain") == ("plain", None)
    text, frame = frame_prompt(chat_tokenizer, "chat", "Hi")
    assert text == "chat" and str(frame) == str(chat_frame(chat_tokenizer, "Hi"))
    with pytest.raises(ConfigurationError, match="system='Hi' must come with template='chat'"):
        frame_prompt(chat_tokenizer, "plain", "Hi")


def test_a_frame_of_ids_that_are_no_tokens_is_refused() -> None:
    source = RowSource([Problem("p", "Q\n", (), "#1", "1")], "train")
    with pytest.raises(ConfigurationError, match=r"frame=.* must hold token ids in \[0, 258\)"):
        Task(source, Never(), frame=((258,), ()))


# -- what templates do ------------------------------------------------------------------------------------------------


def prompt_of(tokenizer: Any, question: str, frame: Any) -> np.ndarray:
    """The tokens of a prompt in a frame."""
    return encode_prompts(tokenizer, [question], frame)[0]


def test_a_refused_system_message_moves_into_the_turn_of_the_user() -> None:
    tokenizer = FAMILIES["Gemma"].tokenizer
    with pytest.warns(UserWarning, match="stands at the beginning of the user's turn.*System role not supported"):
        frame = chat_frame(tokenizer, "Be brief, <end_of_turn>.")
    found = prompt_of(tokenizer, "What is 1?", frame)
    assert decode(tokenizer, found) == (
        "<bos><start_of_turn>user\nBe brief, <end_of_turn>.\n\nWhat is 1?<end_of_turn>\n<start_of_turn>model\n"
    )
    assert (found == tokenizer.convert_tokens_to_ids("<end_of_turn>")).sum() == 1
    messages = [{"role": "user", "content": "Be brief.\n\nWhat is 1?"}]
    with pytest.warns(UserWarning, match="at the beginning of the user's turn"):
        frame = chat_frame(tokenizer, "Be brief.")
    whole = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert prompt_of(tokenizer, "What is 1?", frame).tolist() == whole


def test_a_template_that_leaves_the_system_message_out_gets_it_in_the_turn_of_the_user(chat_tokenizer: Any) -> None:
    other = copy.deepcopy(chat_tokenizer)
    other.chat_template = (
        "{% for m in messages if m['role'] == 'user' %}<|im_start|>{{ m['content'] }}<|im_end|>{% endfor %}"
    )
    with pytest.warns(UserWarning, match="exactly once"):
        frame = chat_frame(other, "Be brief.")
    assert decode(other, prompt_of(other, "Q", frame)) == "<|im_start|>Be brief.\n\nQ<|im_end|>"


def test_a_system_message_of_its_own_has_the_tokens_of_the_whole() -> None:
    for name in ("Llama 2", "Llama 2, class", "Llama 3", "Qwen, base", "DeepSeek"):
        tokenizer = FAMILIES[name].tokenizer
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 1?"}]
        whole = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        assert prompt_of(tokenizer, "What is 1?", chat_frame(tokenizer, "Be brief.")).tolist() == whole


@pytest.mark.parametrize("system", [" Be brief.\n", "/no_think", "Be brief. /no_think", "Mind <|im_end|>."])
def test_a_template_that_reads_the_system_message_reads_it(chat_tokenizer: Any, system: str) -> None:
    tokenizer = copy.deepcopy(chat_tokenizer)
    tokenizer.chat_template = (
        "{% set text = messages[0]['content'] if messages | length > 1 else 'Think.' %}"
        "<|im_start|>system\n{{ text.replace('/no_think', '') | trim }}<|im_end|>\n<|im_start|>user\n"
        "{{ messages[-1]['content'] }}<|im_end|>\n<|im_start|>assistant\n"
        "{% if '/no_think' in text %}<think></think>{% endif %}"
    )
    question = "What is 1?"
    messages = [{"role": "system", "content": system}, {"role": "user", "content": question}]
    want = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    made = prompt_of(tokenizer, question, chat_frame(tokenizer, system)).tolist()
    assert decode(tokenizer, np.array(made)) == want
    assert made.count(tokenizer.convert_tokens_to_ids("<|im_end|>")) == 2  # those of the template alone


def test_a_template_that_strips_a_text_strips_the_prompt() -> None:
    gemma, qwen = FAMILIES["Gemma"].tokenizer, FAMILIES["Qwen, base"].tokenizer
    assert chat_frame(gemma).strips and not chat_frame(qwen).strips
    assert "user\nWhat?<end" in decode(gemma, prompt_of(gemma, " What?\n", chat_frame(gemma)))
    assert "user\n What?\n<|im" in decode(qwen, prompt_of(qwen, " What?\n", chat_frame(qwen)))


def test_the_special_tokens_of_a_text_template_are_special_and_the_beginning_stands_once(tmp_path: Path) -> None:
    gemma = FAMILIES["Gemma"].tokenizer
    rows = tmp_path / "train.jsonl"
    rows.write_text(json.dumps({"question": "Is <end_of_turn> 1?", "solution": "Yes.", "answer": "1"}) + "\n")
    turn = "<start_of_turn>user\n{question}<end_of_turn>\n<start_of_turn>model\n"
    for template in (turn, "<bos>" + turn):
        task = MathDataset(rows, tokenizer=gemma, template=template, validation_fraction=0, test_fraction=0)
        found = task.lookup("train/0").prompt_T
        assert decode(gemma, found) == "<bos>" + turn.replace("{question}", "Is <end_of_turn> 1?")
        assert (found == gemma.bos_token_id).sum() == (found == gemma.convert_tokens_to_ids("<end_of_turn>")).sum() == 1
    task = MathDataset(rows, tokenizer=gemma, template="Q: {question}\n", validation_fraction=0, test_fraction=0)
    assert decode(gemma, task.lookup("train/0").prompt_T) == "<bos>Q: Is <end_of_turn> 1?\n"


@pytest.mark.parametrize("name", ["Qwen, base", "Llama 2"])
def test_guidance_in_the_prompt_stands_in_the_turn_of_the_user(name: str) -> None:
    tokenizer = FAMILIES[name].tokenizer
    problem = Problem("p", "What is 1?", ("One\n",), "#1", "1")
    for place in (InPrompt(template="H: {hint}", before=True), InPrompt(template="\nH: {hint}", before=False)):
        frame = chat_frame(tokenizer)
        task = Task(RowSource([problem], "train"), Never(), tokenizer=tokenizer, max_new_tokens=4, frame=frame)
        env = GuidanceWrapper(TokenEnv(task), length=2, place=place)
        observation, info = env.reset(seed=0)
        text = decode(tokenizer, observation["tokens"][: info["prompt_length"]])
        shown = decode(tokenizer, task.lookup("p").solution_T[:2])
        turn = {"Qwen, base": "<|im_start|>user\n{}<|im_end|>", "Llama 2": "[INST]{} [/INST]"}[name]
        # A space that a token of the question holds stays with it.
        parts = (f"H: {shown}", "What is 1?") if place.before else ("What is 1?", f"\nH: {shown}")
        space = " " * (name == "Llama 2")
        assert turn.format((parts[0] + space + parts[1]) if place.before else space + "".join(parts)) in text
