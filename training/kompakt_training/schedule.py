"""The learning rate over a run."""

import math

_WARM_UP = 0.1
_START_FRACTION = 1 / 25


def one_cycle(step: int, num_steps: int, peak: float) -> float:
    """Learning rate of ``step``: up to ``peak`` over the first tenth, then down to 0.

    Both ways along a cosine (Smith & Topin 2019, "Super-Convergence"), from peak / 25 on.
    """
    warm_up = max(1, round(_WARM_UP * num_steps))
    if step < warm_up:
        rise = (1 - math.cos(math.pi * step / warm_up)) / 2
        return peak * (_START_FRACTION + (1 - _START_FRACTION) * rise)
    return peak * (1 + math.cos(math.pi * (step - warm_up) / (num_steps - warm_up + 1))) / 2
