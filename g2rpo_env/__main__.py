"""``python -m g2rpo_env``, the same as the command ``g2rpo-env``."""

from g2rpo_env.cli.app import main

if __name__ == "__main__":
    raise SystemExit(main())
