"""Which forms are one template: words with a placeholder, words that vary in a frame; codes and causes stay apart."""

from __future__ import annotations

import pytest

from opintel.fts.templates.merging import Merges, common_text, form_id, skeleton
from opintel.fts.texts.masking import mask


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("synchronized to <HOST>, stratum <NUM>", "synchronized to LOCAL(<NUM>), stratum <NUM>"),
        ("Block rdd_<NUM> stored", "Block broadcast_<NUM>_piece0 stored"),
        ("data source <NUM> <HOST> <PATH>", "data source <NUM>"),
        ("flags=<HEX>, vis=<NUM>", "flags=<NUM>, vis=<HEX>"),
        ("error on tree a-0T00:<NUM>", "error on tree b-1N02:<NUM>"),
    ],
)
def test_words_with_a_placeholder_are_alike(one: str, other: str) -> None:
    assert form_id(one) == form_id(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("totalSteps=<NUM>", "totalCalories=<NUM>"),
        ("<HOST>:refused", "<HOST>:forbidden"),
        ("got 507-<HOST>", "got 429-<HOST>"),
        ("error 507 at <HOST>", "error 429 at <HOST>"),
        ("no route to <HOST>", "no answer from <HOST>"),
    ],
)
def test_what_tells_a_cause_keeps_forms_apart(one: str, other: str) -> None:
    assert form_id(one) != form_id(other)


def merged(*forms: str) -> list[set[str]]:
    merges = Merges()
    ids = {form_id(form): form for form in forms}
    for id, form in ids.items():
        merges.add(id, form)
    return [{ids[member] for member in merges.members(root)} for root in ids if merges.root(root) == root]


def test_two_variables_of_a_form_merge_one_after_the_other() -> None:
    forms = [f"link x{a} of eth{b} is down" for a in range(3) for b in range(3)]
    assert merged(*forms) == [set(forms)]
    assert merged(*forms[:2]) == [{forms[0]}, {forms[1]}]
    assert common_text(forms) == "link <*> of <*> is down"


def test_a_variable_in_several_places_of_a_grid_needs_no_full_grid() -> None:
    """Each row of the grid shows its variable; the columns follow from what the rows have become."""
    forms = [
        f"link x{a} of eth{b} is down"
        for a, b in ((0, 0), (0, 1), (0, 2), (1, 3), (1, 4), (1, 5), (2, 6), (2, 7), (2, 8))
    ]
    assert merged(*forms) == [set(forms)]


def test_few_words_of_letters_are_causes_many_are_names() -> None:
    causes = [f"the pool said that {word} is over" for word in ("space", "time", "quota", "lease")]
    assert len(merged(*causes)) == 4
    names = [f"the pool said that {letter * 3} is over" for letter in "abcdefghij"]
    assert merged(*names) == [set(names)]
    assert len(merged(*(f"no {letter * 3}" for letter in "abcdefghijkl"))) == 12


def test_a_skeleton_is_the_same_for_the_form_of_a_form() -> None:
    form = mask("Error 451 at se1.example.org:2811, args: /a/b /c/d 12345 user=jdoe (10.1.2.3) 7 s")
    assert skeleton(mask(form)) == skeleton(form)
    assert skeleton("nothing here") == "nothing here"
