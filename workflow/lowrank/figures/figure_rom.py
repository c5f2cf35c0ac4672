"""Reduced order modelling: drawn as methods at equal budgets are."""

from lowrank.figures.figure_methods import render

__all__ = ["render"]
