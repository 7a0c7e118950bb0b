// Run by tests/report/test_viewer_bundle.py: node --test tests/report/viewer/
import assert from "node:assert/strict";
import { test } from "node:test";
import { CHANNELS, findExtremes, getColor, getRange, summarize } from "../../../g2rpo_env/report/viewer/src/channels.mjs";
import { getEpisode, getKind, getMembers, getRecorded, getRoleRuns, getShares, makeRun, readRuns, unscale } from "../../../g2rpo_env/report/viewer/src/columns.mjs";
import { inflate, makeLoader } from "../../../g2rpo_env/report/viewer/src/data.mjs";
import { findMatches, isActive, readRange } from "../../../g2rpo_env/report/viewer/src/filters.mjs";
import { format, parse } from "../../../g2rpo_env/report/viewer/src/fragment.mjs";
import { fixed, percent, plural, signed } from "../../../g2rpo_env/report/viewer/src/numbers.mjs";
import { cut, hasInvisible, visible } from "../../../g2rpo_env/report/viewer/src/visible.mjs";
import { gzipSync } from "node:zlib";

test("fragments are parsed with a fixed grammar, and come back", () => {
  const link = format("/run/2/update/50/group/-3/member/1", new Map([["channel", "credit"], ["answer", "a&b=c #?"], ["x", ""]]));
  assert.equal(link, "#/run/2/update/50/group/-3/member/1?channel=credit&answer=a%26b%3Dc%20%23%3F");
  const state = parse(link);
  assert.deepEqual([state.page, state.run, state.update, state.group, state.member], ["episode", 2, 50, -3, 1]);
  assert.equal(state.params.get("answer"), "a&b=c #?");
  assert.equal(parse(format("/run/0", new Map([["answer", "\ud800"]]))).params.get("answer"), "\ufffd");
});

test("a fragment that is not known opens the overview", () => {
  for (const text of ["", "#", "#/x", "#/run/abc", "#/run/1e3", "#/run/0/update/9999999999999999/group/0", "#/run/0/%2e%2e", "#__proto__"]) {
    assert.equal(parse(text).page, "overview", text);
  }
  const { params } = parse("#/run/0?channel=<script>&updates=1~x&__proto__=1&constructor=2&answer=%&sort=success&token=12");
  assert.deepEqual([...params], [["sort", "success"], ["token", "12"]]);
});

test("what leaves no ink is written out, and the rest stays", () => {
  assert.equal(visible("a\n\u202eb\u200b\t\r\0\x1b\ud800\u{e0041}\xa0\ufeff é漢😀"), "a\\n\\u202eb\\u200b\\t\\r\\x00\\x1b\\ud800\\U000e0041\\xa0\\ufeff é漢😀");
  assert.equal(visible("a\nb\u200b", true), "a\nb\\u200b");
  assert.equal(visible(null), "");
  assert.ok(hasInvisible("\u2028") && !hasInvisible("a b"));
  assert.equal(cut("ab😀c", 3), "ab…");
  assert.equal(cut("abc", 3), "abc");
});

const raw = {
  label: "r", metrics: [["update", [1, 2]]], answers: ["7", "__proto__"], chunks: [["chunk-0-1", 1, 3]],
  problems: [["p", "prompt"], ["__proto__", "other"]],
  groups: {
    update: [1, 1, 2], group: [0, 1, 2], problem: [0, 1, 0], size: [2, 1, 2], reward: [1, 0, 1, 0, 0], correct: [1, 0, 1, 0, 0],
    guided: [1, 0, 0, 0, 0], reveal: [3, 0, 0, 0, 0], sampled: [2, 2, 2, 2, 2], truncated: [0, 0, 0, 0, 1], advantage: [1, -1, null, 0, 0],
    answer: [0, null, 1, 0, 0],
  },
  episodes: { update: [1, 1, 1], group: [0, 0, 1], place: [0, 1, 2], outcome: [0, 2, 0], stage: [0, 0, 0], roles: [7, 5, 5], flags: [1, 0, 0] },
};
const rules = [["copied", "t", "m"]];

test("groups, members and shares come from columns", () => {
  const run = makeRun(raw, 0);
  assert.deepEqual(run.starts, [0, 2, 3]);
  assert.deepEqual(getMembers(run, 1), [{ reward: 1, correct: 1, guided: 0, reveal: 0, sampled: 2, truncated: 0, advantage: null, answer: "__proto__" }]);
  assert.deepEqual([0, 1, 2].map((g) => getKind(run, g)), ["mixed", "all", "none"]);
  assert.deepEqual(getShares(run, 0), { guided: 1, plain: 0, all: 0.5 });
  assert.deepEqual([getRecorded(run, 0), getRecorded(run, 2)], [[0, 1], []]);
});

test("filters", () => {
  const run = makeRun(raw, 0);
  const count = (pairs) => findMatches(run, new Map(Object.entries(pairs)), rules).length;
  assert.equal(count({}), 5);
  assert.equal(count({ verdict: "correct" }), 2);
  assert.equal(count({ verdict: "no_answer" }), 1);
  assert.equal(count({ guided: "plain" }), 4);
  assert.equal(count({ updates: "2~" }), 2);
  assert.equal(count({ reveal: "1~9" }), 1);
  assert.equal(count({ problem: "OTHER" }), 1);
  assert.equal(count({ suspicion: "copied" }), 1);
  assert.equal(count({ role: "revealed" }), 1);
  assert.equal(count({ reward: "~0" }), 3);
  assert.deepEqual(readRange("~"), [-Infinity, Infinity]);
  assert.ok(isActive(new Map([["role", "x"]])) && !isActive(new Map([["channel", "x"]])));
});

const chunk = {
  update: 1, weight_sum: 2, ids: [4, 5, 6], texts: ["a", "b", "c"], length: [1, 3], token: [0, 0, 1, 2], role: [[0, 1], [0, 1, 1, 1, 2, 1]],
  weight: [[0, 1], [0, 1, 0.5, 2]], part: [[], [1]], logprobs: [["n1"], ["n2", -693]], logprobs_before: [["n1"], ["n1", -100, "n1"]],
  logprobs_after: [["n1"], ["n1", 50, -7]], entropies_after: [["n1"], ["n1", 20, 69]], top: [null, [["x", 0], [], []]],
  group: [0, 0], member: [0, 1], reveal: [0, 1], reward: [0, 1], outcome: ["wrong", "correct"], answer: [null, "c"], message: ["", ""], score: [null, null],
  stage: [0, 0], parent: [null, null], truncated: [false, false], terminated: [true, true], selected: [false, true], shaped_reward: [null, null],
  prompt_reveal: [null, null], seed: [0, 0], train_prefix: [null, null], problem_id: ["p", "p"], valid: [true, true], advantage: [null, 2],
};
chunk.top[1] = [[null, 2, 2, 1], [2, 1], [-69, -230]];

test("an episode of a chunk has its tokens and channels", () => {
  const { tokens, advantage } = getEpisode(chunk, 1);
  assert.equal(advantage, 2);
  assert.deepEqual(tokens.map(({ id, text, role, part }) => [id, text, role, part]), [[4, "a", 0, false], [5, "b", 1, true], [6, "c", 2, false]]);
  assert.equal(tokens[2].probability.toFixed(2), "0.50");
  assert.equal(tokens[1].probability.toFixed(4), Math.exp(-0.05).toFixed(4));
  assert.deepEqual(tokens.map((token) => token.change), [null, 0.05, -0.007]);
  assert.deepEqual(tokens.map((token) => token.credit), [0, 0.5, 0.5]);
  assert.deepEqual(tokens[2].top.map(({ id, text, probability }) => [id, text, probability.toFixed(1)]), [[6, "c", "0.5"], [5, "b", "0.1"]]);
  assert.equal(tokens[0].top, null);
  assert.deepEqual(getEpisode(chunk, 0).tokens.map((token) => token.text), ["a"]);
  assert.deepEqual(getRoleRuns(tokens), [[0, "a"], [1, "b"], [2, "c"]]);
  assert.deepEqual([readRuns([1, 2]), unscale(["n2", 5], 10), unscale(undefined, 1)], [[1, 1], [null, null, 0.5], null]);
});

test("channels have ranges, colours and a summary", () => {
  const { tokens } = getEpisode(chunk, 1);
  const change = CHANNELS.get("change");
  assert.deepEqual(getRange(change, tokens), [-0.05, 0.05]);
  assert.match(getColor(change, tokens[1], [-0.05, 0.05]), /--up\) \/ 0\.500/);
  assert.match(getColor(change, tokens[2], [-0.05, 0.05]), /--down/);
  assert.equal(getColor(change, tokens[0], [-0.05, 0.05]), undefined);
  assert.equal(summarize("change", tokens), "1 tokens became likelier and 1 less likely.");
  assert.equal(summarize("weight", tokens), "2 of 3 tokens were in the loss, 1 were not.");
  assert.equal(findExtremes("entropy", tokens)[0].place, 2);
  assert.equal(getRange(CHANNELS.get("role"), tokens), null);
  const many = Array.from({ length: 200000 }, () => tokens[1]);
  assert.deepEqual(getRange(change, many), [-0.05, 0.05]);
});

test("numbers as text", () => {
  assert.deepEqual([fixed(0.12345), fixed(null), fixed(0.00001), signed(0.5, 1), percent(0.256), percent(null)], ["0.123", "–", "1.0e-5", "+0.5", "26 %", "–"]);
  assert.deepEqual([plural(1, "token"), plural(1200, "token")], ["1 token", "1,200 tokens"]);
});

test("data blocks are decoded once, and the last three are kept", async () => {
  const reads = [];
  const load = makeLoader((name) => {
    reads.push(name);
    return gzipSync(JSON.stringify({ name })).toString("base64");
  });
  assert.deepEqual(await inflate(gzipSync('{"__proto__": 1}').toString("base64")), JSON.parse('{"__proto__": 1}'));
  for (const name of ["a", "b", "a", "c", "d", "a", "b"]) assert.equal((await load(name)).name, name);
  assert.deepEqual(reads, ["a", "b", "c", "d", "b"]);
});
