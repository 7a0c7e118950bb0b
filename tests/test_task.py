"""Task: how problems become tokens and contexts, what fits, where answers stop, and how they are graded."""

import copy
import pickle
import warnings
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizer_families import FAMILIES

from g2rpo_env import Outcome, Problem, Task, Verdict
from g2rpo_env.encoding import Frame
from g2rpo_env.envs.arithmetic import Addition
from g2rpo_env.envs.dataset import RowSource
from g2rpo_env.errors import BudgetError, ConfigurationError, UnknownProblemError
from g2rpo_env.task import CHUNK, load_task
from g2rpo_env.tokenizer import char_tokenizer, decode, encode

TEXTS = st.text(st.sampled_from("58+=\n#é🙂 <eos>ab"), max_size=12)
PROBLEMS = st.builds(
    Problem, st.just("p"), TEXTS, st.lists(TEXTS.filter(bool), max_size=4).map(tuple), TEXTS, st.just("5")
)


def accept(problems: Any, completions: Any) -> list[Verdict]:
    return [Verdict(Outcome.CORRECT) for _ in completions]


def task(*problems: Problem, **options: Any) -> Task:
    options = {"max_new_tokens": 10, "verifier": accept, **options}
    return Task(RowSource(problems, "train"), options.pop("verifier"), **options)


SHORT_PROMPT = Problem("a", "Q\n", ("12345678\n",), "#1", "1")  # 2 + 9 tokens of context at most
LONG_PROMPT = Problem("b", "Question\n", ("1\n",), "#1", "1")  # 9 + 2


# -- measuring ------------------------------------------------------------------------------------------------------


def test_many_problems_are_measured_over_several_batches() -> None:
    # the longest prompt comes last in the first batch, the longest steps last in the last
    problems = [Problem(str(i), "Q\n", ("1\n",), "#1", "1") for i in range(2 * CHUNK + 5)]
    problems[CHUNK - 1] = Problem("long", "Q" * 30 + "\n", ("1\n",), "#1", "1")
    problems[-1] = Problem("last", "Q\n", ("1" * 40 + "\n",) * 2, "#1", "1")
    many = task(*problems)
    assert (many.length, many.max_reveal, many.max_steps) == (31 + 82 + 10, 82, 2)


def test_the_length_is_the_longest_prompt_the_longest_reveal_and_the_budget() -> None:
    assert task(SHORT_PROMPT, LONG_PROMPT).length == 9 + 9 + 10


def test_a_bound_of_the_length_is_kept_where_every_problem_fits() -> None:
    bounded = task(SHORT_PROMPT, LONG_PROMPT, max_length=21)
    assert bounded.length == 21
    for problem in (SHORT_PROMPT, LONG_PROMPT):
        revealable = bounded.encode(problem).revealable
        assert len(bounded.start(problem.problem_id, revealable).tokens_T) == 11


def test_a_problem_that_does_not_fit_is_named_with_its_sizes() -> None:
    words = r"problem 'b' .*: prompt 9 \+ revealable 2 \+ max_new_tokens 10 = 21 tokens must not exceed max_length=20"
    with pytest.raises(BudgetError, match=words):
        task(LONG_PROMPT, max_length=20)


def test_the_length_of_generated_problems_is_counted_in_bytes_which_no_tokens_outnumber() -> None:
    assert Addition(digits=2, max_new_tokens=10).length == len("99+99=") + len("9+9+0=18\n9+9+1=19\n") + 10
    wide = Wide([Problem("a", "é\n", ("1\n",), "#1", "1")], "train")
    assert Task(wide, accept, max_new_tokens=10).length == 3 + 2 + 10


class Wide(RowSource):
    """Generated problems of which only the first is known beforehand."""

    num_problems = None  # type: ignore[assignment]

    def longest(self) -> list[Problem]:
        return [next(iter(self._problems.values()))]


def test_a_generated_problem_beyond_the_length_is_refused_when_it_comes() -> None:
    longer = Problem("b", "Question\n", ("123\n",), "#1", "1")  # 9 + 4
    wide = Task(Wide([SHORT_PROMPT, longer], "train"), accept, max_new_tokens=10)
    assert wide.start("a", 9).reveal_length == 9
    with pytest.raises(BudgetError, match=r"problem 'b' .*: 13 tokens of context .* 10 must not exceed 21"):
        wide.start("b", 4)


def test_prompts_that_share_a_token_with_their_solution_are_reported(merging_tokenizer: Any) -> None:
    # "=8" is one token: "58+60=" and "8..." joined give other tokens than apart
    crossing = Problem("x", "58+60=", ("8+0+0=08\n",), "#118", "118")
    fine = Problem("y", "58+67=\n", ("7+0+0=07\n",), "#125", "125")
    with pytest.warns(UserWarning, match="1 of 2 prompts share a token with their solution.*end the prompt template"):
        task(crossing, fine, tokenizer=merging_tokenizer)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        task(fine, tokenizer=merging_tokenizer)


# -- encoding and starts --------------------------------------------------------------------------------------------


def test_problems_are_encoded_once() -> None:
    one = task(SHORT_PROMPT)
    assert one.encode(SHORT_PROMPT) is one.encode(copy.deepcopy(SHORT_PROMPT))


def test_a_start_is_the_prompt_and_the_revealed_tokens() -> None:
    start = task(SHORT_PROMPT).start("a", 3)
    assert decode(char_tokenizer(), start.tokens_T) == "Q\n123"
    assert start.role_T.tolist() == [0, 0, 1, 1, 1]
    assert (start.problem, start.prompt_length, start.reveal_length, start.budget) == (SHORT_PROMPT, 2, 3, 10)


def test_an_unknown_problem_is_named_with_the_ids_there_are() -> None:
    with pytest.raises(UnknownProblemError, match="problem='z' must be one of the 2 ids of split 'train', 'a' to 'b'"):
        task(SHORT_PROMPT, LONG_PROMPT).start("z", 0)


def test_another_split_is_another_task() -> None:
    train = Addition(digits=2)
    test = train.with_split("test")
    assert (train.source.split, test.source.split) == ("train", "test")
    assert test.tokenizer is train.tokenizer and test.length == train.length
    assert train.with_split("train") is train


def test_a_verifier_may_follow_the_split() -> None:
    class Follower:
        def __init__(self, split: str) -> None:
            self.split = split

        def with_split(self, split: str) -> "Follower":
            return Follower(split)

    train = Addition(digits=2)
    plain = train.verifier
    assert train.with_split("test").verifier is plain
    train.verifier = Follower("train")  # type: ignore[assignment]
    assert train.with_split("test").verifier.split == "test"  # type: ignore[attr-defined]
    assert train.verifier.split == "train"  # type: ignore[attr-defined]


# -- stop strings ---------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=150)
@given(
    text=st.text(st.sampled_from("ab\né🙂"), min_size=1, max_size=12),
    stops=st.lists(st.text(st.sampled_from("ab\né🙂"), min_size=1, max_size=3), min_size=1, max_size=2),
)
def test_answers_stop_where_a_stop_string_is_first_complete(text: str, stops: list[str]) -> None:
    stopping = task(SHORT_PROMPT, stop_strings=stops)
    tokens, ends = encode(char_tokenizer(), text)
    # by hand: the shortest prefix of the text that ends with a stop string, and what it holds before the longest one
    first = next((end for end in range(1, len(text) + 1) if text[:end].endswith(tuple(stops))), None)
    for count in range(1, len(tokens) + 1):
        table = stopping.may_stop(tokens[count - 1 : count])
        if table[0] and stopping.stops(tokens[:count]):
            assert first is not None and decode(char_tokenizer(), tokens[:count]) == text[:first]
            longest = max(len(stop) for stop in stops if text[:first].endswith(stop))
            assert stopping.completion(tokens[:count], stopped=True) == text[: first - longest]
            return
    assert first is None


def test_without_stop_strings_no_token_is_a_candidate() -> None:
    assert not task(SHORT_PROMPT).may_stop(np.arange(258)).any()


def test_the_end_token_alone_is_left_out_of_a_completion() -> None:
    eos = char_tokenizer().eos_token_id
    one, tokens = task(SHORT_PROMPT), encode(char_tokenizer(), "#1")[0]
    assert one.completion(np.array([*tokens, eos]), stopped=False) == "#1"
    assert one.completion(np.array([*tokens, eos, eos]), stopped=False) == "#1<eos>"
    assert one.completion(np.array([], np.int32), stopped=False) == ""


# -- grading --------------------------------------------------------------------------------------------------------


def test_a_verifier_that_raises_for_one_completion_still_grades_the_others() -> None:
    def verifier(problems: Any, completions: Any) -> list[Verdict]:
        return [Verdict(Outcome.CORRECT, str(1 / int(c))) for c in completions]

    verdicts = task(SHORT_PROMPT, verifier=verifier).grade([SHORT_PROMPT] * 3, ["1", "0", "2"])
    assert [v.outcome for v in verdicts] == [Outcome.CORRECT, Outcome.ERROR, Outcome.CORRECT]
    assert verdicts[1].message == "ZeroDivisionError: division by zero" and not verdicts[1].valid


def test_an_interrupt_is_no_verdict() -> None:
    def verifier(problems: Any, completions: Any) -> list[Verdict]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        task(SHORT_PROMPT, verifier=verifier).grade([SHORT_PROMPT], [""])


# -- arguments ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options,words",
    [
        ({"max_new_tokens": 0}, "max_new_tokens=0 must be at least 2"),
        ({"stop_strings": ("a", "")}, r"stop_strings=\('a', ''\) must not hold an empty text"),
        ({"stop_strings": "END"}, "stop_strings='END' must be a sequence of texts"),
    ],
)
def test_bad_arguments_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        task(SHORT_PROMPT, **options)


def test_a_task_is_taken_as_it_is_or_built_by_name() -> None:
    one = task(SHORT_PROMPT)
    assert load_task(one, {}) is one
    assert load_task("g2rpo_env.envs.arithmetic:Addition", {"digits": 2, "split": "test"}).source.split == "test"
    with pytest.raises(ConfigurationError, match=r"options \['digits'\] must be given to the task itself"):
        load_task(one, {"digits": 2})


def make_words(word: str, count: int = 2) -> Task:
    return task(Problem("0", f"{word}\n", (), word, word), max_new_tokens=4 + count)


def test_a_task_is_made_by_any_callable() -> None:
    for make in (make_words, partial(make_words, count=2), lambda **options: make_words(**options)):
        assert load_task(make, {"word": "hi"}).max_new_tokens == 6
    assert load_task(Addition, {"digits": 1, "data": None}).source.low == 1
    assert load_task(lambda data=None, **options: make_words(data), {"data": "x"}).source.get("0").answer == "x"
    seen: dict[str, Any] = {}
    load_task(lambda **options: seen.update(options) or make_words("a"), {"data": "rows.jsonl"})  # its own business
    assert seen == {"data": "rows.jsonl"}


@pytest.mark.parametrize(
    ("make", "options", "words"),
    [
        (make_words, {"count": 3}, "must be given word: it has no default for that"),
        (lambda: None, {}, "must return a Task, got NoneType"),
        (3, {}, "task=3 must be a Task, a callable that returns one, or module:Name .*, got an object of int"),
        ("g2rpo_env.task:CHUNK", {}, "task='g2rpo_env.task:CHUNK' must be a Task, a callable"),
        (dict, {}, "task=<class 'dict'> must be a Task, a callable .*, got an object of type"),
    ],
)
def test_what_makes_no_task_is_refused(make: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        load_task(make, options)


def test_every_id_takes_data_and_generated_tasks_only_none() -> None:
    assert load_task("g2rpo_env.envs.arithmetic:Addition", {"digits": 2, "data": None}).source.low == 2
    with pytest.raises(ConfigurationError, match="data='rows.jsonl' must be None: the problems of .*Addition are"):
        load_task("g2rpo_env.envs.arithmetic:Addition", {"data": "rows.jsonl"})


def test_a_task_survives_pickling() -> None:
    one = Addition(digits=2, stop_strings=("\n\n",))
    again = pickle.loads(pickle.dumps(one))
    problem = one.source.get("58+67")
    assert again.length == one.length and again.source.draw(3, 5) == one.source.draw(3, 5)
    assert again.encode(problem).solution_T.tolist() == one.encode(problem).solution_T.tolist()
    # a copy of the built-in tokenizer would do without its tables, a hundred times slower
    assert again.tokenizer is copy.deepcopy(one).tokenizer is char_tokenizer()


def test_a_pickle_holds_nothing_that_can_be_made_again() -> None:
    one = Addition(digits=2)
    small = len(pickle.dumps(one))
    for problem_id in [one.source.draw(0, index) for index in range(200)]:
        one.start(problem_id, 5)
    assert len(pickle.dumps(one)) == small


@pytest.mark.parametrize("frame", [((), ()), ((3, 4), (5,))])
@pytest.mark.parametrize("merging", [False, True])
def test_prepared_starts_are_those_made_one_by_one(frame: Any, merging: bool, merging_tokenizer: Any) -> None:
    tokenizer = merging_tokenizer if merging else None
    problems = [SHORT_PROMPT, LONG_PROMPT, Problem("c", "é🙂8+\n", ("1\n",), "#1", "1")]
    prepared = task(*problems, frame=frame, tokenizer=tokenizer)
    prepared.prepare([problem.problem_id for problem in problems] * 2)
    for problem in problems:
        start, alone = prepared.start(problem.problem_id, 0), task(problem, frame=frame, tokenizer=tokenizer)
        single = alone.start(problem.problem_id, 0)
        assert [np.asarray(x).tolist() for x in start[1:]] == [np.asarray(x).tolist() for x in single[1:]]
        assert start.tokens_T.tolist() == prepared.encode(problem).prompt_T.tolist()
        assert start.problem is problem and set(start.role_T.tolist()) == {0}
        shown = prepared.start(problem.problem_id, 1)
        assert shown.tokens_T.tolist() == [*start.tokens_T, prepared.encode(problem).solution_T[0]]
        assert shown.role_T.tolist() == [0] * start.prompt_length + [1] and shown.answer_start == start.answer_start


def test_an_empty_prompt_is_refused_when_its_episode_starts() -> None:
    wide = Task(Wide([SHORT_PROMPT, Problem("e", "", ("1\n",), "#1", "1")], "train"), accept)
    wide.prepare(["a", "e"])
    for reveal in (0, 1):
        with pytest.raises(ConfigurationError, match="'e' must have a prompt of at least one token"):
            wide.start("e", reveal)


# -- beginnings and ends ----------------------------------------------------------------------------------------------


def test_the_beginning_of_contexts_is_the_tokenizers_the_frames_or_ones_own() -> None:
    gemma = FAMILIES["Gemma"].tokenizer
    bos, text = gemma.bos_token_id, encode(gemma, "Q\n")[0].tolist()
    for options, begin in (
        ({}, [bos]),
        ({"begin_tokens": ()}, []),
        ({"begin_tokens": [5, bos]}, [5, bos]),
        ({"frame": ((6,), ())}, [6]),
        ({"frame": ((6,), ()), "begin_tokens": [bos]}, [bos, 6]),
        ({"frame": Frame(np.array([6], np.int32), np.zeros(0, np.int32))}, [6]),
    ):
        made = task(SHORT_PROMPT, tokenizer=gemma, **options)
        assert made.lookup("a").prompt_T.tolist() == made.start("a").tokens_T.tolist() == [*begin, *text]
        assert made.length == len(begin) + 2 + 9 + 10
    for name in ("begin_tokens", "end_tokens"):
        with pytest.raises(ConfigurationError, match=f"{name}=.* must hold"):
            task(SHORT_PROMPT, **{name: [258]})
    with pytest.raises(ConfigurationError, match="end_tokens=.*at least one"):
        task(SHORT_PROMPT, end_tokens=())


def test_end_tokens_are_added_unless_they_were_chosen() -> None:
    made = task(SHORT_PROMPT, stop_strings=("<",))
    assert made.end_tokens == {1} and made.with_end_tokens([1]) is made
    more = made.with_end_tokens([1, 0, 258, 9999])  # no token has an id from 258 on
    assert (made.end_tokens, more.end_tokens) == ({1}, {0, 1})
    assert more.may_end() == made.may_end() | {0} and more.answer_tokens[:2].all()
    assert made.answer_tokens.tolist()[:2] == [False, True]
    answer_T = np.array([*encode(char_tokenizer(), "ab")[0], 0])
    assert (made.completion(answer_T, False), more.completion(answer_T, False)) == ("ab<pad>", "ab")
    assert more.with_split("train").end_tokens == pickle.loads(pickle.dumps(more)).end_tokens == {0, 1}
    chosen = task(SHORT_PROMPT, end_tokens=[0])
    assert chosen.end_tokens == {0} and chosen.with_end_tokens([1]) is chosen
    with pytest.raises(ConfigurationError, match="must hold ids of tokens"):
        made.with_end_tokens([-1])


def test_a_problem_longer_by_its_beginning_does_not_fit() -> None:
    assert task(SHORT_PROMPT, max_length=21).length == 21
    with pytest.raises(BudgetError, match="prompt 3"):
        task(SHORT_PROMPT, max_length=21, begin_tokens=[0])
