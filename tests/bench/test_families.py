"""bench families: the table says what is measured, and the docs have a row for every family."""

import re
from pathlib import Path

import pytest

from g2rpo_env.agents.policy.probe import Stepping
from g2rpo_env.bench import benchmarks
from g2rpo_env.bench.families import (
    FAMILIES,
    FamilyRow,
    format_difference,
    has_several_ends,
    make_table,
    measure_family,
)

DOCS = Path(__file__).parents[2] / "docs" / "agents.md"


@pytest.mark.parametrize(
    ("name", "own", "stepping"),
    [
        ("Qwen3", True, Stepping.SHARED),
        ("BLOOM", False, Stepping.SHARED),
        ("GPT-Neo", False, Stepping.LEVEL),
        ("OpenAI GPT", False, Stepping.WHOLE),
        ("LLaVA", False, Stepping.SHARED),
    ],
)
def test_differences_are_rounding_on_every_path(name: str, own: bool, stepping: Stepping) -> None:
    row = measure_family(name)
    assert row.refused == ""
    assert (row.own is not None, row.stepping) == (own, stepping)
    assert row.other is not None and row.lora is not None
    assert max(row.own or 0.0, row.other, row.lora) < 1e-4


@pytest.mark.parametrize(
    ("name", "words"),
    [("BERT", "more tokens follow"), ("Phi-3, longrope across", "more tokens follow"), ("T5", "alone")],
)
def test_families_that_cannot_be_are_refused(name: str, words: str) -> None:
    row = measure_family(name)
    assert words in row.refused
    assert row == FamilyRow(name, refused=row.refused)


def test_a_table_has_a_row_for_each_name() -> None:
    head, rule, llama, bert = make_table(["Llama", "BERT"]).splitlines()
    assert len({line.count("|") for line in (head, rule, llama, bert)}) == 1
    assert llama.startswith("| Llama |") and "shared cache" in llama and llama.count("< 1e-") == 3
    assert "reads both ways" in bert


def test_differences_are_written_as_powers_of_ten() -> None:
    assert [format_difference(value) for value in (None, 0.0, 9e-7, 2e-6, 0.3)] == [
        "",
        "< 1e-6",
        "< 1e-6",
        "< 1e-5",
        "< 1e0",
    ]


def test_several_ends_are_asked_of_the_policy() -> None:
    assert has_several_ends(FAMILIES["Llama"].make()) in (None, True)


def test_the_page_has_a_row_for_every_family_and_no_other() -> None:
    table = DOCS.read_text(encoding="utf-8").partition("| family |")[2].partition("\n\n")[0]
    names = re.findall(r"^\| ([^|]+?) \|", table, re.MULTILINE)
    assert names == list(FAMILIES)


def test_the_command_finds_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("g2rpo_env.bench.families.make_table", lambda: "a table")
    assert benchmarks.TABLES["families"]() == "a table"
