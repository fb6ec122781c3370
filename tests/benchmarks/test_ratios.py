import pytest

from benchmarks.ratios import GOALS, summarise


def samples(*rates: float) -> list[dict[str, float]]:
    return [{"images_per_second": rate, "p50_ms": 1000 / rate} for rate in rates]


def test_a_ratio_is_the_median_of_those_within_a_repeat():
    # the machine halves its speed in the second repeat, for both
    names = {"unary64": samples(80, 40, 90), "empty64": samples(100, 50, 100)}
    summary = summarise({"service": {"compress": names, "decompress": {}}}, None, {})
    assert summary["unary64_vs_empty"] == pytest.approx(0.8)


def test_a_cost_is_what_is_lost():
    names = {"observed": samples(97), "unobserved": samples(100)}
    summary = summarise({"metrics": {"compress": names, "decompress": names}}, None, {})
    assert summary["metrics_cost"] == pytest.approx(0.03)
    assert summary["decompress"]["metrics_cost"] == pytest.approx(0.03)


def test_what_is_missing_is_null_with_a_reason():
    summary = summarise({}, None, {"mosec": "it ended"})
    assert all(summary[name] is None and summary["decompress"][name] is None for name in GOALS)
    assert summary["why"]["unary64_vs_mosec"] == "it ended"
    assert summary["why"]["overload_goodput"] == "not asked for"
