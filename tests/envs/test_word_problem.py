"""WordProblem: stories by hand, every kind of event, and the number of structures."""

import pytest

from g2rpo_env.envs.word_problem import EVENTS, PEOPLE, THINGS, Story, WordProblemSource, read
from g2rpo_env.errors import ConfigurationError, UnknownProblemError


def test_a_story_by_hand() -> None:
    problem = WordProblemSource().get("Tom Ann pens 5 packs,3,4 get,3 half")
    assert problem.prompt == (
        "Tom has 5 pens. He buys 3 packs of 4. Ann gives him 3. He loses half of them. How many pens does Tom have?\n"
    )
    assert problem.steps == ("He buys 3*4=12.\n", "He has 5+12=17.\n", "He has 17+3=20.\n", "He has 20/2=10.\n")
    assert (problem.final, problem.answer) == ("#### 10", "10")
    assert "Tom gives her 2." in WordProblemSource().get("Eve Tom keys 9 get,2 lose,3").prompt


@pytest.mark.parametrize(
    "event,equations",
    [
        (("buy", (3,)), [("has", "8+3", 11)]),
        (("get", (3,)), [("has", "8+3", 11)]),
        (("find", (3,)), [("has", "8+3", 11)]),
        (("lose", (3,)), [("has", "8-3", 5)]),
        (("give", (3,)), [("has", "8-3", 5)]),
        (("sell", (3,)), [("has", "8-3", 5)]),
        (("packs", (2, 5)), [("buys", "2*5", 10), ("has", "8+10", 18)]),
        (("double", ()), [("has", "8*2", 16)]),
        (("triple", ()), [("has", "8*3", 24)]),
        (("half", ()), [("has", "8/2", 4)]),
    ],
)
def test_every_event_by_hand(event: tuple[str, tuple[int, ...]], equations: list[tuple[str, str, int]]) -> None:
    assert Story("Tom", "Ann", "pens", 8, (event,)).equations() == equations


def test_no_event_leaves_less_than_one_more_than_99_or_a_half() -> None:
    for first, event in ((3, ("lose", (3,))), (34, ("triple", ())), (7, ("half", ())), (95, ("buy", (5,)))):
        assert Story("Tom", "Ann", "pens", first, (event,)).equations() is None


def test_there_are_over_ten_thousand_structures() -> None:
    kinds = len(EVENTS)
    assert kinds**2 + kinds**3 + kinds**4 == 11_100
    source = WordProblemSource()
    assert source.structure("Tom Ann pens 5 packs,3,4 give,2") == "packs give"
    assert len(PEOPLE) == len(THINGS) == 8


def test_all_kinds_of_events_people_and_things_are_drawn() -> None:
    source = WordProblemSource()
    words = {word.split(",")[0] for i in range(400) for word in source.draw(0, i).split() if not word.isdigit()}
    assert words == {*EVENTS, *PEOPLE, *THINGS}


@pytest.mark.parametrize(
    "problem_id",
    [
        "Tom Tom pens 5 buy,3 give,2",
        "Tom Joe pens 5 buy,3 give,2",
        "Tom Ann hats 5 buy,3 give,2",
        "Tom Ann pens 5 buy,3",
        "Tom Ann pens 5 buy,3 give,2 buy,3 give,2 buy,2",
        "Tom Ann pens 5 buy give,2",
        "Tom Ann pens 5 buy,3,4 give,2",
        "Tom Ann pens 5 packs,9,2 give,2",
        "Tom Ann pens 5 steal,3 give,2",
        "Tom Ann pens 3 half give,2",
        "Tom Ann pens 50 buy,3 give,2",
        "Tom  Ann pens 5 buy,3 give,2",
    ],
)
def test_what_cannot_be_told_is_unknown(problem_id: str) -> None:
    assert read(problem_id) is None or len(problem_id.split()) - 4 not in range(2, 5)
    with pytest.raises(UnknownProblemError, match="2 to 4 events"):
        WordProblemSource().get(problem_id)


def test_larger_results() -> None:
    source = WordProblemSource(3, largest=999)
    problems = [source.get(source.draw(0, index)) for index in range(200)]
    assert all(1 <= int(p.answer) <= 999 for p in problems) and any(int(p.answer) > 99 for p in problems)
    budget = max(len(p.solution) for p in source.longest())
    assert all(len(p.solution) <= budget for p in problems)
    assert Story("Tom", "Ann", "pens", 34, (("triple", ()),)).equations(999) == [("has", "34*3", 102)]
    with pytest.raises(UnknownProblemError, match="more than 999"):
        source.get("Tom Ann pens 201 buy,3 buy,3 buy,3")
    for largest in (98, 10_000):
        with pytest.raises(ConfigurationError, match=f"largest={largest}"):
            WordProblemSource(3, largest=largest)
