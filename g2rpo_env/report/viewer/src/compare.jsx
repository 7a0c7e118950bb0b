// Two runs beside each other.
import { diffArrays } from "diff";
import { useMemo } from "preact/hooks";
import { Lines } from "./charts.jsx";
import { getMembers, getRecorded, getShares } from "./columns.mjs";
import { format } from "./fragment.mjs";
import { Missing, Problem, useEpisodes } from "./group.jsx";
import { Table } from "./list.jsx";
import { PANELS, makeAccuracy, makeAxis, makeSeries } from "./overview.jsx";
import { tokenText } from "./tokenview.jsx";
import { Card, Guided, Select, Term, Text, Verdict, fixed, percent, plural, short, signed, useApp } from "./ui.jsx";

const LONGEST_DIFFERENCE = 3000;

/** Groups that both runs have: the same update and problem. */
export function findCommon(a, b) {
  const there = new Map();
  b.groups.update.forEach((update, g) => {
    const key = JSON.stringify([update, b.problems[b.groups.problem[g]][0]]);
    if (!there.has(key)) there.set(key, g);
  });
  return a.groups.update
    .map((update, g) => [g, there.get(JSON.stringify([update, a.problems[a.groups.problem[g]][0]]))])
    .filter(([, other]) => other !== undefined);
}

/** Pairs of a configuration that differ: [name, a, b]. */
export function findDifferences(a, b) {
  const [first, second] = [new Map(a), new Map(b)];
  return [...new Set([...first.keys(), ...second.keys()])]
    .filter((name) => first.get(name) !== second.get(name))
    .map((name) => [name, first.get(name) ?? "–", second.get(name) ?? "–"]);
}

const configOf = (run) => [...run.parts.recipe.map(([k, v]) => [`recipe.${k}`, v]), ...run.parts.guidance.map(([k, v]) => [`guidance.${k}`, v]), ...run.facts, ...run.config];

function Picker({ run, other }) {
  const { page, go } = useApp();
  const options = page.runs.map((one, i) => [String(i), short(one.label, 60)]);
  return (
    <div class="controls">
      <Select label="A" value={String(run.number)} options={options} onChange={(value) => go(`/compare/${value}/${other.number}`)} />
      <Select label="B" value={String(other.number)} options={options} onChange={(value) => go(`/compare/${run.number}/${value}`)} />
    </div>
  );
}

export function Compare({ run, other }) {
  const { page } = useApp();
  const common = useMemo(() => findCommon(run, other), [run, other]);
  const pair = page.pairs.find(([i, j]) => (i === run.number && j === other.number) || (i === other.number && j === run.number));
  const turn = pair && pair[0] !== run.number ? -1 : 1;
  const difference = pair && { mean: turn * pair[2], low: turn > 0 ? pair[3] : -pair[4], high: turn > 0 ? pair[4] : -pair[3], problems: pair[5] };
  const panels = useMemo(() => {
    const axes = [makeAxis(run, "update"), makeAxis(other, "update")];
    const accuracy = [makeAccuracy(run, axes[0], "A"), makeAccuracy(other, axes[1], "B")].filter(Boolean);
    const rest = PANELS.slice(0, 5).flatMap((panel) => {
      const [metric] = panel.lines.at(panel.title.startsWith("How well") ? 2 : 0);
      const series = [makeSeries(run, metric, "A", axes[0], 5), makeSeries(other, metric, "B", axes[1], 5)].filter(Boolean);
      return series.length ? [{ title: panel.title.startsWith("How well") ? "How well do plain answers in training do?" : panel.title, series, fit: panel.fit }] : [];
    });
    return accuracy.length ? [{ title: "How often is it right without help?", series: accuracy }, ...rest] : rest;
  }, [run, other]);
  const rows = common.map(([g, h]) => {
    const { update, problem } = run.groups;
    const both = getRecorded(run, g).length && getRecorded(other, h).length;
    return [
      <a href={format(`/compare/${run.number}/${other.number}/update/${update[g]}/problem/${problem[g]}`)}>update {update[g]}</a>, short(run.problems[problem[g]][0], 50),
      percent(getShares(run, g).all), percent(getShares(other, h).all), both ? "yes" : "no",
    ];
  });
  const differences = findDifferences(configOf(run), configOf(other));
  const isSameTask = run.env === other.env;
  const sentence = !difference ? null : difference.low > 0 ? "B is better" : difference.high < 0 ? "A is better" : "No difference is shown";
  return (
    <>
      <h1 tabIndex={-1}>{sentence ? `${sentence}: B minus A is ${signed(difference.mean)}, 95 % interval [${signed(difference.low, 2)}, ${signed(difference.high, 2)}]` : "Two runs beside each other"}</h1>
      <p class="lead">
        A is <strong><Text v={run.label} most={100} /></strong>, B is <strong><Text v={other.label} most={100} /></strong>.{" "}
        {difference ? `Both answered the same ${plural(difference.problems, "problem")} at their end; the interval is that of the paired difference.` : isSameTask ? "They did not answer the same problems at their end, so there is no paired difference." : "They are of different tasks, so their accuracies are not compared."}
      </p>
      <Picker run={run} other={other} />
      <div class="panels even">
        {panels.map((panel) => <Card key={panel.title} title={panel.title}><Lines isNamed series={panel.series.map((one) => ({ ...one, color: one.name === "A" ? "var(--s0)" : "var(--s1)" }))} zero={!panel.fit} xLabel="update" text={`${panel.title} Lines of both runs`} /></Card>)}
      </div>
      <Card title="The same problem at the same update" aside={<span class="count">{plural(common.length, "group")}</span>}>
        <p>Equal seeds draw equal problems, so that both runs answered these.</p>
        <Table columns={["group", "problem", "A right", "B right", "tokens of both"]} rows={rows} label="Groups that both runs have" />
      </Card>
      <Card title="What differs in how they were made" aside={<span class="count">{plural(differences.length, "entry", "entries")}</span>}>
        <Table columns={["option", "A", "B"]} rows={differences.map((row) => row.map((text) => short(text, 120)))} label="Differences of the configuration" />
      </Card>
    </>
  );
}

export function CompareGroup({ run, other, update, problem }) {
  const pair = useMemo(() => findCommon(run, other).find(([g]) => run.groups.update[g] === update && run.groups.problem[g] === problem), [run, other, update, problem]);
  const ours = useEpisodes(run, pair?.[0]);
  const theirs = useEpisodes(other, pair?.[1]);
  if (!pair) return <Missing what="pair of groups" />;
  const count = Math.min(64, Math.max(ours?.length ?? 0, theirs?.length ?? 0));
  const shares = [getShares(run, pair[0]).all, getShares(other, pair[1]).all];
  return (
    <>
      <nav class="crumbs" aria-label="You are here"><a href={format(`/compare/${run.number}/${other.number}`)}>Compare</a> › update {update}</nav>
      <h1 tabIndex={-1}><Text v={run.problems[problem][0]} most={80} /> at update {update}: A {percent(shares[0])} right, B {percent(shares[1])} right</h1>
      <p class="lead">A is <Text v={run.label} most={100} />, B is <Text v={other.label} most={100} />. Struck through: tokens that A alone has. Underlined: tokens that B alone has.</p>
      <Card title="The problem"><Problem problem={run.problems[problem]} /></Card>
      {(!ours || !theirs) && <Answers run={run} other={other} pair={pair} />}
      {ours && theirs && Array.from({ length: count }, (_, m) => <PairOf key={m} m={m} a={ours[m]} b={theirs[m]} />)}
    </>
  );
}

function Answers({ run, other, pair }) {
  const [a, b] = [getMembers(run, pair[0]), getMembers(other, pair[1])];
  const cell = (member) => (member ? `${member.correct ? "right" : "wrong"}, ${short(member.answer ?? "–", 40)}` : "–");
  return (
    <Card title="Their answers">
      <p>The tokens of this update are not recorded in both runs.</p>
      <Table columns={["member", "A", "B"]} rows={a.map((member, m) => [m, cell(member), cell(b[m])])} label="Answers of both runs" />
    </Card>
  );
}

function PairOf({ m, a, b }) {
  const parts = useMemo(() => {
    if (!a || !b || a.tokens.length > LONGEST_DIFFERENCE || b.tokens.length > LONGEST_DIFFERENCE) return null;
    const words = (episode) => episode.tokens.filter((token) => token.role > 0).map(tokenText);
    return diffArrays(words(a), words(b), { maxEditLength: 2000 }) ?? null;
  }, [a, b]);
  const head = (name, episode) => episode && <span><strong>{name}</strong> <Verdict outcome={episode.outcome} /> <Guided reveal={episode.reveal} /> answer {episode.answer === null ? "–" : <code>{short(episode.answer, 40)}</code>} · advantage {episode.advantage === null ? "–" : fixed(episode.advantage, 2)}</span>;
  return (
    <Card title={`Member ${a?.member ?? b?.member ?? m}`}>
      <div class="member-head">{head("A", a)}{head("B", b)}</div>
      {parts ? (
        <p class="role-text diff">
          {parts.slice(0, 400).map((part, i) => (part.removed ? <del key={i}>{part.value.join("")}</del> : part.added ? <ins key={i}>{part.value.join("")}</ins> : <span key={i}>{part.value.join("")}</span>))}
        </p>
      ) : <p class="soft">{a && b ? "These answers are too long or too different to be compared token by token." : "Only one of the runs has this member."}</p>}
    </Card>
  );
}
