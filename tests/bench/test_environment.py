"""bench env: both sides compute the same, and the observation has the length that rows name."""

import gymnasium as gym
import numpy as np
import pytest

from g2rpo_env.bench import environment


def test_both_vectorisations_compute_the_same() -> None:
    environment.check_same_computation(steps=50)


def test_a_difference_between_the_sides_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(gym.vector.VectorWrapper):
        def step(self, actions: np.ndarray) -> tuple:
            observation, *rest = self.env.step(actions)
            return {**observation, "length": observation["length"] + 1}, *rest

    make = environment.make_sync
    monkeypatch.setattr(environment, "make_sync", lambda lanes: Other(make(lanes)))
    with pytest.raises(AssertionError, match="length"):
        environment.check_same_computation(steps=1)


def test_the_observation_has_the_length_that_the_rows_name() -> None:
    assert environment.make_single(300).observation_space["tokens"].shape == (300,)
    assert environment.make_lanes(2).single_observation_space["tokens"].shape == (environment.LENGTH,)
