"""A short real run that can be pushed, and a stand-in for the Hub."""

from pathlib import Path

import gymnasium as gym

import g2rpo_env
from g2rpo_env.agents import CausalLMPolicy, recipes
from g2rpo_env.report.run_folder import RunFolder


def make_run(path, config):
    """Write a run of two updates, with evaluations before and after and a result."""
    envs = gym.make_vec("g2rpo_env/Addition-v0", num_envs=4, group_size=4, digits=1)
    envs = g2rpo_env.VectorGuidanceWrapper(envs, length=4, ratio=0.5)
    agent = recipes.make("g2rpo-a", CausalLMPolicy.tiny(envs, hidden_size=16, layers=1), envs)
    run = RunFolder.create(path, config)
    run.record_evaluation(0, agent.evaluate("validation", 4))
    for _ in range(2):
        run.record(agent.update(), 0.1)
    run.record_evaluation(2, agent.evaluate("validation", 4))
    run.close()
    run.checkpoint(agent, 2)
    run.write_result(2, agent.evaluate("test", 8), sampled_tokens=agent.sampled_tokens)
    (path / "curves.png").write_bytes(b"png")
    return path


class FakeApi:
    """What push uses of HfApi; it keeps what it is given."""

    def __init__(self, fails=None):
        self.repos, self.commits, self.fails = [], {}, fails

    def create_repo(self, repo_id, *, repo_type, private, exist_ok, space_sdk=None):
        assert exist_ok
        self.repos.append((repo_id, repo_type, private, space_sdk))
        return f"https://huggingface.co/{'spaces/' if repo_type == 'space' else ''}{repo_id}"

    def create_commit(self, repo_id, operations, *, commit_message, repo_type):
        if self.fails:
            raise self.fails
        files = {}
        for one in operations:
            content = one.path_or_fileobj
            files[one.path_in_repo] = content if isinstance(content, bytes) else Path(content).read_bytes()
        self.commits[repo_id] = files
