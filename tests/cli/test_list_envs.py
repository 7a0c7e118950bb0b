"""list: every id with every option of its task."""

import dataclasses

from g2rpo_env import env_ids
from g2rpo_env.cli.options import task_options


def test_every_id_and_every_option_is_listed(command):
    status, text, _ = command("list")
    assert status == 0
    for env_id in env_ids():
        assert env_id in text
        for field in dataclasses.fields(task_options(env_id)):
            assert f"--{field.name.replace('_', '-')}" in text
