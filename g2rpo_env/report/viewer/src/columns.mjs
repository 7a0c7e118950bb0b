// Columns of an index and of chunks, read as groups, members, episodes and tokens.
export const ROLES = ["prompt", "revealed", "sampled", "environment"];
export const OUTCOMES = ["correct", "wrong", "no_answer", "error"];
export const OUTCOME_WORDS = ["right", "wrong", "no answer", "not graded"];
const SCALES = { logprobs: 1000, logprobs_before: 1000, logprobs_after: 1000, entropies_after: 100, credits: 10000 };
const MEMBER = ["reward", "correct", "guided", "reveal", "sampled", "truncated", "advantage", "answer"];

const keyOf = (update, group) => `${update}/${group}`;

/** A run of the index with look-ups; keys of the data live in Maps only. */
export function makeRun(raw, number) {
  const { groups, episodes } = raw;
  const starts = [];
  let start = 0;
  for (const size of groups.size) {
    starts.push(start);
    start += size;
  }
  const recorded = new Map(); // update/group -> places in the columns of episodes
  episodes.update.forEach((update, e) => {
    const key = keyOf(update, episodes.group[e]);
    if (!recorded.has(key)) recorded.set(key, []);
    recorded.get(key).push(e);
  });
  const byKey = new Map(groups.update.map((update, g) => [keyOf(update, groups.group[g]), g]));
  const chunks = new Map(raw.chunks.map(([name, update]) => [update, name]));
  const metrics = new Map(raw.metrics);
  return { ...raw, number, starts, recorded, byKey, chunkOf: chunks, metrics };
}

/** The members of a group as objects, from the columns of all groups. */
export function getMembers(run, g) {
  const start = run.starts[g];
  return Array.from({ length: run.groups.size[g] }, (_, m) => {
    const member = {};
    for (const name of MEMBER) member[name] = run.groups[name][start + m];
    member.answer = member.answer === null ? null : run.answers[member.answer];
    return member;
  });
}

export function getGroup(run, g) {
  const { update, group, problem } = run.groups;
  return { g, update: update[g], group: group[g], problem: run.problems[problem[g]], number: problem[g] };
}

export function findGroup(run, update, group) {
  return run.byKey.get(keyOf(update, group));
}

/** Places of a group's recorded episodes in the columns of episodes; none where no tokens are recorded. */
export const getRecorded = (run, g) => run.recorded.get(keyOf(run.groups.update[g], run.groups.group[g])) ?? [];

/** Share of right answers of the guided and the plain members of a group; null where there are none. */
export function getShares(run, g) {
  const found = [0, 0, 0, 0];
  for (let i = run.starts[g]; i < run.starts[g] + run.groups.size[g]; i++) {
    const guided = run.groups.guided[i] ? 0 : 2;
    found[guided] += run.groups.correct[i];
    found[guided + 1] += 1;
  }
  const [a, b, c, d] = found;
  return { guided: b ? a / b : null, plain: d ? c / d : null, all: b + d ? (a + c) / (b + d) : null };
}

/** "none", "mixed" or "all": which of a group's rewards are alike, and hence whether it teaches. */
export function getKind(run, g) {
  const start = run.starts[g];
  const rewards = run.groups.reward.slice(start, start + run.groups.size[g]);
  const right = run.groups.correct.slice(start, start + run.groups.size[g]);
  if (rewards.some((reward) => reward !== rewards[0])) return "mixed";
  return right.every(Boolean) && right.length ? "all" : "none";
}

// -- chunks -----------------------------------------------------------------------------------------------------------

export function readRuns(runs) {
  const values = [];
  for (let i = 0; i < runs.length; i += 2) for (let n = 0; n < runs[i + 1]; n++) values.push(runs[i]);
  return values;
}

export function unscale(packed, scale) {
  if (!packed) return null;
  const values = [];
  for (const entry of packed) {
    if (typeof entry === "string") for (let n = +entry.slice(1); n > 0; n--) values.push(null);
    else values.push(entry / scale);
  }
  return values;
}

/** One recorded episode of a chunk: its facts and its tokens. */
export function getEpisode(chunk, place) {
  chunk.ends ??= sumUp(chunk.length);
  const end = chunk.ends[place];
  const begin = end - chunk.length[place];
  const roles = readRuns(chunk.role[place]);
  const weights = readRuns(chunk.weight[place]);
  const channels = {};
  for (const name in SCALES) channels[name] = unscale(chunk[name]?.[place], SCALES[name]);
  const parts = new Set(chunk.part[place]);
  const advantage = chunk.advantage[place];
  const top = readTop(chunk, chunk.top?.[place]);
  const tokens = [];
  for (let t = 0; t < end - begin; t++) {
    const word = chunk.token[begin + t];
    const sampled = roles[t] === 2;
    const logprob = channels.logprobs?.[t] ?? null;
    const before = sampled ? logprob : (channels.logprobs_before?.[t] ?? null);
    const change = channels.logprobs_after?.[t] ?? null; // stored as the distance from before
    const after = change === null ? null : (before ?? 0) + change;
    const credit = channels.credits?.[t] ?? advantage;
    tokens.push({
      id: chunk.ids[word],
      text: chunk.texts[word],
      role: roles[t],
      part: parts.has(t),
      weight: weights[t],
      probability: sampled && logprob !== null ? Math.exp(logprob) : roles[t] === 1 && after !== null ? Math.exp(after) : null,
      entropy: channels.entropies_after?.[t] ?? null,
      credit: credit === null || !chunk.weight_sum ? null : (credit * weights[t]) / chunk.weight_sum,
      change: before === null ? null : change,
      before,
      after,
      top: top?.[t] ?? null,
    });
  }
  const fact = (name) => chunk[name][place];
  return {
    place, tokens, advantage, update: chunk.update,
    group: fact("group"), member: fact("member"), reveal: fact("reveal"), reward: fact("reward"),
    outcome: OUTCOMES.indexOf(fact("outcome")), answer: fact("answer"), message: fact("message"), score: fact("score"),
    stage: fact("stage"), parent: fact("parent"), truncated: fact("truncated"), terminated: fact("terminated"),
    selected: fact("selected"), shaped: fact("shaped_reward"), promptReveal: fact("prompt_reveal"), seed: fact("seed"),
    trainPrefix: fact("train_prefix"), problemId: fact("problem_id"), valid: fact("valid"),
  };
}

/** The alternatives of each token; null where a token has none. */
function readTop(chunk, packed) {
  if (!packed) return null;
  const [counts, words, values] = packed;
  let next = 0;
  return readRuns(counts).map((count) => {
    if (count === null) return null;
    const found = [];
    for (let i = 0; i < count; i++, next++) {
      const value = values[next];
      found.push({ id: chunk.ids[words[next]], text: chunk.texts[words[next]], probability: value === null ? null : Math.exp(value / 100) });
    }
    return found;
  });
}

/** The text of the tokens of an episode that have one of these roles. */
export const joinText = (episode, ...roles) =>
  episode.tokens.filter((token) => roles.includes(token.role)).map((token) => token.text).join("");

/** Neighbours of one role as [role, text]: few elements for many tokens. */
export function getRoleRuns(tokens) {
  const runs = [];
  for (const { role, text } of tokens) {
    if (runs.length && runs.at(-1)[0] === role) runs.at(-1)[1] += text;
    else runs.push([role, text]);
  }
  return runs;
}

function sumUp(lengths) {
  let sum = 0;
  return lengths.map((length) => (sum += length));
}
