"""Stable-Baselines3 on the native vector environment: a VecEnv, a features extractor, a guidance callback, two agents.

This module needs stable-baselines3 at once, so nothing imports it but its users::

    from g2rpo_env.agents.sb3 import CausalTransformerExtractor, GuidanceCallback, TokenVecEnv
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import MultiInputActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

from g2rpo_env.agents.evaluation import Evaluation, evaluate
from g2rpo_env.agents.policy.causal_lm import CausalLMPolicy
from g2rpo_env.agents.policy.scoring import is_plain
from g2rpo_env.agents.rollout import fit_policy
from g2rpo_env.controllers.base import Controller, Feedback
from g2rpo_env.errors import ConfigurationError, MissingGuidanceError, ResumeError
from g2rpo_env.guidance import GuidanceWrapper, VectorGuidanceWrapper, find_guidance, give_feedback
from g2rpo_env.vector import TokenVectorEnv

NOT_CARRIED = ("verdict",)
"""Final info that Stable-Baselines3 does not get: its wrappers deep-copy every info dict."""


class TokenVecEnv(VecEnv):
    """A TokenVectorEnv, guided or not, as the VecEnv of Stable-Baselines3; all lanes are stepped as one array.

    Observations, actions, rewards and the seeded order of problems are those of ``envs``. Where an episode ends,
    ``infos[lane]`` holds

    - ``terminal_observation``: the last observation, because the returned one already begins the next episode;
    - ``episode``: reward ``r``, number of actions ``l`` and seconds ``t`` since construction, as SB3's Monitor does;
    - ``is_success``: ``correct`` as SB3's loggers look for it, left out where the verifier failed;
    - ``truncated`` (bool), ``problem_id``, ``group``, ``member``, ``prompt_length``, ``reveal_length``,
      ``completion``, ``correct``, ``valid`` of the episode that ended.

    Elsewhere the dicts are empty. ``reset_infos[lane]`` tells about the running episode. ``seed(s)`` makes ``s`` the
    root seed of all lanes at the next reset; ``set_options`` takes the reset options of one lane or of each.

    **Spent budgets are ends.** An answer whose token budget is spent is graded like any other, so it is reported as
    terminal. Given ``TimeLimit.truncated``, SB3 would add gamma * V(last observation) to its reward, as if the answer
    went on, and learning not to finish would pay.

    Args:
        envs: Built on a TokenVectorEnv with ``autoreset_mode="SAME_STEP"``.
        bootstrap_truncated: Report spent budgets as ``TimeLimit.truncated`` all the same.

    Raises:
        ConfigurationError: ``envs`` is not built on a TokenVectorEnv, or does not restart lanes in the same step.
    """

    def __init__(self, envs: VectorEnv[Any, Any, Any], bootstrap_truncated: bool = False) -> None:
        base = _base(envs)
        if base.autoreset_mode is not AutoresetMode.SAME_STEP:
            raise ConfigurationError(
                f"autoreset_mode={base.autoreset_mode.name} must be SAME_STEP: Stable-Baselines3 takes the observation "
                "after an end for the start of the next episode; make envs with autoreset_mode='SAME_STEP'"
            )
        self.envs, self.base, self.bootstrap_truncated = envs, base, bootstrap_truncated
        super().__init__(envs.num_envs, envs.single_observation_space, envs.single_action_space)
        self._return = np.zeros(self.num_envs)
        self._steps = np.zeros(self.num_envs, np.int64)
        self._actions = np.zeros(self.num_envs, np.int64)
        self._made = time.perf_counter()

    # -- episodes ---------------------------------------------------------------------------------------------------

    def reset(self) -> dict[str, np.ndarray]:
        """Start an episode in every lane and return the observations, tokens (N, L) and length (N, 1)."""
        observation, info = self.envs.reset(seed=self._seeds[0], options=_per_lane(self._options))
        self._reset_seeds()
        self._reset_options()
        self.reset_infos = [_lane_info(info, lane) for lane in range(self.num_envs)]
        self._return[:] = 0
        self._steps[:] = 0
        return self._own(observation)

    def step_async(self, actions: np.ndarray) -> None:
        """Keep the actions, int (N,), for :meth:`step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Append one token to every lane; return observations, rewards (float32), dones (bool), infos (a dict each)."""
        observation, reward, terminated, truncated, info = self.envs.step(self._actions)
        done = terminated | truncated
        self._return += reward
        self._steps += 1
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for lane in np.flatnonzero(done).tolist():
            infos[lane] = self._final_info(info, lane, bool(truncated[lane]))
            self.reset_infos[lane] = _lane_info(info, lane, without=("final_obs", "final_info"))
        self._return[done] = 0
        self._steps[done] = 0
        # A copy: SB3 adds to the rewards of episodes it bootstraps.
        return self._own(observation), reward.astype(np.float32), done, infos

    def _final_info(self, info: dict[str, Any], lane: int, truncated: bool) -> dict[str, Any]:
        final = {**self.reset_infos[lane], **_lane_info(info["final_info"], lane, without=NOT_CARRIED)}
        final["terminal_observation"] = info["final_obs"][lane]
        final["truncated"] = truncated
        final["episode"] = {
            "r": float(self._return[lane]),
            "l": int(self._steps[lane]),
            "t": round(time.perf_counter() - self._made, 6),
        }
        if final["valid"]:
            final["is_success"] = final["correct"]
        if self.bootstrap_truncated:
            final["TimeLimit.truncated"] = truncated
        return final

    def _own(self, observation: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return arrays that the next step leaves alone: SB3 keeps the last observation until after that step."""
        if self.base.copy:
            return observation
        return {key: value.copy() for key, value in observation.items()}

    def close(self) -> None:
        """Close ``envs``."""
        self.envs.close()

    # -- attributes and methods of the lanes --------------------------------------------------------------------------

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute of ``envs`` per lane: its rows if it is an array with one row per lane, else itself.

        Raises:
            AttributeError: neither ``envs`` nor what it wraps has the attribute.
        """
        return self._rows(getattr(_owner(self.envs, attr_name), attr_name), indices)

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute where it lives, on a wrapper or on the environment itself.

        Raises:
            AttributeError: there is no such attribute.
            ConfigurationError: ``indices`` leaves lanes out; the lanes share one environment.
        """
        if set(self._get_indices(indices)) != set(range(self.num_envs)):
            raise ConfigurationError(f"indices={indices!r} must name every lane: all lanes are one environment")
        setattr(_owner(self.envs, attr_name), attr_name, value)

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """Call a method of ``envs`` once and return its result per lane, as :meth:`get_attr` does.

        ``env_method("action_masks")`` is where MaskablePPO of sb3-contrib finds its masks.

        Raises:
            AttributeError: there is no such method.
        """
        method = getattr(_owner(self.envs, method_name), method_name)
        return self._rows(method(*method_args, **method_kwargs), indices)

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
        """Return for each lane whether ``envs`` has a wrapper of this class."""
        found = any(isinstance(layer, wrapper_class) for layer in _layers(self.envs))
        return [found for _ in self._get_indices(indices)]

    def _rows(self, value: Any, indices: Any) -> list[Any]:
        split = isinstance(value, np.ndarray) and value.shape[:1] == (self.num_envs,)
        return [value[lane] if split else value for lane in self._get_indices(indices)]


def _base(envs: VectorEnv[Any, Any, Any]) -> TokenVectorEnv:
    """Return the TokenVectorEnv under the wrappers."""
    base = envs.unwrapped
    if not isinstance(base, TokenVectorEnv):
        raise ConfigurationError(f"envs must be built on a TokenVectorEnv, got {type(base).__name__}")
    return base


def _layers(envs: VectorEnv[Any, Any, Any]) -> list[Any]:
    """Return an environment and all that it wraps, from outside to inside."""
    layers: list[Any] = [envs]
    while "env" in vars(layers[-1]):
        layers.append(layers[-1].env)
    return layers


def _owner(envs: VectorEnv[Any, Any, Any], name: str) -> Any:
    """Return the outermost layer that has an attribute."""
    for layer in _layers(envs):
        if hasattr(layer, name):
            return layer
    raise AttributeError(f"{type(envs.unwrapped).__name__} and its wrappers have no attribute {name!r}")


def _per_lane(options: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Turn a dict of reset options per lane into lists with an entry per lane; None where nobody gave any."""
    keys = sorted({key for lane in options for key in lane})
    return {key: [lane.get(key) for lane in options] for key in keys} or None


def _lane_info(info: dict[str, Any], lane: int, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return one lane's share of Gymnasium's batched info, as plain Python values."""
    keys = [key for key in info if f"_{key}" in info and info[f"_{key}"][lane] and key not in without]
    values = {key: info[key][lane] for key in keys}
    return {key: value.item() if isinstance(value, np.generic) else value for key, value in values.items()}


class CausalTransformerExtractor(BaseFeaturesExtractor):
    """A small causal transformer over the tokens so far; the feature is the hidden state of the last one.

    What lies beyond ``length`` has no influence. Contexts are encoded anew at every step, up to the longest of the
    batch: right for the short ones of a small task.

    Args:
        observation_space: Of one lane, Dict(tokens (L,), length (1,)).
        features_dim: Width, a multiple of ``heads``.
        layers: Number of layers, >= 1.
        heads: Attention heads per layer.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    def __init__(self, observation_space: spaces.Dict, features_dim: int = 64, layers: int = 2, heads: int = 4) -> None:
        super().__init__(observation_space, features_dim)
        if features_dim % heads:
            raise ConfigurationError(f"features_dim={features_dim} must be a multiple of heads={heads}")
        if layers < 1:
            raise ConfigurationError(f"layers={layers} must be at least 1")
        box = observation_space["tokens"]
        assert isinstance(box, spaces.Box)
        self.token = nn.Embedding(int(box.high.max()) + 1, features_dim)
        self.position = nn.Embedding(box.shape[0], features_dim)
        # No dropout: SB3 compares probabilities of the rollout with those of training, one function must give both.
        block = nn.TransformerEncoderLayer(
            features_dim, heads, 4 * features_dim, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(block, layers, norm=nn.LayerNorm(features_dim), enable_nested_tensor=False)

    def forward(self, observations: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return features, float32 (B, features_dim), of contexts as SB3 preprocesses them: ids as floats."""
        length_B = observations["length"].long().squeeze(-1)
        longest = int(length_B.max())
        tokens_BT = observations["tokens"][:, :longest].long()  # ids are exact in float32 up to 2**24
        states = self.token(tokens_BT) + self.position.weight[:longest]
        later_TT = torch.ones(longest, longest, dtype=torch.bool, device=states.device).triu(1)
        states = self.blocks(states, mask=later_TT)
        return states[torch.arange(len(states), device=states.device), length_B - 1]


class GuidanceCallback(BaseCallback):
    """Feeds a controller with the episodes of each rollout and gives its length to the guidance wrapper.

    A new length takes effect at the next resets; episodes in flight keep what they were shown. SB3 resets before it
    starts its callbacks, so the very first episodes have the length that the wrapper was made with. A rollout in which
    no episode ended changes nothing. Logs ``guidance/reveal_length`` and, over the episodes of the rollout,
    ``guidance/success``.

    Args:
        controller: Any controller of :mod:`g2rpo_env.controllers.rules`; it is updated in place.
        verbose: As for every SB3 callback.

    Raises:
        ConfigurationError: at the start of training, if the model does not train on a TokenVecEnv.
        MissingGuidanceError: at the start of training, if that has no guidance wrapper.
    """

    def __init__(self, controller: Controller, verbose: int = 0) -> None:
        super().__init__(verbose)
        self.controller = controller
        self.guidance: GuidanceWrapper | VectorGuidanceWrapper | None = None
        """The guidance wrapper of the environment; None before training starts."""
        self._episodes: list[dict[str, Any]] = []

    def _init_callback(self) -> None:
        vec_env = self.training_env.unwrapped
        if not isinstance(vec_env, TokenVecEnv):
            raise ConfigurationError(f"GuidanceCallback needs a TokenVecEnv, got {type(vec_env).__name__}")
        guidance = find_guidance(vec_env.envs)
        if guidance is None:
            raise MissingGuidanceError(
                f"controller={type(self.controller).__name__} needs a guidance wrapper inside TokenVecEnv: "
                "envs = g2rpo_env.VectorGuidanceWrapper(envs, ...)"
            )
        guidance.follow(self.controller)
        self.guidance = guidance

    def _on_rollout_start(self) -> None:
        self._episodes = []

    def _on_step(self) -> bool:
        self._episodes += [info for info in self.locals["infos"] if "terminal_observation" in info]
        return True

    def _on_rollout_end(self) -> None:
        assert self.guidance is not None  # set where training starts
        if self._episodes:
            feedback = Feedback.from_infos(self._episodes)
            give_feedback(self.guidance, feedback, self.controller)
            self.logger.record("guidance/success", feedback.reward())
        self.logger.record("guidance/reveal_length", self.guidance.length)


# -- agents that start from a CausalLMPolicy, as those of g2rpo_env.agents do ------------------------------------------


class CausalLMExtractor(BaseFeaturesExtractor):
    """The transformer of a CausalLMPolicy; the feature is the last hidden state of the last token.

    Args:
        observation_space: Of one lane, Dict(tokens (L,), length (1,)).
        policy: Its model is used itself, not copied: training this extractor trains the policy.
    """

    def __init__(self, observation_space: spaces.Dict, policy: CausalLMPolicy) -> None:
        if not is_plain(policy.model):
            raise ConfigurationError(
                f"policy.model={type(policy.model).__name__} must give the last hidden states times the weight of its "
                "head as logits, without a scale, a cap or a bias"
            )
        super().__init__(observation_space, policy.model.get_output_embeddings().in_features)
        self.transformer = policy.model.base_model
        self.policy = policy

    def train(self, mode: bool = True) -> CausalLMExtractor:
        """Stay in evaluation mode: dropout would make the probabilities of rollout and training differ."""
        return super().train(False)

    def forward(self, observations: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return features, float32 (B, hidden size), of contexts as SB3 preprocesses them: ids as floats."""
        length_B = observations["length"].long().squeeze(-1)
        longest = int(length_B.max())
        tokens_BT = observations["tokens"][:, :longest].long()
        mask_BT = torch.arange(longest, device=length_B.device) < length_B[:, None]
        states = self.transformer(input_ids=tokens_BT, attention_mask=mask_BT.long(), use_cache=False)
        last = torch.arange(len(tokens_BT), device=length_B.device), length_B - 1
        return states.last_hidden_state[last].float()


class _TokenHead(nn.Module):
    """The LM head of a CausalLMPolicy as logits of its sampling distribution."""

    def __init__(self, policy: CausalLMPolicy) -> None:
        super().__init__()
        self.head, self.policy = policy.model.get_output_embeddings(), policy

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        log_probs = self.policy.log_probs(self.head(states.to(self.head.weight.dtype)))
        return self.policy.leave_out_unused(log_probs)


class CausalLMActorCritic(MultiInputActorCriticPolicy):
    """The actor is a CausalLMPolicy, trained in place; the critic a linear layer on its states that starts at 0."""

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)
        extractor = self.features_extractor
        assert isinstance(extractor, CausalLMExtractor)
        self.action_net = _TokenHead(extractor.policy)
        for parameter in self.value_net.parameters():
            nn.init.zeros_(parameter)
        rate = lr_schedule(1)
        self.optimizer = self.optimizer_class(self.parameters(), lr=rate, **self.optimizer_kwargs)  # type: ignore[call-arg]


AGENT_FILE, STATE_FILE = "sb3_agent.json", "sb3_state.pt"


class _SB3Agent:
    """Base of PPOAgent and A2CAgent; a :class:`g2rpo_env.agents.agent.Agent`."""

    algorithm: ClassVar[type[OnPolicyAlgorithm]]

    @staticmethod
    def defaults(envs: VectorEnv[Any, Any, Any]) -> dict[str, Any]:
        """Return the settings of the algorithm where the user gives none."""
        return {"n_steps": _base(envs).task.max_new_tokens, "learning_rate": 1e-4, "gamma": 1.0, "gae_lambda": 1.0}

    def __init__(
        self,
        policy: CausalLMPolicy,
        envs: VectorEnv[Any, Any, Any],
        *,
        seed: int = 0,
        controller: Controller | None = None,
        **settings: Any,
    ) -> None:
        self.policy, self.seed, self.settings = policy, int(seed), settings
        self.controller = copy.deepcopy(controller)
        fit_policy(policy, envs)
        self.vec_env = TokenVecEnv(_same_step(envs))  # on the task of envs, which ends where the policy does
        guided = find_guidance(self.vec_env.envs) is not None
        if self.controller is not None and not guided:
            raise MissingGuidanceError(
                f"controller={type(self.controller).__name__} needs a guidance wrapper around envs: "
                "envs = g2rpo_env.VectorGuidanceWrapper(envs, ...)"
            )
        self.model = self.algorithm(
            CausalLMActorCritic,
            self.vec_env,
            policy_kwargs={
                "features_extractor_class": CausalLMExtractor,
                "features_extractor_kwargs": {"policy": policy},
                "net_arch": [],
                "ortho_init": False,  # it would overwrite the policy
            },
            seed=self.seed,
            device=policy.device,
            **{**self.defaults(envs), **settings},
        )
        self.model.set_logger(Logger(folder=None, output_formats=[]))  # SB3's own leaves a folder behind per learn()
        self.updates = 0

    def learn(self, updates: int) -> _SB3Agent:
        """Do some updates: each ``n_steps`` tokens in every lane, then the gradient steps.

        Raises:
            ConfigurationError: ``updates`` is negative.
        """
        if updates < 0:
            raise ConfigurationError(f"updates={updates} must be at least 0")
        callback = None if self.controller is None else GuidanceCallback(self.controller)
        tokens = updates * self.model.n_steps * self.vec_env.num_envs
        self.model.learn(tokens, callback=callback, reset_num_timesteps=False)
        self.updates += updates
        return self

    @property
    def sampled_tokens(self) -> int:
        """Tokens sampled in training so far: one per lane and step."""
        return self.model.num_timesteps

    def evaluate(self, split: str = "test", problems: int = 256) -> Evaluation:
        """Return unguided greedy accuracy on distinct problems of a split."""
        return evaluate(self.policy, self.vec_env.envs, split=split, problems=problems)

    def save(self, folder: str | Path) -> None:
        """Write the policy as an ordinary Hugging Face folder, and beside it critic, optimiser and controller."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.policy.save_pretrained(folder)
        config = {"seed": self.seed, "temperature": self.policy.temperature, "settings": self.settings}
        (folder / AGENT_FILE).write_text(json.dumps(config, indent=2) + "\n")
        state = {
            "updates": self.updates,
            "timesteps": self.model.num_timesteps,
            "critic": self.model.policy.value_net.state_dict(),
            "optimizer": self.model.policy.optimizer.state_dict(),
            "envs": self.vec_env.base.state_dict(),
            "controller": self.controller,
            "length": getattr(find_guidance(self.vec_env.envs), "length", None),
        }
        torch.save(state, folder / STATE_FILE)

    @classmethod
    def load(cls, folder: str | Path, envs: VectorEnv[Any, Any, Any]) -> _SB3Agent:
        """Return the agent that was saved; it goes on with new episodes, those in flight are not kept.

        Args:
            folder: Folder that :meth:`save` wrote. It is unpickled: load what you trust.
            envs: An environment made and wrapped like the one the agent was trained on.

        Raises:
            ResumeError: the folder holds no saved agent.
        """
        folder = Path(folder)
        if not (folder / AGENT_FILE).is_file() or not (folder / STATE_FILE).is_file():
            raise ResumeError(f"folder={str(folder)!r} must hold {AGENT_FILE} and {STATE_FILE}, written by save()")
        config = json.loads((folder / AGENT_FILE).read_text())
        state = torch.load(folder / STATE_FILE, weights_only=False)
        policy = CausalLMPolicy.from_pretrained(folder, temperature=config["temperature"])
        agent = cls(policy, envs, seed=config["seed"], controller=state["controller"], **config["settings"])
        agent.updates, agent.model.num_timesteps = state["updates"], state["timesteps"]
        agent.model.policy.value_net.load_state_dict(state["critic"])
        agent.model.policy.optimizer.load_state_dict(state["optimizer"])
        agent.vec_env._reset_seeds()  # the next reset goes on in the seeded order of problems
        agent.vec_env.base.load_state_dict(state["envs"])
        guidance = find_guidance(agent.vec_env.envs)
        if guidance is not None and state["length"] is not None:
            guidance.length = state["length"]
        return agent


def _same_step(envs: VectorEnv[Any, Any, Any]) -> TokenVectorEnv | VectorGuidanceWrapper:
    """Return an environment on the same task, as many lanes, guided alike, as Stable-Baselines3 needs it."""
    base = _base(envs)
    own = TokenVectorEnv(
        base.task,
        base.num_envs,
        autoreset_mode=AutoresetMode.SAME_STEP,
        rank=base.rank,
        world_size=base.world_size,
    )
    guidance = find_guidance(envs)
    if guidance is None:
        return own
    return VectorGuidanceWrapper(own, **guidance.arguments)


class PPOAgent(_SB3Agent):
    """PPO of Stable-Baselines3, started from a CausalLMPolicy that it trains in place.

    Every episode is a lane of its own, without groups; ``envs`` gives the task, the number of lanes and the guidance.

    Args:
        policy: The policy; its temperature is kept.
        envs: Any environment built on TokenVectorEnv; it is not stepped itself.
        seed: Of the problems, and of SB3's (global) random numbers.
        controller: Moves the reveal length; None keeps that of the wrapper.
        **settings: Arguments of SB3's PPO. ``n_steps`` defaults to the token budget, so that at least one episode
            per lane ends in each update, ``batch_size`` to the number of lanes, ``n_epochs`` to 1, rewards are not
            discounted.

    Raises:
        MissingGuidanceError: a controller without a guidance wrapper around ``envs``.
        VocabularyMismatchError, BudgetError: policy and environment do not fit.
    """

    algorithm = PPO

    @staticmethod
    def defaults(envs: VectorEnv[Any, Any, Any]) -> dict[str, Any]:
        """Return the settings of PPO where the user gives none."""
        return {**_SB3Agent.defaults(envs), "n_epochs": 1, "batch_size": max(2, envs.num_envs)}


class A2CAgent(_SB3Agent):
    """A2C of Stable-Baselines3, started from a CausalLMPolicy that it trains in place; arguments as of PPOAgent."""

    algorithm = A2C

    @staticmethod
    def defaults(envs: VectorEnv[Any, Any, Any]) -> dict[str, Any]:
        """Return the settings of A2C where the user gives none."""
        return {**_SB3Agent.defaults(envs), "use_rms_prop": False}
