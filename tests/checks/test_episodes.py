"""Every rule of an episode has a case that breaks it."""

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from broken import EOS, TASK, env_with, refusal, shows, unbroken, with_info, without

from g2rpo_env import Outcome, Role, TokenEnv, Verdict, check_env
from g2rpo_env.checks import episodes
from g2rpo_env.checks.episodes import filler, play
from g2rpo_env.envs.arithmetic import Addition


def test_play_shows_what_every_call_showed() -> None:
    frames = play(TokenEnv(TASK), [90, 91, EOS, 92], seed=0, options={"problem": "1+2", "reveal": 2})
    assert [frame.token for frame in frames] == [None, 90, 91, EOS] and frames[-1].ended
    assert [len(frame.tokens_T) for frame in frames] == [6, 7, 8, 9]
    assert frames[-1].role_T.tolist() == [Role.PROMPT] * 4 + [Role.REVEALED] * 2 + [Role.SAMPLED] * 3


def test_a_filler_ends_nothing() -> None:
    assert filler(TokenEnv(TASK)) not in (None, EOS)
    task = Addition(digits=1, stop_strings=("<pad>", "!"))
    assert not task.may_stop(np.array([filler(TokenEnv(task))]))[0]


def at_end(change: Callable[[Any], Any]) -> Callable[[TokenEnv, Any], Any]:
    return lambda env, result: change(result) if result[2] or result[3] else result


def rewriting(env: TokenEnv, result: Any) -> Any:
    result[0]["tokens"][0] += 1
    return result


def littering(env: TokenEnv, result: Any) -> Any:
    result[0]["tokens"][-1] = 7
    return result


def replacing(env: TokenEnv, result: Any) -> Any:
    result[0]["tokens"][result[0]["length"][0] - 1] = 7
    return result


def cut_early(self: TokenEnv, action: Any) -> Any:
    if self._running:
        self._budget = 1
    return TokenEnv.step(self, action)


def changing_roles(self: TokenEnv) -> np.ndarray:
    roles = self._roles[: self._length].copy()
    roles[0] = min(3, self._length - 4)  # of a prompt of four
    return roles


def views(self: TokenEnv) -> Any:
    return {"tokens": self._tokens, "length": np.array([self._length], np.int32)}


CASES: dict[str, tuple[Callable[[], Any], str]] = {
    "dtype": (
        lambda: shows(reset=lambda e, r: ({**r[0], "tokens": r[0]["tokens"].astype(np.int64)}, r[1])),
        "must lie in the observation space",
    ),
    "rewrites": (lambda: shows(step=rewriting), "must be append-only: a step changed or removed tokens"),
    "litter": (lambda: shows(step=littering), "must be 0 beyond 'length'"),
    "another action": (lambda: shows(step=replacing), "must be the action's, 1, got 7"),
    "roles too long": (
        lambda: env_with(roles=property(lambda self: self._roles.copy())),
        r"one role per token of the context, shape \(4,\), got \(19,\)",
    ),
    "roles at reset": (
        lambda: env_with(roles=property(lambda self: np.ones(self._length, np.int8))),
        "roles at reset must be prompt_length=4 times 0",
    ),
    "roles change": (lambda: env_with(roles=property(changing_roles)), "roles must be append-only"),
    "unsampled": (
        lambda: env_with(roles=property(lambda self: np.minimum(self._roles[: self._length], 1))),
        r"the action with role 2 and its own tokens with role 3, got \[1\]",
    ),
    "reset info lacks": (
        lambda: shows(reset=lambda e, r: without(r, "member")),
        "info at reset must have the keys .*'member'",
    ),
    "reset info extra": (lambda: shows(reset=lambda e, r: with_info(r, length=3)), "info at reset must have the keys"),
    "reset info type": (
        lambda: shows(reset=lambda e, r: with_info(r, group=np.int64(r[1]["group"]))),
        r"info\['group'\] at reset must be of type int, got int64",
    ),
    "info during": (
        lambda: shows(step=lambda e, r: r if r[2] or r[3] else with_info(r, length=3)),
        r"info during an episode must be empty, got the keys \['length'\]",
    ),
    "final info lacks": (
        lambda: shows(step=at_end(lambda r: without(r, "completion"))),
        "info at the end of an episode must have the keys .'completion', 'correct'",
    ),
    "final info type": (
        lambda: shows(step=at_end(lambda r: with_info(r, correct=np.bool_(False)))),
        r"info\['correct'\] at the end of an episode must be of type bool",
    ),
    "numpy flags": (
        lambda: shows(step=lambda e, r: (r[0], r[1], np.bool_(r[2]), r[3], r[4])),
        "terminated and truncated must be bool",
    ),
    "both flags": (
        lambda: shows(step=at_end(lambda r: (r[0], r[1], True, True, r[4]))),
        "are True together: an answer that ended",
    ),
    "reward nan": (
        lambda: shows(step=at_end(lambda r: (r[0], math.nan, *r[2:]))),
        "reward must be a finite float, got nan",
    ),
    "reward int": (lambda: shows(step=lambda e, r: (r[0], int(r[1]), *r[2:])), "reward must be a finite float, got 0"),
    "cut early": (lambda: env_with(step=cut_early), "budget max_new_tokens=6 is spent, got True after 1 sampled"),
    "verdict and info": (
        lambda: shows(step=at_end(lambda r: with_info(r, correct=not r[4]["correct"]))),
        r"info\['correct'\]=True must be that of info\['verdict'\]",
    ),
    "completion": (
        lambda: shows(step=at_end(lambda r: with_info(r, completion=r[4]["completion"] + "<eos>"))),
        "must be the text after the prompt without the end token, '', got '<eos>'",
    ),
    "verdict": (
        lambda: shows(step=at_end(lambda r: with_info(r, verdict=Verdict(Outcome.WRONG, "no")))),
        r"info\['verdict'\] must be what the verifier says",
    ),
    "views": (lambda: env_with(_observation=views), "an observation changed after it was returned"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_broken_rule_is_named(name: str) -> None:
    make, words = CASES[name]
    assert re.search(words, str(refusal(check_env, make)), re.DOTALL)


def test_every_rule_has_a_case_that_breaks_it() -> None:
    assert unbroken(episodes, [refusal(check_env, make) for make, _ in CASES.values()]) == []


class Encouraging(TokenEnv):
    """Pays for every token."""

    def step(self, action: Any) -> Any:
        """Step, and pay."""
        observation, _, *rest = super().step(action)
        return observation, 0.5, *rest


def test_rewards_before_the_end_are_warned_of() -> None:
    with pytest.warns(UserWarning, match="a reward before the end of the episode: the task must document it"):
        check_env(Encouraging(TASK))
