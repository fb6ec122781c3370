"""The registry of models: whatever is done to it, it holds together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kompakt_codec.errors import CheckpointError
from kompakt_service.errors import ServiceError
from kompakt_service.registry import Registry, Version

NAMES = ("a", "b")


def version(name: str, number: int) -> Version:
    digits = f"{number:02x}"
    return Version(
        name=name, fingerprint=digits * 32, sha256=digits[::-1] * 32, path=f"{name}{number}"
    )


def registry() -> Registry:
    first = version("a", 0)
    return Registry(default="a", versions=(first,), promoted={"a": (first.label,)})


CHANGES = st.tuples(
    st.sampled_from(["add", "promote", "roll back", "unload", "unload all"]),
    st.sampled_from(NAMES),
    st.integers(0, 3),
)


def changed(before: Registry, change: str, name: str, number: int) -> Registry:
    one = version(name, number)
    if change == "add":
        return before.with_version(one)
    if change == "roll back":
        return before.rolled_back(name)
    if change == "unload all":
        return before.without_model(name)
    found = before.find(one.reference, "model")
    assert found == one
    return before.with_current(one) if change == "promote" else before.without_version(one)


REFUSALS = {"VERSION_LOADED", "UNKNOWN_MODEL", "NO_EARLIER_VERSION", "MODEL_IN_USE"}


def attempted(before: Registry, *change: object) -> Registry:
    try:
        return changed(before, *change)
    except ServiceError as exc:
        if exc.reason not in REFUSALS:
            raise
        return before


@given(changes=st.lists(CHANGES, max_size=30))
def test_any_changes_leave_it_whole_or_are_refused(changes):
    now = registry()
    for change in changes:
        before = now.model_dump_json()
        after = attempted(now, *change)
        assert now.model_dump_json() == before
        assert after.revision == now.revision + (after != now)
        assert Registry.model_validate_json(after.model_dump_json()) == after
        now = after
        for name in now.promoted:
            current, *_ = now.versions_of(name)
            assert current.label == now.promoted[name][-1]
            assert now.find(name, "model") == current
    assert "a" in now.promoted


def test_a_rollback_undoes_a_promotion():
    first, second = version("a", 0), version("a", 1)
    now = registry().with_version(second)
    assert now.find("a", "model") == first

    assert now.with_current(second).find("a", "model") == second
    assert now.with_current(second).rolled_back("a").find("a", "model") == first
    again = now.with_current(second).with_current(first)
    assert again.rolled_back("a").find("a", "model") == second


@pytest.mark.parametrize("beginning", ["01", "0101", "01" * 32, "01010101-10", "01010101-10101010"])
def test_a_version_answers_to_beginnings_of_its_label_or_fingerprint(beginning):
    now = registry().with_version(version("a", 1))
    assert now.find(f"a@{beginning}", "model") == version("a", 1)


@pytest.mark.parametrize("reference", ["", "@", "a@", "@01", "a@2", "b", "b@01", "a@01010101-2"])
def test_what_means_nothing_is_unknown(reference):
    with pytest.raises(ServiceError) as caught:
        registry().find(reference, "model")
    assert (caught.value.reason, caught.value.field) == ("UNKNOWN_MODEL", "model")


def test_a_beginning_of_several_versions_means_none_of_them():
    now = registry().with_version(version("a", 1))
    with pytest.raises(ServiceError, match="can mean a@00000000-00000000, a@01010101-10101010"):
        now.find("a@0", "model")


def test_another_default_must_be_loaded():
    now = registry().with_version(version("b", 1)).with_default("b")
    assert now.default == "b"
    with pytest.raises(CheckpointError, match="default model 'c' is not among a, b"):
        now.with_default("c")


@pytest.mark.parametrize(
    "broken",
    [
        {"default": "b"},
        {"promoted": {}},
        {"promoted": {"a": []}},
        {"promoted": {"a": ["0"]}},
        {"versions": []},
        {"revision": -1},
        {"surplus": 1},
    ],
)
def test_what_does_not_hold_together_is_refused(broken):
    with pytest.raises(ValueError, match="validation error"):
        Registry.model_validate({**registry().model_dump(), **broken})
