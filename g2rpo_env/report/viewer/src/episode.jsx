// One answer, token by token.
import { useEffect, useState } from "preact/hooks";
import { CHANNELS } from "./channels.mjs";
import { OUTCOME_WORDS, findGroup, getGroup, getRecorded, joinText } from "./columns.mjs";
import { format } from "./fragment.mjs";
import { Crumbs, Flags, Missing, Problem, useEpisodes } from "./group.jsx";
import { Inspector, Legend, Summary, TokenTable, TokenView } from "./tokenview.jsx";
import { Card, Choice, Copy, Guided, Text, Verdict, fixed, plural, signed, useApp } from "./ui.jsx";

/** Links to the neighbours of an episode: [label, key, path] with path null where there is none. */
export function getNeighbours(run, g, m) {
  const { update, group } = run.groups;
  const path = (other, member) => `/run/${run.number}/update/${update[other]}/group/${group[other]}/member/${member}`;
  const recorded = (step) => {
    for (let other = g + step; other >= 0 && other < update.length; other += step) if (getRecorded(run, other).length) return other;
    return null;
  };
  const byUpdate = (step) => {
    for (let other = g + step; other >= 0 && other < update.length; other += step) {
      if (update[other] !== update[g] && getRecorded(run, other).length) {
        if (step > 0) return other;
        let first = other;
        while (first > 0 && update[first - 1] === update[other] && getRecorded(run, first - 1).length) first -= 1;
        return first;
      }
    }
    return null;
  };
  const count = getRecorded(run, g).length;
  const to = (other) => (other === null ? null : path(other, Math.min(m, getRecorded(run, other).length - 1)));
  return [
    ["previous member", "p", m > 0 ? path(g, m - 1) : null],
    ["next member", "n", m + 1 < count ? path(g, m + 1) : null],
    ["previous group", "k", to(recorded(-1))],
    ["next group", "j", to(recorded(1))],
    ["previous update", "u", to(byUpdate(-1))],
    ["next update", "i", to(byUpdate(1))],
  ];
}

export function Episode({ run, update, group, member }) {
  const { state, set, useKeys, arrive } = useApp();
  const g = findGroup(run, update, group);
  const episodes = useEpisodes(run, g);
  const name = CHANNELS.has(state.params.get("channel")) ? state.params.get("channel") : "role";
  const [hover, setHover] = useState(null);
  const [isTable, setIsTable] = useState(false);
  const [choice, setChosen] = useState(null);
  useEffect(() => setChosen(state.params.has("token") ? Number(state.params.get("token")) : null), [run, update, group, member]);
  useEffect(() => void (episodes && arrive()), [episodes, member]);
  const neighbours = g === undefined ? [] : getNeighbours(run, g, member);
  useKeys(new Map(neighbours.filter(([, , path]) => path).map(([, key, path]) => [key, path])));
  if (g === undefined || member >= getRecorded(run, g).length) return <Missing what="answer" />;
  if (!episodes) return <h1 tabIndex={-1}>Opening …</h1>;
  const episode = episodes[member];
  const { tokens } = episode;
  const chosen = Math.max(0, Math.min(choice ?? tokens.findIndex((token) => token.role === 2), tokens.length - 1));
  const place = hover !== null && hover < tokens.length ? hover : chosen;
  const facts = getGroup(run, g);
  const keep = new Map([["channel", state.params.get("channel")]]);
  const link = () => `${location.href.split("#")[0]}${format(`/run/${run.number}/update/${update}/group/${group}/member/${member}`, new Map([["channel", name], ["token", chosen]]))}`;
  return (
    <>
      <Crumbs run={run} update={update}><a href={format(`/run/${run.number}/update/${update}/group/${group}`)}>group {group}</a> › member {episode.member}</Crumbs>
      <h1 tabIndex={-1}>Member {episode.member} answered {episode.answer === null ? "nothing" : <Text v={episode.answer} most={60} />}: {OUTCOME_WORDS[episode.outcome]}{episode.reveal > 0 ? `, after ${plural(episode.reveal, "token")} of the solution` : ", without help"}</h1>
      <div class="member-head facts">
        <Verdict outcome={episode.outcome} /><Guided reveal={episode.reveal} />
        <span>reward {fixed(episode.reward, 2)}</span>
        <span>advantage {episode.advantage === null ? "none: not learnt from" : signed(episode.advantage, 2)}</span>
        {episode.shaped !== null && episode.shaped !== episode.reward && <span>shaped reward {fixed(episode.shaped, 2)}</span>}
        <span>{plural(tokens.length, "token")}</span>
        {episode.truncated && <span class="chip look">cut off</span>}
        <Flags flags={episode.flags} />
      </div>
      <nav class="steps" aria-label="Neighbours">
        {neighbours.map(([label, key, path]) => (path ? <a key={key} class="button" href={format(path, keep)}>{label} <kbd>{key}</kbd></a> : <span key={key} class="button off">{label}</span>))}
      </nav>
      <Card>
        <Choice label="Colour the tokens by" name="channel" value={name} options={[...CHANNELS].map(([key, { title }]) => [key, title])} onChange={(value) => set({ channel: value })} />
        <Summary name={name} tokens={tokens} onChoose={setChosen} />
        <Legend name={name} tokens={tokens} environment={tokens.some((token) => token.role === 3)} />
        <div class="reader">
          <div>
            {isTable ? <TokenTable tokens={tokens} /> : <TokenView episode={episode} name={name} chosen={chosen} onChoose={setChosen} onHover={setHover} />}
            <p class="buttons">
              <button type="button" aria-pressed={isTable} onClick={() => setIsTable(!isTable)} data-table>{isTable ? "as text" : "as table"}</button>
              <Copy text={() => joinText(episode, 0, 1, 2, 3)}>copy text</Copy>
              <Copy text={() => JSON.stringify(toRecord(episode))}>copy JSON record</Copy>
              <Copy text={link}>copy link</Copy>
            </p>
          </div>
          <aside class="inspector" aria-label="The chosen token"><Inspector token={tokens[place]} place={place} count={tokens.length} /></aside>
        </div>
      </Card>
      <Card title="The problem" aside={<a href={format(`/run/${run.number}/problem/${facts.number}`)}>follow it through training</a>}>
        <Problem problem={facts.problem} />
        {episode.message && <p>The verifier said: <Text v={episode.message} most={1000} /></p>}
        {episode.parent && <p>It branched from member {episode.parent[1]} of group {episode.parent[0]} at token {episode.parent[2]}.</p>}
        {episode.trainPrefix && <p>In training other tokens stood before the answer: {plural(episode.trainPrefix.length, "token")} in the place of what was sampled with.</p>}
      </Card>
    </>
  );
}

/** A record of version 2, up to the rounding of the page. */
export function toRecord(episode) {
  const column = (name) => episode.tokens.map((token) => token[name]);
  return {
    version: 2, update: episode.update, problem_id: episode.problemId, group: episode.group, member: episode.member, seed: episode.seed,
    reveal: episode.reveal, reward: episode.reward, shaped_reward: episode.shaped, advantage: episode.advantage, selected: episode.selected,
    valid: episode.valid, terminated: episode.terminated, truncated: episode.truncated, stage: episode.stage, parent: episode.parent,
    train_prefix: episode.trainPrefix, prompt_reveal: episode.promptReveal,
    verdict: { outcome: ["correct", "wrong", "no_answer", "error"][episode.outcome], answer: episode.answer, message: episode.message, score: episode.score },
    tokens: column("id"), texts: column("text"), roles: column("role"), weights: column("weight"),
    loss_mask: episode.tokens.map((token) => Number(token.weight > 0)),
    logprobs: episode.tokens.map((token) => (token.role === 2 ? token.before : null)),
    logprobs_after: column("after"), entropies_after: column("entropy"),
  };
}
