"""Every operator by its name in `config/claims.yaml`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pandas as pd

from lowrank.claims.cost_operators import (
    efficiency_change,
    efficiency_slope,
    linearity,
    measurement,
    spread_over_workloads,
)
from lowrank.claims.estimate import Estimate, NotTestable
from lowrank.claims.evidence import Evidence
from lowrank.claims.score_operators import (
    above_lowest,
    change_of_trend,
    contrast,
    largest_contrast,
    largest_cut,
    loss,
    loss_above_smallest,
    loss_beyond_contrast,
    mean_absolute_contrast,
    perplexity_increase,
    smallest_contrast,
)


def design_space_exponent(evidence: Evidence, model: str) -> Estimate:
    """Exponent of the design space's size, as counted, less the one that the thesis prints."""
    if evidence.design_space is None:
        raise NotTestable("Table 3.1 is not part of these results")
    table = pd.read_csv(evidence.design_space).set_index("model")
    row = table.loc[model]
    difference = float(row["scale_exponent"] - row["thesis_scale_exponent"])
    return Estimate.exact(difference, str(evidence.design_space))


OPERATORS: Mapping[str, Callable[..., Estimate]] = {
    operator.__name__: operator
    for operator in (
        loss,
        contrast,
        change_of_trend,
        smallest_contrast,
        largest_contrast,
        mean_absolute_contrast,
        loss_beyond_contrast,
        above_lowest,
        loss_above_smallest,
        perplexity_increase,
        largest_cut,
        efficiency_slope,
        efficiency_change,
        measurement,
        linearity,
        spread_over_workloads,
        design_space_exponent,
    )
}
"""Every operator by its name in `config/claims.yaml`."""
