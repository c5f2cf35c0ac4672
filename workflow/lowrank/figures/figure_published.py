"""Published configurations: drawn as methods at equal budgets are, with the published numbers."""

from lowrank.figures.figure_methods import render

__all__ = ["render"]
