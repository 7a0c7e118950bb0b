"""Stable-Baselines3 sees the native environment: same episodes, ends as it wants them, guidance that follows."""

import copy
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecMonitor, VecNormalize
from tokenizer_families import with_holes

import g2rpo_env
from g2rpo_env import Feedback, Outcome, Task, TokenVectorEnv, Verdict
from g2rpo_env.agents import CausalLMPolicy
from g2rpo_env.agents.sb3 import (
    A2CAgent,
    CausalTransformerExtractor,
    GuidanceCallback,
    PPOAgent,
    TokenVecEnv,
)
from g2rpo_env.envs.arithmetic import AdditionSource
from g2rpo_env.errors import ConfigurationError, MissingGuidanceError, ResumeError

ROOT = Path(__file__).parents[2]
LANES = 4


class Parity:
    """Correct if the bytes of the completion have an even sum, failed (invalid) if they are divisible by eleven."""

    def __call__(self, problems: Any, completions: Any) -> list[Verdict]:
        sums = [sum(c.encode()) for c in completions]
        failed, right, wrong = Outcome.ERROR, Outcome.CORRECT, Outcome.WRONG
        return [Verdict(failed if s % 11 == 0 else wrong if s % 2 else right) for s in sums]


def make_native(
    length: float | None = 3, ratio: float = 0.5, copy: bool = True, mode: str = "SAME_STEP", budget: int = 5
) -> Any:
    task = Task(AdditionSource(1), Parity(), max_new_tokens=budget)
    envs: Any = TokenVectorEnv(task, LANES, autoreset_mode=mode, copy=copy)
    return envs if length is None else g2rpo_env.VectorGuidanceWrapper(envs, length=length, ratio=ratio)


def random_actions(steps: int) -> np.ndarray:
    """Token ids (steps, LANES), the end token often among them."""
    random = np.random.default_rng(0)
    actions = random.integers(2, 258, (steps, LANES))
    return np.where(random.random(actions.shape) < 0.15, 1, actions)


# -- the vector environment -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("copy", [True, False])
def test_episodes_are_those_of_the_native_environment(copy: bool) -> None:
    native, env = make_native(), TokenVecEnv(make_native(copy=copy))
    env.seed(7)
    expected, start = native.reset(seed=7)
    found = env.reset()
    ends, running = 0, [dict() for _ in range(LANES)]
    kept = []
    for key in ("problem_id", "group", "member", "prompt_length", "reveal_length"):
        for lane in range(LANES):
            running[lane][key] = start[key][lane]
    for actions in random_actions(60):
        np.testing.assert_equal(found, expected)
        kept.append((found, {key: value.copy() for key, value in expected.items()}))
        assert env.reset_infos == running
        expected, reward, terminated, truncated, info = native.step(actions)
        found, rewards, dones, infos = env.step(actions)
        np.testing.assert_array_equal(rewards, reward)
        assert rewards.dtype == np.float32
        np.testing.assert_array_equal(dones, terminated | truncated)
        for lane in range(LANES):
            if not dones[lane]:
                assert infos[lane] == {}
                continue
            ends += 1
            np.testing.assert_equal(infos[lane]["terminal_observation"], info["final_obs"][lane])
            final = {key: info["final_info"][key][lane] for key in ("completion", "correct", "valid")}
            assert {key: infos[lane][key] for key in final} == final
            assert {key: infos[lane][key] for key in running[lane]} == running[lane]
            running[lane] = {key: info[key][lane] for key in running[lane]}
    assert ends > 3 * LANES
    for given, as_it_was in kept:  # SB3 stores an observation after the step that follows it
        np.testing.assert_equal(given, as_it_was)


def test_episode_statistics() -> None:
    env = TokenVecEnv(make_native())
    env.reset()
    rewards, lengths, valid = np.zeros(LANES), np.zeros(LANES, int), set()
    for actions in random_actions(200):
        _, reward, dones, infos = env.step(actions)
        rewards, lengths = rewards + reward, lengths + 1
        for lane in np.flatnonzero(dones):
            info = infos[lane]
            assert (info["episode"]["r"], info["episode"]["l"]) == (rewards[lane], lengths[lane])
            assert info["episode"]["t"] >= 0
            assert info.get("is_success") == (info["correct"] if info["valid"] else None)
            assert {type(value) for value in info.values()} <= {str, int, bool, float, dict}
            valid.add(info["valid"])
        rewards[dones], lengths[dones] = 0, 0
    assert valid == {True, False}


def test_a_spent_budget_is_an_end() -> None:
    seen = {False: 0, True: 0}
    env, bootstrapped = TokenVecEnv(make_native()), TokenVecEnv(make_native(), bootstrap_truncated=True)
    for each in (env, bootstrapped):
        each.seed(0)
        each.reset()
    for actions in random_actions(60):
        _, _, dones, infos = env.step(actions)
        _, _, _, others = bootstrapped.step(actions)
        for lane in np.flatnonzero(dones):
            spent = actions[lane] != 1
            assert infos[lane]["truncated"] == spent and "TimeLimit.truncated" not in infos[lane]
            assert others[lane]["TimeLimit.truncated"] == spent
            seen[bool(spent)] += 1
    assert min(seen.values()) > 5


class Rewards(BaseCallback):
    """Keeps the rewards of the rollout buffer, which contain what SB3 adds at the end of truncated episodes."""

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self.rewards = self.locals["rollout_buffer"].rewards.copy()


def model_of(env: Any, **options: Any) -> PPO:
    small = {"features_dim": 8, "layers": 1, "heads": 2}
    kwargs = {"features_extractor_class": CausalTransformerExtractor, "features_extractor_kwargs": small}
    settings = {"n_steps": 16, "batch_size": 32, "n_epochs": 1, "device": "cpu", "seed": 0, **options}
    return PPO("MultiInputPolicy", env, policy_kwargs=kwargs, **settings)


@pytest.mark.parametrize("bootstrap", [False, True])
def test_sb3_adds_the_value_of_going_on_only_if_asked(bootstrap: bool) -> None:
    callback = Rewards()
    env = TokenVecEnv(make_native(), bootstrap_truncated=bootstrap)
    model_of(env).learn(16 * LANES, callback=callback)
    assert np.isin(callback.rewards, (0.0, 1.0)).all() == (not bootstrap)


def test_seed_and_options_hold_for_one_reset() -> None:
    env, native = TokenVecEnv(make_native()), make_native()
    env.seed(3)
    env.set_options([{"problem": f"{lane}+{lane}", "reveal": lane} for lane in range(LANES)])
    env.reset()
    assert [info["problem_id"] for info in env.reset_infos] == ["0+0", "1+1", "2+2", "3+3"]
    assert [info["reveal_length"] for info in env.reset_infos] == [0, 1, 2, 3]
    env.reset()
    native.reset(seed=3, options={"problem": ["0+0", "1+1", "2+2", "3+3"]})
    _, start = native.reset()
    assert [info["problem_id"] for info in env.reset_infos] == start["problem_id"].tolist()
    env.set_options({"reveal": 2})
    env.reset()
    assert [info["reveal_length"] for info in env.reset_infos] == [2] * LANES


class Masked(gym.vector.VectorWrapper):
    """Has a method with a row per lane, and a plain attribute."""

    word = "old"

    def rows(self, offset: int) -> np.ndarray:
        return np.arange(LANES * 2).reshape(LANES, 2) + offset


def test_attributes_and_methods_are_found_on_every_layer() -> None:
    envs = Masked(make_native())
    env = TokenVecEnv(envs)
    assert [row.tolist() for row in env.env_method("rows", 1, indices=[0, 2])] == [[1, 2], [5, 6]]
    assert env.get_attr("word", indices=1) == ["old"]
    assert env.get_attr("length") == [3.0] * LANES  # of the guidance wrapper
    assert env.get_attr("task")[0] is envs.unwrapped.task
    env.reset()
    assert env.get_attr("active") == [True] * LANES  # a row per lane
    env.set_attr("length", 2)
    assert envs.env.length == 2 and "length" not in vars(envs)
    env.set_attr("word", "new")
    assert envs.word == "new"
    assert env.env_is_wrapped(g2rpo_env.VectorGuidanceWrapper) == [True] * LANES
    assert env.env_is_wrapped(gym.wrappers.TimeLimit, indices=0) == [False]
    assert env.has_attr("rows") and not env.has_attr("columns")
    with pytest.raises(AttributeError, match="columns"):
        env.env_method("columns")
    with pytest.raises(ConfigurationError, match="every lane"):
        env.set_attr("length", 2, indices=[0])


def test_a_reduced_vocabulary_and_its_masks() -> None:
    envs = gym.make_vec(
        "g2rpo_env/Addition-v0", num_envs=2, digits=1, vocabulary="0123456789#", autoreset_mode="SAME_STEP"
    )
    env = TokenVecEnv(envs)
    assert env.action_space.n == len(envs.unwrapped.vocabulary) == 12  # with the end token
    np.testing.assert_array_equal(env.env_method("action_masks"), envs.unwrapped.action_masks())
    seven = envs.unwrapped.tokenizer.convert_tokens_to_ids("7")
    env.reset()
    observation, *_ = env.step(np.flatnonzero(envs.unwrapped.vocabulary == seven).repeat(2))
    assert (observation["tokens"][[0, 1], observation["length"][:, 0] - 1] == seven).all()


@pytest.mark.parametrize("mode", ["NEXT_STEP", "DISABLED"])
def test_other_autoreset_modes_are_refused(mode: str) -> None:
    with pytest.raises(ConfigurationError, match=f"autoreset_mode={mode} must be SAME_STEP"):
        TokenVecEnv(make_native(mode=mode))


def test_other_environments_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="TokenVectorEnv, got SyncVectorEnv"):
        TokenVecEnv(gym.make_vec("CartPole-v1", 1, vectorization_mode="sync"))


def test_the_agents_do_not_import_stable_baselines() -> None:
    call = "import sys, g2rpo_env.agents; print('stable_baselines3' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", call], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == ["False"], done.stderr


# -- the extractor ----------------------------------------------------------------------------------------------------


def extractor_and_contexts() -> tuple[CausalTransformerExtractor, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    extractor = CausalTransformerExtractor(make_native().single_observation_space, features_dim=16)
    size = extractor.position.num_embeddings
    tokens = torch.randint(2, 258, (3, size)).float()
    return extractor, {"tokens": tokens, "length": torch.tensor([[4.0], [7.0], [size - 1.0]])}


def test_padding_has_no_influence() -> None:
    extractor, contexts = extractor_and_contexts()
    expected = extractor(contexts)
    padded = {**contexts, "tokens": contexts["tokens"].clone()}
    for row, length in enumerate(contexts["length"].long().flatten()):
        padded["tokens"][row, length:] = 0
    torch.testing.assert_close(extractor(padded), expected, rtol=0, atol=0)
    for row in range(3):  # neither has the batch, which decides how far contexts are read
        alone = {key: value[row : row + 1] for key, value in padded.items()}
        torch.testing.assert_close(extractor(alone), expected[row : row + 1], rtol=1e-5, atol=1e-5)


def test_every_token_of_the_context_has_influence() -> None:
    extractor, contexts = extractor_and_contexts()
    expected = extractor(contexts)
    for position in range(7):
        other = {**contexts, "tokens": contexts["tokens"].clone()}
        other["tokens"][1, position] = 0
        assert (extractor(other)[1] - expected[1]).abs().max() > 1e-4
        assert torch.equal(extractor(other)[2], expected[2])


def test_rollout_and_training_see_one_function() -> None:
    extractor, contexts = extractor_and_contexts()
    trained = extractor.train()(contexts)
    with torch.no_grad():
        torch.testing.assert_close(extractor.eval()(contexts), trained, rtol=1e-5, atol=1e-5)


def test_the_extractor_checks_its_arguments() -> None:
    space = make_native().single_observation_space
    with pytest.raises(ConfigurationError, match="features_dim=10 must be a multiple of heads=4"):
        CausalTransformerExtractor(space, features_dim=10)
    with pytest.raises(ConfigurationError, match="layers=0"):
        CausalTransformerExtractor(space, layers=0)


# -- guidance ---------------------------------------------------------------------------------------------------------


class Recorder(BaseCallback):
    """Keeps final infos, and what was logged per rollout."""

    def __init__(self) -> None:
        super().__init__()
        self.rollouts: list[list[dict[str, Any]]] = []
        self.logged: list[dict[str, Any]] = []

    def _on_rollout_start(self) -> None:
        self.rollouts.append([])

    def _on_step(self) -> bool:
        self.rollouts[-1] += [info for info in self.locals["infos"] if "episode" in info]
        return True

    def _on_rollout_end(self) -> None:
        self.logged.append(dict(self.logger.name_to_value))


@pytest.mark.parametrize("source", ["all", "guided"])
def test_the_callback_drives_the_wrapper(source: str) -> None:
    envs = make_native(length=9)
    controller = g2rpo_env.TargetSuccess(length=4, source=source, target=0.3, gain=1.0, max_length=9)
    same = g2rpo_env.TargetSuccess(length=4, source=source, target=0.3, gain=1.0, max_length=9)
    recorder = Recorder()
    model = model_of(VecMonitor(TokenVecEnv(envs)))
    model.learn(3 * 16 * LANES, callback=[GuidanceCallback(controller), recorder])
    assert len(controller.history) == 3
    for episodes, logged in zip(recorder.rollouts, recorder.logged, strict=True):
        before = same.length
        assert same.update(Feedback.from_infos(episodes)) != before
        assert logged["guidance/reveal_length"] == same.length
        valid = [e["correct"] for e in episodes if e["valid"]]
        assert logged["guidance/success"] == pytest.approx(np.mean(valid))
    assert controller.history == same.history and envs.length == controller.length


def test_lengths_take_effect_at_the_next_resets() -> None:
    envs = make_native(length=0, ratio=1.0)
    recorder = Recorder()
    controller = g2rpo_env.TargetSuccess(length=4, target=0.001, gain=0.5, max_length=9)
    model_of(TokenVecEnv(envs)).learn(2 * 16 * LANES, callback=[recorder, GuidanceCallback(controller)])
    first, second = ([e["reveal_length"] for e in episodes] for episodes in recorder.rollouts)
    changed = round(controller.history[0]["length"])
    assert changed not in (0, 4)
    assert sorted(set(first)) == [0, 4] and first.count(0) == LANES  # SB3 resets before it starts its callbacks
    assert sorted(set(second)) == sorted({4, changed}) and second.count(4) <= LANES


def test_a_rollout_without_an_end_changes_nothing() -> None:
    controller = g2rpo_env.AdaptiveGuidance(length=3)
    env = TokenVecEnv(make_native(budget=400))
    model_of(env, n_steps=2, batch_size=2 * LANES).learn(2 * LANES, callback=GuidanceCallback(controller))
    assert controller.history == [] and controller.length == 3


def test_a_controller_without_a_wrapper_is_an_error() -> None:
    callback = GuidanceCallback(g2rpo_env.AdaptiveGuidance(length=3))
    with pytest.raises(MissingGuidanceError, match="AdaptiveGuidance needs a guidance wrapper inside TokenVecEnv"):
        model_of(TokenVecEnv(make_native(length=None))).learn(1, callback=callback)
    with pytest.raises(ConfigurationError, match="needs a TokenVecEnv, got DummyVecEnv"):
        PPO("MlpPolicy", "CartPole-v1", device="cpu").learn(1, callback=callback)


# -- with the rest of Stable-Baselines3 -------------------------------------------------------------------------------


def test_evaluation_saving_and_wrappers_work(tmp_path: Path) -> None:
    env = VecNormalize(TokenVecEnv(make_native()), norm_obs=False)
    model = model_of(env).learn(32 * LANES)
    assert 0 <= np.mean(model.ep_success_buffer) <= 1 and len(model.ep_info_buffer) > 0
    model.save(tmp_path / "model")
    again = PPO.load(tmp_path / "model", env=env, device="cpu")
    observation = env.reset()
    np.testing.assert_array_equal(
        model.predict(observation, deterministic=True)[0], again.predict(observation, deterministic=True)[0]
    )
    mean, _ = evaluate_policy(again, VecMonitor(TokenVecEnv(make_native())), n_eval_episodes=8)
    assert 0 <= mean <= 1


def test_equal_seeds_give_equal_runs() -> None:
    def weights() -> torch.Tensor:
        model = model_of(TokenVecEnv(make_native())).learn(32 * LANES)
        return torch.cat([p.detach().flatten() for p in model.policy.parameters()])

    assert torch.equal(weights(), weights())


# -- agents -----------------------------------------------------------------------------------------------------------


def grouped(length: float | None = 3) -> Any:
    """An environment as the command line gives it to an agent: groups whose lanes wait."""
    task = Task(AdditionSource(1), Parity(), max_new_tokens=5)
    envs: Any = TokenVectorEnv(task, LANES, group_size=2)
    return envs if length is None else g2rpo_env.VectorGuidanceWrapper(envs, length=length, ratio=0.5)


def tiny(envs: Any, **options: Any) -> CausalLMPolicy:
    return CausalLMPolicy.tiny(envs, seed=0, hidden_size=16, layers=1, **options)


def weights_of(policy: CausalLMPolicy) -> torch.Tensor:
    return torch.cat([p.detach().flatten().clone() for p in policy.model.parameters()])


@pytest.mark.parametrize("kind", [PPOAgent, A2CAgent])
def test_an_agent_starts_as_its_policy_and_trains_it_in_place(
    kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # where SB3's own logger would leave a folder
    envs = grouped()
    policy = tiny(envs, temperature=1.7)
    before, agent = weights_of(policy), kind(policy, envs, seed=0)
    assert torch.equal(weights_of(policy), before)
    observation, _ = agent.vec_env.envs.reset(seed=0)
    as_tensors = {key: torch.from_numpy(value) for key, value in observation.items()}
    distribution = agent.model.policy.get_distribution(as_tensors).distribution
    tokens, length = as_tensors["tokens"].long(), as_tensors["length"].long()
    mask = torch.arange(tokens.shape[1]) < length
    for token in (1, 40, 257):
        given = tokens.scatter(1, length, token)
        expected = policy.token_log_probs(given, mask | (torch.arange(tokens.shape[1]) == length))
        torch.testing.assert_close(
            distribution.log_prob(torch.full((LANES,), token)), expected.gather(1, length)[:, 0], rtol=1e-4, atol=1e-5
        )
    assert not agent.model.policy.predict_values(as_tensors).any()
    evaluation = agent.evaluate(problems=4)
    assert agent.learn(2) is agent and agent.updates == 2
    assert agent.sampled_tokens == 2 * 5 * LANES
    assert not list(tmp_path.iterdir())
    assert not torch.equal(weights_of(policy), before) and not policy.model.training
    assert agent.evaluate(problems=4).problem_ids == evaluation.problem_ids


def test_a_saved_agent_goes_on(tmp_path: Path) -> None:
    controller = g2rpo_env.TargetSuccess(length=3, target=0.1, gain=1.0, max_length=9)
    agent = PPOAgent(tiny(grouped()), grouped(), seed=5, controller=controller, n_epochs=3)
    agent.learn(2).save(tmp_path / "agent")
    assert controller.history == [] and len(agent.controller.history) == 2
    again = PPOAgent.load(tmp_path / "agent", grouped())
    assert (again.updates, again.seed, again.model.n_epochs) == (2, 5, 3)
    assert torch.equal(weights_of(again.policy), weights_of(agent.policy))
    assert again.controller.history == agent.controller.history
    assert again.vec_env.envs.length == again.controller.length != 3
    agent.vec_env.reset()
    again.vec_env.reset()
    assert [i["group"] for i in again.vec_env.reset_infos] == [i["group"] for i in agent.vec_env.reset_infos]
    assert min(i["group"] for i in again.vec_env.reset_infos) >= LANES
    before = weights_of(again.policy)
    assert again.learn(1).updates == 3 and not torch.equal(weights_of(again.policy), before)
    moments = again.model.policy.optimizer.state_dict()["state"][0]["step"]
    assert moments == agent.model.policy.optimizer.state_dict()["state"][0]["step"] * 3 / 2
    with pytest.raises(ResumeError, match="sb3_agent.json"):
        PPOAgent.load(tmp_path, grouped())


def test_an_agent_checks_its_arguments() -> None:
    envs = grouped(length=None)
    with pytest.raises(MissingGuidanceError, match="FixedGuidance needs a guidance wrapper around envs"):
        PPOAgent(tiny(envs), envs, controller=g2rpo_env.FixedGuidance(length=3))
    with pytest.raises(ConfigurationError, match="updates=-1"):
        A2CAgent(tiny(envs), envs).learn(-1)


# -- every guidance rule -----------------------------------------------------------------------------------------------

RULES = [
    g2rpo_env.FixedGuidance(length=6),
    g2rpo_env.AdaptiveGuidance(length=6, max_length=9),
    g2rpo_env.AdaptiveGuidance(length=6, max_length=9, max_factor=None),
    g2rpo_env.OfficialCadence(length=6, max_length=9),
    g2rpo_env.TargetSuccess(length=6, max_length=9),
    g2rpo_env.SelfTuning(length=6, max_length=9),
    g2rpo_env.PerProblem(length=6, max_length=9),
    g2rpo_env.ItemResponse(length=6, max_length=9),
    g2rpo_env.Stages(max_length=9),
    g2rpo_env.SmallestHint(max_length=9),
    g2rpo_env.ShortestPrefix(max_length=9),
    g2rpo_env.LinearDecay(length=6, updates=4),
    g2rpo_env.CosineDecay(length=6, updates=4),
    g2rpo_env.StepDecay(length=6, updates=4, every=1),
    g2rpo_env.CosineBinomial(length=9, updates=4),
    g2rpo_env.UniformWindow(length=9, updates=4),
    g2rpo_env.UniformDraw(length=9, updates=4),
    g2rpo_env.Replay(lengths=(6, 5, 4, 3)),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_every_rule_drives_the_wrapper_and_goes_on_from_its_state(rule: Any) -> None:
    envs, controller = make_native(length=9), copy.deepcopy(rule)
    recorder = Recorder()
    callbacks = [GuidanceCallback(controller), recorder]
    model_of(TokenVecEnv(envs), n_steps=8, batch_size=8 * LANES).learn(2 * 8 * LANES, callback=callbacks)
    twin, again = copy.deepcopy(rule), copy.deepcopy(rule)
    first, second = (Feedback.from_infos(episodes) for episodes in recorder.rollouts)
    twin.update(first)
    again.load_state_dict(json.loads(json.dumps(twin.state_dict())))
    twin.update(second)
    again.update(second)
    assert len(controller.history) == 2 and str(controller.history) == str(twin.history) == str(again.history)
    assert envs.length == controller.length
    _, info = envs.reset()
    planned = controller.plan(info["problem_id"].tolist(), info["member"].tolist())
    assert (info["reveal_length"] <= np.ceil(np.minimum(planned, 9))).all()


@pytest.mark.parametrize("who", ["random", "groups", g2rpo_env.Levels((1.0, 0.5))], ids=str)
def test_an_agent_guides_as_the_wrapper_it_is_given_does(who: Any) -> None:
    task = Task(AdditionSource(1), Parity(), max_new_tokens=5)
    given = {"length": 3.0, "ratio": 0.5, "who": who, "place": "prompt", "reveal_cap": "before_answer"}
    envs = g2rpo_env.VectorGuidanceWrapper(TokenVectorEnv(task, LANES, group_size=2), **given)
    agent = PPOAgent(tiny(envs), envs)
    own = agent.vec_env.envs
    assert own.arguments == envs.arguments and own.unwrapped.task.length == envs.unwrapped.task.length
    agent.learn(1)


# -- beginnings and ends ----------------------------------------------------------------------------------------------


def test_an_agent_ends_answers_at_every_end_token_of_its_policy() -> None:
    envs = make_native(budget=8)
    policy = CausalLMPolicy.tiny(envs, hidden_size=16, layers=1)
    policy.model.generation_config.eos_token_id = [1, *range(2, 100)]
    agent = PPOAgent(policy, envs)
    assert agent.vec_env.base.end_tokens == {1, *range(2, 100)}
    agent.vec_env.reset()
    done = agent.vec_env.step(np.array([1, 2, 99, 100]))[2]
    assert done.tolist() == [True, True, True, False]


def test_an_agent_never_writes_ids_that_are_no_token() -> None:
    envs: Any = TokenVectorEnv(Task(AdditionSource(1), Parity(), tokenizer=with_holes(), max_new_tokens=5), LANES)
    policy = CausalLMPolicy.tiny(envs, hidden_size=16, layers=1)
    agent = PPOAgent(policy, envs)
    observation = agent.model.policy.obs_to_tensor(agent.vec_env.reset())[0]
    chances = agent.model.policy.get_distribution(observation).distribution.probs
    assert float(chances[:, envs.task.unused_ids].detach().sum()) == 0.0
    agent.learn(1)
