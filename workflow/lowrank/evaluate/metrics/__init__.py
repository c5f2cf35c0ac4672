"""Scores that lm-eval does not have."""
