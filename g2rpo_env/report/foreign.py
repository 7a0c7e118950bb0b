"""Rollouts that other libraries wrote, as records of version 2: TRL, verl, prime-rl, verifiers.

:func:`find_reader` says which reader a path is for. A reader yields one record after the other and holds one row at a
time; nothing here imports torch, and nothing of a file is imported or unpickled.

=========== ===================================================== ==================================================
library     what is read                                          what was read of its code
=========== ===================================================== ==================================================
TRL         ``completions/completions_*.parquet`` of a trainer    ``trainer/grpo_trainer.py`` of 1.16, as installed:
            with ``log_completions=True``                         the table that ``log`` writes
verl        ``N.jsonl`` of ``trainer.rollout_data_dir`` or        ``trainer/ppo/ray_trainer.py`` (commit 0094eb2) and
            ``validation_data_dir``                               ``trainer/ppo/v1/trainer_base.py`` (04141f8):
                                                                  ``_write_generations``
prime-rl    ``token_exports/step_N/rank_M.jsonl``, schema 1, of   ``trainer/rl/token_export.py`` and
            ``enable_token_export``                               ``trainer/batch.py`` (004274e), whole
verifiers   ``results.jsonl`` of an evaluation                    ``utils/save_utils.py`` (00d8320):
                                                                  ``state_to_output``, ``save_outputs``; the older form
                                                                  of ``utils/eval_storage.py`` (4471f3b)
=========== ===================================================== ==================================================

The code that writes was read. A test trains two steps with TRL itself and reads what it logged; of the other three no
file of a real run was at hand, and the tests make small ones.

**Tokens.** Only prime-rl writes token ids, and needs a tokenizer for their texts. The other three write texts. There a
"token" is a word with the white space before it, so that the texts of a record add up to the whole; its id is a
checksum of the word, equal for equal words and an id of no vocabulary. To encode the text again would show tokens that
nobody sampled. Messages of a conversation are put one below the other; where an answer has several, each begins with
its role in brackets.

**What a file does not say** is null where version 2 allows it: seed, advantage, log-probabilities, entropies, credits.
Elsewhere it is what these libraries do if nobody tells them otherwise: sampled tokens have weight 1 (0 for verifiers,
which trains nothing), episodes have ended by themselves, and an answer is right from a reward of 1 on (0.5 for
verifiers, whose own threshold that is; for verl its ``acc`` decides where it has one). An episode without a reward is
invalid, with the outcome ``error``. Problems have no ids outside verifiers: answers to equal prompts of one update are
a group. What has no place in a record of version 2, such as the ground truth and the parts of a reward, stands in
``extra``. NaN and infinite numbers count as missing.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from g2rpo_env.episode import Role
from g2rpo_env.errors import ConfigurationError, DataError
from g2rpo_env.verdict import Outcome

VERSION = 2
"""Version of the records."""

LONGEST_LINE = 16 * 2**20
MOST_LINES = 1_000_000
"""Limits of a file: bytes a line, and lines or rows."""

BIGGEST = 1e15
"""Numbers beyond this are refused: no reward, count or probability is."""

MOST_PENDING = 4
"""Tokens that wait for the end of a character; UTF-8 has at most four bytes for one."""

WORD = re.compile(r"\s*\S+|\s+")

Record = dict[str, Any]
Piece = tuple[str, Role]
Reader = Callable[..., Iterator[Record]]
"""(path, tokenizer) -> records. The tokenizer is one of transformers or tokenizers, a folder that holds a
tokenizer.json, or None."""


def find_reader(path: str | Path) -> Reader | None:
    """Return the reader of a file or folder that another library wrote; None if it is of no known kind."""
    path = Path(path)
    for find_files, reader in FORMATS:
        if find_files(path):
            return reader
    return None


# -- TRL --------------------------------------------------------------------------------------------------------------

TRL_COLUMNS = ("step", "prompt", "completion")


def find_trl_files(path: Path) -> list[Path]:
    """Return the tables of completions of a trainer's folder, by step, or the one that is named."""
    if path.is_file() and path.suffix == ".parquet":
        return [path] if path.name.startswith("completions_") or set(TRL_COLUMNS) <= _read_columns(path) else []
    return _list_files(path, r"completions_(\d+)\.parquet") or _list_files(
        path, r"completions/completions_(\d+)\.parquet"
    )


def read_trl(path: str | Path, tokenizer: Any = None) -> Iterator[Record]:
    """Yield the completions that TRL logged.

    The reward is the column ``reward``, or the sum of the columns of numbers beside the advantage: one per reward
    function. Their weights are not in the file, and a column of numbers that ``log_extra`` made counts as well.

    Args:
        path: The trainer's output folder, its folder ``completions``, or one of the files.
        tokenizer: Not looked at.

    Raises:
        DataError: a file is damaged; the message names file and row.
    """
    groups = Groups()
    for file in find_trl_files(Path(path)):
        for where, row in _read_parquet(file):
            for name in TRL_COLUMNS:
                if name not in row:
                    raise DataError(f"{where}: the column {name!r} is missing")
            rest = {name: value for name, value in row.items() if name not in (*TRL_COLUMNS, "advantage")}
            numbers = {name: value for name, value in rest.items() if _is_number(value)}
            reward = rest["reward"] if "reward" in rest else sum(numbers.values()) if numbers else None
            prompt = flatten_messages(where, "prompt", row["prompt"], is_prompt=True)
            yield make_text_record(
                [*prompt, *flatten_messages(where, "completion", row["completion"])],
                update=_take_count(where, row, "step"),
                groups=groups,
                reward=_take_number(where, {"reward": reward}, "reward"),
                advantage=_take_number(where, row, "advantage"),
                extra=rest,
            )


# -- verl -------------------------------------------------------------------------------------------------------------

VERL_FIELDS = ("input", "output", "score")


def find_verl_files(path: Path) -> list[Path]:
    """Return the dumps of generations of a folder, by step, or the one that is named."""
    files = _list_named(path) or _list_files(path, r"(\d+)\.jsonl")
    return files if files and set(VERL_FIELDS) <= _peek(files[0]).keys() else []


def read_verl(path: str | Path, tokenizer: Any = None) -> Iterator[Record]:
    """Yield the generations that verl dumped; special tokens are left out of its texts.

    Args:
        path: The folder that ``trainer.rollout_data_dir`` or ``trainer.validation_data_dir`` named, or a file of it.
        tokenizer: Not looked at.

    Raises:
        DataError: a file is damaged; the message names file and line.
    """
    groups = Groups()
    for file in find_verl_files(Path(path)):
        for where, row in _read_lines(file):
            accuracy = row.get("acc")
            yield make_text_record(
                [
                    *split_words(_take_text(where, row, "input"), Role.PROMPT),
                    *split_words(_take_text(where, row, "output"), Role.SAMPLED),
                ],
                update=_take_count(where, row, "step", int(file.stem) if file.stem.isdecimal() else 0),
                groups=groups,
                reward=_take_number(where, row, "score"),
                is_right=accuracy >= 1 if isinstance(accuracy, int | float) else None,
                answer=row["pred"] if isinstance(row.get("pred"), str) else None,
                extra={name: value for name, value in row.items() if name not in (*VERL_FIELDS, "step")},
            )


# -- verifiers --------------------------------------------------------------------------------------------------------

VERIFIERS_FIELDS = ("prompt", "completion", "reward")
PASS_THRESHOLD = 0.5
"""Reward from which on verifiers counts an answer as right, if nobody says otherwise."""


def find_verifiers_files(path: Path) -> list[Path]:
    """Return results.jsonl of the folder of an evaluation, or the file that is named."""
    files = _list_named(path) or _list_files(path, r"results\.jsonl")
    return files if files and set(VERIFIERS_FIELDS) <= _peek(files[0]).keys() else []


def read_verifiers(path: str | Path, tokenizer: Any = None) -> Iterator[Record]:
    """Yield the rollouts of an evaluation of verifiers, all as of update 0.

    Args:
        path: The folder with results.jsonl, or that file.
        tokenizer: Not looked at.

    Raises:
        DataError: a file is damaged; the message names file and line.
    """
    groups = Groups()
    taken = (*VERIFIERS_FIELDS, "example_id", "id", "error", "is_truncated", "is_completed")
    for file in find_verifiers_files(Path(path)):
        for where, row in _read_lines(file):
            example = row.get("example_id", row.get("id"))
            prompt = flatten_messages(where, "prompt", row.get("prompt"), is_prompt=True)
            yield make_text_record(
                [*prompt, *flatten_messages(where, "completion", row.get("completion"))],
                update=0,
                groups=groups,
                problem_id=None if example is None else str(example),
                reward=_take_number(where, row, "reward"),
                threshold=PASS_THRESHOLD,
                error=describe_error(row.get("error")),
                truncated=row.get("is_truncated") is True,
                weight=0.0,
                extra={name: value for name, value in row.items() if name not in taken},
            )


def describe_error(error: Any) -> str | None:
    """Return what went wrong in a rollout as one text; None if nothing did."""
    if isinstance(error, Mapping):
        error = error.get("error_chain_str") or error.get("error") or json.dumps(error)
    return None if error is None else str(error)


# -- prime-rl ---------------------------------------------------------------------------------------------------------

PRIME_SCHEMA = 1
PRIME_FIELDS = ("token_ids", "loss_mask")
PRIME_FILES = (r"rank_(\d+)\.jsonl", r"step_(\d+)/rank_(\d+)\.jsonl", r"token_exports/step_(\d+)/rank_(\d+)\.jsonl")


def find_prime_rl_files(path: Path) -> list[Path]:
    """Return the exports of a folder, by step and rank, or the one that is named."""
    if path.is_file():
        return [path] if {"schema_version", *PRIME_FIELDS} <= _peek(path).keys() else []
    return next((files for pattern in PRIME_FILES if (files := _list_files(path, pattern))), [])


def read_prime_rl(path: str | Path, tokenizer: Any = None) -> Iterator[Record]:
    """Yield the sequences that prime-rl's trainer exported.

    Sampled are the tokens in the loss, and those with a log-probability of the inference server. Before the first of
    them stands the prompt; others behind it are the environment's. ``logprobs`` are those of the inference server,
    ``logprobs_before`` those of the trainer before the step, and so are the entropies, for which version 2 has no other
    place than ``entropies_after``. Ratios and mismatches follow from the two log-probabilities.

    Args:
        path: The trainer's output folder, its folder ``token_exports``, one step of it, or one file.
        tokenizer: Gives the tokens their texts.

    Raises:
        ConfigurationError: there is no tokenizer.
        DataError: a file is damaged or of another schema; the message names file and line.
    """
    if tokenizer is None:
        raise ConfigurationError(
            "tokenizer=None must be a folder that holds a tokenizer.json: prime-rl exports ids without texts"
        )
    backend, groups = _load_backend(tokenizer), Groups()
    for file in find_prime_rl_files(Path(path)):
        for where, row in _read_lines(file):
            if row.get("schema_version") != PRIME_SCHEMA:
                raise DataError(f"{where}: schema_version={row.get('schema_version')!r} must be {PRIME_SCHEMA}")
            yield _read_sequence(where, row, backend, groups)


def _read_sequence(where: str, row: Mapping[str, Any], backend: Any, groups: Groups) -> Record:
    ids_T = _take_list(where, row, "token_ids", lambda x: type(x) is int and 0 <= x < 2**32)
    mask_T = _take_list(where, row, "loss_mask", lambda x: type(x) is bool, len(ids_T))
    channels = {
        name: None if row.get(name) is None else _take_list(where, row, name, _is_gap_or_number, len(ids_T))
        for name in ("inference_logprobs", "trainer_logprobs", "entropy", "advantages", "rewards")
    }
    inferred_T = channels["inference_logprobs"] or [None] * len(ids_T)
    sampled_T = [bool(mask or inferred) for mask, inferred in zip(mask_T, inferred_T, strict=True)]
    first = sampled_T.index(True) if any(sampled_T) else len(ids_T)
    roles_T = [
        Role.SAMPLED if sampled else Role.PROMPT if place < first else Role.ENVIRONMENT
        for place, sampled in enumerate(sampled_T)
    ]

    def of_sampled(name: str) -> list[float | None] | None:
        values = channels[name]
        if values is None or all(value is None for value in values):
            return None
        return [value if sampled else None for value, sampled in zip(values, sampled_T, strict=True)]

    trained = {value for value, mask in zip(channels["advantages"] or (), mask_T, strict=False) if mask}
    texts_T, parts_T = decode_tokens(backend, ids_T)
    rewards = {value for value in channels["rewards"] or () if value is not None}
    record = make_record(
        ids_T,
        texts_T,
        roles_T,
        update=_take_count(where, row, "export_step", _take_count(where, row, "step", 0)),
        groups=groups,
        key=f"{row.get('env_name')} {ids_T[:first]}",
        reward=rewards.pop() if len(rewards) == 1 else None,
        advantage=trained.pop() if len(trained) == 1 else None,
        extra={name: row.get(name) for name in ("env_name", "run_id", "rank", "losses") if row.get(name) is not None},
    )
    return record | {
        "parts": parts_T,
        "logprobs": of_sampled("inference_logprobs"),
        "logprobs_before": of_sampled("trainer_logprobs"),
        "entropies_after": of_sampled("entropy"),
        "credits": of_sampled("advantages") if len(trained) > 1 else None,
        "weights": [float(mask) for mask in mask_T],
        "loss_mask": [int(mask) for mask in mask_T],
        "selected": any(mask_T),
    }


def decode_tokens(backend: Any, ids_T: Sequence[int]) -> tuple[list[str], list[bool]]:
    """Return the text that each token adds, and which tokens are a part of a character that a later one shows.

    Args:
        backend: A tokenizer of tokenizers.
        ids_T: The tokens.
    """
    texts_T, parts_T = [""] * len(ids_T), [False] * len(ids_T)
    shown, begin = 0, 0  # tokens from `shown` to `begin` are what the next ones are decoded behind
    for place in range(len(ids_T)):
        before = backend.decode(ids_T[shown:begin], skip_special_tokens=False)
        text = backend.decode(ids_T[shown : place + 1], skip_special_tokens=False)
        if text.endswith("\ufffd") and place - begin + 1 < MOST_PENDING and place + 1 < len(ids_T):
            parts_T[place] = True
            continue
        texts_T[place] = text[len(before) :]
        shown, begin = begin, place + 1
    return texts_T, parts_T


def _load_backend(tokenizer: Any) -> Any:
    if not isinstance(tokenizer, str | Path):
        return getattr(tokenizer, "backend_tokenizer", tokenizer)
    from tokenizers import Tokenizer

    path = Path(tokenizer)
    file = path / "tokenizer.json" if path.is_dir() else path
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises bare ones
        raise ConfigurationError(
            f"tokenizer={str(tokenizer)!r} must be a folder that holds a tokenizer.json ({error})"
        ) from None


FORMATS: tuple[tuple[Callable[[Path], list[Path]], Reader], ...] = (
    (find_trl_files, read_trl),
    (find_prime_rl_files, read_prime_rl),
    (find_verifiers_files, read_verifiers),
    (find_verl_files, read_verl),
)
"""(the files of a path, their reader) of each library."""


# -- records ----------------------------------------------------------------------------------------------------------


class Groups:
    """Numbers for groups and their members, in the order in which they are met."""

    def __init__(self) -> None:
        self.numbers: dict[tuple[int, str], int] = {}
        self.members: dict[int, int] = {}

    def place(self, update: int, key: str) -> tuple[int, int]:
        """Return the group of a problem in an update, and the next free member."""
        group = self.numbers.setdefault((update, key), len(self.numbers))
        member = self.members.get(group, 0)
        self.members[group] = member + 1
        return group, member


def make_record(
    tokens_T: list[int],
    texts_T: list[str],
    roles_T: Sequence[Role],
    *,
    update: int,
    groups: Groups,
    key: str,
    reward: float | None,
    problem_id: str | None = None,
    advantage: float | None = None,
    threshold: float = 1.0,
    is_right: bool | None = None,
    answer: str | None = None,
    error: str | None = None,
    truncated: bool = False,
    weight: float = 1.0,
    extra: Mapping[str, Any] | None = None,
) -> Record:
    """Return a record of version 2 without anything per token but texts, roles and weights.

    Args:
        tokens_T: Ids.
        texts_T: Their texts.
        roles_T: Their roles.
        update: Update that the episode was sampled for.
        groups: Numbers the groups.
        key: Equal for the members of a group; the problem's id is made from it where there is none.
        reward: None if there is none: the episode is invalid then.
        problem_id: Id of the problem.
        advantage: Advantage of the episode.
        threshold: Reward from which on an answer is right.
        is_right: Whether it is; None lets the threshold decide.
        answer: Final answer that a verifier found.
        error: What a verifier failed with.
        truncated: Whether the budget of tokens was spent.
        weight: Loss weight of sampled tokens.
        extra: What has no place in a record.
    """
    problem_id = sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:12] if problem_id is None else problem_id
    group, member = groups.place(update, problem_id)
    if error is None and reward is None:
        error = "no reward was recorded"
    right = (reward is not None and reward >= threshold) if is_right is None else is_right
    outcome = Outcome.ERROR if error is not None else Outcome.CORRECT if right else Outcome.WRONG
    weights_T = [weight if role == Role.SAMPLED else 0.0 for role in roles_T]
    return {
        "version": VERSION,
        "update": update,
        "tokens": tokens_T,
        "texts": texts_T,
        "roles": [int(role) for role in roles_T],
        "logprobs": None,
        "logprobs_before": None,
        "logprobs_after": None,
        "entropies_after": None,
        "problem_id": problem_id,
        "group": group,
        "member": member,
        "seed": None,
        "reveal": 0,
        "reward": 0.0 if reward is None else reward,
        "verdict": {"outcome": str(outcome), "answer": answer, "message": error or "", "score": reward},
        "valid": error is None,
        "terminated": not truncated,
        "truncated": truncated,
        "stage": 0,
        "parent": None,
        "train_prefix": None,
        "advantage": advantage,
        "credits": None,
        "weights": weights_T,
        "loss_mask": [int(w > 0) for w in weights_T],
        "shaped_reward": None,
        "selected": weight > 0,
        "prompt_reveal": None,
        "extra": dict(extra or {}),
    }


def make_text_record(pieces: Sequence[Piece], **facts: Any) -> Record:
    """Return a record of words and their roles; see :func:`make_record` for the facts.

    The prompt is the key of the group.
    """
    texts_T = [text for text, _ in pieces]
    prompt = "".join(text for text, role in pieces if role == Role.PROMPT)
    tokens_T = [zlib.crc32(text.encode("utf-8", "surrogatepass")) for text in texts_T]
    return make_record(tokens_T, texts_T, [role for _, role in pieces], key=prompt, **facts)


def split_words(text: str, role: Role) -> list[Piece]:
    r"""Return a text as words, each with the white space before it; together they are the text.

    >>> split_words("1 + 2\n", Role.PROMPT)
    [('1', <Role.PROMPT: 0>), (' +', <Role.PROMPT: 0>), (' 2', <Role.PROMPT: 0>), ('\n', <Role.PROMPT: 0>)]
    """
    return [(word, role) for word in WORD.findall(text)]


def flatten_messages(where: str, name: str, messages: Any, *, is_prompt: bool = False) -> list[Piece]:
    """Return a text, or messages one below the other, as words with their roles.

    Args:
        where: File and line, for messages.
        name: Name of the field.
        messages: A text, a list of ``{"role": ..., "content": ...}``, or None.
        is_prompt: Whether all of it is the prompt. Else what ``assistant`` says is sampled, all else the environment's.

    Raises:
        DataError: it is something else.
    """
    if messages is None or isinstance(messages, str):
        return split_words(messages or "", Role.PROMPT if is_prompt else Role.SAMPLED)
    if not isinstance(messages, list) or not all(isinstance(one, Mapping) for one in messages):
        raise DataError(f"{where}: {name}={repr(messages)[:60]} must be a text or a list of messages")
    if not is_prompt and len(messages) == 1 and messages[0].get("role") == "assistant":
        return split_words(read_content(messages[0]), Role.SAMPLED)
    pieces: list[Piece] = []
    for message in messages:
        speaker = str(message.get("role"))
        role = Role.PROMPT if is_prompt else Role.SAMPLED if speaker == "assistant" else Role.ENVIRONMENT
        pieces.append((f"[{speaker}]\n", Role.PROMPT if is_prompt else Role.ENVIRONMENT))
        pieces += split_words(read_content(message), role)
        pieces.append(("\n", Role.PROMPT if is_prompt else Role.ENVIRONMENT))
    return pieces


def read_content(message: Mapping[str, Any]) -> str:
    """Return the text of a message: its reasoning, its content and its calls of tools, one below the other."""
    content = message.get("content")
    if isinstance(content, list):  # parts: texts, and others that are named
        kinds = [one if isinstance(one, Mapping) else {"type": "text", "text": str(one)} for one in content]
        content = "".join(str(one.get("text") or f"[{one.get('type')}]") for one in kinds)
    texts = [message.get("reasoning_content"), content]
    called = message.get("tool_calls") or ()
    listed = called if isinstance(called, list | tuple) else [called]
    calls = [call if isinstance(call, str) else json.dumps(call, default=str) for call in listed]
    return "\n".join(str(text) for text in (*texts, *calls) if text)


# -- files ------------------------------------------------------------------------------------------------------------


def _list_named(path: Path) -> list[Path]:
    return [path] if path.is_file() and path.suffix == ".jsonl" else []


def _list_files(folder: Path, pattern: str) -> list[Path]:
    """Return the files of a folder whose path in it fits, in the order of the numbers in it; no links that lead out."""
    if not folder.is_dir():
        return []
    below, found = folder.resolve(), []
    depth = pattern.count("/")
    fixed = pattern.split("/")[0] if depth and pattern.split("/")[0].isidentifier() else ""
    for file in (folder / fixed).glob("/".join(["*"] * (depth + 1 - bool(fixed)))):
        match = re.fullmatch(pattern, file.relative_to(folder).as_posix())
        if match and file.is_file() and file.resolve().is_relative_to(below):
            found.append((tuple(map(int, match.groups())), file))
    return [file for _, file in sorted(found)]


def _read_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (file and line, object) of a JSON Lines file; a last line that is being written is left out."""
    try:
        with path.open("rb") as file:
            for number in range(1, MOST_LINES + 2):
                line, where = file.readline(LONGEST_LINE + 1), f"{path}, line {number}"
                if not line:
                    return
                if number > MOST_LINES:
                    raise DataError(f"{where}: a file must have at most {MOST_LINES:,} lines")
                if len(line) > LONGEST_LINE:
                    raise DataError(f"{where}: a line must have at most {LONGEST_LINE:,} bytes")
                if line.isspace():
                    continue
                try:
                    row = json.loads(line, parse_constant=lambda name: None, parse_float=_parse_float)
                except (ValueError, RecursionError) as error:
                    if not line.endswith(b"\n"):
                        return
                    raise DataError(f"{where}: not valid JSON ({str(error)[:120]})") from None
                if not isinstance(row, dict):
                    raise DataError(f"{where}: a line must be an object, got {type(row).__name__}")
                yield where, row
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None


def _parse_float(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _peek(path: Path) -> dict[str, Any]:
    """Return the first object of a JSON Lines file; an empty one if there is none."""
    try:
        return next((row for _, row in _read_lines(path)), {})
    except DataError:
        return {}


def _read_columns(path: Path) -> set[str]:
    from pyarrow import ArrowException
    from pyarrow.parquet import read_schema

    try:
        return set(read_schema(path).names)
    except (ArrowException, OSError):
        return set()


def _read_parquet(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (file and row, row) of a Parquet file, a few hundred rows in memory at a time."""
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    number = 0
    try:
        with ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=256):
                for row in batch.to_pylist():
                    number += 1
                    if number > MOST_LINES:
                        raise DataError(f"{path}, row {number}: a file must have at most {MOST_LINES:,} rows")
                    yield f"{path}, row {number}", {name: _drop_gap(value) for name, value in row.items()}
    except (ArrowException, OSError, UnicodeDecodeError, OverflowError) as error:
        raise DataError(f"{path}, row {number + 1}: not valid Parquet ({' '.join(str(error).split())[:120]})") from None


def _drop_gap(value: Any) -> Any:
    """Return a value of a table as JSON has it: None for numbers that are not finite, text for dates and the like."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | list | dict | type(None)) else str(value)


# -- fields -----------------------------------------------------------------------------------------------------------


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -BIGGEST <= value <= BIGGEST


def _is_gap_or_number(value: Any) -> bool:
    return value is None or _is_number(value)


def _take_number(where: str, row: Mapping[str, Any], name: str) -> float | None:
    value = row.get(name)
    if isinstance(value, bool):
        return float(value)
    if not _is_gap_or_number(value):
        raise DataError(f"{where}: {name}={repr(value)[:60]} must be a number")
    return None if value is None else float(value)


def _take_count(where: str, row: Mapping[str, Any], name: str, default: int | None = None) -> int:
    value = row.get(name)
    if value is None and default is not None:
        return default
    if type(value) is not int or value < 0:
        raise DataError(f"{where}: {name}={repr(value)[:60]} must be a whole number from 0 on")
    return value


def _take_text(where: str, row: Mapping[str, Any], name: str) -> str:
    if not isinstance(row.get(name), str):
        raise DataError(f"{where}: {name}={repr(row.get(name))[:60]} must be a text")
    return row[name]


def _take_list(
    where: str, row: Mapping[str, Any], name: str, check: Callable[[Any], bool], length: int | None = None
) -> list[Any]:
    values = row.get(name)
    if not isinstance(values, list):
        raise DataError(f"{where}: {name}={repr(values)[:60]} must be a list")
    if length is not None and len(values) != length:
        raise DataError(f"{where}: {name} has {len(values)} entries, and the sequence has {length} tokens")
    wrong = next((place for place, value in enumerate(values) if not check(value)), None)
    if wrong is not None:
        raise DataError(f"{where}: {name}[{wrong}]={repr(values[wrong])[:60]} is not what this field may hold")
    return values
