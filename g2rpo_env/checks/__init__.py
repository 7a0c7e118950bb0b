"""The admission test of environments: the contract, executed.

:func:`check_env` and :func:`check_vector_env` play short episodes on copies and raise at the first broken rule, with a
message that says what is wrong and what to fix. Every id of this library passes; run them on a task, a source, a
verifier or an environment of your own before you train on it.
"""

from g2rpo_env.checks.lanes import check_vector_env
from g2rpo_env.checks.problems import check_task
from g2rpo_env.checks.single import check_env

__all__ = ["check_env", "check_task", "check_vector_env"]
