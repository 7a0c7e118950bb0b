"""Experiments: several ways to train one base, compared on the same problems. What the commands and the study share."""
