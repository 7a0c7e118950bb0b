"""complete: the prompt and what the policy makes of it."""

from g2rpo_env.agents import CausalLMPolicy
from g2rpo_env.report.run_folder import RunFolder


def test_the_completion_is_the_policys(command, trained):
    policy = CausalLMPolicy.from_pretrained(RunFolder(trained).checkpoints()[-1])
    status, text, _ = command("complete", trained, "1+2=", "--max-new-tokens", 6)
    assert status == 0
    assert text == "1+2=" + policy.complete("1+2=", 6) + "\n"


def test_samples_depend_on_the_seed(command, trained):
    texts = {command("complete", trained, "1+2=", "--sample", "--seed", seed)[1] for seed in range(5)}
    assert len(texts) > 1


def test_rules_of_the_arguments(command, trained):
    assert "max_new_tokens=0" in command("complete", trained, "1+2=", "--max-new-tokens", 0)[2]
    assert "seed=-1 must be at least 0" in command("complete", trained, "1+2=", "--sample", "--seed", -1)[2]
    assert "prompt must not be empty" in command("complete", trained, "")[2]
