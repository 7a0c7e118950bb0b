// Every problem that was seen, and one problem followed through training.
import { useMemo } from "preact/hooks";
import { getMembers, getRecorded, getShares } from "./columns.mjs";
import { format } from "./fragment.mjs";
import { Problem, Missing } from "./group.jsx";
import { Table } from "./list.jsx";
import { Card, Choice, Select, Text, percent, plural, short, useApp } from "./ui.jsx";

const KINDS = [["all", "all"], ["never", "never solved"], ["sometimes", "sometimes"], ["always", "always solved"]];
const SORTS = [["order", "as first seen"], ["drawn", "most drawn"], ["hard", "hardest first"], ["easy", "easiest first"]];

/** What the groups say of each problem: [{number, groups: [g], guided: [right, all], plain: [right, all]}]. */
export function sumProblems(run) {
  const rows = new Map();
  const { groups, starts } = run;
  for (let g = 0; g < groups.size.length; g++) {
    const number = groups.problem[g];
    if (!rows.has(number)) rows.set(number, { number, groups: [], guided: [0, 0], plain: [0, 0] });
    const row = rows.get(number);
    row.groups.push(g);
    for (let i = starts[g]; i < starts[g] + groups.size[g]; i++) {
      const pair = groups.guided[i] ? row.guided : row.plain;
      pair[0] += groups.correct[i];
      pair[1] += 1;
    }
  }
  return [...rows.values()].map((row) => {
    const right = row.guided[0] + row.plain[0];
    const all = row.guided[1] + row.plain[1];
    return { ...row, share: all ? right / all : 0, kind: right === 0 ? "never" : right === all ? "always" : "sometimes" };
  });
}

function Spark({ run, groups }) {
  const shares = groups.map((g) => getShares(run, g).all ?? 0);
  const step = 90 / Math.max(1, shares.length - 1);
  const points = shares.map((share, i) => `${(3 + i * step).toFixed(1)},${(21 - share * 18).toFixed(1)}`);
  return (
    <svg width="96" height="24" role="img" aria-label={`success ${shares.slice(-3).map(percent).join(", ")} in the last groups`}>
      <line x1="0" x2="96" y1="21" y2="21" class="spark-base" />
      {points.length > 1 ? <polyline points={points.join(" ")} class="spark" /> : <circle cx="48" cy={21 - shares[0] * 18} r="3" class="spark-dot" />}
    </svg>
  );
}

const share = ([right, all]) => (all ? `${percent(right / all)} of ${all}` : "–");

export function Problems({ run }) {
  const { state, set } = useApp();
  const kind = KINDS.some(([key]) => key === state.params.get("kind")) ? state.params.get("kind") : "all";
  const sort = SORTS.some(([key]) => key === state.params.get("sort")) ? state.params.get("sort") : "order";
  const all = useMemo(() => sumProblems(run), [run]);
  const chosen = useMemo(() => {
    const rows = all.filter((row) => kind === "all" || row.kind === kind);
    const keys = { drawn: (row) => -row.groups.length, hard: (row) => row.share, easy: (row) => -row.share };
    return keys[sort] ? [...rows].sort((a, b) => keys[sort](a) - keys[sort](b)) : rows;
  }, [all, kind, sort]);
  const counts = new Map(KINDS.map(([key]) => [key, all.filter((row) => key === "all" || row.kind === key).length]));
  const rows = chosen.map((row) => {
    const last = getMembers(run, row.groups.at(-1)).map((member) => member.answer).filter((answer) => answer !== null);
    return [
      <a href={format(`/run/${run.number}/problem/${row.number}`)}>{short(run.problems[row.number][0], 50)}</a>, row.groups.length, share(row.plain), share(row.guided),
      <Spark run={run} groups={row.groups.slice(-40)} />, <code>{short([...new Set(last)].slice(0, 3).join(", "), 60)}</code>,
    ];
  });
  return (
    <>
      <h1 tabIndex={-1}>{counts.get("never") ? `${plural(counts.get("never"), "problem")} of ${counts.get("all")} ${counts.get("never") === 1 ? "was" : "were"} never solved, ${counts.get("always")} always` : `${plural(counts.get("all"), "problem")} were seen, each solved at least once`}</h1>
      <Card title="Problems" aside={<Select label="Order" value={sort} options={SORTS} onChange={(value) => set({ sort: value })} />}>
        <Choice label="Which" name="kind" value={kind} options={KINDS.map(([key, text]) => [key, `${text} (${counts.get(key)})`])} onChange={(value) => set({ kind: value })} />
        <Table columns={["problem", "groups", "right, plain", "right, guided", "over training", "last answers"]} rows={rows} label="Problems" height={560} />
      </Card>
    </>
  );
}

export function OneProblem({ run, problem }) {
  const row = useMemo(() => sumProblems(run).find((one) => one.number === problem), [run, problem]);
  if (!run.problems[problem] || !row) return <Missing what="problem" />;
  const rows = row.groups.map((g) => {
    const shares = getShares(run, g);
    const members = getMembers(run, g);
    const right = members.filter((member) => member.correct).length;
    const answers = [...new Set(members.map((member) => member.answer).filter((answer) => answer !== null))];
    return [
      <a href={format(`/run/${run.number}/update/${run.groups.update[g]}/group/${run.groups.group[g]}`)}>update {run.groups.update[g]}</a>, `${right} of ${members.length}`,
      percent(shares.plain), percent(shares.guided), <code>{short(answers.slice(0, 4).join(", "), 80)}</code>, getRecorded(run, g).length ? "yes" : "no",
    ];
  });
  return (
    <>
      <nav class="crumbs" aria-label="You are here"><a href={format(`/run/${run.number}/problems`)}>Problems</a> › one problem</nav>
      <h1 tabIndex={-1}><Text v={run.problems[problem][0]} most={80} /> was drawn {row.groups.length === 1 ? "once" : `${row.groups.length} times`}: {share(row.plain)} plain and {share(row.guided)} guided answers are right</h1>
      <Card title="The problem"><Problem problem={run.problems[problem]} /></Card>
      <Card title="Through training"><Table columns={["group", "right", "plain", "guided", "answers", "tokens"]} rows={rows} label="Groups of this problem" /></Card>
    </>
  );
}
