"""Report: a row by hand; what is missing is said; the Markdown of a claim is whole."""

import pytest
from made import results

from g2rpo_env.study.claims import CLAIMS, TABLES
from g2rpo_env.study.found import Found
from g2rpo_env.study.report import HEAD, describe_runs, make_cells, make_table, write_claim, write_summary

SPARSE = next(claim for claim in CLAIMS if claim.name == "sparse")


@pytest.fixture
def found(scale):
    (part,) = SPARSE.parts(scale)
    accuracy = {"g2rpo-a": 0.75, "sft": 0.5}
    return Found(part, results([part], lambda label: accuracy.get(label, 0.25)))


def test_a_row_by_hand(found):
    row = dict(zip(HEAD, make_cells(found, "g2rpo-a"), strict=True))
    assert row["accuracy"] == "0.758" and row["by seed"] == "0.750 0.766"  # 48 and 49 of 64
    assert row["above grpo"].startswith("+0.50 [") and row["above sft"].startswith("+0.25 [")
    budget = found.part.ground.budget
    assert (row["sampled"], row["forward"], row["updates"]) == (f"{budget / 1e3:,.0f}", f"{budget / 500:,.0f}", "40")
    assert dict(zip(HEAD, make_cells(found, "sft"), strict=True))["above sft"] == ""
    assert dict(zip(HEAD, make_cells(found, "base"), strict=True))["above grpo"] == ""


def test_a_table_is_markdown(found):
    lines = make_table(found)
    assert len(lines) == 2 + len(found.labels) and len({line.count("|") for line in lines}) == 1


def test_rows_that_are_not_done_are_named_below_the_table(found):
    for run in found.row("sft").runs:
        del found.results[run.key]
    lines = make_table(found)
    assert lines[-2:] == ["", "Rows that are not done: sft."] and not any("| sft |" in line for line in lines)
    nothing = make_table(Found(found.part, {}))
    assert len(nothing) == 1 and nothing[0].startswith("Rows that are not done: base; ")


def test_where_it_ran(found):
    runs = sum(len(row.runs) for row in found.part.rows)
    where = "(cpu, python 3.11.0, torch 2.6.0)"
    assert describe_runs([found]) == f"{runs} runs, {runs / 10:.0f} minutes of one process in all {where}"


def test_imitation_that_saw_other_reveals_is_said(found):
    assert "imitation saw" not in describe_runs([found])
    run = found.row("sft").runs[0]
    found.results[run.key] = {**found.results[run.key], "revealed_tokens": 5}
    assert describe_runs([found]).endswith("; imitation saw 75.0% of the tokens that were revealed")  # 5 + 10 of 20


def test_the_page_of_a_claim(found, scale, tmp_path):
    text = write_claim(SPARSE, [found], scale, "g2rpo-env study sparse", tmp_path)
    assert (tmp_path / "sparse.md").read_text() == text and (tmp_path / "sparse.png").is_file()
    for part in ("### sparse", SPARSE.says, "`g2rpo-env study sparse`", "seeds 0, 1", "![sparse", "holds: "):
        assert part in text
    found.results.popitem()
    text = write_claim(SPARSE, [found], scale, "g2rpo-env study sparse", tmp_path)
    assert "**Verdict: unfinished.**" in text and "**1 runs are not done**" in text
    assert write_summary([SPARSE], {"sparse": [found]}, tmp_path).splitlines()[2].endswith("| unfinished |  |")
    assert "not done" in write_claim(SPARSE, [Found(found.part, {})], scale, "", tmp_path / "none")


@pytest.mark.parametrize("claim", [*CLAIMS, *TABLES], ids=lambda claim: claim.name)
def test_every_claim_has_a_page(claim, scale, tmp_path):
    parts = claim.parts(scale)
    made = results(parts, lambda label: 0.25)
    text = write_claim(claim, [Found(part, made) for part in parts], scale, "", tmp_path)
    pictures = len(parts) if claim.plots else 0
    assert "unfinished" not in text and text.count("![") == pictures == len(list(tmp_path.glob("*.png")))
