"""The Hub, against a stand-in: what is uploaded, what never is, and what bad input is told."""

import pytest
from huggingface_hub import ModelCard
from pushed import FakeApi, make_run
from transformers import AutoModelForCausalLM, AutoTokenizer

from g2rpo_env.errors import ConfigurationError, StorageError
from g2rpo_env.report.hub import check_repo, list_policy, push


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short real run."""
    options = {"recipe": "g2rpo-a", "env": "g2rpo_env/Addition-v0", "policy": None, "seed": 0, "task": {"digits": 1}}
    return make_run(tmp_path_factory.mktemp("runs") / "a", {"argv": [], "options": options, "versions": {}})


def test_policy_card_and_metrics_go_up_in_one_commit(run, tmp_path):
    api = FakeApi()
    assert push(run, "me/sums", private=True, api=api) == ["https://huggingface.co/me/sums"]
    assert api.repos == [("me/sums", "model", True, None)]
    files = api.commits["me/sums"]
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json", "metrics.jsonl", "result.json"} <= set(
        files
    )
    assert not [name for name in files if name.endswith((".pt", ".bin", ".pkl")) or name == "agent.json"]
    assert ModelCard(files["README.md"].decode()).data.eval_results[0].metric_type == "accuracy"
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    assert AutoModelForCausalLM.from_pretrained(tmp_path).num_parameters() > 0
    assert AutoTokenizer.from_pretrained(tmp_path).decode([2])


def test_the_page_of_the_run_becomes_a_static_space(run):
    api = FakeApi()
    urls = push(run, "me/sums", report=True, api=api)
    assert urls[1] == "https://huggingface.co/spaces/me/sums-report"
    assert api.repos[1] == ("me/sums-report", "space", False, "static")
    space = api.commits["me/sums-report"]
    assert b"Content-Security-Policy" in space["index.html"] and b"sdk: static" in space["README.md"]


@pytest.mark.parametrize("repo", ["sums", "a/b/c", "me/su ms", "me/..", "me/a--b", "/sums", "me/", "me/x.git", ""])
def test_a_bad_name_is_one_message(run, repo):
    with pytest.raises(ConfigurationError, match=r"^repo='.*' must be user/name"):
        push(run, repo, api=FakeApi())
    check_repo("me/sums_1.0")


def test_a_run_without_a_checkpoint_and_one_without_weights(run, tmp_path):
    import shutil

    shutil.copytree(run, tmp_path / "a")
    (tmp_path / "a/checkpoints/000002/model.safetensors").unlink()
    with pytest.raises(ConfigurationError, match=r"checkpoint, 000002, must hold config.json and \*.safetensors"):
        push(tmp_path / "a", "me/sums", api=FakeApi())
    shutil.rmtree(tmp_path / "a/checkpoints")
    with pytest.raises(ConfigurationError, match="must have a checkpoint, and has none yet"):
        push(tmp_path / "a", "me/sums", api=FakeApi())
    with pytest.raises(ConfigurationError, match="must be a run folder"):
        push(tmp_path / "none", "me/sums", api=FakeApi())


@pytest.mark.parametrize("error", [OSError("offline"), ValueError("Token is required"), RuntimeError("403\nForbidden")])
def test_a_refusal_of_the_hub_is_one_line(run, error):
    with pytest.raises(StorageError) as caught:
        push(run, "me/sums", api=FakeApi(fails=error))
    text = str(caught.value)
    assert "repo='me/sums' could not be uploaded" in text and "\n" not in text and str(error).split()[0] in text


def test_an_adapter_is_added_to_its_model(run, tmp_path):
    pytest.importorskip("peft", reason="peft is not installed")
    import shutil

    from g2rpo_env.agents import CausalLMPolicy

    policy = CausalLMPolicy.from_pretrained(run / "checkpoints/000002").add_lora(2)
    shutil.copytree(run, tmp_path / "a", ignore=shutil.ignore_patterns("checkpoints"))
    policy.save_pretrained(tmp_path / "a/checkpoints/000003")
    files = list_policy(tmp_path / "a", tmp_path / "scratch")
    assert "model.safetensors" in files and "adapter_config.json" not in files and "tokenizer.json" in files


def test_links_out_of_the_run_are_not_uploaded(run, tmp_path):
    import shutil

    shutil.copytree(run, tmp_path / "a")
    secret = tmp_path / "secret.json"
    secret.write_text("{}")
    (tmp_path / "a/checkpoints/000002/tokenizer_leak.json").symlink_to(secret)
    api = FakeApi()
    push(tmp_path / "a", "me/sums", api=api)
    assert "tokenizer_leak.json" not in api.commits["me/sums"]
