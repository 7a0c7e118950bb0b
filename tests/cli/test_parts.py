"""Recipes and parts by name on the command line: what is found, what options it gives, what is refused."""

import dataclasses
import json
import sys

import pytest
from arguments import QUIET, TINY

from g2rpo_env.agents.parts import LogLikelihood, TokenMean
from g2rpo_env.agents.recipe import Recipe
from g2rpo_env.cli import parts as module
from g2rpo_env.controllers import SelfTuning
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.report.run_folder import RunFolder

OWN = """
from dataclasses import dataclass, replace
from g2rpo_env.agents import recipes
from g2rpo_env.agents.parts import ClippedSurrogate, LogLikelihood
from g2rpo_env.agents.recipe import Recipe
from g2rpo_env.controllers import Controller


def likelihood():
    return replace(recipes.get("grpo"), loss=LogLikelihood())


def nothing():
    return None


@dataclass(frozen=True)
class Scaled:
    factor: float

    def __call__(self, log_probs_NT, batch):
        result = ClippedSurrogate()(log_probs_NT, batch)
        return replace(result, total=result.total * self.factor)


class Undescribed:
    def __call__(self, log_probs_NT, batch):
        return ClippedSurrogate()(log_probs_NT, batch)


@dataclass
class Halved(Controller):
    by: float = 2.0

    def _next(self, reward):
        return self.length / self.by
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of a user's, importable under a name that no other test uses."""
    (tmp_path / "parts_of_a_user.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "parts_of_a_user", raising=False)
    yield "parts_of_a_user"
    sys.modules.pop("parts_of_a_user", None)


@pytest.fixture
def train(command, tmp_path):
    def run(*argv, out="run"):
        status, out_text, err = command("train", *TINY, *QUIET, "--updates", 1, "--out", tmp_path / out, *argv)
        return status, out_text + err, tmp_path / out

    return run


def saved_recipe(folder):
    return json.loads((RunFolder.open(folder).checkpoints()[-1] / "agent.json").read_text())["recipe"]


def test_every_slot_but_the_optimizer_takes_a_name_and_every_offered_part_fits_it():
    assert [*module.MODULES, "optimizer"] == [f.name for f in dataclasses.fields(Recipe)]
    for slot in module.MODULES:
        for name, kind in module.offered_parts(slot).items():
            assert module.find_part(slot, name) is kind
    assert {"SelfTuning", "AdaptiveGuidance"} <= set(module.offered_parts("controller"))
    assert "LossResult" not in module.offered_parts("loss")


def test_a_controller_by_name_starts_at_the_length_of_the_wrapper_and_may_reach_a_whole_solution(train):
    status, text, folder = train("--controller", "SelfTuning", "--guidance.length", 4, "--controller.own", 0.5)
    assert status == 0, text
    config = saved_recipe(folder)["controller"]
    assert config["class"] == "SelfTuning" and config["options"]["own"] == 0.5 and config["options"]["length"] == 4
    assert config["options"]["max_length"] > 4


def test_a_recipe_without_guidance_is_guided_once_a_controller_is_named(train):
    status, text, folder = train("--recipe", "grpo", "--controller", "FixedGuidance", "--guidance.length", 3)
    assert status == 0, text
    assert RunFolder.open(folder).metrics()[0]["reveal_length"] == 3


def test_a_loss_by_name_replaces_that_of_the_recipe_with_its_own_options(train):
    status, text, folder = train("--recipe", "grpo", "--loss", "CorrectedSurrogate")
    assert status == 0, text
    assert saved_recipe(folder)["loss"]["class"] == "CorrectedSurrogate"


def test_recipes_and_parts_of_a_user_are_trained_saved_and_resumed(train, own, command):
    argv = ["--recipe", f"{own}:likelihood", "--loss", f"{own}:Scaled", "--loss.factor", 0.5]
    status, text, folder = train(*argv, "--controller", f"{own}:Halved", "--guidance.length", 4)
    assert status == 0, text
    assert saved_recipe(folder)["loss"] == {"class": f"{own}:Scaled", "options": {"factor": 0.5}}
    assert saved_recipe(folder)["controller"]["class"] == f"{own}:Halved"
    status, text, _ = command("train", "--resume", folder, "--updates", 2)
    assert status == 0
    assert [row["reveal_length"] for row in RunFolder.open(folder).metrics()] == [4, 2]


def test_an_option_that_a_part_cannot_do_without_is_asked_for(train, own, capsys):
    with pytest.raises(SystemExit) as stop:
        train("--recipe", "grpo", "--loss", f"{own}:Scaled")
    assert stop.value.code == 2
    assert "--loss.factor" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv, words",
    [
        (["--loss", "ShapedRevea"], "--loss='ShapedRevea' must be a public name; did you mean 'ShapedReveal'?"),
        (["--loss", "LossResult"], "--loss='LossResult' must name a class that is a dataclass with __call__"),
        (["--loss", "{own}:Undescribed"], "must name a class that is a dataclass with __call__"),
        (["--loss", "{own}:Nothing"], "must name something that can be imported"),
        (["--token-weight", "SelfTuning"], "--token-weight='SelfTuning' must be a public name"),
        (["--controller", "{own}:Scaled"], "must name a class derived from Controller"),
        (["--credit", "Something"], "--credit='Something' must be a public name"),
        (["--recipe", "{own}:nothing"], "must be a Recipe or return one, got NoneType"),
        (["--recipe", "nowhere:mine"], "recipe='nowhere:mine' must name something that can be imported"),
    ],
)
def test_what_does_not_fit_is_one_line_and_leaves_no_folder(train, own, argv, words):
    status, text, folder = train(*(word.replace("{own}", own) for word in argv))
    assert status == 1 and words in text and len(text.splitlines()) == 1
    assert not folder.exists()


@pytest.mark.parametrize(
    "argv, words",
    [
        (["--recipe", "grpo", "--revealed", "positive"], "revealed='positive' says what --guided makes of a recipe"),
        (["--recipe", "g2rpo-a", "--guided"], "controller=AdaptiveGuidance) is guided already"),
        (["--recipe", "grpo", "--guided", "--revealed", "some"], "revealed='some' must be one of yes, no, positive"),
    ],
)
def test_guided_forms_that_do_not_exist_are_one_line(train, argv, words):
    status, text, folder = train(*argv)
    assert status == 1 and words in text and len(text.splitlines()) == 1
    assert not folder.exists()


@pytest.mark.parametrize(
    "revealed, weight",
    [
        ([], TokenMean(revealed=True)),
        (["--revealed", "no"], TokenMean()),
        (["--revealed", "positive"], TokenMean(revealed=True, which="positive")),
    ],
)
def test_guided_makes_the_guided_form_of_a_recipe(train, revealed, weight):
    status, text, folder = train("--recipe", "reinforce", "--guided", *revealed)
    assert status == 0, text
    saved = json.loads((next(folder.glob("checkpoints/*")) / "agent.json").read_text())["recipe"]
    recipe = Recipe.from_config(saved)
    assert recipe.token_weight == weight and recipe.loss == LogLikelihood()
    assert isinstance(recipe.controller, SelfTuning) and recipe.controller.max_length == recipe.controller.length == 9


def test_a_recipe_that_is_made_for_a_wrapper_gets_it(train):
    status, text, folder = train("--recipe", "pope")
    assert status == 0, text
    options = RunFolder.open(folder).config["options"]["guidance"]
    assert options["unit"] == "fraction" and options["length"] == 1.0


def test_what_is_no_part_by_itself_is_not_offered():
    assert not {"Every", "TopEntropy"} & set(module.offered_parts("token_weight"))
    assert not {"Controller", "Bounded"} & set(module.offered_parts("controller"))
    assert "Stored" not in module.offered_parts("strategy") and "Rollout" in module.offered_parts("strategy")


def test_names_may_be_written_with_a_hyphen_or_an_underscore():
    for option in ("--token-weight", "--token_weight"):
        assert set(module.Named.from_argv([option, "TokenMean"], "grpo").parts) == {"token_weight"}


def test_a_part_of_the_recipe_that_nobody_names_keeps_its_options():
    named = module.Named.from_argv([], "g2rpo-a")
    assert named.needs_guidance and not named.parts and not isinstance(named.recipe.controller, SelfTuning)
    with pytest.raises(ConfigurationError, match="recipe='zzz' must be one that"):
        module.Named.from_argv(["--recipe", "zzz"], "grpo")
