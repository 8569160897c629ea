"""Whatever is watched is never learnt from: not now, not in a neighbour, not when a model is trained on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_lungseg.training.split import GAP_MM, SliceRef, Split, make_split


def case(name: str, indices: list[int], step_mm: float | None = 2.5, patient: str | None = None) -> list[SliceRef]:
    return [SliceRef(name, patient or name, index, None if step_mm is None else index * step_mm) for index in indices]


def sides(split: Split, places: list[SliceRef]) -> dict[str | None, list[SliceRef]]:
    found: dict[str | None, list[SliceRef]] = {"train": [], "validation": [], None: []}
    for place in places:
        found[split.part(place)].append(place)
    return found


@pytest.mark.parametrize("seed", range(6))
def test_patients_are_whole_on_one_side_where_there_are_several(seed: int) -> None:
    places = [place for n in range(8) for place in case(f"c{n}", [0, 1, 2], patient=f"p{n // 2}")]
    found = sides(make_split(places, 0.25, seed), places)
    assert not found[None]
    assert not {p.patient for p in found["train"]} & {p.patient for p in found["validation"]}
    assert len({p.patient for p in found["validation"]}) == 1


def test_of_one_case_a_block_of_neighbours_is_put_aside_with_a_gap() -> None:
    places = case("a", list(range(0, 100, 4)))
    split = make_split(places, 0.2, 0)
    found = sides(split, places)
    watched = [place.index for place in found["validation"]]
    assert len(watched) == 5
    assert watched == list(range(watched[0], watched[-1] + 1, 4)), "neighbours, not scattered"
    nearest = min(abs(one.height_mm - other.height_mm) for one in found["train"] for other in found["validation"])
    assert nearest > GAP_MM
    assert "5 for validation" in split.why


def test_a_case_that_would_take_most_slices_away_is_split_within() -> None:
    places = [*case("a", list(range(0, 60, 6))), *case("b", list(range(0, 60, 6)))]
    found = sides(make_split(places, 0.2, 0), places)
    assert {p.case for p in found["train"]} == {"a", "b"}
    assert {p.case for p in found["validation"]} in ({"a"}, {"b"})
    assert len(found["train"]) >= 13


@pytest.mark.parametrize("indices", [[3], [3, 9], [10, 11, 12]])
def test_where_no_split_is_possible_it_says_why_and_learns_from_all(indices: list[int]) -> None:
    places = case("a", indices, 1.0)
    split = make_split(places, 0.2, 0)
    assert sides(split, places)["train"] == places
    assert split.why.startswith("No slices can be put aside, as ")
    assert split.why.endswith((" Annotate more slices.", " Annotate some slices farther away."))


def test_slices_far_apart_are_watched_all_over_the_case() -> None:
    places = case("a", list(range(0, 100, 10)))
    found = sides(make_split(places, 0.3, 0), places)
    assert [place.index for place in found["validation"]] == [10, 40, 80]
    assert not found[None], "nothing lies too near"


def test_three_slices_far_apart_are_enough() -> None:
    places = case("a", [0, 30, 60])
    found = sides(make_split(places, 0.2, 0), places)
    assert (len(found["train"]), len(found["validation"])) == (2, 1)


def test_what_is_between_is_left_out_where_no_heights_are_known() -> None:
    places = case("a", list(range(20)), None)
    found = sides(make_split(places, 0.2, 0), places)
    assert found[None]
    assert min(abs(one.index - other.index) for one in found["train"] for other in found["validation"]) > 2


def test_retraining_keeps_the_split_and_new_slices_join_their_side() -> None:
    places = case("a", list(range(0, 60, 2)), 2.0)
    first = make_split(places, 0.2, 0).having_learnt(places)
    ((start, stop), *_) = first.blocks["a"]
    more = [*places, *case("a", [start + 1, stop + 1, 201], 2.0)]
    again = make_split(more, 0.2, 99, first)
    for place in places:
        assert again.part(place) == first.part(place)
    assert [again.part(place) for place in more[-3:]] == ["validation", None, "train"]


def test_slices_that_were_learnt_from_are_never_watched_later() -> None:
    two = case("a", [0, 1], 5.0)
    first = make_split(two, 0.2, 0).having_learnt(two)
    assert first.learnt == {"a": (0, 1)}
    more = [*two, *case("a", [20, 40, 60], 5.0)]
    found = sides(make_split(more, 0.2, 0, first), more)
    assert found["validation"]
    assert not set(two) & set(found["validation"])
    learnt = more
    second = make_split(learnt, 0.0, 0).having_learnt(learnt)
    nothing = make_split(learnt, 0.2, 0, second)
    assert not sides(nothing, learnt)["validation"]
    assert "has learnt from these slices" in nothing.why


def test_single_slices_that_were_all_learnt_from_are_not_called_too_few() -> None:
    places = [place for n in range(4) for place in case(f"c{n}", [0])]
    learnt = make_split(places, 0.0, 0).having_learnt(places)
    assert "has learnt from these patients" in make_split(places, 0.2, 0, learnt).why


def test_all_annotated_slices_are_counted_where_they_are_too_few() -> None:
    places = [*case("a", [0]), *case("b", [0])]
    assert "only 2 annotated slices" in make_split(places, 0.2, 0).why


def test_data_sets_whose_base_has_learnt_all_patients_get_new_ones_to_watch() -> None:
    old = [*case("a", [0, 9]), *case("b", [0, 9]), *case("c", [0, 9]), *case("d", [0, 9])]
    first = make_split(old, 0.25, 3).having_learnt(old)
    more = [*old, *case("e", [0, 9]), *case("f", [0, 9]), *case("g", [0, 9]), *case("h", [0, 9])]
    again = make_split(more, 0.25, 4, first)
    for place in old:
        assert again.part(place) == first.part(place)
    assert sum(side == "validation" for side in again.patients.values()) == 2


@given(
    st.lists(st.lists(st.integers(0, 200), min_size=1, max_size=12, unique=True), min_size=1, max_size=7),
    st.floats(0.05, 0.5),
    st.integers(0, 5),
    st.lists(st.lists(st.integers(0, 200), max_size=6, unique=True), max_size=9),
)
def test_nothing_leaks_through_any_two_trainings(cases, share, seed, later) -> None:
    places = [place for n, indices in enumerate(cases) for place in case(f"c{n}", sorted(indices))]
    first = make_split(places, share, seed).having_learnt(places)
    more = list(dict.fromkeys([*places, *(place for n, indices in enumerate(later) for place in case(f"c{n}", sorted(indices)))]))
    second = make_split(more, share, seed + 1, first)
    one, other = sides(first, places), sides(second, more)
    assert one["train"], "something is always left to learn from"
    for learnt in (one["train"], other["train"]):
        for watched in (one["validation"], other["validation"]):
            assert not set(learnt) & set(watched)
    for found in (one, other):
        near = [abs(a.height_mm - b.height_mm) for a in found["train"] for b in found["validation"] if a.case == b.case]
        assert all(distance > GAP_MM - 2.5 for distance in near)
