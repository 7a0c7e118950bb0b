"""Placements: contexts by hand, token for token; what they count, what room they need, what they refuse."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from g2rpo_env import (
    GuidanceWrapper,
    Hinted,
    InAnswer,
    InPrompt,
    TokenEnv,
    TokenVectorEnv,
    VectorGuidanceWrapper,
    check_env,
    check_vector_env,
)
from g2rpo_env.envs.arithmetic import Addition, AdditionSource
from g2rpo_env.envs.dataset import RowSource
from g2rpo_env.envs.generated import MarkVerifier
from g2rpo_env.errors import BudgetError, ConfigurationError
from g2rpo_env.problem import Problem
from g2rpo_env.reveal.placement import PLACES, resolve_placement
from g2rpo_env.task import Task
from g2rpo_env.tokenizer import char_tokenizer, decode

PROBLEM = {"problem": "58+67"}
HINTS = {"58+67": "Add ones first.\nThen carry 1.\n"}


def addition(**options: Any) -> Task:
    return Addition(digits=2, **options)


def make_hinted() -> Task:
    return Task(Hinted(AdditionSource(2), HINTS), MarkVerifier(), max_new_tokens=30)


def start(task: Task, **options: Any) -> tuple[str, str, dict[str, Any]]:
    """Return the context as text, its roles as text, and the info of the problem 58+67."""
    env = GuidanceWrapper(TokenEnv(task), **options)
    observation, info = env.reset(seed=0, options=PROBLEM)
    context = decode(char_tokenizer(), observation["tokens"][: observation["length"][0]])
    return context, "".join("pr"[role] for role in env.unwrapped.roles), info


# -- where it stands --------------------------------------------------------------------------------------------------


def test_the_default_is_the_beginning_of_the_answer() -> None:
    context, roles, info = start(addition(), length=4)
    assert (context, roles) == ("58+67=8+7+", "pppppprrrr")
    assert (info["prompt_length"], info["reveal_length"]) == (6, 4)


def test_an_opening_stands_before_the_solution_in_guided_episodes_alone() -> None:
    place = InAnswer(opening="<think>\n")
    context, roles, info = start(addition(), length=4, place=place)
    assert (context, roles) == ("58+67=<think>\n8+7+", "p" * 6 + "r" * 12)
    assert (info["prompt_length"], info["reveal_length"]) == (6, 12)
    assert start(addition(), length=0, place=place)[0] == "58+67="


def test_a_part_of_the_solution_in_the_prompt() -> None:
    context, roles, info = start(addition(), length=4, place="prompt")
    assert context == "Hint: 8+7+\n58+67=" and set(roles) == {"p"}
    assert (info["prompt_length"], info["reveal_length"]) == (len(context), 4)
    behind = InPrompt(template=" [{hint}]\n", before=False)
    assert start(addition(), length=1, unit="steps", place=behind)[0] == "58+67= [8+7+0=15\n]\n"
    assert start(addition(), length=0, place="prompt")[0] == "58+67="


@pytest.mark.parametrize(
    "amount,unit,shown",
    [(7, "tokens", "Add one"), (1, "steps", "Add ones first.\n"), (1.0, "fraction", HINTS["58+67"])],
)
def test_a_hint_of_its_own_in_every_unit(amount: float, unit: str, shown: str) -> None:
    context, _, info = start(make_hinted(), length=amount, unit=unit, place="hint")
    assert context == f"Hint: {shown}\n58+67=" and info["reveal_length"] == len(shown)


def test_a_problem_without_a_hint_is_not_guided() -> None:
    env = GuidanceWrapper(TokenEnv(make_hinted()), 1.0, "fraction", place="hint")
    _, info = env.reset(seed=0, options={"problem": "11+22"})
    assert info["reveal_length"] == 0 and info["prompt_length"] == 6


def test_a_hint_stops_before_the_answer_if_asked() -> None:
    task = Task(Hinted(AdditionSource(2), {"58+67": "It is 125 or so."}), MarkVerifier(), max_new_tokens=30)
    context, *_ = start(task, length=99, place="hint", reveal_cap="before_answer")
    assert context == "Hint: It is \n58+67="


def test_inside_a_chat_the_text_stands_in_the_turn_of_the_user_and_the_opening_in_the_answer() -> None:
    begin, end = (char_tokenizer().convert_tokens_to_ids([c for c in text]) for text in ("<u>", "</u><a>"))
    task = Task(AdditionSource(2), MarkVerifier(), max_new_tokens=30, frame=(begin, end))
    assert start(task, length=3, place="prompt")[0] == "<u>Hint: 8+7\n58+67=</u><a>"
    assert start(task, length=3, place=InPrompt(before=False))[0] == "<u>58+67=Hint: 8+7\n</u><a>"
    assert start(task, length=3, place=InAnswer("<think>\n"))[0] == "<u>58+67=</u><a><think>\n8+7"


def test_what_is_graded_begins_behind_the_prompt() -> None:
    answers = {"answer": "8+7+#125", "prompt": "#125"}
    for place, completion in answers.items():
        env = GuidanceWrapper(TokenEnv(addition()), 4, place=place)
        env.reset(seed=0, options=PROBLEM)
        task = env.unwrapped.task
        for token in [*char_tokenizer().convert_tokens_to_ids(list("#125")), task.eos_token_id]:
            _, reward, *_, info = env.step(token)
        assert info["completion"] == completion and reward == 1


# -- budget and room --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("counted,length,tokens", [(False, 9, 12), (True, 9, 3), (True, 11, 2), (True, 0, 12)])
def test_the_budget_with_or_without_the_reveal(counted: bool, length: float, tokens: int) -> None:
    envs = VectorGuidanceWrapper(
        TokenVectorEnv(addition(max_new_tokens=12), 2, group_size=2), length, ratio=0.5, counted=counted
    )
    envs.reset(seed=0)
    steps = np.zeros(2, int)
    while envs.unwrapped.active.any():
        steps += envs.unwrapped.active
        envs.step(np.full(2, 20))
    assert steps.tolist() == [tokens, 12]  # the guided member, the plain one


def test_what_stands_in_the_prompt_is_not_in_the_budget() -> None:
    with pytest.raises(ConfigurationError, match="counted=True must come with guidance in the answer"):
        GuidanceWrapper(TokenEnv(addition()), 4, place="prompt", counted=True)


@pytest.mark.parametrize(
    "place,extra", [("answer", 0), ("prompt", 7), (InAnswer("<think>\n"), 8), (InPrompt(template="{hint}"), 0)]
)
def test_the_context_is_as_long_as_the_place_needs_and_no_longer(place: Any, extra: int) -> None:
    task = addition()
    for env in (TokenEnv(task), TokenVectorEnv(task, 4, group_size=2)):
        wrapper: Any = GuidanceWrapper if isinstance(env, gym.Env) else VectorGuidanceWrapper
        guided = wrapper(env, 10**6, ratio=1.0, place=place)
        observation, _ = guided.reset(seed=0)
        assert guided.unwrapped.task.length == task.length + extra == observation["tokens"].shape[-1]
        assert guided.observation_space.contains(observation)
    assert task.room == 0, "the task of others is left as it is"


def test_hints_longer_than_solutions_get_room() -> None:
    problem = Problem("p", "2+2=", ("4\n",), "#4", "4", hint="Think of two pairs of shoes.")
    task = Task(RowSource([problem], "train"), MarkVerifier(), max_new_tokens=4)
    env = GuidanceWrapper(TokenEnv(task), 1.0, "fraction", place="hint")
    observation, info = env.reset(seed=0)
    assert info["reveal_length"] == 28 and observation["length"][0] == 28 + 7 + 4
    assert env.longest == 1 and GuidanceWrapper(TokenEnv(task), place="hint").longest == 28


def test_a_bound_on_the_length_of_the_context_is_kept() -> None:
    task = addition()
    bounded = addition(max_length=task.length)
    with pytest.raises(BudgetError, match="guidance outside of the solution 7"):
        GuidanceWrapper(TokenEnv(bounded), 4, place="prompt")


def test_room_survives_another_split() -> None:
    env = GuidanceWrapper(TokenEnv(addition()), 4, place="prompt")
    assert env.unwrapped.task.with_split("test").length == env.unwrapped.task.length


# -- the contract, names, refusals ------------------------------------------------------------------------------------


def number_of_digits(problem: Problem) -> str:
    """A hint, by a function that can be pickled."""
    return f"{len(problem.answer)} digits\n"


@pytest.mark.parametrize("place", ["answer", "prompt", "hint", InAnswer("<think>\n"), InPrompt(before=False)], ids=str)
def test_guided_environments_keep_the_contract(place: Any) -> None:
    task = Task(Hinted(AdditionSource(2), number_of_digits), MarkVerifier(), max_new_tokens=22)
    check_env(GuidanceWrapper(TokenEnv(task), 5, place=place))
    check_vector_env(VectorGuidanceWrapper(TokenVectorEnv(task, 4, group_size=2), 5, place=place))


@pytest.mark.parametrize("place", PLACES)
def test_a_wrapper_tells_its_arguments(place: str) -> None:
    arguments = {"length": 3.0, "unit": "tokens", "ratio": 0.5, "reveal_cap": "before_answer", "counted": False}
    envs = VectorGuidanceWrapper(TokenVectorEnv(make_hinted(), 4, group_size=2), **arguments, place=place, who="random")
    again = VectorGuidanceWrapper(TokenVectorEnv(make_hinted(), 4, group_size=2), **envs.arguments)
    assert again.arguments == envs.arguments == {**arguments, "place": PLACES[place], "who": envs.who}
    first, second = envs.reset(seed=3)[0], again.reset(seed=3)[0]
    assert np.array_equal(first["tokens"], second["tokens"])


@pytest.mark.parametrize(
    "make,words",
    [
        (lambda: resolve_placement("elsewhere"), "place='elsewhere' must be one of answer, prompt, hint"),
        (lambda: resolve_placement(3), "place=3 must be one of"),  # type: ignore[arg-type]
        (lambda: InPrompt("answer"), "what='answer' must be one of solution, hint"),
        (lambda: InPrompt(template="Hint"), "must hold '{hint}' exactly once"),
        (lambda: GuidanceWrapper(TokenEnv(addition()), place="hint"), "needs problems with hints"),
        (lambda: GuidanceWrapper(TokenEnv(addition()), place=InAnswer("<eos>")), "must not hold the end token"),
    ],
)
def test_bad_arguments_are_named(make: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        make()
