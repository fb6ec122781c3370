"""The figures that a run is judged by, from its blocks."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.plan import DIRECTIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """The median, over a block's repeats, of what two neighbouring samples are to each other."""

    block: str
    above: str
    below: str | None = None
    """None: the sample itself."""
    of: str = "images_per_second"
    is_cost: bool = False
    """What is lost, as a part: one less the ratio."""
    goal: str = ""

    def value(self, block: Mapping[str, list[Mapping[str, Any]]]) -> float | None:
        """From one direction of the block; None if it lacks a sample."""
        if self.above not in block or (self.below is not None and self.below not in block):
            return None
        values = [sample[self.of] for sample in block[self.above]]
        if self.below:
            below = [sample[self.of] for sample in block[self.below]]
            values = [a / b for a, b in zip(values, below, strict=True)]
        ratio = float(statistics.median(values))
        return 1 - ratio if self.is_cost else ratio


RATIOS = {
    "unary64_vs_empty": Ratio(block="service", above="unary64", below="empty64", goal=">= 0.8"),
    "unary64_vs_pytriton": Ratio(block="pytriton", above="unary64", below="peer64", goal=">= 1.5"),
    "unary64_vs_mosec": Ratio(block="mosec", above="unary64", below="peer64", goal=">= 0.9"),
    "unary64_vs_litserve": Ratio(block="litserve", above="unary64", below="peer64"),
    "unary64_vs_ray": Ratio(block="ray", above="unary64", below="peer64"),
    "alone_p50_vs_empty": Ratio(
        block="service", above="unary1", below="empty1", of="p50_ms", goal="<= 2"
    ),
    "batch64_vs_bare": Ratio(block="service", above="batch64", below="bare", goal=">= 0.7"),
    "stream_vs_bare": Ratio(block="service", above="stream64", below="bare", goal=">= 0.5"),
    "bare_images_per_s": Ratio(block="service", above="bare", goal=">= 25000"),
    "bare_vs_compressai": Ratio(block="compressai", above="bare", below="compressai", goal=">= 20"),
    "bare_vs_compressai_alone": Ratio(block="compressai", above="bare", below="compressai1"),
    "workers2_vs_1": Ratio(block="workers", above="workers2", below="workers1", goal=">= 1.7"),
    "metrics_cost": Ratio(
        block="metrics", above="observed", below="unobserved", is_cost=True, goal="< 0.03"
    ),
}
OVERLOAD = "overload_goodput"
GOALS = {**{name: ratio.goal for name, ratio in RATIOS.items()}, OVERLOAD: ">= 0.9"}


def summarise(
    blocks: Mapping[str, Any], overload: Mapping[str, Any] | None, why: Mapping[str, str]
) -> dict[str, Any]:
    """Every ratio of Compress, the same of Decompress below, and why any is null."""
    summary: dict[str, Any] = {}
    for direction in DIRECTIONS:
        summary[direction] = {
            name: ratio.value(blocks.get(ratio.block, {}).get(direction, {}))
            for name, ratio in RATIOS.items()
        }
        summary[direction][OVERLOAD] = overload[direction]["goodput"] if overload else None
    first, second = (summary[direction] for direction in DIRECTIONS)
    block_of = {**{name: ratio.block for name, ratio in RATIOS.items()}, OVERLOAD: "overload"}
    reasons = {
        name: why.get(block_of[name], "not asked for")
        for name, value in first.items()
        if value is None
    }
    return {**first, "why": reasons, DIRECTIONS[1]: second}
