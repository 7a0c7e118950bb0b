"""The study: claims of the paper, each tried end to end by one command, ``g2rpo-env study NAME``."""
