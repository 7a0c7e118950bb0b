// Which groups and episodes a person wants to see. A filter is a Map of parameters of the fragment.
import { OUTCOMES, ROLES, getRecorded } from "./columns.mjs";

export const FILTERS = ["verdict", "guided", "role", "stage", "updates", "reveal", "reward", "problem", "answer", "suspicion"];

export const isActive = (params) => FILTERS.some((name) => params.has(name));

/** [low, high] of "3~50"; a missing end is open. */
export function readRange(text) {
  if (!text) return [-Infinity, Infinity];
  const [low, high] = text.split("~");
  return [low === "" ? -Infinity : Number(low), high === "" ? Infinity : Number(high)];
}

const inside = (value, [low, high]) => value >= low && value <= high;

/** A function of a group -> whether it may hold what is looked for: what does not depend on the member. */
export function makeGroupTest(run, params) {
  const updates = readRange(params.get("updates"));
  const wanted = params.get("problem")?.toLowerCase();
  const fits = wanted === undefined ? null : run.problems.map(([id, prompt]) => `${id}\n${prompt}`.toLowerCase().includes(wanted));
  return (g) => inside(run.groups.update[g], updates) && (!fits || fits[run.groups.problem[g]]);
}

/** A function (group, member) -> whether the filter lets it through, from the columns of all groups. */
export function makeMemberTest(run, params) {
  const reveal = readRange(params.get("reveal"));
  const reward = readRange(params.get("reward"));
  const verdict = params.get("verdict");
  const guided = params.get("guided");
  const { starts, groups } = run;
  return (g, m) => {
    const i = starts[g] + m;
    if (verdict && (verdict === "correct") !== Boolean(groups.correct[i])) return false; // the rest counts as wrong here
    if (guided && (guided === "guided") !== Boolean(groups.guided[i])) return false;
    return inside(groups.reveal[i], reveal) && inside(groups.reward[i], reward);
  };
}

/** A function (episode) -> whether it has the verdict, role, stage and suspicion: what only recorded ones know. */
export function makeEpisodeTest(run, params, rules) {
  const { episodes } = run;
  const outcome = params.has("verdict") ? OUTCOMES.indexOf(params.get("verdict")) : -1;
  const role = params.has("role") ? 1 << ROLES.indexOf(params.get("role")) : 0;
  const rule = params.has("suspicion") ? 1 << rules.findIndex(([name]) => name === params.get("suspicion")) : 0;
  const stage = params.has("stage") ? Number(params.get("stage")) : null;
  return (e) =>
    (outcome < 0 || episodes.outcome[e] === outcome) &&
    (!role || (episodes.roles[e] & role) !== 0) &&
    (!rule || (episodes.flags[e] & rule) !== 0) &&
    (stage === null || episodes.stage[e] === stage);
}

const RECORDED_ONLY = ["role", "stage", "suspicion"];

/** The matches as {g, m, e}; e is null where tokens are not recorded. The text of answers is not looked at here. */
export function findMatches(run, params, rules) {
  const groupTest = makeGroupTest(run, params);
  const memberTest = makeMemberTest(run, params);
  const episodeTest = makeEpisodeTest(run, params, rules);
  const needsTokens = RECORDED_ONLY.some((name) => params.has(name)) || ["no_answer", "error"].includes(params.get("verdict"));
  const matches = [];
  for (let g = 0; g < run.groups.size.length; g++) {
    if (!groupTest(g)) continue;
    const recorded = getRecorded(run, g);
    const size = Math.max(recorded.length, needsTokens ? 0 : run.groups.size[g]);
    for (let m = 0; m < size; m++) {
      const e = recorded[m] ?? null;
      if (e !== null && !episodeTest(e)) continue;
      if (m < run.groups.size[g] && !memberTest(g, m)) continue;
      matches.push({ g, m, e });
    }
  }
  return matches;
}

/** Whether the text that the model wrote, or its answer, has what is looked for. */
export const hasText = (text, answer, wanted) =>
  text.toLowerCase().includes(wanted) || (answer ?? "").toLowerCase().includes(wanted);
