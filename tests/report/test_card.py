"""Model cards: made from a real short run and parsed again; rows from one base; nothing of the machine in them."""

import json
import re
import shutil

import pytest
from huggingface_hub import ModelCard
from pushed import make_run

from g2rpo_env.errors import ConfigurationError, DataError
from g2rpo_env.report.card import code, escape, make_card, read_facts, write_part

VERSIONS = {"python": "3.11", "g2rpo_env": "9.8.7"}
TASK = {"digits": 1, "tokenizer": None, "data": None}


@pytest.fixture(scope="module")
def trained_run(tmp_path_factory):
    """A run as ``train`` leaves it."""
    argv = ["--digits", "1", "--out", "/" + "home/me/runs/a", "--data=~/data/x"]
    options = {"recipe": "g2rpo-a", "env": "g2rpo_env/Addition-v0", "policy": None, "seed": 3, "task": TASK}
    config = {"argv": argv, "options": options, "versions": VERSIONS, "data": {}}
    return make_run(tmp_path_factory.mktemp("runs") / "a", config)


@pytest.fixture
def demo(tmp_path, trained_run):
    """A folder as ``demo`` leaves it: four runs from one base, of which one is another seed's."""
    (tmp_path / "base").mkdir()
    (tmp_path / "base/warm_start.json").write_text('{"steps": 140, "success": 0.0146}')
    for label in ("grpo", "sft", "g2rpo-a", "other"):
        shutil.copytree(trained_run, tmp_path / label)
        config = {
            "algorithm": label, "seed": 9 if label == "other" else 0, "base": str(tmp_path / "base"),
            "env": "g2rpo_env/Addition-v0", "task": TASK, "guidance": {"length": 4.0}, "versions": VERSIONS,
            "arm": {"guided": label != "grpo"},
        }  # fmt: skip
        (tmp_path / label / "config.json").write_text(json.dumps(config))
    numbers = {"accuracy": 0.0625, "interval": [0.01, 0.25], "split": "test", "mode": "greedy", "problems": 8}
    (tmp_path / "summary.json").write_text(json.dumps({"base": numbers}))
    return tmp_path


def table(text, heading):
    """Return the rows of the first table below a heading, as lists of cells."""
    lines = text.split(f"## {heading}\n")[1].split("\n## ")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return rows[2:]


def test_a_card_of_a_real_run_is_parsed_again(trained_run):
    card = ModelCard(str(make_card(trained_run, "me/sums")))
    result = json.loads((trained_run / "result.json").read_text())
    data = card.data.to_dict()
    assert (data["license"], data["pipeline_tag"], data["library_name"]) == ("mit", "text-generation", "transformers")
    assert "base_model" not in data and "g2rpo-env" in data["tags"]
    (one,) = card.data.eval_results
    assert (one.dataset_type, one.dataset_split, one.metric_type) == ("g2rpo_env/Addition-v0", "test", "accuracy")
    assert one.metric_value == result["accuracy"]
    text = card.text
    assert [row[:3] for row in table(text, "Accuracy")] == [
        ["base", "validation", "4"],
        ["g2rpo-a (this model)", "validation", "4"],
        ["g2rpo-a (this model)", "test", "8"],
    ]
    low, high = result["interval"]
    assert table(text, "Accuracy")[-1][4:] == [
        f"{result['accuracy']:.3f}", f"{low:.3f} to {high:.3f}", f"{result['sampled_tokens']:,}"
    ]  # fmt: skip
    assert dict(table(text, "Recipe"))["loss"] == "`ClippedSurrogate(clip_low=0.2, clip_high=0.2)`"
    for sentence in (
        "Trained on generated problems of g2rpo_env/Addition-v0; not a general model.",
        "There is no supervised row from the same base",
        "a tiny model with random weights",
        "| seed | 3 |",
        'from_pretrained("me/sums")',
        "g2rpo_env 9.8.7",
        "(curves.png)",
    ):
        assert sentence in text


def test_a_card_names_no_path_of_the_machine(trained_run):
    text = str(make_card(trained_run, "me/sums"))
    assert "g2rpo-env train --digits 1 --out a --data=x" in text
    assert "/" + "home" not in text and "~/" not in text and str(trained_run) not in text


def test_a_card_of_a_demo_has_all_rows_of_one_base_and_the_supervised_one_above_all(demo):
    text = make_card(demo / "g2rpo-a", "me/sums").text
    rows = table(text, "Accuracy")
    assert [row[0] for row in rows] == ["base", "grpo", "sft", "g2rpo-a (this model)", "g2rpo-a (this model)"]
    assert rows[0][1:6] == ["test", "8", "greedy", "0.062", "0.010 to 0.250"]
    assert "All rows start from one base." in text and "what it reaches is imitation" in text
    assert "guidance in training" in text
    assert "guidance in training" not in make_card(demo / "grpo", "me/sums").text
    assert "no supervised row" not in text and str(demo) not in text
    assert "supervised warm start on worked solutions: 140 steps, sampled success 1.46%" in text
    (demo / "sft/result.json").unlink()
    with pytest.raises(ConfigurationError, match=r"the supervised run beside it, sft, must have a result.json"):
        make_card(demo / "g2rpo-a", "me/sums")
    (demo / "grpo/result.json").unlink()
    assert "grpo" not in [row.label for row in read_facts(demo / "sft").rows]


def test_a_folder_that_was_moved_still_finds_its_base(demo):
    path = demo / "g2rpo-a/config.json"
    path.write_text(path.read_text().replace(str(demo / "base"), "runs/base"))
    facts = read_facts(demo / "g2rpo-a")
    assert facts.base is None and facts.warm_start["steps"] == 140
    shutil.rmtree(demo / "base")
    assert read_facts(demo / "g2rpo-a").base == "runs/base"


def test_the_base_of_a_comparison_is_in_its_results(demo):
    (demo / "summary.json").unlink()
    (demo / "seed-0").mkdir()
    for label in ("base", "sft", "g2rpo-a"):
        shutil.move(demo / label, demo / "seed-0" / label)
    for label in ("sft", "g2rpo-a"):
        path = demo / "seed-0" / label / "config.json"
        path.write_text(path.read_text().replace(f"{demo}/base", f"{demo}/seed-0/base"))
    numbers = {"accuracy": 0.5, "interval": [0.25, 0.75], "split": "test", "mode": "greedy", "problems": 8}
    records = [{"algorithm": "base", "seed": seed, **numbers, "accuracy": 0.5 + seed / 10} for seed in (1, 0)]
    (demo / "results.json").write_text(json.dumps(records))
    facts = read_facts(demo / "seed-0/g2rpo-a")
    assert [row.label for row in facts.rows][:2] == ["base", "sft"] and facts.rows[0].evaluation["accuracy"] == 0.5
    assert facts.base is None  # a tiny one that the library made
    (demo / "results.json").write_text("[")
    with pytest.raises(DataError, match=r"results.json is damaged"):
        read_facts(demo / "seed-0/g2rpo-a")


@pytest.mark.parametrize(
    ("base", "named", "shown"), [("org/Some-1B", "org/Some-1B", "org/Some-1B"), ("/" + "home/me/model", None, "model")]
)
def test_a_base_of_somebody_else_keeps_its_licence(trained_run, tmp_path, base, named, shown):
    shutil.copytree(trained_run, tmp_path / "a")
    config = json.loads((tmp_path / "a/config.json").read_text())
    config["options"]["policy"] = base
    (tmp_path / "a/config.json").write_text(json.dumps(config))
    card = make_card(tmp_path / "a", "me/sums")
    assert card.data.to_dict().get("base_model") == named
    assert (card.data.license, card.data.license_name) == ("other", "that-of-the-base-model")
    assert f"The licence is that of the base model, `{shown}`." in card.text
    assert make_card(tmp_path / "a", "me/sums", "apache-2.0").data.license == "apache-2.0"


def test_hostile_facts_stay_text(trained_run, tmp_path):
    shutil.copytree(trained_run, tmp_path / "a")
    config = json.loads((tmp_path / "a/config.json").read_text())
    hostile = "a|b<script>\n---\n# x `c` {{ 123*321 }} [l](javascript:x)"
    config["options"] |= {"recipe": hostile, "env": hostile, "task": {"x": hostile, "data": hostile}}
    config["argv"] = ["--env", hostile + "\n```\n"]
    (tmp_path / "a/config.json").write_text(json.dumps(config))
    card = ModelCard(str(make_card(tmp_path / "a", "me/sums")))
    assert card.data.eval_results[0].dataset_type == hostile
    bare = re.sub(r"`[^`]*`", "", re.sub(r"```.*?```", "", card.text, flags=re.DOTALL))
    assert "{{ 123*321 }}" in card.text and "39483" not in card.text and "<script>" not in bare
    assert all(len(row) == 7 for row in table(card.text, "Accuracy"))


@pytest.mark.parametrize("what", ["nothing", "model", "several"])
def test_what_is_no_run_is_one_message(tmp_path, demo, what):
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_text('{"model_type": "qwen3"}')
    path = {"nothing": tmp_path / "none", "model": tmp_path / "model", "several": demo}[what]
    with pytest.raises(ConfigurationError) as error:
        make_card(path, "me/sums")
    assert str(error.value).startswith(f"run={str(path)!r} must be a run folder")
    assert what != "several" or "it holds g2rpo-a, grpo, other, sft: name one of them" in str(error.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [("config.json", "{"), ("result.json", "[1]"), ("result.json", '{"accuracy": "x", "interval": [0, 1]}')],
)
def test_damaged_files_are_named(trained_run, tmp_path, name, content):
    shutil.copytree(trained_run, tmp_path / "a")
    (tmp_path / "a" / name).write_text(content)
    with pytest.raises(DataError, match=name):
        make_card(tmp_path / "a", "me/sums")


def test_a_run_that_measured_nothing_says_so(trained_run, tmp_path):
    shutil.copytree(trained_run, tmp_path / "a")
    for name in ("evaluations.jsonl", "result.json", "curves.png"):
        (tmp_path / "a" / name).unlink()
    card = make_card(tmp_path / "a", "me/sums")
    assert "Nothing was measured in this run." in card.text and card.data.eval_results is None
    assert "curves.png" not in card.text


def test_an_agent_of_stages_has_the_parts_of_each_and_one_that_is_no_recipe_none(trained_run, tmp_path):
    shutil.copytree(trained_run, tmp_path / "a")
    path = tmp_path / "a/checkpoints/000002/agent.json"
    recipe = json.loads(path.read_text())["recipe"]
    stages = path.with_name("stages.json")
    stages.write_text(json.dumps({"stages": [{"recipe": recipe, "updates": 1}] * 2}))
    parts = dict(table(make_card(tmp_path / "a", "me/sums").text, "Recipe"))
    assert parts["stage 0, loss"] == parts["stage 1, loss"] == "`ClippedSurrogate(clip_low=0.2, clip_high=0.2)`"
    stages.unlink()
    path.unlink()
    assert "The agent is no recipe of parts." in make_card(tmp_path / "a", "me/sums").text


def test_texts_mean_nothing_to_markdown():
    assert escape("a|b\n[c](d)<e>") == "a&#124;b &#91;c&#93;(d)&#60;e&#62;"
    assert code("a|b`c\nd") == "`a\\|b'c d`"
    nested = {"class": "PerProblem", "options": {"rule": {"class": "Rule", "options": {"x": 1}}, "y": None}}
    assert write_part(nested) == "PerProblem(rule=Rule(x=1))"
