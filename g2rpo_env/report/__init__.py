"""Reports: the folder, the plots and the tables of a training run, and pages and texts that show its tokens."""

from g2rpo_env.report.token_view import TokenView, tokens

__all__ = ["TokenView", "tokens"]
