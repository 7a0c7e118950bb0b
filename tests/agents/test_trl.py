"""TRL on our tasks: its trainer is given exactly the episodes of the environment, and masks what it must not train."""

import copy
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from tokenizer_families import FAMILIES

import g2rpo_env
from g2rpo_env import Outcome, Task, TokenVectorEnv, Verdict
from g2rpo_env.agents import CausalLMPolicy
from g2rpo_env.agents.rollout import collect
from g2rpo_env.agents.trl import GuidedRollout, environment_reward, problem_dataset, trl_batch, verifier_reward
from g2rpo_env.envs.arithmetic import Addition, AdditionSource
from g2rpo_env.episode import Role
from g2rpo_env.errors import ConfigurationError, MissingGuidanceError
from g2rpo_env.tokenizer import decode, encode

LANES, GROUP = 8, 4


def lanes(length: float | None = 5, **options: Any) -> Any:
    envs: Any = TokenVectorEnv(Addition(digits=1, **options), LANES, group_size=GROUP, autoreset_mode="DISABLED")
    return envs if length is None else g2rpo_env.VectorGuidanceWrapper(envs, length=length, ratio=0.5)


def tiny(envs: Any) -> CausalLMPolicy:
    return CausalLMPolicy.tiny(envs, seed=0, hidden_size=16, layers=1)


def fake_trainer(policy: CausalLMPolicy, training: bool = True) -> Any:
    """The attributes of a trainer that a rollout reads."""
    policy.model.train(training)
    return SimpleNamespace(
        model=policy.model,
        temperature=1.0,
        num_generations=GROUP,
        args=SimpleNamespace(seed=3),
        accelerator=SimpleNamespace(unwrap_model=lambda model: model, num_processes=1),
    )


def batch_of(dataset: Any, rows: tuple[int, ...] = (0, 1)) -> list[str]:
    return [dataset["prompt"][row] for row in rows for _ in range(GROUP)]


# -- the data set and the verifier -------------------------------------------------------------------------------------


def test_the_data_set_holds_distinct_problems_of_the_split() -> None:
    task = Addition(digits=2, split="test")
    dataset = problem_dataset(task, 20, seed=1)
    assert dataset.column_names == ["prompt", "problem_id"] and len(set(dataset["problem_id"])) == 20
    assert [f"{i}=" for i in dataset["problem_id"]] == dataset["prompt"]
    assert problem_dataset(task, 20, seed=2)["prompt"] != dataset["prompt"]
    with pytest.raises(ConfigurationError, match="problems=0 must be at least 1"):
        problem_dataset(task, 0)


def test_the_verifier_grades_token_ids_and_leaves_failures_out() -> None:
    task = Addition(digits=1)
    right, wrong = (encode(task.tokenizer, text)[0].tolist() for text in ("3+4+0=07\n#7", "3+4+0=07\n#8"))
    accuracy = verifier_reward(task)
    ids = [[*right, task.eos_token_id], wrong, right]
    assert accuracy(completion_ids=ids, problem_id=["3+4"] * 3, prompts=None, completions=None) == [1.0, 0.0, 1.0]

    def failing(problems: Any, completions: Any) -> list[Verdict]:
        return [Verdict(Outcome.ERROR) for _ in problems]

    assert verifier_reward(Task(AdditionSource(1), failing))(completion_ids=[right], problem_id=["3+4"]) == [None]
    with pytest.raises(ConfigurationError, match="mean nothing to TRL's own generation"):
        verifier_reward(Addition(digits=1, stop_strings=("\n",)))


def test_the_environments_reward_is_passed_on() -> None:
    assert environment_reward(reward=[1.0, None], prompts=["a", "b"], completions=["c", "d"]) == [1.0, None]


# -- the rollout -------------------------------------------------------------------------------------------------------


def test_a_rollout_returns_the_episodes_that_collect_returns() -> None:
    envs = lanes()
    dataset = problem_dataset(envs.unwrapped.task, 6)
    policy = tiny(envs)
    out = GuidedRollout(envs, dataset)(batch_of(dataset), fake_trainer(policy))
    own = lanes()
    problems = [dataset["problem_id"][row] for row in (0, 1) for _ in range(GROUP)]
    episodes = collect(tiny(own), own, seed=3, options={"problem": problems}).episodes
    for i, episode in enumerate(episodes):
        assert out["prompt_ids"][i] + out["completion_ids"][i] == episode.tokens_T.tolist()
        assert decode(envs.unwrapped.tokenizer, out["prompt_ids"][i]) == batch_of(dataset)[i]
        prompt = len(out["prompt_ids"][i])
        assert out["logprobs"][i] == episode.logprob_T[prompt:].tolist()
        assert out["env_mask"][i] == (episode.role_T[prompt:] == Role.SAMPLED).astype(int).tolist()
        assert out["reveal_length"][i] == episode.reveal == (5 if i % GROUP < 2 else 0)
    assert out["reward"] == [e.reward for e in episodes] and out["correct"] == [e.correct for e in episodes]
    assert policy.model.training  # as it was


def test_revealed_tokens_are_trained_on_request() -> None:
    envs = lanes()
    dataset = problem_dataset(envs.unwrapped.task, 6)
    out = GuidedRollout(envs, dataset, revealed_in_loss=True)(batch_of(dataset), fake_trainer(tiny(envs)))
    assert all(all(mask) for mask in out["env_mask"])


def test_tokens_of_the_environment_and_failed_verdicts_are_marked(make_episode: Any) -> None:
    episode = make_episode("pprrssees")
    out = trl_batch([episode], revealed_in_loss=True)
    assert out["env_mask"] == [[1, 1, 1, 1, 0, 0, 1]] and len(out["prompt_ids"][0]) == 2


def test_the_controller_moves_the_reveal_and_evaluation_shows_nothing() -> None:
    envs = lanes()
    dataset = problem_dataset(envs.unwrapped.task, 6)
    controller = g2rpo_env.TargetSuccess(length=5, target=0.5, gain=1.0, max_length=9)
    rollout, policy = GuidedRollout(envs, dataset, controller), tiny(envs)
    rollout(batch_of(dataset), fake_trainer(policy))
    assert len(controller.history) == 1 and envs.length == controller.length != 5  # no success: it grew
    out = rollout(batch_of(dataset, (0, 1, 2)), fake_trainer(policy, training=False))
    assert out["reveal_length"] == [0] * 12 and len(controller.history) == 1
    assert not policy.model.training


def test_problems_of_another_split_are_evaluated_too() -> None:
    from datasets import concatenate_datasets

    envs = lanes()
    task = envs.unwrapped.task
    training, held_out = problem_dataset(task, 6), problem_dataset(task.with_split("test"), 2)
    rollout = GuidedRollout(envs, concatenate_datasets([training, held_out]))
    out = rollout(batch_of(held_out), fake_trainer(tiny(envs), training=False))
    assert [decode(task.tokenizer, ids) for ids in out["prompt_ids"]] == batch_of(held_out)


def test_what_does_not_fit_is_named() -> None:
    envs = lanes()
    dataset = problem_dataset(envs.unwrapped.task, 6)
    rollout, trainer = GuidedRollout(envs, dataset), fake_trainer(tiny(envs))
    with pytest.raises(ConfigurationError, match="prompt='9=' must be one of the data set"):
        rollout(["9="] * LANES, trainer)
    with pytest.raises(ConfigurationError, match="num_envs=4 and group_size=4, .* got 8 and 4"):
        rollout(batch_of(dataset, (0,)), trainer)
    trainer.accelerator.num_processes = 2
    with pytest.raises(ConfigurationError, match="num_processes=2 must be 1"):
        rollout(batch_of(dataset), trainer)
    with pytest.raises(ConfigurationError, match="must have texts as prompts"):
        GuidedRollout(envs, {"prompt": [[{"role": "user", "content": "1+1="}]], "problem_id": ["1+1"]})
    with pytest.raises(ConfigurationError, match="one prompt twice"):
        GuidedRollout(envs, {"prompt": ["a", "a"], "problem_id": ["x", "y"]})
    with pytest.raises(MissingGuidanceError, match="FixedGuidance needs a guidance wrapper"):
        GuidedRollout(lanes(None), dataset, g2rpo_env.FixedGuidance(length=3))
    with pytest.raises(ConfigurationError, match="must be DISABLED"):
        GuidedRollout(TokenVectorEnv(Addition(digits=1), 2), dataset)


# -- TRL itself --------------------------------------------------------------------------------------------------------


def make_trainer(folder: Any, policy: CausalLMPolicy, dataset: Any, rewards: Any, rollout: Any, steps: int) -> Any:
    trl = pytest.importorskip("trl", reason="trl is missing: pip install 'g2rpo-env[benchmark]'")
    args = trl.GRPOConfig(
        output_dir=str(folder), max_steps=steps, per_device_train_batch_size=LANES, num_generations=GROUP,
        max_completion_length=16, bf16=False, activation_checkpointing=False, use_cpu=True, save_strategy="no",
        report_to="none", disable_tqdm=True, logging_steps=1, learning_rate=1e-3, temperature=1.0, seed=0,
    )  # fmt: skip
    return trl.GRPOTrainer(
        model=policy.model, reward_funcs=rewards, args=args, train_dataset=dataset,
        processing_class=policy.tokenizer, rollout_func=rollout,
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore")
def test_five_steps_of_its_trainer_on_a_guided_environment(tmp_path: Any) -> None:
    envs = lanes()
    dataset, policy = problem_dataset(envs.unwrapped.task, 20), tiny(envs)
    batches: list[dict[str, Any]] = []
    rollout = GuidedRollout(envs, dataset)

    def watched(prompts: Any, trainer: Any) -> Any:
        batches.append(rollout(prompts, trainer))
        batches[-1]["reward"] = [float(i % 2) for i in range(LANES)]  # a signal in every group
        return dict(batches[-1])

    before = [p.detach().clone() for p in policy.model.parameters()]
    trainer = make_trainer(tmp_path, policy, dataset, environment_reward, watched, 5)
    masks: list[torch.Tensor] = []
    original = trainer._compute_loss
    trainer._compute_loss = lambda model, inputs: masks.append(inputs["tool_mask"]) or original(model, inputs)
    trainer.train()
    assert len(batches) == 5 and trainer.state.global_step == 5
    assert any(not torch.equal(a, b) for a, b in zip(before, policy.model.parameters(), strict=True))
    rewards = [log["reward"] for log in trainer.state.log_history if "reward" in log]
    assert rewards == [0.5] * 5
    # TRL shuffles a batch before the loss: the masked tokens are, in all, the revealed ones (padding counts as 1).
    for batch, mask in zip(batches, masks, strict=True):
        assert int((mask == 0).sum()) == sum(batch["reveal_length"]) == 2 * 2 * 5


@pytest.mark.filterwarnings("ignore")
def test_its_gradient_is_that_of_the_sampled_tokens_alone(tmp_path: Any) -> None:
    """The loss of loss_type="grpo" written out: the mean over episodes of the mean over sampled tokens of -A log pi."""
    envs = lanes()
    dataset, policy = problem_dataset(envs.unwrapped.task, 20), tiny(envs)
    reference = copy.deepcopy(policy.model)
    rollout = GuidedRollout(envs, dataset)
    kept: dict[str, Any] = {}

    def watched(prompts: Any, trainer: Any) -> Any:
        out = rollout(prompts, trainer)
        out["reward"] = [1.0, 0.0, 0.0, 0.0] * 2
        kept.update(out)
        return dict(out)

    trainer = make_trainer(tmp_path, policy, dataset, environment_reward, watched, 1)
    found: dict[str, torch.Tensor] = {}

    def catch(optimizer: Any, args: Any, kwargs: Any) -> None:
        found.update({n: p.grad.clone() for n, p in policy.model.named_parameters()})

    trainer.args.max_grad_norm = 0  # no clipping
    trainer.args.loss_type, trainer.loss_type = "grpo", "grpo"
    trainer.create_optimizer()
    trainer.optimizer.register_step_pre_hook(catch)
    trainer.train()
    advantage_G = np.array([1.0, 0, 0, 0]) - 0.25
    advantage_G = advantage_G / (np.array([1.0, 0, 0, 0]).std(ddof=1) + 1e-4)
    loss = torch.zeros(())
    for i in range(LANES):
        tokens = torch.tensor([kept["prompt_ids"][i] + kept["completion_ids"][i]])
        log_probs = torch.log_softmax(reference(tokens).logits[0, :-1], -1)
        chosen = log_probs.gather(1, tokens[0, 1:, None])[:, 0][len(kept["prompt_ids"][i]) - 1 :]
        mask = torch.tensor(kept["env_mask"][i], dtype=torch.float32)
        loss = loss - advantage_G[i % GROUP] * (chosen * mask).sum() / mask.sum() / LANES
    loss.backward()
    for name, parameter in reference.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-3, atol=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_its_own_generation_is_graded_by_our_verifier(tmp_path: Any) -> None:
    envs = lanes(None)
    dataset, policy = problem_dataset(envs.unwrapped.task, 20), tiny(envs)
    trainer = make_trainer(tmp_path, policy, dataset, verifier_reward(envs.unwrapped.task), None, 2)
    trainer.train()
    assert trainer.state.global_step == 2
    assert all(0 <= log["rewards/accuracy/mean"] <= 1 for log in trainer.state.log_history if "reward" in log)


def test_registered_ids_work_too() -> None:
    envs = gym.make_vec("g2rpo_env/Addition-v0", num_envs=LANES, group_size=GROUP, digits=1)
    dataset = problem_dataset(envs.unwrapped.task, 4)
    out = GuidedRollout(envs, dataset)(batch_of(dataset), fake_trainer(tiny(envs)))
    assert set(out) >= {"prompt_ids", "completion_ids", "logprobs", "env_mask"}


# -- beginnings and ends ----------------------------------------------------------------------------------------------


def test_a_text_that_trl_wrote_past_an_end_token_is_graded_up_to_it() -> None:
    task = Addition(digits=1, end_tokens=[1, 0])
    problem_id = problem_dataset(task, 1)["problem_id"][0]
    right = encode(task.tokenizer, task.lookup(problem_id).problem.solution)[0].tolist()
    junk = encode(task.tokenizer, "#9")[0].tolist()
    assert verifier_reward(task)([[*right, 0, *junk], [*right, *junk]], [problem_id] * 2) == [1.0, 0.0]


def test_an_episode_for_trl_begins_as_the_tokenizer_begins_a_text() -> None:
    tokenizer = copy.deepcopy(FAMILIES["Gemma"].tokenizer)
    envs = lanes(tokenizer=tokenizer)
    dataset = problem_dataset(envs.unwrapped.task, 2)
    policy = tiny(envs)
    policy.model.generation_config.eos_token_id = [1, 6, 40]
    fields = GuidedRollout(envs, dataset)(batch_of(dataset), fake_trainer(policy))
    for prompt, ids in zip(batch_of(dataset), fields["prompt_ids"], strict=True):
        assert ids == tokenizer(prompt)["input_ids"] and ids[0] == tokenizer.bos_token_id
    assert envs.unwrapped.end_tokens == {1, 6, 40}
