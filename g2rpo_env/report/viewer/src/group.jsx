// One group: the problem, its solution, and every member in a row.
import { useMemo, useState } from "preact/hooks";
import { findGroup, getEpisode, getGroup, getKind, getMembers, getRecorded, getRoleRuns } from "./columns.mjs";
import { format } from "./fragment.mjs";
import { Bar, Card, Guided, Select, Term, Text, Verdict, fixed, plural, short, useApp, usePromise } from "./ui.jsx";
import { cut, visible } from "./visible.mjs";

const FIRST_TOKENS = 400;
const FIRST_MEMBERS = 64;

export function Problem({ problem }) {
  const [id, prompt, steps, final, answer, level, hint] = problem;
  return (
    <div class="problem">
      <dl class="pairs">
        <div><dt>problem</dt><dd><Text v={id} most={300} /></dd></div>
        {prompt && <div><dt>prompt</dt><dd class="pre"><Text v={prompt} lines most={2000} /></dd></div>}
        {steps.length > 0 && <div><dt>true solution</dt><dd class="pre"><Text v={steps.join(steps.some((step) => step.includes("\n")) ? "" : "\n")} lines most={2000} /></dd></div>}
        {final && <div><dt>its end</dt><dd class="pre"><Text v={final} lines most={2000} /></dd></div>}
        {answer && <div><dt>true answer</dt><dd><Text v={answer} most={300} /></dd></div>}
        {level !== null && <div><dt>difficulty</dt><dd><Text v={level} most={100} /></dd></div>}
        {hint && <div><dt>hint</dt><dd class="pre"><Text v={hint} lines most={2000} /></dd></div>}
      </dl>
    </div>
  );
}

/** What the rewards of a group mean for learning, in one or two sentences. */
export function explain(members, kind) {
  const right = members.filter((member) => member.correct).length;
  const guided = members.filter((member) => member.guided);
  const helped = guided.filter((member) => member.correct).length;
  if (kind !== "mixed") {
    const all = right === members.length && right > 0;
    return `This group taught nothing: all ${members.length} members got the same reward${all ? ", because all are right" : right === 0 ? ", because none is right" : ""}. Nobody did better than the others, so there is nothing to prefer.`;
  }
  if (members.every((member) => member.advantage === null)) return `${right} of ${members.length} members are right, but the update did not learn from this group: the recipe left it out.`;
  const plain = members.length - guided.length;
  const split = guided.length && plain ? ` (${helped} of ${guided.length} guided, ${right - helped} of ${plain} plain)` : "";
  return `This group taught something: ${right} of ${members.length} members are right${split}. Members that did better than the mean are made likelier, the others less likely.`;
}

export function useEpisodes(run, g) {
  const { load } = useApp();
  const places = g === undefined ? [] : getRecorded(run, g);
  const chunk = usePromise(() => (places.length ? load(run.chunkOf.get(run.groups.update[g])) : null), [run, g]);
  return useMemo(() => (chunk && places.length ? places.map((e) => ({ ...getEpisode(chunk, run.episodes.place[e]), flags: run.episodes.flags[e] })) : null), [chunk, g]);
}

export function Missing({ what }) {
  return <><h1 tabIndex={-1}>There is no such {what} in this run</h1><p>The link may be of another page. Choose a page above.</p></>;
}

export function Crumbs({ run, update, children }) {
  return <nav class="crumbs" aria-label="You are here"><a href={format(`/run/${run.number}/groups`)}>Groups</a> › update {update} › {children}</nav>;
}

export function Flags({ flags }) {
  const { page } = useApp();
  return page.rules.map(([name, title, meaning], i) => (flags & (1 << i) ? <span class="chip look" key={name} title={meaning}>{title}</span> : null));
}

export function Group({ run, update, group }) {
  const { page } = useApp();
  const [order, setOrder] = useState("member");
  const [most, setMost] = useState(FIRST_MEMBERS);
  const g = findGroup(run, update, group);
  const episodes = useEpisodes(run, g);
  if (g === undefined) return <Missing what="group" />;
  const facts = getGroup(run, g);
  const members = getMembers(run, g);
  const isRecorded = getRecorded(run, g).length > 0;
  const kind = getKind(run, g);
  const copiedBit = 1 << page.rules.findIndex(([name]) => name === "copied");
  const copied = episodes?.filter((episode) => episode.flags & copiedBit).length ?? 0;
  const helped = members.filter((member) => member.guided && member.correct).length;
  const base = `/run/${run.number}/update/${update}/group/${group}`;
  const rows = (episodes ?? members.map((member) => ({ ...member, outcome: member.correct ? 0 : 1 }))).map((row, m) => ({ ...row, m }));
  const largest = Math.max(...rows.map((row) => Math.abs(row.advantage ?? 0)), 0);
  if (order === "advantage") rows.sort((a, b) => (b.advantage ?? -Infinity) - (a.advantage ?? -Infinity));
  return (
    <>
      <Crumbs run={run} update={update}>group {group}</Crumbs>
      <h1 tabIndex={-1}>{plural(members.length, "answer")} to <Text v={facts.problem[0]} most={80} />, {kind === "mixed" ? "and they differ" : kind === "all" ? "all right" : "all with the same reward"}</h1>
      <p class="lead" data-why>{explain(members, kind)}{episodes && helped > 0 && ` Of ${plural(helped, "right guided answer")}, ${copied} already stood in what was shown.`}</p>
      <Card title="The problem" aside={<a href={format(`/run/${run.number}/problem/${facts.number}`)}>follow it through training</a>}><Problem problem={facts.problem} /></Card>
      <Card title="The members" aside={<Select label="Order" value={order} options={[["member", "by number"], ["advantage", "by advantage"]]} onChange={setOrder} />}>
        {!isRecorded && <p>The tokens of this update are not recorded{run.cut ? " or do not fit into this page" : ""}; what is known of each member is below. <code>--rollouts-every 1</code> keeps the tokens of every update.</p>}
        {isRecorded && !episodes && <p>Opening …</p>}
        <p class="soft"><Term w="guided" /> or <Term w="plain" /> · <Term w="reward" /> · <Term w="advantage" /></p>
        <ol class="members">
          {rows.slice(0, most).map((row) => (
            <li key={row.m} data-member={row.m}>
              <div class="member-head">
                {episodes ? <a href={format(`${base}/member/${row.m}`)}>member {row.member}{row.stage ? `, stage ${row.stage}` : ""}</a> : <span>member {row.m}</span>}
                <Verdict outcome={row.outcome} /><Guided reveal={row.reveal} />
                <span>answer {row.answer === null ? "–" : <code>{short(row.answer, 60)}</code>}</span>
                <span>reward {fixed(row.reward, 2)}</span>
                <span>advantage <Bar value={row.advantage} most={largest} /></span>
                {episodes && <Flags flags={row.flags} />}
              </div>
              {episodes && <RoleText tokens={row.tokens} />}
            </li>
          ))}
        </ol>
        {rows.length > most && <button type="button" onClick={() => setMost(most + FIRST_MEMBERS)}>show more of {rows.length} members</button>}
      </Card>
    </>
  );
}

/** The first tokens of an episode, a piece per role. */
export function RoleText({ tokens }) {
  const runs = getRoleRuns(tokens.slice(0, FIRST_TOKENS)).slice(0, 24);
  return (
    <p class="role-text">
      {runs.map(([role, text], i) => <span key={i} class={`tok tint role-${role}`}>{visible(cut(text, 3000), true)}</span>)}
      {tokens.length > FIRST_TOKENS && <span class="soft"> … {plural(tokens.length - FIRST_TOKENS, "token")} more</span>}
    </p>
  );
}
