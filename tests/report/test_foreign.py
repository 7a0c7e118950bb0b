"""Foreign rollouts: a small file of each kind becomes records of version 2; what is damaged is named with its line."""

import json
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from g2rpo_env.episode import Role
from g2rpo_env.errors import ConfigurationError, DataError
from g2rpo_env.report import foreign
from g2rpo_env.report.foreign import decode_tokens, find_reader, split_words

FIELDS = {
    "version", "update", "tokens", "texts", "roles", "logprobs", "logprobs_before", "logprobs_after", "entropies_after",
    "problem_id", "group", "member", "seed", "reveal", "reward", "verdict", "valid", "terminated", "truncated", "stage",
    "parent", "train_prefix", "advantage", "credits", "weights", "loss_mask", "shaped_reward", "selected",
    "prompt_reveal", "extra",
}  # fmt: skip
"""Fields of a record; ``parts`` stands only where tokens can be parts of characters."""


def read(path, tokenizer=None):
    """Return the records of a path, after what holds for all of them."""
    records = list(find_reader(path)(path, tokenizer))
    for record in records:
        assert set(record) - {"parts"} == FIELDS and record["version"] == 2
        for name in ("texts", "roles", "weights", "loss_mask"):
            assert len(record[name]) == len(record["tokens"])
        for name in ("logprobs", "logprobs_before", "entropies_after", "credits", "parts"):
            assert record.get(name) is None or len(record[name]) == len(record["tokens"])
        assert all(type(token) is int and token >= 0 for token in record["tokens"])
        assert set(record["verdict"]) == {"outcome", "answer", "message", "score"}
        json.loads(json.dumps(record, allow_nan=False))
    return records


def text_of(record, role):
    """Return the text of the tokens of a role."""
    return "".join(text for text, one in zip(record["texts"], record["roles"], strict=True) if one == role)


def write_lines(path, rows):
    """Write rows as JSON Lines, as these libraries do: NaN may be among them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


# -- TRL --------------------------------------------------------------------------------------------------------------


def write_trl(path, **columns):
    """Write a table as GRPOTrainer.log does; pandas, through which it goes, writes NaN as a missing value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({name: pa.array(column, from_pandas=True) for name, column in columns.items()}), path)
    return path


def test_completions_of_trl(tmp_path):
    chat = [{"role": "user", "content": "2 + 2 ="}]
    said = [[{"role": "assistant", "content": text}] for text in ("4", "5", "four")]
    write_trl(
        tmp_path / "completions/completions_00010.parquet",
        step=[10] * 3,
        prompt=[chat] * 3,
        completion=said,
        accuracy=[1.0, 0.0, float("nan")],
        format=[0.5, 0.0, float("nan")],
        source=["a", "b", None],
        advantage=[1.2, -1.2, 0.0],
    )
    write_trl(
        tmp_path / "completions/completions_00002.parquet",
        step=[2, 2],
        prompt=["a b", "c"],
        completion=[" x\ny ", ""],
        reward=[0.25, 1.0],
        advantage=[0.0, 0.0],
    )
    records = read(tmp_path)
    assert [(r["update"], r["group"], r["member"]) for r in records] == [
        (2, 0, 0), (2, 1, 0), (10, 2, 0), (10, 2, 1), (10, 2, 2)
    ]  # fmt: skip
    plain, _, right, wrong, unscored = records
    assert plain["texts"] == ["a", " b", " x", "\ny", " "] and plain["roles"] == [0, 0, 2, 2, 2]
    assert plain["weights"] == [0, 0, 1, 1, 1] and plain["loss_mask"] == [0, 0, 1, 1, 1]
    assert text_of(right, Role.PROMPT) == "[user]\n2 + 2 =\n" and text_of(right, Role.SAMPLED) == "4"
    assert (right["reward"], right["advantage"], right["verdict"]["outcome"]) == (1.5, 1.2, "correct")
    assert right["extra"] == {"accuracy": 1.0, "format": 0.5, "source": "a"}
    assert wrong["verdict"] == {"outcome": "wrong", "answer": None, "message": "", "score": 0.0}
    assert not unscored["valid"] and unscored["verdict"]["outcome"] == "error" and unscored["reward"] == 0
    assert right["tokens"][:2] == wrong["tokens"][:2]  # equal words have equal numbers
    assert find_reader(tmp_path / "completions") is foreign.read_trl
    assert len(read(tmp_path / "completions/completions_00010.parquet")) == 3


@pytest.mark.long
def test_what_trl_itself_logs_is_read(tmp_path):
    trl = pytest.importorskip("trl", reason="trl is not installed")
    import gymnasium as gym
    from datasets import Dataset

    from g2rpo_env.agents import CausalLMPolicy

    envs = gym.make_vec("g2rpo_env/Addition-v0", num_envs=4, group_size=4, digits=1)
    policy = CausalLMPolicy.tiny(envs, seed=0, hidden_size=16, layers=1)
    told = []

    def length(completions, **_):
        told.extend(completions)
        return [float(len(one)) for one in completions]

    arguments = trl.GRPOConfig(
        output_dir=str(tmp_path), max_steps=2, logging_steps=1, per_device_train_batch_size=4, num_generations=4,
        max_completion_length=6, log_completions=True, num_completions_to_print=0, report_to="none", use_cpu=True,
        bf16=False, save_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    rows = Dataset.from_dict({"prompt": ["1+2=", "3+4="] * 4})
    trl.GRPOTrainer(policy.model, length, args=arguments, train_dataset=rows, processing_class=policy.tokenizer).train()
    records = read(tmp_path)
    assert [(r["update"], r["group"], r["member"]) for r in records] == [
        (u + 1, u, m) for u in (0, 1) for m in range(4)
    ]
    assert [text_of(record, Role.SAMPLED) for record in records] == told
    assert all(record["reward"] == len(text_of(record, Role.SAMPLED)) for record in records)
    assert any(record["advantage"] for record in records)


def test_damaged_completions_of_trl(tmp_path):
    whole = write_trl(
        tmp_path / "completions_00001.parquet", step=[1], prompt=["a"], completion=["b"], r=[0.5], advantage=[0.0]
    )
    cut = tmp_path / "cut/completions_00001.parquet"
    cut.parent.mkdir()
    cut.write_bytes(whole.read_bytes()[:200])
    with pytest.raises(DataError, match=r"completions_00001.parquet, row 1: not valid Parquet"):
        read(cut.parent)
    with pytest.raises(DataError, match="row 1: the column 'completion' is missing"):
        read(write_trl(tmp_path / "b/completions_00001.parquet", step=[1], prompt=["a"]).parent)
    with pytest.raises(DataError, match=r"row 1: prompt=3 must be a text or a list of messages"):
        read(write_trl(tmp_path / "c/completions_00001.parquet", step=[1], prompt=[3], completion=["a"]).parent)
    with pytest.raises(DataError, match=r"row 1: step=-1 must be a whole number from 0 on"):
        read(write_trl(tmp_path / "d/completions_00001.parquet", step=[-1], prompt=["a"], completion=["a"]).parent)
    pq.write_table(pa.table({"other": [1]}), tmp_path / "other.parquet")
    assert find_reader(tmp_path / "other.parquet") is None


def test_a_table_is_read_a_few_rows_at_a_time(tmp_path):
    n = 5000
    path = write_trl(
        tmp_path / "completions_00001.parquet",
        step=[1] * n, prompt=[str(i) for i in range(n)], completion=["a"] * n, r=[0.0] * n,
    )  # fmt: skip
    records = find_reader(path)(path, None)
    assert next(records)["member"] == 0 and sum(1 for _ in records) == n - 1


# -- verl -------------------------------------------------------------------------------------------------------------

VERL = {"input": "user\n1+1=", "output": "2 it is", "gts": "2", "score": 1.0, "step": 7}


def test_generations_of_verl(tmp_path):
    rows = [
        VERL | {"acc": True, "pred": "2"},
        VERL | {"output": "3", "score": 1.1, "acc": False, "pred": "3"},
        VERL | {"input": "other", "score": float("nan"), "request_id": "x"},
    ]
    write_lines(tmp_path / "7.jsonl", rows)
    write_lines(tmp_path / "10.jsonl", [VERL | {"step": 10}])
    right, wrong, unscored, later = read(tmp_path)
    assert [(r["update"], r["group"], r["member"]) for r in (right, wrong, unscored, later)] == [
        (7, 0, 0), (7, 0, 1), (7, 1, 0), (10, 2, 0)
    ]  # fmt: skip
    assert right["problem_id"] == later["problem_id"] != unscored["problem_id"]
    assert right["texts"] == ["user", "\n1+1=", "2", " it", " is"] and right["advantage"] is None
    assert (right["verdict"]["outcome"], right["verdict"]["answer"]) == ("correct", "2")
    assert wrong["verdict"]["outcome"] == "wrong"  # acc decides, not the score
    assert unscored["verdict"]["message"] == "no reward was recorded"
    assert right["extra"] == {"gts": "2", "acc": True, "pred": "2"}
    (alone,) = read(tmp_path / "10.jsonl")
    assert alone["update"] == 10
    without = {name: value for name, value in VERL.items() if name != "step"}
    assert read(write_lines(tmp_path / "old/12.jsonl", [without]).parent)[0]["update"] == 12


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (VERL | {"input": 3}, "input=3 must be a text"),
        (VERL | {"score": "high"}, "score='high' must be a number"),
        (VERL | {"step": 1.5}, "step=1.5 must be a whole number"),
        ([1], "a line must be an object, got list"),
        ("{", "a line must be an object, got str"),
    ],
)
def test_a_damaged_line_of_verl(tmp_path, row, message):
    write_lines(tmp_path / "1.jsonl", [VERL, VERL, row])
    with pytest.raises(DataError) as error:
        read(tmp_path)
    assert str(error.value).startswith(f"{tmp_path / '1.jsonl'}, line 3: {message}")


@pytest.mark.parametrize("text", ["{", "[" * 100_000, '{"a": \xff}', "{'a': 1}"])
def test_lines_that_are_no_json(tmp_path, text):
    path = write_lines(tmp_path / "1.jsonl", [VERL])
    with path.open("ab") as file:
        file.write(text.encode("latin-1") + b"\n" + json.dumps(VERL).encode() + b"\n")
    with pytest.raises(DataError, match=r"1.jsonl, line 2: not valid JSON"):
        read(tmp_path)
    path.write_text(json.dumps(VERL) + "\n" + json.dumps(VERL)[:20])
    assert len(read(tmp_path)) == 1  # the last line is still being written


def test_too_long_and_too_many_lines(tmp_path, monkeypatch):
    write_lines(tmp_path / "1.jsonl", [VERL, VERL, VERL | {"output": "x" * 1000}])
    monkeypatch.setattr(foreign, "LONGEST_LINE", 500)
    with pytest.raises(DataError, match="line 3: a line must have at most 500 bytes"):
        read(tmp_path)
    monkeypatch.setattr(foreign, "MOST_LINES", 1)
    with pytest.raises(DataError, match="line 2: a file must have at most 1 lines"):
        read(tmp_path)


# -- verifiers --------------------------------------------------------------------------------------------------------

VERIFIERS = {
    "example_id": 4,
    "prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1+1="}],
    "completion": [{"role": "assistant", "content": "2"}],
    "answer": "2",
    "reward": 0.6,
    "error": None,
    "is_completed": True,
    "is_truncated": False,
    "timing": {"total_ms": 3.0},
    "metrics": {"exact": 1.0},
}


def test_results_of_verifiers(tmp_path):
    call = {"id": "c", "function": {"name": "add", "arguments": "{}"}}
    talk = [
        {"role": "assistant", "content": None, "reasoning_content": "Hm.", "tool_calls": [call]},
        {"role": "tool", "content": "3"},
        {"role": "assistant", "content": [{"type": "text", "text": "It is 3"}, {"type": "image_url"}]},
    ]
    failed = {"error": "TimeoutError", "error_chain_repr": "...", "error_chain_str": "TimeoutError: late"}
    rows = [
        VERIFIERS,
        VERIFIERS | {"completion": talk, "reward": 0.4, "is_truncated": True},
        VERIFIERS | {"completion": None, "error": failed, "example_id": 5},
    ]
    write_lines(tmp_path / "results.jsonl", rows)
    (tmp_path / "metadata.json").write_text("{}")
    one, two, three = read(tmp_path)
    assert find_reader(tmp_path / "results.jsonl") is foreign.read_verifiers
    assert text_of(one, Role.PROMPT) == "[system]\nBe brief.\n[user]\n1+1=\n" and text_of(one, Role.SAMPLED) == "2"
    assert [(r["update"], r["problem_id"], r["group"], r["member"]) for r in (one, two, three)] == [
        (0, "4", 0, 0), (0, "4", 0, 1), (0, "5", 1, 0)
    ]  # fmt: skip
    assert one["verdict"]["outcome"] == "correct" and two["verdict"]["outcome"] == "wrong"
    assert not any(one["weights"]) and not one["selected"]  # an evaluation trains nothing
    assert two["truncated"] and not two["terminated"] and one["terminated"]
    assert text_of(two, Role.SAMPLED) == "Hm.\n" + json.dumps(call) + "It is 3[image_url]"
    assert text_of(two, Role.ENVIRONMENT) == "[assistant]\n\n[tool]\n3\n[assistant]\n\n"
    assert three["verdict"]["message"] == "TimeoutError: late" and not three["valid"]
    assert one["extra"]["answer"] == "2" and one["extra"]["metrics"] == {"exact": 1.0}


def test_older_results_of_verifiers(tmp_path):
    old = {"id": 0, "prompt": "1+1=", "completion": "2", "task": "sum", "answer": "2", "reward": 1}
    (record,) = read(write_lines(tmp_path / "results.jsonl", [old]))
    assert record["problem_id"] == "0" and record["texts"] == ["1+1=", "2"] and record["reward"] == 1


# -- prime-rl ---------------------------------------------------------------------------------------------------------


def export(ids, mask, **fields):
    """Return a sequence as the exporter writes it."""
    n = len(ids)
    return {
        "schema_version": 1, "step": 3, "export_step": 3, "rank": 0, "micro_step": 0, "micro_sequence_idx": 0,
        "export_sequence_idx": 0, "run_id": None, "env_name": "sums", "token_ids": ids, "position_ids": list(range(n)),
        "loss_mask": mask, "advantages": [0.5] * n, "losses": [{}] * n, "rewards": [1.0] * n,
        "inference_logprobs": [-0.5 if one else 0.0 for one in mask], "trainer_logprobs": [-0.6] * n,
        "entropy": [0.7] * n, "mismatch_kl": [0.0] * n, "importance_ratio": [1.0] * n, "is_masked": [False] * n,
    } | fields  # fmt: skip


def test_token_exports_of_prime_rl(tmp_path, chat_tokenizer):
    ids = chat_tokenizer("1+1=\u00e9!", add_special_tokens=False)["input_ids"]  # the e with an accent is two tokens
    mask = [False] * 4 + [True, True, False]
    rows = [
        export(ids, mask),
        export(ids, mask, advantages=[0, 0, 0, 0, 0.25, -0.25, 0], rewards=[None] * 7),
        export(ids, [False] * 7, inference_logprobs=[0, 0, 0, 0, -1.0, 0, -2.0], advantages=[None] * 7),
    ]
    write_lines(tmp_path / "token_exports/step_10/rank_0.jsonl", [export(ids, mask, export_step=10)])
    write_lines(tmp_path / "token_exports/step_3/rank_1.jsonl", rows[1:])
    write_lines(tmp_path / "token_exports/step_3/rank_0.jsonl", rows[:1])
    (tmp_path / "token_exports/step_3/STABLE").touch()
    one, two, three, later = read(tmp_path, chat_tokenizer)
    assert [(r["update"], r["group"], r["member"]) for r in (one, two, three, later)] == [
        (3, 0, 0), (3, 0, 1), (3, 0, 2), (10, 1, 0)
    ]  # fmt: skip
    assert one["tokens"] == ids and one["roles"] == [0, 0, 0, 0, 2, 2, 3]
    assert one["texts"] == ["1", "+", "1", "=", "", "\u00e9", "!"]
    assert one["parts"] == [False, False, False, False, True, False, False]
    assert one["logprobs"] == [None] * 4 + [-0.5, -0.5, None] and one["logprobs_before"][4] == -0.6
    assert one["entropies_after"] == [None] * 4 + [0.7, 0.7, None] and one["logprobs_after"] is None
    assert (one["reward"], one["advantage"], one["credits"]) == (1.0, 0.5, None)
    assert one["weights"] == [0, 0, 0, 0, 1, 1, 0] and one["extra"]["env_name"] == "sums"
    assert two["advantage"] is None and two["credits"] == [None] * 4 + [0.25, -0.25, None]
    assert two["verdict"]["outcome"] == "error" and not two["valid"]
    assert three["roles"] == [0, 0, 0, 0, 2, 3, 2] and not three["selected"] and three["advantage"] is None
    for path in (tmp_path / "token_exports", tmp_path / "token_exports/step_3"):
        assert len(read(path, chat_tokenizer)) == len(list(path.rglob("*.jsonl"))) + 1
    chat_tokenizer.save_pretrained(tmp_path / "tokenizer")
    file = tmp_path / "token_exports/step_10/rank_0.jsonl"
    assert read(file, tmp_path / "tokenizer") == read(file, chat_tokenizer)


def test_token_exports_need_a_tokenizer(tmp_path):
    write_lines(tmp_path / "step_1/rank_0.jsonl", [export([1, 2], [False, True])])
    with pytest.raises(ConfigurationError, match="tokenizer=None must be a folder that holds a tokenizer.json"):
        read(tmp_path)
    with pytest.raises(ConfigurationError, match="tokenizer='.*' must be a folder that holds a tokenizer.json"):
        read(tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"schema_version": 2}, "schema_version=2 must be 1"),
        ({"token_ids": [1, -2]}, r"token_ids\[1\]=-2 is not what this field may hold"),
        ({"token_ids": "12"}, "token_ids='12' must be a list"),
        ({"loss_mask": [True]}, "loss_mask has 1 entries, and the sequence has 2 tokens"),
        ({"loss_mask": [0, 1]}, r"loss_mask\[0\]=0 is not"),
        ({"entropy": [1.0]}, "entropy has 1 entries"),
        ({"advantages": ["a", 1]}, r"advantages\[0\]='a' is not"),
        ({"export_step": "x"}, "export_step='x' must be a whole number"),
    ],
)
def test_damaged_token_exports(tmp_path, chat_tokenizer, fields, message):
    write_lines(tmp_path / "rank_0.jsonl", [export([1, 2], [False, True]), export([1, 2], [False, True], **fields)])
    with pytest.raises(DataError, match=rf"rank_0.jsonl, line 2: {message}"):
        read(tmp_path, chat_tokenizer)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_texts_of_tokens_add_up_and_a_character_stands_on_its_last_token(text):
    from g2rpo_env.tokenizer import char_tokenizer

    backend = char_tokenizer().backend_tokenizer
    ids = backend.encode(text, add_special_tokens=False).ids
    texts, parts = decode_tokens(backend, ids)
    assert "".join(texts) == text
    assert not any(texts[place] for place, part in enumerate(parts) if part)
    assert "\ufffd" in text or all(len(one) <= 1 for one in texts)


def test_bytes_that_are_no_characters_are_shown_and_end():
    from g2rpo_env.tokenizer import char_tokenizer

    tokenizer = char_tokenizer()
    (byte,) = [i for i in range(2, 258) if tokenizer.convert_ids_to_tokens(i) == "\u0122"]  # the byte 0xff
    texts, parts = decode_tokens(tokenizer.backend_tokenizer, [byte] * 9)
    assert "".join(texts) == "\ufffd" * 9 and not parts[-1]


# -- all --------------------------------------------------------------------------------------------------------------


@given(st.text(max_size=40))
def test_words_add_up_to_the_text(text):
    words = [word for word, _ in split_words(text, Role.SAMPLED)]
    assert "".join(words) == text and all(words)


def test_hostile_texts_stay_what_they_are(tmp_path):
    hostile = ["<script>x</script>", "\u202e\x00\x1b[2J", "\ud800", "__proto__", "[/bold]"]
    write_lines(tmp_path / "1.jsonl", [VERL | {"input": one, "output": one, "pred": one} for one in hostile])
    for one, record in zip(hostile, read(tmp_path), strict=True):
        assert text_of(record, Role.SAMPLED) == one == record["verdict"]["answer"]


def test_what_is_of_no_kind_has_no_reader(tmp_path):
    (tmp_path / "empty").mkdir()
    ours = write_lines(tmp_path / "run/rollouts/000050.jsonl", [{"version": 1, "tokens": []}])
    other = write_lines(tmp_path / "other.jsonl", [{"a": 1}])
    damaged = tmp_path / "3.jsonl"
    damaged.write_text("{")
    for path in (tmp_path / "empty", tmp_path / "missing", ours, ours.parent, ours.parent.parent, other, damaged):
        assert find_reader(path) is None


def test_links_that_lead_out_of_the_folder_are_not_followed(tmp_path):
    write_lines(tmp_path / "elsewhere/1.jsonl", [VERL])
    (tmp_path / "run").mkdir()
    (tmp_path / "run/1.jsonl").symlink_to(tmp_path / "elsewhere/1.jsonl")
    assert find_reader(tmp_path / "run") is None


def test_reading_imports_no_torch(tmp_path):
    write_lines(tmp_path / "1.jsonl", [VERL])
    write_trl(tmp_path / "t/completions_00001.parquet", step=[1], prompt=["a"], completion=["b"])
    call = (
        "import sys; from g2rpo_env.report.foreign import find_reader as f\n"
        f"for p in ({str(tmp_path)!r}, {str(tmp_path / 't')!r}): print(len(list(f(p)(p, None))))\n"
        "print('torch' in sys.modules, 'transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True)
    assert done.stdout.split() == ["1", "1", "False", "False"], done.stderr


@pytest.mark.parametrize("number", ["9" * 400, "1e300"])
def test_a_number_beyond_all_rewards_is_one_message(tmp_path, number):
    (tmp_path / "1.jsonl").write_text(f'{{"input": "a", "output": "b", "score": {number}, "step": 1}}\n')
    with pytest.raises(DataError, match=r"1\.jsonl.*score=.* must be a number"):
        read(tmp_path)


def test_calls_of_tools_that_are_no_list_are_text():
    assert foreign.read_content({"content": "x", "tool_calls": 5}) == "x\n5"
