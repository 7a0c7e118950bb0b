from typing import Any

from run_folders import PROMPT, REVEALED, SAMPLED, make_problem, make_record, make_run_of_sums, make_sum

from g2rpo_env.report.reader import normalize_record
from g2rpo_env.report.suspicions import (
    BIT,
    RULES,
    find_common_answers,
    find_suspicions,
    has_steps,
    is_repetitive,
    is_same_answer,
)

SUM = make_problem(12, 34)


def judge(*rows: dict[str, Any], truth: dict[str, str] | None = None) -> list[list[str]]:
    """Return the rules that each record meets."""
    records = [normalize_record("here", row, 1) for row in rows]
    return [[name for name in RULES if bits & BIT[name]] for bits in find_suspicions(records, truth)]


def test_a_right_answer_that_was_shown_is_copied() -> None:
    assert judge(make_sum(SUM, "46", 21)) == [["copied"]]
    assert judge(make_sum(SUM, "46", 9), make_sum(SUM, "45", 9)) == [[], []]


def test_a_right_answer_without_a_step() -> None:
    assert judge(make_sum(SUM, "46", steps=False)) == [["no_steps"]]
    assert judge(make_sum(SUM, "45", steps=False)) == [[]]
    assert has_steps("so #46", "46") and not has_steps(" # 46 .", "46") and has_steps("words", None)


def test_one_answer_to_many_problems() -> None:
    sums = [make_problem(10 + n, 20) for n in range(6)]
    same = [normalize_record("", make_sum(one, "7", group=n), 1) for n, one in enumerate(sums[:4])]
    other = [normalize_record("", make_sum(one, str(n), group=n), 1) for n, one in enumerate(sums)]
    assert find_common_answers([*same, *other]) == {"7"}
    assert find_common_answers([*same[:3], *other]) == set()


def test_a_text_that_repeats_itself() -> None:
    assert is_repetitive([1, 2, 3] * 8) and not is_repetitive(list(range(40))) and not is_repetitive([1] * 10)
    text = make_record([(PROMPT, "p"), (SAMPLED, "abc" * 10)])
    assert judge(text) == [["repeats"]]


def test_members_that_are_alike_but_not_of_another_group() -> None:
    one, two = make_sum(SUM, "45", member=0), make_sum(SUM, "45", member=1)
    assert judge(one, two) == [["identical"], ["identical"]]
    assert judge(one, {**two, "group": 1}) == [[], []]


def test_truncated_and_failed_verifiers() -> None:
    row = make_sum(SUM, "45", truncated=True)
    assert judge({**row, "verdict": {"outcome": "error", "answer": None, "message": "", "score": None}}) == [
        ["truncated", "error"]
    ]


def test_an_answer_that_passed_although_it_is_wrong() -> None:
    row = make_sum(SUM, "46")
    assert judge(row, truth={"12+34": "47"}) == [["lenient"]]
    assert judge(row, truth={"12+34": "46.0"}) == [[]] and judge(row) == [[]]
    assert is_same_answer("1,046", " 1046 ") and is_same_answer("A", "a") and not is_same_answer("A", "b")


def test_rules_have_words_and_bits() -> None:
    assert len(set(BIT.values())) == len(RULES) and all(len(words) == 2 for words in RULES.values())
    records, _ = make_run_of_sums((1,))
    found = judge(*records)
    assert found[12] == ["no_steps"] and found[13] == ["copied"] and found[15] == ["truncated"]
    assert REVEALED in records[13]["roles"]
