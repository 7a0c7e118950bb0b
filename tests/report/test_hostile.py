"""Hostile texts in every field of a run folder: nothing runs, nothing is asked for, everything is seen as it is."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browser import Reader
from hostile import LONG_TOKEN, MANY_TOKENS, TEXTS
from run_folders import PROMPT, REVEALED, SAMPLED, make_record, write_run

from g2rpo_env.render import make_visible
from g2rpo_env.report.page import PageOptions, make_page, write_page

Read = Callable[..., Reader]
LONGEST_SHOWN = 200


def make_hostile_records() -> list[dict[str, Any]]:
    """Return a group per text, with the text in every field of its two members, and one group of all texts."""
    records = []
    for number, text in enumerate(TEXTS):
        for member in range(2):
            verdict = {"outcome": ("correct", "wrong")[member], "answer": text, "message": text, "score": None}
            pieces = [(PROMPT, [text]), (REVEALED, [text] * (1 - member)), (SAMPLED, [text, "x", text])]
            size = 4 + 1 - member
            top = [None if t < size - 3 else [[5, text, -0.5], [6, "<b>", -2.0]] for t in range(size)]
            records.append(
                make_record(
                    pieces,
                    **{"update": 1, "group": number, "member": member, "problem_id": text, "verdict": verdict},
                    top=top,
                    seed={text: text},
                )
            )
    records.append(make_record([(SAMPLED, TEXTS)], update=1, group=len(TEXTS), problem_id=TEXTS[0]))
    long = {"update": 2, "problem_id": LONG_TOKEN}
    records.append(make_record([(PROMPT, ["p"]), (SAMPLED, [LONG_TOKEN, "x"])], group=1000, **long))
    many = [TEXTS[t % len(TEXTS)] for t in range(MANY_TOKENS)]
    records.append(make_record([(PROMPT, ["p"]), (SAMPLED, many)], update=3, group=1001, problem_id="many"))
    return records


def make_hostile_problems() -> list[dict[str, Any]]:
    """Return the problems, each text in each field."""
    return [
        {
            "update": 1, "problem_id": text, "prompt": text, "steps": [text, text], "final": text, "answer": text,
            "level": None, "hint": text,
        }
        for text in TEXTS
    ]  # fmt: skip


@pytest.fixture(scope="session")
def hostile_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of two runs whose every text is hostile."""
    folder = tmp_path_factory.mktemp("hostile")
    script, records = TEXTS[0], make_hostile_records()
    for label in ("a", "b"):
        nested = {text: {text: [text]} for text in TEXTS}
        write_run(
            folder / label,
            records,
            problems=make_hostile_problems(),
            label=script + label,
            env=script,
            task=nested,
            guidance=nested,
            recipe=nested,
            agent=script,
            command=script,
            argv=list(TEXTS),
            versions=nested,
            code=script,
            device=script,
            started=script,
            tokenizer=nested,
        )
        config = {"options": nested, "argv": list(TEXTS)}
        (folder / label / "config.json").write_text(json.dumps(config))
        metrics = [{"update": u, "reward": 0.5, **dict.fromkeys(TEXTS, 0.1 * u)} for u in (1, 2, 3)]
        (folder / label / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in metrics))
    out = tmp_path_factory.mktemp("page") / "hostile.html"
    write_page(make_page([folder], PageOptions(title="</title>" + "".join(TEXTS))).html, out)
    return out


@pytest.fixture
def reader(read: Read, hostile_page: Path) -> Reader:
    """A person who has opened the hostile page."""
    return read(hostile_page).go()


def check_harmless(reader: Reader) -> None:
    """Assert that no text has become more than a text."""
    assert reader.look("window.pwned") is None
    assert (
        reader.count("main img, main iframe, main script, main link, main base, main object, form:not([method=dialog])")
        == 0
    )
    assert reader.look("[...document.querySelectorAll('a')].every((a) => a.getAttribute('href').startsWith('#'))")
    handlers = "[...document.querySelectorAll('*')].some((e) => [...e.attributes].some((a) => /^on/i.test(a.name)))"
    assert not reader.look(handlers)


def test_no_text_is_in_the_file_as_it_is(hostile_page: Path) -> None:
    html = hostile_page.read_text(encoding="utf-8")
    head = html[: html.index("<style>")]
    assert "pwned" not in html.replace(head, "") and "<script>" not in head
    assert html.count("</title>") == 1


def test_every_page_shows_hostile_texts_without_harm(reader: Reader) -> None:
    fragments = ["", "/groups", "/problems", "/problem/0", "/suspicions", "/about", "/update/1/group/0"]
    for fragment in [f"#/run/0{one}" for one in fragments] + ["#/compare/0/1", "#/compare/0/1/update/1/problem/1"]:
        reader.go(fragment)
        check_harmless(reader)
        assert reader.look("document.documentElement.textContent.length") > 100
    assert reader.go("#/run/0/problem/0").texts(".problem dd")[0] == TEXTS[0]


def test_every_token_is_one_text_node_with_its_text(reader: Reader) -> None:
    reader.go(f"#/run/0/update/1/group/{len(TEXTS)}/member/0")
    check_harmless(reader)
    assert reader.texts(".strip .tok") == [make_visible(text) for text in TEXTS]
    tokens = "[...document.querySelectorAll('.tok[role=option]')]"
    nodes = f"{tokens}.every((t) => t.childNodes.length === 1 && t.firstChild.nodeType === Node.TEXT_NODE)"
    assert reader.look(nodes)
    reader.click("[data-table]")
    check_harmless(reader)


def test_every_group_and_episode_of_a_hostile_text_opens(reader: Reader) -> None:
    for number, text in enumerate(TEXTS):
        reader.look(f"location.hash = '#/run/0/update/1/group/{number}'")
        reader.settle()
        assert make_visible(text[:60]) in "".join(reader.texts("h1"))
        reader.click(".members a")
        reader.click(".choice label", "Alternatives")
        assert set(reader.texts(".strip .tok")) <= {make_visible(text), "x"}
        reader.look("document.querySelectorAll('.strip .tok')[3].click()")
        reader.settle()
        assert reader.texts(".inspector code")[0] == make_visible(text[:40]) + ("…" if len(text) > 40 else "")
    check_harmless(reader)


def test_a_filter_takes_hostile_texts(reader: Reader) -> None:
    reader.go("#/run/0/groups")
    for text in TEXTS[:6]:
        reader.page.locator(".filters input[name=problem]").fill(text)
        reader.wait("document.querySelector('[data-count]').textContent.includes('match')")
        check_harmless(reader)


def test_a_token_of_a_megabyte_and_an_episode_of_many_tokens_open(reader: Reader) -> None:
    reader.go("#/run/0/update/2/group/1000/member/0")
    assert len(reader.texts(".strip .tok")[1]) < 8 * LONGEST_SHOWN
    reader.click(".choice label", "Credit")
    check_harmless(reader)
    reader.go("#/run/0/update/3/group/1001/member/0")
    assert f"{MANY_TOKENS + 1:,} tokens" in reader.text(".facts")
    assert 0 < reader.count(".tok[role=option]") and reader.count() <= 5000
    reader.page.locator(".strip [tabindex='0']").focus()
    reader.press("End")
    reader.wait(f"document.activeElement.dataset.t === '{MANY_TOKENS}'")
    assert reader.count() <= 5000
    reader.click("[data-table]")
    assert reader.count() <= 5000
    reader.go("#/run/0/update/3/group/1001")
    assert reader.count() <= 5000
    check_harmless(reader)


def test_both_sides_write_out_the_same_characters(reader: Reader) -> None:
    reader.go(f"#/run/0/update/1/group/{len(TEXTS)}/member/0")
    assert all(text.isprintable() for text in reader.texts(".strip .tok"))
