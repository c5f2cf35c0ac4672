"""Render Figure 3.5 for one model."""

from lowrank.base import cli
from lowrank.figures.figure_3_5 import render

if __name__ == "__main__":
    cli.run(lambda: cli.render_figure(__doc__, render))
