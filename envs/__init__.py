"""Tasks: one module or folder per family, each a problem source and a verifier."""

if __name__ != "g2rpo_env.envs":  # a second copy under the name "envs" would have its own classes
    raise ImportError(f"import g2rpo_env.envs, not {__name__}")
