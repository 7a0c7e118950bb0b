"""Generators: what others write is replayed through the environment, and checked."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from g2rpo_env.agents import GRPO, CausalLMPolicy, Recipe
from g2rpo_env.agents.parts.strategies.generators import (
    Answer,
    Beginning,
    HuggingFace,
    VLLMServer,
    generate,
    read_answer,
    replay,
)
from g2rpo_env.agents.parts.strategies.rollout import Rollout
from g2rpo_env.agents.recipe import part_from_config, part_to_config
from g2rpo_env.episode import Role
from g2rpo_env.errors import ConfigurationError, GenerationError

STOPS = tuple("0123456789")


@pytest.fixture
def envs(make_envs: Any) -> Any:
    envs = make_envs(8, 4, digits=(1, 3), max_new_tokens=12, stop_strings=STOPS, guidance={"length": 3, "ratio": 0.5})
    envs.reset(seed=0)
    return envs


@pytest.fixture
def policy(envs: Any, make_policy: Any) -> CausalLMPolicy:
    return make_policy(envs, scale=2.0)  # type: ignore[no-any-return]


def log_probs_of(policy: CausalLMPolicy, tokens_T: np.ndarray) -> np.ndarray:
    """Log-probabilities of the sampling distribution after each token, (T, V)."""
    with torch.no_grad():
        logits = policy.model(torch.from_numpy(tokens_T[None].astype(np.int64))).logits[0]
    return policy.sampling_log_probs(logits).numpy()


# -- the replay -------------------------------------------------------------------------------------------------------


def test_what_a_rollout_wrote_is_replayed_into_the_same_records(envs: Any, policy: CausalLMPolicy) -> None:
    envs.unwrapped.load_state_dict({"root": 3, "counter": 0, "open": {}})
    wanted = {(e.group, e.member): e for e in Rollout()(policy, envs).episodes}

    def write(policy: Any, base: Any, starts: list[Beginning]) -> list[Answer]:
        episodes = [wanted[start.group, start.member] for start in starts]
        for episode, start in zip(episodes, starts, strict=True):
            assert np.array_equal(start.tokens_T, episode.tokens_T[~episode.sampled_T])
        return [Answer(e.tokens_T[e.sampled_T], e.logprob_T[e.sampled_T]) for e in episodes]

    envs.unwrapped.load_state_dict({"root": 3, "counter": 0, "open": {}})
    got = replay(policy, envs, write, 1e-3).episodes
    assert len(got) == 8
    for episode in got:
        one, other = episode.to_record(), wanted[episode.group, episode.member].to_record()
        assert one == other


def answers(count: int, tokens: list[int]) -> Any:
    """A generator that always writes the same."""
    return lambda policy, base, starts: [Answer(np.array(tokens), np.zeros(len(tokens)))] * (len(starts) + count)


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (answers(-1, [5] * 12), "returned 7 answers for 8 episodes"),
        (answers(1, [5] * 12), "returned 9 answers for 8 episodes"),
        (answers(0, [5, 6, 7]), "group=2, member=0 stops after 3 tokens, neither ended nor at its budget"),
        (answers(0, []), "stops after 0 tokens"),
        (answers(0, [5] * 12), "differ from the policy's by"),
    ],
)
def test_answers_that_do_not_fit_are_refused(envs: Any, policy: CausalLMPolicy, write: Any, words: str) -> None:
    with pytest.raises(GenerationError, match=words):
        replay(policy, envs, write, 0.1)


def test_tokens_after_the_end_are_ignored(envs: Any, policy: CausalLMPolicy) -> None:
    end = envs.unwrapped.task.eos_token_id
    episodes = replay(policy, envs, answers(0, [90, end, 91, 92]), None).episodes
    assert all(e.tokens_T[e.sampled_T].tolist() == [90, end] and e.terminated for e in episodes)


def test_a_task_with_replies_is_refused(make_envs: Any, policy: CausalLMPolicy) -> None:
    envs = make_envs(4, 4, reply=lambda *_: "?", max_tries=2, max_reply_tokens=1)
    with pytest.raises(
        ConfigurationError, match="reply=<function .* of the task must be None: what comes after a reply"
    ):
        replay(policy, envs, answers(0, []), None)


# -- Hugging Face -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [None, 3])
def test_generate_gives_the_records_of_a_rollout(envs: Any, policy: CausalLMPolicy, batch_size: int | None) -> None:
    policy = CausalLMPolicy(policy.model, policy.tokenizer, temperature=0.7, top_k=20, top_p=0.95, min_p=0.01)
    groups = HuggingFace(batch_size, tolerance=1e-4)(policy, envs)
    assert [[(e.group, e.member) for e in g.episodes] for g in groups] == [[(g, m) for m in range(4)] for g in (2, 3)]
    assert len({int(e.sampled_T.sum()) for e in groups.episodes}) > 1
    assert {e.terminated for e in groups.episodes} == {True, False}
    for episode in groups.episodes:
        assert (episode.role_T == Role.REVEALED).sum() == episode.reveal == (3 if episode.member < 2 else 0)
        places = np.flatnonzero(episode.sampled_T)
        rows = log_probs_of(policy, episode.tokens_T)[places - 1]
        assert np.allclose(rows[np.arange(len(places)), episode.tokens_T[places]], episode.logprob_T[places], atol=1e-4)


def test_generate_depends_on_the_seed_and_leaves_torchs_random_state(envs: Any, policy: CausalLMPolicy) -> None:
    texts = []
    for root in (1, 1, 2):
        envs.unwrapped.load_state_dict({"root": root, "counter": 0, "open": {}})
        torch.manual_seed(len(texts))
        before = torch.random.get_rng_state()
        texts.append([e.tokens_T.tolist() for e in HuggingFace()(policy, envs).episodes])
        assert torch.equal(before, torch.random.get_rng_state())
    assert texts[0] == texts[1] != texts[2]


def test_generate_never_writes_ids_of_a_padded_vocabulary(envs: Any, policy: CausalLMPolicy) -> None:
    policy.model.resize_token_embeddings(400)
    with torch.no_grad():
        policy.model.get_input_embeddings().weight[258:] = policy.model.get_input_embeddings().weight[:142] * 100
    policy = CausalLMPolicy(policy.model, policy.tokenizer)
    starts = [Beginning(np.array([5, 6, 7]), 0, 0, 0)] * 16
    assert all(answer.tokens_T.max() < 258 for answer in generate(policy, 8, starts))


def test_generate_samples_the_distribution_of_the_policy(envs: Any, policy: CausalLMPolicy) -> None:
    # 4,000 first tokens against their probabilities: a chi-square test over the tokens expected at least 5 times.
    from scipy.stats import chisquare

    policy = CausalLMPolicy(policy.model, policy.tokenizer, temperature=0.8, top_k=8, min_p=0.02)
    torch.manual_seed(0)
    drawn = [int(a.tokens_T[0]) for a in generate(policy, 1, [Beginning(np.array([50, 60, 70]), 0, 0, 0)] * 4000)]
    wanted = np.exp(log_probs_of(policy, np.array([50, 60, 70]))[-1].astype(np.float64)) * 4000
    counts = np.bincount(drawn, minlength=len(wanted))
    often = wanted >= 5
    assert not counts[wanted == 0].any()
    rest = [counts[~often].sum()], [wanted[~often].sum()]
    seen = np.concatenate([counts[often], rest[0]] if rest[1][0] > 5 else [counts[often]])
    expected = np.concatenate([wanted[often], rest[1]] if rest[1][0] > 5 else [wanted[often]])
    assert chisquare(seen, expected * seen.sum() / expected.sum()).pvalue > 0.01


def test_starts_of_equal_length_go_together_where_padding_would_disturb_a_model() -> None:
    starts = [Beginning(np.zeros(length, np.int64), 0, 0, 0) for length in (3, 5, 3, 3, 4)]
    for padding, size, expected in ((True, 2, [[0, 1], [2, 3], [4]]), (False, 2, [[0, 2], [3], [4], [1]])):
        policy: Any = SimpleNamespace(takes_padding=padding)
        assert HuggingFace(batch_size=size)._batches(policy, starts) == expected


@pytest.mark.parametrize("lora", [False, True])
def test_generation_options_of_the_model_change_nothing(envs: Any, policy: CausalLMPolicy, lora: bool) -> None:
    if lora:
        policy.add_lora(rank=2)
    rows = [Beginning(np.arange(2, 9), 0, member, member) for member in range(4)]

    def written() -> list[list[int]]:
        torch.manual_seed(0)
        return [answer.tokens_T.tolist() for answer in generate(policy, 12, rows, [1])]

    expected = written()
    own: Any = policy.model.generation_config
    own.suppress_tokens, own.repetition_penalty, own.num_beams = list(range(20, 200)), 5.0, 2
    own.stop_strings, own.no_repeat_ngram_size = ["7"], 1
    policy.model.train()
    assert written() == expected and policy.model.generation_config is own


def test_a_generator_is_a_strategy_of_a_recipe(envs: Any, policy: CausalLMPolicy) -> None:
    for part in (HuggingFace(4, None), VLLMServer("tiny"), Rollout(groups=3, refill=False)):
        assert part_from_config(json.loads(json.dumps(part_to_config(part)))) == part
    agent = GRPO(policy, envs, recipe=Recipe(strategy=HuggingFace()), seed=0)
    agent.learn(updates=1)
    assert agent.sampled_tokens > 0


# -- vLLM -------------------------------------------------------------------------------------------------------------

# In the format of vLLM 0.26 (CompletionResponse in vllm/entrypoints/openai/completion/protocol.py), as json() sends it.
RESPONSE = """{"id": "cmpl-8f2b1c0a4d5e4f6f9a3b7c1d2e3f4a5b", "object": "text_completion", "created": 1784800000,
"model": "tiny", "choices": [{"index": 0, "text": " 12", "logprobs": {"text_offset": [0, 1, 2, 3],
"token_logprobs": [-0.6931471824645996, -1.2039728164672852, -0.22314354777336121, -0.010050326585769653],
"tokens": [" ", "1", "2", "<|endoftext|>"], "top_logprobs": [{" ": -0.6931471824645996}, {"1": -1.2039728164672852},
{"2": -0.22314354777336121}, {"<|endoftext|>": -0.010050326585769653}]}, "finish_reason": "stop",
"stop_reason": null, "token_ids": [34, 51, 52, 1], "prompt_logprobs": null, "prompt_token_ids": [40, 41, 42],
"routed_experts": null}], "service_tier": null, "system_fingerprint": null,
"usage": {"prompt_tokens": 3, "total_tokens": 7, "completion_tokens": 4, "prompt_tokens_details": null},
"kv_transfer_params": null, "ec_transfer_params": null, "metrics": null}"""


def changed(**fields: Any) -> dict[str, Any]:
    """The response with other fields in its completion."""
    body: dict[str, Any] = json.loads(RESPONSE)
    body["choices"][0].update(fields)
    return body


def test_a_response_is_read() -> None:
    answer = read_answer(json.loads(RESPONSE))
    assert answer.tokens_T.tolist() == [34, 51, 52, 1]
    assert np.allclose(np.exp(answer.logprob_T), [0.5, 0.3, 0.8, 0.99], atol=1e-6)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"choices": []}, "returned 0 completions"),
        ({"choices": [{}, {}]}, "returned 2 completions"),
        (["unexpected"], "returned 0 completions"),
        (changed(finish_reason="abort"), "finish_reason='abort'"),
        (changed(token_ids=None), "no token_ids"),
        (changed(logprobs=None), "no logprobs"),
        (changed(token_ids=[34, 51]), "2 token_ids with 4 token_logprobs"),
    ],
)
def test_responses_that_do_not_fit_are_refused(body: Any, words: str) -> None:
    with pytest.raises(GenerationError, match=words):
        read_answer(body)


class Server(ThreadingHTTPServer):
    """Answers as vLLM would, with tokens sampled from a policy."""

    def __init__(self, policy: CausalLMPolicy, broken: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.policy, self.broken, self.bodies, self.lock = policy, broken, [], threading.Lock()

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the response to a request."""
        random, tokens, values = np.random.default_rng(body["seed"]), list(body["prompt"]), []
        reason = "length"
        while len(values) < body["max_tokens"] and reason == "length":
            row = log_probs_of(self.policy, np.array(tokens))[-1].astype(np.float64)
            p = np.exp(row)
            tokens.append(int(random.choice(len(p), p=p / p.sum())))
            values.append(float(row[tokens[-1]]))
            text = self.policy.tokenizer.decode(tokens[-1:])
            reason = "stop" if tokens[-1] in body["stop_token_ids"] or text in body["stop"] else "length"
        written = tokens[len(body["prompt"]) :]
        logprobs = {"text_offset": [], "token_logprobs": values, "tokens": [], "top_logprobs": []}
        return changed(token_ids=written, logprobs=logprobs, finish_reason=reason)


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.bodies.append((self.path, body))
            answer = {"error": {"message": "The model `x` does not exist."}} if self.server.broken else None
            data = json.dumps(answer or self.server.complete(body)).encode()
        self.send_response(404 if self.server.broken else 200)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(policy: CausalLMPolicy) -> Iterator[Server]:
    with Server(policy) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def url_of(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/"


def test_a_server_gives_the_records_of_a_rollout(envs: Any, policy: CausalLMPolicy, server: Server) -> None:
    strategy = VLLMServer("tiny", url_of(server), connections=3, tolerance=1e-4)
    runs = []
    for _ in range(2):
        envs.unwrapped.load_state_dict({"root": 4, "counter": 0, "open": {}})
        runs.append(strategy(policy, envs))
    assert [[(e.group, e.member) for e in g.episodes] for g in runs[0]] == [[(g, m) for m in range(4)] for g in (0, 1)]
    assert [e.to_record() for e in runs[0].episodes] == [e.to_record() for e in runs[1].episodes]
    assert {e.terminated for e in runs[0].episodes} == {True, False}
    path, body = server.bodies[0]
    assert path == "/v1/completions" and len(server.bodies) == 16
    assert len({body["seed"] for _, body in server.bodies}) == 8
    assert (body["model"], body["max_tokens"], body["stop"], body["stop_token_ids"]) == ("tiny", 12, list(STOPS), [1])


def test_a_server_with_old_weights_is_noticed(envs: Any, policy: CausalLMPolicy, server: Server) -> None:
    server.policy = CausalLMPolicy.tiny(envs, seed=9, hidden_size=32, layers=1)
    with pytest.raises(GenerationError, match="must have the policy's weights"):
        VLLMServer("tiny", url_of(server))(policy, envs)


def test_an_error_of_the_server_is_shown(envs: Any, policy: CausalLMPolicy, server: Server) -> None:
    server.broken = True
    with pytest.raises(GenerationError, match="answered 404: .*does not exist"):
        VLLMServer("x", url_of(server))(policy, envs)


def test_a_server_that_is_not_there_is_named(envs: Any, policy: CausalLMPolicy) -> None:
    with pytest.raises(GenerationError, match="http://127.0.0.1:9/v1/completions could not be asked"):
        VLLMServer("tiny", "http://127.0.0.1:9", timeout=2)(policy, envs)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: HuggingFace(batch_size=0), "batch_size=0"),
        (lambda: HuggingFace(tolerance=0), "tolerance=0"),
        (lambda: VLLMServer("m", "localhost:8000"), "url='localhost:8000'"),
        (lambda: VLLMServer("m", connections=0), "connections=0"),
        (lambda: VLLMServer("m", timeout=0), "timeout=0"),
        (lambda: VLLMServer("m", tolerance=float("nan")), "tolerance=nan"),
    ],
)
def test_bad_options_are_named(make: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        make()


# -- several end tokens -----------------------------------------------------------------------------------------------


def test_generate_ends_where_the_environment_does(make_envs: Any, make_policy: Any) -> None:
    for options, ends in (({}, set(range(1, 50))), ({"end_tokens": [7]}, {7})):
        envs = make_envs(8, 4, max_new_tokens=12, **options)
        envs.reset(seed=0)
        policy = make_policy(envs)
        policy.model.generation_config.eos_token_id = list(range(1, 50))
        episodes = HuggingFace()(policy, envs).episodes
        assert envs.unwrapped.end_tokens == ends
        for episode in episodes:
            sampled = episode.tokens_T[episode.sampled_T]
            assert episode.terminated == (int(sampled[-1]) in ends) and not ends & set(sampled[:-1].tolist())
        request = VLLMServer("m").request(policy, envs.unwrapped, Beginning(np.zeros(1, np.int64), 0, 0, 0))
        assert request["stop_token_ids"] == sorted(ends)
