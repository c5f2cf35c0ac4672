"""Pinned inputs: sources, models, weights, questions and the choice among them."""
