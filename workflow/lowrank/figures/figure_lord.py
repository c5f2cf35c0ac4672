"""Ranks cut by LoRD: drawn as methods at equal budgets are, however bad a model is."""

from functools import partial

from lowrank.figures.figure_methods import render as render_methods

render = partial(render_methods, shows_ruins=True)
