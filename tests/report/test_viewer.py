"""The viewer in a browser: the questions that a person must be able to answer, keys, both schemes, narrow windows."""

from collections.abc import Callable
from pathlib import Path

import pytest
from browser import Reader
from run_folders import ENVIRONMENT, PROMPT, REVEALED, SAMPLED, make_record, write_run

from g2rpo_env.report.page import make_page, write_page

Read = Callable[..., Reader]

VIEWS = {
    "overview": "#/run/0",
    "groups": "#/run/0/groups",
    "group": "#/run/0/update/1/group/5",
    "episode": "#/run/0/update/1/group/5/member/0?channel=credit",
    "weights": "#/run/0/update/1/group/5/member/0?channel=weight",
    "problems": "#/run/0/problems",
    "problem": "#/run/0/problem/1",
    "suspicions": "#/run/0/suspicions",
    "compare": "#/compare/0/1",
    "compare-group": "#/compare/0/1/update/1/problem/0",
    "about": "#/run/0/about",
}

MOST_ELEMENTS = 5000


@pytest.fixture
def reader(read: Read, sums_page: Path) -> Reader:
    """A person who has opened the page of two runs."""
    return read(sums_page).go()


# -- the ten questions ------------------------------------------------------------------------------------------------


def test_1_what_did_the_model_write_and_what_was_shown_in_two_clicks(reader: Reader) -> None:
    reader.click("a.button", "update 1").click(".members a", "member 0")
    assert reader.page.url.endswith("#/run/0/update/1/group/4/member/0")
    reader.go("#/run/0/update/1/group/5/member/0")
    assert "".join(reader.texts(".strip .role-0")) == "12+34="
    assert "".join(reader.texts(".strip .role-1")) == "2+4+0=06\\n"
    assert "".join(reader.texts(".strip .role-2")) == "1+3+0=04\\n#46<eos>"
    assert "answered 46: right, after 9 tokens of the solution" in reader.text("h1")


def test_2_which_tokens_did_this_update_make_likelier_and_by_how_much(reader: Reader) -> None:
    reader.go("#/run/0/update/1/group/5/member/0").click(".choice label", "Change")
    words = reader.text("[data-summary]")
    assert "became likelier" in words and "less likely" in words
    reader.click(".jump button")
    change = reader.text(".inspector .pairs > div:nth-child(7) dd")
    assert change.startswith(("+", "-")) and float(change) != 0
    colors = reader.look("[...document.querySelectorAll('.strip .tok')].map((t) => t.style.backgroundColor)")
    assert any("--up" in color for color in colors) and any("--down" in color for color in colors)


def test_3_which_tokens_were_in_the_loss(reader: Reader) -> None:
    reader.go("#/run/0/update/1/group/5/member/0").click(".choice label", "In the loss")
    assert reader.text("[data-summary]") == "22 of 28 tokens were in the loss, 6 were not."
    assert "".join(reader.texts(".strip .tok.out")) == "12+34="


def test_4_why_did_this_group_teach_nothing(reader: Reader) -> None:
    reader.click("a.button", "update 1")
    why = reader.text("[data-why]")
    assert why.startswith("This group taught nothing: all 4 members got the same reward, because none is right.")
    reader.go("#/run/0/update/1/group/6")
    assert "because all are right" in reader.text("[data-why]")


def test_5_is_the_success_of_guided_members_copying(reader: Reader) -> None:
    assert reader.texts(".tile .big")[2] == "33 %"
    reader.go("#/run/0/update/1/group/7")
    assert reader.text("[data-why]").endswith("Of 1 right guided answer, 1 already stood in what was shown.")
    assert "Right, and the answer was shown" in reader.text("[data-member='1']")


def test_6_where_is_the_model_unsure(reader: Reader) -> None:
    reader.go("#/run/0/update/1/group/5/member/0").click(".choice label", "Unsure")
    assert "most unsure where it had" in reader.text("[data-summary]")
    reader.click(".jump button")
    place = int(reader.page.locator(".strip [aria-selected='true']").get_attribute("data-t") or -1)
    entropy = reader.text(".inspector .pairs > div:nth-child(8) dd")
    assert place > 5 and entropy.endswith("nats") and entropy.split()[0] in reader.text("[data-summary]")


def test_7_which_problems_are_never_solved_and_which_always(reader: Reader) -> None:
    reader.click("header nav a", "Problems")
    assert reader.text("h1") == "1 problem of 4 was never solved, 1 always"
    reader.click(".choice label", "never solved")
    assert reader.texts("tbody a") == ["47+38"]
    reader.click(".choice label", "always solved")
    assert reader.texts("tbody a") == ["20+11"]
    reader.click("tbody a")
    assert "100 % of 12 plain" in reader.text("h1") and reader.count("tbody a") == 3


def test_8_which_answers_pass_without_any_work(reader: Reader) -> None:
    reader.click("header nav a", "Suspicions").click("[data-rule='no_steps']")
    assert reader.texts("tbody a") == [f"update {u}, member 0" for u in (1, 3, 6)]
    reader.click("tbody a")
    assert "".join(reader.texts(".strip .role-2")) == "#71<eos>"
    assert "Right without any step" in reader.text(".facts")


def test_9_how_does_run_b_answer_the_same_problem_at_the_same_update(reader: Reader) -> None:
    reader.click("header nav a", "Compare")
    assert reader.text("h1").startswith("B is better: B minus A is +0.667")
    reader.click("tbody a", "update 1")
    assert reader.text("h1") == "47+38 at update 1: A 0 % right, B 0 % right"
    assert reader.texts("del")[0] == "5" and reader.texts("ins")[0] == "6"


def test_10_with_which_command_code_and_versions_was_this_made(reader: Reader) -> None:
    reader.click("header nav a", "About")
    assert reader.text("pre.command") == "g2rpo-env train --env g2rpo_env/Addition-v0 --out …/a"
    words = reader.text("main")
    assert "fedcba9876543210" in words and "3.11.7" in words and "ClippedSurrogate" in words


# -- every page -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_any_page_and_none_is_large(read: Read, sums_page: Path, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is missing")
    reader = read(sums_page, scheme)
    for name, fragment in VIEWS.items():
        reader.go(fragment)
        found = axe.Axe().run(reader.page).response["violations"]
        assert [(v["id"], v["nodes"][0]["html"][:200]) for v in found] == [], name
        assert reader.count() <= MOST_ELEMENTS, name


@pytest.fixture(scope="module")
def special_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run with what most have not: tools, guidance in the prompt, stages, parts, alternatives."""
    likely = [[7, "a", -0.1], [8, "\u202e", -2.5]]
    facts = {"outcome": "error", "answer": None, "message": "the verifier\nfailed", "score": None}
    with_tool = make_record(
        [(PROMPT, "ask"), (REVEALED, "to"), (SAMPLED, ["ca", "ll", ""]), (ENVIRONMENT, ["42", "\n"]), (SAMPLED, ["é"])],
        verdict=facts,
        parts=[False] * 7 + [True] + [False] * 3,
        top=[None] * 5 + [likely] * 3 + [None] * 2 + [likely],
        credits=[0.1 * t for t in range(11)],
        shaped_reward=0.25,
    )
    hinted = make_record(
        [(PROMPT, "ask hint"), (SAMPLED, "ok")], member=1, reveal=4, prompt_reveal=[4, 8], advantage=None
    )
    branched = make_record([(PROMPT, "ask"), (SAMPLED, "ok")], member=2, stage=1, parent=[0, 0, 2], train_prefix=[1, 2])
    folder = tmp_path_factory.mktemp("special")
    write_run(folder / "run", [with_tool, hinted, branched], groups=[])
    write_page(make_page([folder / "run"]).html, folder / "page.html")
    return folder / "page.html"


def test_what_most_runs_have_not_is_shown_too(read: Read, special_page: Path) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is missing")
    reader = read(special_page, "dark", 900)
    for fragment in ("/member/0?channel=alternatives", "/member/0?channel=credit", "/member/1", "/member/2", ""):
        reader.go(f"#/run/0/update/1/group/0{fragment}")
        assert [v["id"] for v in axe.Axe().run(reader.page).response["violations"]] == []
    reader.go("#/run/0/update/1/group/0/member/0?channel=alternatives&token=7")
    assert reader.texts(".strip .role-3") == ["42", "\\n"] and reader.texts(".strip .tok")[7] == "·"
    assert reader.count(".strip .tok.has") == 4 and reader.texts(".top code") == ["a", "\\u202e"]
    assert "not graded" in reader.text(".facts") and "shaped reward 0.25" in reader.text(".facts")
    reader.go("#/run/0/update/1/group/0/member/1")
    assert "".join(reader.texts(".strip .shown")) == "hint" and "none: not learnt from" in reader.text(".facts")
    reader.go("#/run/0/update/1/group/0/member/2")
    assert "branched from member 0 of group 0 at token 2" in reader.text("main")
    reader.go("#/run/0/groups?stage=1")
    assert reader.text("[data-count]") == "1 answer of 3 match"
    reader.click("[data-filters]")
    assert [v["id"] for v in axe.Axe().run(reader.page).response["violations"]] == []


def test_nothing_scrolls_sideways_in_a_narrow_window(read: Read, sums_page: Path) -> None:
    reader = read(sums_page, width=320)
    for name, fragment in VIEWS.items():
        reader.go(fragment)
        assert reader.look("document.documentElement.scrollWidth") <= 320, name
    reader.go(VIEWS["groups"]).click("[data-filters]")
    assert reader.page.locator("dialog[open] select").first.is_visible()


def test_a_token_strip_is_one_tab_stop_and_arrows_move_in_it(reader: Reader) -> None:
    reader.go(VIEWS["episode"])
    assert reader.count(".strip [tabindex='0']") == 1
    reader.page.locator(".strip [tabindex='0']").focus()
    reader.press("Home")
    assert reader.look("document.activeElement.dataset.t") == "0"
    for key, place in (("ArrowRight", "1"), ("End", "27"), ("ArrowLeft", "26"), ("ArrowUp", None), ("Home", "0")):
        reader.press(key)
        here = reader.look("document.activeElement.dataset.t")
        assert here == place if place else 9 <= int(here) < 26
    said = reader.text("[data-announced]")
    assert said.startswith('token 1 of 28, prompt, "1"') and said.endswith("not in the loss")


def test_keys_go_to_neighbours_and_stay_on_the_tokens(reader: Reader) -> None:
    reader.go(VIEWS["episode"])
    reader.page.locator(".strip [tabindex='0']").focus()
    for key, end in (("n", "/group/5/member/1"), ("j", "/group/6/member/1"), ("k", "/group/5/member/1")):
        reader.press(key)
        reader.wait(f"location.hash.includes({end!r})")
        reader.page.wait_for_selector(".strip")
        assert "channel=credit" in reader.page.url
        reader.wait("document.activeElement.closest('.strip') !== null")
    reader.press("i")
    reader.wait("location.hash.includes('/update/3/')")
    reader.press("c")
    reader.wait("location.hash.includes('channel=weight')")
    reader.press("?")
    assert reader.page.locator("dialog[open]").is_visible()


def test_the_map_of_groups_opens_one_by_mouse_and_by_keys(reader: Reader) -> None:
    reader.go(VIEWS["groups"]).page.locator(".heat").focus()
    reader.press("ArrowRight")
    reader.press("ArrowDown")
    assert (
        reader.text("[data-announced]")
        == "update 1, problem 12+34: guided 100 % right, plain 0 % right, tokens recorded"
    )
    reader.press("Enter")
    reader.page.wait_for_selector("[data-why]")
    assert "12+34" in reader.text("h1")
    reader.go(VIEWS["groups"]).page.locator(".heat svg").click(position={"x": 60, "y": 45})
    reader.settle()
    assert "47+38" in reader.text("h1")


def test_filters_narrow_the_answers_say_how_many_and_are_a_link(reader: Reader) -> None:
    reader.go(VIEWS["groups"])
    assert reader.text("[data-count]") == "48 answers"
    reader.page.locator(".filters select").first.select_option("correct")
    reader.page.locator(".filters select").nth(1).select_option("guided")
    assert reader.text("[data-count]") == "9 answers of 48 match"
    assert "verdict=correct&guided=guided" in reader.page.url
    reader.page.locator(".filters input[name=problem]").fill("55+")
    reader.wait("document.querySelector('[data-count]').textContent.startsWith('3 answers')")
    link = reader.page.url.split("#")[1]
    assert reader.go("#" + link).text("[data-count]") == "3 answers of 48 match"
    reader.page.locator("h1").focus()
    reader.press("r")
    assert reader.text("[data-count]") == "48 answers"


def test_a_text_is_searched_in_what_the_model_wrote(reader: Reader) -> None:
    reader.go("#/run/0/groups?answer=%23%3F%3F")
    reader.wait("document.querySelector('[data-count]').textContent.startsWith('0 answers')")
    reader.go("#/run/0/groups?answer=%3F%3F")
    reader.wait("document.querySelector('[data-count]').textContent.startsWith('3 answers')")


def test_tokens_and_charts_are_tables_too(reader: Reader) -> None:
    reader.go(VIEWS["episode"]).click("[data-table]")
    assert [reader.texts("tbody tr:nth-child(7) td")[i] for i in (0, 1, 3)] == ["7", "2", "revealed"]
    reader.go().click(".chart button", "as table")
    assert reader.texts(".chart tbody td")[:2] == ["0", "0.100"]


def test_a_fragment_that_is_not_known_opens_the_overview(reader: Reader) -> None:
    for fragment in ("#/run/99/groups", "#/x", "#/run/0/update/1e9/group/x", "#%", "#/run/0?channel=<b>&x=__proto__"):
        reader.go(fragment)
        assert reader.count("h1") == 1
    reader.go("#/run/0/update/77/group/1/member/0")
    assert reader.text("h1") == "There is no such answer in this run"


def test_what_the_buttons_copy_is_the_text_and_a_record(reader: Reader) -> None:
    reader.context.grant_permissions(["clipboard-read", "clipboard-write"])
    reader.go(VIEWS["episode"]).click("button", "copy text")
    reader.wait("[...document.querySelectorAll('button')].some((b) => b.textContent.includes('copied'))")
    assert reader.look("navigator.clipboard.readText()") == "12+34=2+4+0=06\n1+3+0=04\n#46<eos>"
