import json
from pathlib import Path

import pytest
from run_folders import make_run_of_sums, write_run

from g2rpo_env.report.chunks import decode, read_chunk
from g2rpo_env.report.page import PageOptions, make_page
from g2rpo_env.report.redaction import HIDDEN, hide_paths


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/data/me/runs", "…/runs"),
        ("--out=/data/me/runs --x", "--out=…/runs --x"),
        ("~/runs/demo", "…/demo"),
        (r"D:\data\me\runs", "…/runs"),
        ("'/data/my runs/a'", "'…/my runs/a'"),
        ("g2rpo_env/Addition-v0", "g2rpo_env/Addition-v0"),
        ("runs/demo", "runs/demo"),
        ("1/2 and 3/4", "1/2 and 3/4"),
    ],
)
def test_folders_of_absolute_paths_are_hidden(text: str, shown: str) -> None:
    assert hide_paths(text) == shown


def read_page(html: str) -> tuple[str, list[dict]]:
    """Return all plain data of a page as text, and its records."""
    blocks = [part.split(">", 1)[1].split("<", 1)[0] for part in html.split('<script type="application/x-g2rpo"')[1:]]
    data = [decode(block) for block in blocks]
    return json.dumps(data), [record for chunk in data[1:] for record in read_chunk(chunk)]


def test_a_page_never_holds_folders_of_the_machine(tmp_path: Path) -> None:
    records, problems = make_run_of_sums()
    run = write_run(tmp_path / "deep" / "run", records, problems=problems, data={"rows": str(tmp_path / "rows.jsonl")})
    text, _ = read_page(make_page([run]).html)
    assert str(tmp_path) not in text and str(Path.home()) not in text and "rows.jsonl" in text


@pytest.mark.parametrize("redact", [{"prompts"}, {"solutions"}, {"prompts", "solutions"}])
def test_what_is_redacted_is_nowhere_in_the_page(tmp_path: Path, redact: set[str]) -> None:
    records, problems = make_run_of_sums()
    for record in records:
        record["texts"] = [
            f"§{'PRVE'[role]}§{text}" for role, text in zip(record["roles"], record["texts"], strict=True)
        ]
    for problem in problems:
        problem |= {"prompt": "§P§", "steps": ["§R§"], "final": "§R§", "answer": "§R§", "hint": "§R§"}
    run = write_run(tmp_path / "run", records, problems=problems)
    text, found = read_page(make_page([run], PageOptions(redact=frozenset(redact))).html)
    text = json.dumps(json.loads(text), ensure_ascii=False)
    assert ("§P§" in text) == ("prompts" not in redact) and ("§R§" in text) == ("solutions" not in redact)
    assert "§V§" in text and len(found) == 48
    assert ("12+34" in text) == ("prompts" not in redact)
    for record in found:
        for role, token, shown in zip(record["roles"], record["tokens"], record["texts"], strict=True):
            hidden = (role == 0 and "prompts" in redact) or (role == 1 and "solutions" in redact)
            assert (shown == HIDDEN and token == 0) == hidden
