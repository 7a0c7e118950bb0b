"""TokenEnv: what it shows, when it ends, what it refuses; by hand and for any action."""

import copy
import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from broken import made
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizer_families import with_holes

from g2rpo_env import GuidanceWrapper, Outcome, Problem, Task, TokenEnv, Verdict, render
from g2rpo_env.checks import check_env as check_task_env
from g2rpo_env.envs.arithmetic import Addition
from g2rpo_env.envs.dataset import RowSource
from g2rpo_env.errors import (
    BudgetError,
    ConfigurationError,
    InvalidActionError,
    ResetNeededError,
    UnknownProblemError,
)
from g2rpo_env.registration import TASKS
from g2rpo_env.tokenizer import char_tokenizer, decode, encode

EOS = char_tokenizer().eos_token_id
RESET_KEYS = {"problem_id": str, "group": int, "member": int, "prompt_length": int, "reveal_length": int}
FINAL_KEYS = {"completion": str, "correct": bool, "valid": bool, "verdict": Verdict}
SOLUTION = "8+7+0=15\n5+6+1=12\n#125"  # of 58+67


def ids(text: str) -> list[int]:
    return encode(char_tokenizer(), text)[0].tolist()


def play(env: Any, tokens: list[int]) -> tuple[list[dict[str, np.ndarray]], float, bool, bool, dict[str, Any]]:
    """Step until the end or the last token; return all observations and the last step's rest."""
    seen = []
    for token in tokens:
        observation, *rest = env.step(token)
        seen.append(observation)
        if rest[1] or rest[2]:
            break
    return seen, *rest


def addition(**options: Any) -> TokenEnv:
    return TokenEnv(Addition(digits=2, **options))


# -- checkers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("guided", [False, True], ids=["plain", "guided"])
@pytest.mark.parametrize("name", TASKS)
def test_both_checkers_pass_without_a_warning(name: str, guided: bool, gsm8k_folder: Path) -> None:
    from stable_baselines3.common.env_checker import check_env as check_env_sb3

    split = "test" if name == "HumanEval-v0" else "train"  # it has no other
    env = gym.make(f"g2rpo_env/{name}", render_mode="ansi", split=split, **made(name, gsm8k_folder))
    if guided:
        env = GuidanceWrapper(env, length=0.5, unit="fraction")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*is different from the unwrapped version.*")  # it is meant to be
        for checked in (env, env.unwrapped):
            check_env(checked)
            check_env_sb3(checked)


# -- observation ----------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), actions=st.lists(st.integers(0, 257), min_size=1, max_size=40))
def test_an_episode_is_append_only_and_ends_once(seed: int, actions: list[int]) -> None:
    env = addition(max_new_tokens=10)
    observation, info = env.reset(seed=seed)
    assert {key: type(value) for key, value in info.items()} == RESET_KEYS
    previous = {key: value.copy() for key, value in observation.items()}
    for count, action in enumerate(actions, 1):
        before = observation
        observation, reward, terminated, truncated, info = env.step(action)
        length = int(observation["length"][0])
        assert env.observation_space.contains(observation)
        assert observation["tokens"].dtype == observation["length"].dtype == np.int32
        assert length == previous["length"][0] + 1 and observation["tokens"][length - 1] == action
        assert np.array_equal(observation["tokens"][: length - 1], previous["tokens"][: length - 1])
        assert not observation["tokens"][length:].any()
        # the earlier observation still says what it said
        assert all(np.array_equal(before[key], previous[key]) for key in before)
        assert terminated == (action == EOS) and truncated == (action != EOS and count == 10)
        if terminated or truncated:
            assert {key: type(value) for key, value in info.items()} == FINAL_KEYS
            break
        assert info == {} and reward == 0.0
        previous = {key: value.copy() for key, value in observation.items()}


def test_the_length_of_an_observation_is_prompt_plus_reveal_plus_budget() -> None:
    # prompt "58+67=" 6, two steps of 9 characters, budget 27 = longest solution 18 + len("#198") 4, and 5
    env = addition()
    assert env.observation_space["tokens"].shape == (6 + 18 + 27,)
    assert env.action_space.n == 258 == len(env.tokenizer)


def test_observations_share_no_memory_with_the_environment() -> None:
    env = addition()
    first, _ = env.reset(seed=0)
    second, *_ = env.step(ids("8")[0])
    first["tokens"][:] = 99
    second["length"][:] = 0
    third, *_ = env.step(ids("8")[0])
    assert third["length"][0] == 8 and not (third["tokens"] == 99).any()


def test_roles_say_who_wrote_each_token() -> None:
    env = GuidanceWrapper(addition(), length=3)
    env.reset(seed=0)
    env.step(ids("1")[0])
    assert env.unwrapped.roles.tolist() == [0] * 6 + [1] * 3 + [2]
    env.unwrapped.roles[:] = 9  # a copy
    assert env.unwrapped.roles.max() == 2


# -- end, reward, verdict -------------------------------------------------------------------------------------------


def test_the_ground_truth_solution_earns_one_and_terminates() -> None:
    env = addition()
    env.reset(seed=0, options={"problem": "58+67"})
    _, reward, terminated, truncated, info = play(env, [*ids(SOLUTION), EOS])
    assert (reward, terminated, truncated) == (1.0, True, False)
    assert info == {
        "completion": SOLUTION,
        "correct": True,
        "valid": True,
        "verdict": Verdict(Outcome.CORRECT, "125"),
    }


@pytest.mark.parametrize("text,outcome", [("#124", Outcome.WRONG), ("125", Outcome.NO_ANSWER), ("", Outcome.NO_ANSWER)])
def test_a_wrong_and_a_missing_answer_earn_nothing(text: str, outcome: Outcome) -> None:
    env = addition()
    env.reset(seed=0, options={"problem": "58+67"})
    _, reward, _, _, info = play(env, [*ids(text), EOS])
    assert (reward, info["correct"], info["valid"], info["verdict"].outcome) == (0.0, False, True, outcome)


def test_a_spent_budget_truncates_and_the_answer_is_graded_all_the_same() -> None:
    env = addition(max_new_tokens=4)
    env.reset(seed=0, options={"problem": "58+67"})
    _, reward, terminated, truncated, info = play(env, ids("#125"))
    assert (reward, terminated, truncated, info["correct"]) == (1.0, False, True, True)


def test_an_end_token_as_the_last_of_the_budget_terminates_and_does_not_truncate() -> None:
    env = addition(max_new_tokens=5)
    env.reset(seed=0, options={"problem": "58+67"})
    seen, reward, terminated, truncated, _ = play(env, [*ids("#125"), EOS])
    assert (len(seen), reward, terminated, truncated) == (5, 1.0, True, False)


@pytest.mark.parametrize("reveal", [0, 5, 18])
def test_the_budget_counts_sampled_tokens_only(reveal: int) -> None:
    env = addition(max_new_tokens=7)
    env.reset(seed=0, options={"problem": "58+67", "reveal": reveal})
    seen, *_ = play(env, ids("1") * 100)
    assert len(seen) == 7 and seen[-1]["length"][0] == 6 + reveal + 7


def test_a_verifier_that_raises_gives_an_error_verdict_and_no_wrong_answer() -> None:
    def broken(problems: Any, completions: Any) -> list[Verdict]:
        raise RuntimeError("no workers")

    env = TokenEnv(toy_task(verifier=broken))
    env.reset(seed=0)
    _, reward, _, _, info = env.step(EOS)[0:5]
    assert (reward, info["correct"], info["valid"]) == (0.0, False, False)
    assert info["verdict"] == Verdict(Outcome.ERROR, message="RuntimeError: no workers")


# -- stop strings ---------------------------------------------------------------------------------------------------


def accept_all(problems: Any, completions: Any) -> list[Verdict]:
    return [Verdict(Outcome.CORRECT, completion) for completion in completions]


def toy_task(verifier: Any = accept_all, **options: Any) -> Task:
    source = RowSource([Problem("p", "Q\n", ("one\n", "two\n"), "#3", "3")], "train")
    return Task(source, verifier, **options)


def stopped_at(stop_strings: tuple[str, ...], tokens: list[int], **options: Any) -> tuple[int, str, np.ndarray]:
    """Return the number of tokens played, the completion and the tokens of the context."""
    env = TokenEnv(toy_task(stop_strings=stop_strings, **options))
    env.reset(seed=0)
    seen, _, terminated, truncated, info = play(env, tokens)
    assert terminated and not truncated
    return len(seen), info["completion"], seen[-1]["tokens"]


def test_a_stop_string_ends_the_answer_and_is_cut_while_its_tokens_stay() -> None:
    count, completion, tokens = stopped_at(("END",), ids("12 END and more"))
    assert (count, completion) == (6, "12 ")
    assert tokens[2:8].tolist() == ids("12 END")


def test_the_verifier_sees_the_text_before_the_stop_string() -> None:
    env = TokenEnv(toy_task(stop_strings=("\n",)))
    env.reset(seed=0)
    *_, info = play(env, ids("42\n"))
    assert info["verdict"].answer == "42"


def test_almost_a_stop_string_ends_nothing() -> None:
    count, completion, _ = stopped_at(("END",), [*ids("ENENDX"), EOS])
    assert (count, completion) == (5, "EN")


@pytest.mark.parametrize("stop,size", [("é", 2), ("🙂", 4), ("aé", 3), ("数学", 6)])
def test_a_stop_string_of_several_bytes_is_found_at_its_last_byte(stop: str, size: int) -> None:
    count, completion, _ = stopped_at((stop,), ids(f"1{stop}2"))
    assert (count, completion) == (1 + size, "1")


def test_of_two_stop_strings_completed_at_once_the_longer_is_cut() -> None:
    # "\n" and "END\n" both end with the last token; cutting at "\n" would leave "END" in the answer
    assert stopped_at(("\n", "END\n"), ids("7END\n"))[1] == "7"


def test_text_after_the_stop_string_in_the_same_token_is_cut_too(merging_tokenizer: Any) -> None:
    # the token "\n5" completes "\n"
    token = merging_tokenizer.convert_tokens_to_ids("Ċ5")
    seven = encode(merging_tokenizer, "7")[0][0]
    count, completion, _ = stopped_at(("\n",), [seven, token], tokenizer=merging_tokenizer)
    assert (count, completion) == (2, "7")


def test_the_end_token_is_no_text_that_could_complete_a_stop_string() -> None:
    assert stopped_at((">", "s>"), [*ids("12"), EOS])[1] == "12"


def test_a_stop_string_in_the_revealed_part_ends_nothing() -> None:
    env = TokenEnv(toy_task(stop_strings=("\n",)))
    env.reset(seed=0, options={"reveal": 4})  # "one\n"
    assert not env.step(ids("t")[0])[2]
    observation, _, terminated, _, info = env.step(ids("\n")[0])
    assert terminated and info["completion"] == "one\nt"


@pytest.mark.parametrize("bad,words", [("END", "must be a sequence"), (("",), "must not hold an empty text")])
def test_bad_stop_strings_are_refused(bad: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=f"stop_strings=.*{words}"):
        toy_task(stop_strings=bad)


# -- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", [-1, 258, 2.0, "8", None, np.array([3, 4])])
def test_an_action_that_is_no_token_id_is_refused_and_changes_nothing(action: Any) -> None:
    env = addition()
    env.reset(seed=0)
    with pytest.raises(InvalidActionError, match=r"action=.* must be a token id in \[0, 258\)"):
        env.step(action)
    assert env.step(ids("8")[0])[0]["length"][0] == 7


@pytest.mark.parametrize("action", [np.int64(5), np.int32(5), np.array(5), np.uint8(5)])
def test_integers_of_any_type_are_actions(action: Any) -> None:
    env = addition()
    env.reset(seed=0)
    assert env.step(action)[0]["tokens"][6] == 5


def test_a_step_needs_a_running_episode() -> None:
    env = addition()
    with pytest.raises(ResetNeededError, match=r"call reset\(\) first"):
        env.step(0)
    env.reset(seed=0)
    env.step(EOS)
    with pytest.raises(ResetNeededError):
        env.step(0)


@pytest.mark.parametrize(
    "options,error,words",
    [
        ({"problm": "58+67"}, ConfigurationError, "'problm' is unknown; known are problem, reveal, prefix,"),
        ({"problem": "8+67"}, UnknownProblemError, "'8.67' must be 'a.b', both numbers of 2 to 2 digits"),
        ({"problem": "58-67"}, UnknownProblemError, "'58-67'"),
        ({"problem": 5}, UnknownProblemError, "'5'"),
        ({"reveal": -1}, ConfigurationError, "reveal=-1.0 must be a length of at least 0 tokens"),
        ({"reveal": float("nan")}, ConfigurationError, "reveal=nan"),
        ({"prefix_roles": [0]}, ConfigurationError, r"options\['prefix_roles'\] must come with options\['prefix'\]"),
        ({"prefix": []}, ConfigurationError, "prefix must hold token ids"),
        ({"prefix": [258]}, ConfigurationError, r"prefix must hold token ids in \[0, 258\)"),
        ({"prefix": [5]}, ConfigurationError, "prefix_roles must be given"),
        ({"prefix": [5, 6], "prefix_roles": [0]}, ConfigurationError, "one role 0..3 per token"),
        ({"prefix": [5, 6], "prefix_roles": [0, 4]}, ConfigurationError, "one role 0..3 per token"),
        ({"prefix": [5, 6], "prefix_roles": [2, 0]}, ConfigurationError, "all prompt tokens .0. first"),
        ({"prefix": [5] * 60, "prefix_roles": [0] * 60}, BudgetError, "prefix of 60 tokens"),
        ({"prefix": [5] * 28, "prefix_roles": [0] + [2] * 27}, BudgetError, "0 of max_new_tokens=27 are left"),
    ],
)
def test_bad_reset_options_are_named_and_change_nothing(options: Any, error: type, words: str) -> None:
    env, twin = addition(), addition()
    env.reset(seed=3), twin.reset(seed=3)
    given = copy.deepcopy(options)
    with pytest.raises(error, match=words):
        env.reset(options=options)
    assert options == given
    assert env.reset()[1] == twin.reset()[1]


def test_a_render_mode_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'depth' must be None or one of 'ansi', 'human', 'rgb_array'"):
        TokenEnv(Addition(), render_mode="depth")


def test_rgb_array_gives_the_frame_of_the_context() -> None:
    pytest.importorskip("PIL", reason="Pillow is missing: pip install 'g2rpo-env[video]'")
    env = TokenEnv(Addition(digits=2), render_mode="rgb_array")
    env.reset(seed=0, options={"reveal": 2})
    assert np.array_equal(env.render(), render.frame(env.tokenizer, env.context, env.roles))


# -- reset options --------------------------------------------------------------------------------------------------


def test_options_name_problem_and_reveal() -> None:
    env = addition()
    options = {"problem": "58+67", "reveal": 10}
    observation, info = env.reset(seed=0, options=options)
    assert info == {"problem_id": "58+67", "group": 0, "member": 0, "prompt_length": 6, "reveal_length": 10}
    assert observation["tokens"][:16].tolist() == ids("58+67=8+7+0=15\n5") and observation["length"] == 16
    assert options == {"problem": "58+67", "reveal": 10}


def test_a_prefix_starts_in_the_middle_with_the_budget_that_is_left() -> None:
    env = addition(max_new_tokens=22)
    prefix, roles = ids("58+67=" + SOLUTION[:12]), [0] * 6 + [1] * 9 + [2] * 3
    observation, info = env.reset(options={"problem": "58+67", "prefix": prefix, "prefix_roles": roles})
    assert (info["prompt_length"], info["reveal_length"]) == (6, 9)
    assert env.roles.tolist() == roles and observation["length"] == 18
    # 3 of the 22 tokens are sampled already: 19 are left
    seen, _, _, truncated, info = play(env, ids("x") * 30)
    assert len(seen) == 19 and truncated and info["completion"] == SOLUTION[:12] + "x" * 19


def test_a_prefix_without_roles_is_the_prompt_and_a_reveal() -> None:
    plain, prefixed = addition(), addition()
    expected, expected_info = plain.reset(seed=0, options={"problem": "58+67", "reveal": 4})
    observation, info = prefixed.reset(seed=0, options={"problem": "58+67", "prefix": expected["tokens"][:10]})
    assert info == expected_info and np.array_equal(observation["tokens"], expected["tokens"])
    assert prefixed.roles.tolist() == plain.roles.tolist() == [0] * 6 + [1] * 4


def test_environment_tokens_in_a_prefix_count_neither_as_reveal_nor_as_sampled() -> None:
    env = addition(max_new_tokens=5)
    _, info = env.reset(options={"problem": "58+67", "prefix": ids("58+67=1?"), "prefix_roles": [0] * 6 + [2, 3]})
    assert info["reveal_length"] == 0
    assert len(play(env, ids("x") * 30)[0]) == 4


# -- order, state, copies -------------------------------------------------------------------------------------------


def trace(env: TokenEnv, episodes: int, seed: int | None = None) -> list[Any]:
    """Problem ids, groups and rewards of some episodes."""
    out = []
    for number in range(episodes):
        _, info = env.reset(seed=seed if number == 0 else None)
        _, reward, _, _, final = play(env, [*ids("#99"), EOS])
        out.append((info["problem_id"], info["group"], reward, final["verdict"]))
    return out


def test_one_seed_gives_one_order_and_another_seed_another() -> None:
    assert trace(addition(), 6, seed=1) == trace(addition(), 6, seed=1)
    assert [t[0] for t in trace(addition(), 6, seed=1)] != [t[0] for t in trace(addition(), 6, seed=2)]
    assert [t[1] for t in trace(addition(), 6, seed=1)] == [0, 1, 2, 3, 4, 5]


def test_a_seed_in_mid_episode_starts_the_same_order() -> None:
    env = addition()
    expected = trace(env, 2, seed=1)
    env.reset()
    env.step(5)
    assert trace(env, 2, seed=1) == expected


def test_a_state_continues_the_order_in_another_environment() -> None:
    whole, first, second = addition(), addition(), addition()
    expected = trace(whole, 7, seed=5)
    assert trace(first, 3, seed=5) == expected[:3]
    second.load_state_dict(first.state_dict())
    assert trace(second, 4) == expected[3:]


def test_loading_a_state_ends_the_running_episode() -> None:
    env = addition()
    env.reset(seed=0)
    env.load_state_dict(env.state_dict())
    with pytest.raises(ResetNeededError):
        env.step(0)


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))], ids=["copy", "pickle"])
def test_a_copy_in_mid_episode_goes_its_own_way(clone: Any) -> None:
    env = GuidanceWrapper(addition(), length=4)
    env.reset(seed=0, options={"problem": "58+67"})
    twin = clone(env)
    _, reward, *_ = play(env, [EOS])
    assert reward == 0.0
    assert play(twin, [*ids(SOLUTION[4:]), EOS])[1] == 1.0
    twin.length = 2  # the copy's wrapper steers the copy's environment, and only that
    assert (twin.reset()[1]["reveal_length"], env.reset()[1]["reveal_length"]) == (2, 4)


# -- render ---------------------------------------------------------------------------------------------------------


def test_ansi_marks_revealed_and_environment_text(capsys: pytest.CaptureFixture[str]) -> None:
    env = TokenEnv(Addition(digits=2), render_mode="ansi")
    env.reset(options={"problem": "58+67", "prefix": ids("58+67=8+7?x"), "prefix_roles": [0] * 6 + [1] * 3 + [3, 2]})
    env.step(ids("y")[0])
    assert env.render() == "58+67=[8+7]{?}xy"
    assert capsys.readouterr().out == ""


def test_human_prints_at_reset_and_at_every_step(capsys: pytest.CaptureFixture[str]) -> None:
    env = TokenEnv(Addition(digits=2), render_mode="human")
    env.reset(options={"problem": "58+67", "reveal": 2})
    env.step(ids("7")[0])
    assert env.render() is None
    assert capsys.readouterr().out.splitlines() == ["58+67=[8+]", "58+67=[8+]7", "58+67=[8+]7"]


def test_rendering_without_a_mode_warns_and_gives_nothing() -> None:
    env = addition()
    env.reset(seed=0)
    with pytest.warns(UserWarning, match="render_mode"):
        assert env.render() is None


# -- torch ----------------------------------------------------------------------------------------------------------


def test_making_and_stepping_environments_imports_no_torch() -> None:
    program = (
        "import sys, gymnasium as gym, g2rpo_env\n"
        "env = g2rpo_env.GuidanceWrapper(gym.make('g2rpo_env/Addition-v0'), length=3)\n"
        "env.reset(seed=0); env.step(env.unwrapped.tokenizer.eos_token_id)\n"
        "envs = g2rpo_env.VectorGuidanceWrapper(gym.make_vec('g2rpo_env/Addition-v0', num_envs=4, group_size=2))\n"
        "envs.reset(seed=0); envs.step([1] * 4)\n"
        "loaded = sorted({name.split('.')[0] for name in sys.modules} & {'torch', 'datasets', 'stable_baselines3'})\n"
        "print(loaded)"
    )
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_tokens_of_an_answer_decode_to_its_completion() -> None:
    env = addition()
    env.reset(seed=0, options={"reveal": 5})
    seen, *_, info = play(env, [*ids("é 🙂"), EOS])
    length = int(seen[-1]["length"][0])
    assert decode(env.tokenizer, seen[-1]["tokens"][6 : length - 1]) == info["completion"]


def test_the_problem_and_the_context_of_the_episode_can_be_read() -> None:
    env = addition()
    with pytest.raises(ResetNeededError, match=r"problem needs an episode: call reset\(\) first"):
        _ = env.problem
    env.reset(seed=0, options={"problem": "58+67", "reveal": 2})
    env.step(ids("7")[0])
    assert env.problem.answer == "125" and env.context.tolist() == ids("58+67=8+7")
    env.context[:] = 0  # a copy
    assert env.context.tolist() == ids("58+67=8+7")


# -- several end tokens, and ids without a token ----------------------------------------------------------------------


def test_an_answer_ends_at_every_end_token_that_was_added() -> None:
    env = addition(max_new_tokens=6)
    for end in (EOS, 0):
        env.add_end_tokens([0])
        env.reset(seed=0)
        seen, reward, terminated, truncated, info = play(env, [*ids("#1"), end, 5])
        assert (len(seen), terminated, truncated, info["completion"]) == (3, True, False, "#1")
    assert env.end_tokens == {0, EOS} and env.action_masks()[0]
    check_env(env, skip_render_check=True)
    reduced = TokenEnv(Addition(digits=2, end_tokens=[0]), vocabulary=[0, EOS, 20, 21])
    assert reduced.action_masks().tolist() == [True, False, True, True]
    reduced.reset(seed=0)
    assert not reduced.step(1)[2] and reduced.step(0)[2]


def test_an_id_that_is_no_token_writes_nothing_and_is_masked() -> None:
    env = addition(tokenizer=with_holes())
    assert env.action_space.n == 401 and env.observation_space["tokens"].high.max() == 400
    env.reset(seed=0)
    assert not env.action_masks()[[5, 399]].any() and env.action_masks()[400]
    assert play(env, [5, 400, 399, EOS])[-1]["completion"] == "is"
    check_task_env(env)
