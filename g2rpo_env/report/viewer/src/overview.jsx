// The first page: how the run went, in words and curves.
import { useMemo, useState } from "preact/hooks";
import { Lines } from "./charts.jsx";
import { getRecorded } from "./columns.mjs";
import { format } from "./fragment.mjs";
import { Card, Choice, Select, Term, Text, fixed, number, percent, plural, short, useApp } from "./ui.jsx";

const AXES = [["update", "updates"], ["tokens", "sampled tokens"], ["seconds", "seconds"]];
const SMOOTH = [["1", "none"], ["5", "5 updates"], ["10", "10 updates"]];

/** Panels: title, sentence, [metric, name] of each line; `fit` starts the axis near the values. */
export const PANELS = [
  { title: "How well do the answers in training do?", lines: [["reward", "all"], ["reward_guided", "guided"], ["reward_unguided", "plain"]], sentence: "Mean reward of the answers of each update. Guided answers had help, so only the plain ones say what the model can do by itself." },
  { title: "How much of the solution is shown?", lines: [["reveal_length", "tokens shown"]], fit: true, sentence: "Tokens of the true solution that guided members start from. A falling line means that the model needs less help." },
  { title: "How many groups teach something?", lines: [["groups_with_signal", "share of groups"]], sentence: "A group teaches only if its rewards differ. Near 0 there is nothing to learn from." },
  { title: "How long are the answers?", lines: [["sampled_length", "tokens an answer"]], fit: true, sentence: "Mean number of tokens that the model wrote for an answer." },
  { title: "How many answers are cut off or hold none?", lines: [["truncated", "cut off"], ["no_answer", "no answer"]], sentence: "Shares of answers that spent the budget of tokens, and in which the verifier found no final answer." },
  { title: "How unsure is the model?", lines: [["entropy", "nats"]], sentence: "Mean entropy of the distribution that tokens were drawn from. A fall to 0 means that it always writes the same." },
  { title: "How large are the steps?", lines: [["grad_norm", "gradient norm"]], sentence: "Length of the gradient before it is clipped. Single peaks are a warning." },
  { title: "How much is held back?", lines: [["clip_fraction", "clip fraction"]], sentence: "Share of tokens whose change the loss held back. 0 is normal with one gradient step per rollout." },
  { title: "What is the loss?", lines: [["loss", "loss"]], fit: true, sentence: "0 is normal with one gradient step per rollout: watch the unguided accuracy instead." },
];

const NAMED = new Set(["update", "episodes", "invalid", "sampled_tokens", "revealed_tokens", ...PANELS.flatMap((panel) => panel.lines.map(([name]) => name))]);

/** update -> place on the chosen axis. */
export function makeAxis(run, kind) {
  if (kind === "update") return (update) => update;
  const places = new Map([[0, 0]]);
  if (kind === "seconds") for (const [update, seconds] of run.seconds) places.set(update, seconds);
  else {
    let total = 0;
    const updates = run.metrics.get("update") ?? [];
    (run.metrics.get("sampled_tokens") ?? []).forEach((tokens, i) => places.set(updates[i], (total += tokens ?? 0)));
  }
  return (update) => places.get(update) ?? null;
}

/** Mean of the last `count` values that are there. */
export function smooth(values, count) {
  return values.map((_, i) => {
    const last = values.slice(Math.max(0, i + 1 - count), i + 1).filter((value) => value !== null);
    return values[i] === null || !last.length ? null : last.reduce((a, b) => a + b, 0) / last.length;
  });
}

export function makeSeries(run, metric, name, axis, count) {
  const values = run.metrics.get(metric);
  if (!values?.some((value) => value !== null)) return null;
  const xs = run.metrics.get("update").map(axis);
  const points = (ys) => ys.map((y, i) => ({ x: xs[i], y })).filter((point) => point.x !== null);
  return { name, points: points(smooth(values, count)), raw: count > 1 ? points(values) : null };
}

export function makeAccuracy(run, axis, name = "unguided accuracy") {
  const { update, accuracy, low, high } = run.evaluations;
  const points = update.map((u, i) => ({ x: axis(u), y: accuracy[i], low: low[i], high: high[i] })).filter((point) => point.x !== null);
  return points.length ? { name, points } : null;
}

const trend = (points) => {
  const known = points.filter((point) => point.y !== null);
  return known.length ? `from ${fixed(known[0].y)} to ${fixed(known.at(-1).y)}` : "no values";
};

/** The run in one sentence. */
export function makeTitle(run) {
  const { accuracy, update } = run.evaluations;
  const task = run.env ? ` on ${run.env.replace(/^.*\//, "").replace(/-v\d+$/, "")}` : "";
  const seed = run.seed === null ? "" : `, seed ${run.seed}`;
  const updates = run.metrics.get("update")?.at(-1);
  const tokens = run.result?.sampled_tokens ?? (run.metrics.get("sampled_tokens") ?? []).reduce((a, b) => a + (b ?? 0), 0);
  const after = updates ? ` after ${plural(updates, "update")}${tokens ? ` and ${number(tokens)} sampled tokens` : ""}` : "";
  const end = run.result ?? (accuracy.length ? { accuracy: accuracy.at(-1), interval: [run.evaluations.low.at(-1), run.evaluations.high.at(-1)] } : null);
  if (!end) return `${run.agent}${task}${seed}${after}`;
  const start = update[0] === 0 ? `${fixed(accuracy[0])} → ` : "";
  const interval = end.interval && end.interval[0] !== null ? `, 95 % interval [${fixed(end.interval[0], 2)}, ${fixed(end.interval[1], 2)}],` : "";
  return `${run.agent}${task}${seed}: ${start}${fixed(end.accuracy)} unguided accuracy${interval}${after}`;
}

function countCopied(run, rules) {
  const bit = 1 << rules.findIndex(([name]) => name === "copied");
  let right = 0;
  let copied = 0;
  for (let g = 0; g < run.groups.size.length; g++) {
    getRecorded(run, g).forEach((e, m) => {
      const i = run.starts[g] + m;
      if (m >= run.groups.size[g] || !run.groups.guided[i] || run.episodes.outcome[e] !== 0) return;
      right += 1;
      copied += (run.episodes.flags[e] & bit) !== 0;
    });
  }
  return [copied, right];
}

function Tile({ big, children }) {
  return <div class="tile"><p class="big">{big}</p><p>{children}</p></div>;
}

export function Overview({ run }) {
  const { state, set, page } = useApp();
  const [cursor, setCursor] = useState(null);
  const kind = AXES.some(([key]) => key === state.params.get("x")) ? state.params.get("x") : "update";
  const count = Number(SMOOTH.some(([key]) => key === state.params.get("smooth")) ? state.params.get("smooth") : 1);
  const [extra, setExtra] = useState("");
  const axis = useMemo(() => makeAxis(run, kind), [run, kind]);
  const accuracy = useMemo(() => makeAccuracy(run, axis), [run, axis]);
  const others = [...run.metrics.keys()].filter((name) => !NAMED.has(name));
  const panels = useMemo(
    () => [...PANELS, ...(extra ? [{ title: "One more metric", lines: [[extra, short(extra, 60)]], fit: true, sentence: "A metric of this recipe; the pages on agents explain it." }] : [])]
      .map((panel) => ({ ...panel, series: panel.lines.map(([metric, name]) => makeSeries(run, metric, name, axis, count)).filter(Boolean) }))
      .filter((panel) => panel.series.length),
    [run, axis, count, extra],
  );
  const xs = panels[0]?.series[0].points.map((point) => point.x) ?? [];
  const [copied, right] = useMemo(() => countCopied(run, page.rules), [run]);
  const signal = (run.metrics.get("groups_with_signal") ?? []).filter((value) => value !== null);
  const suspicious = run.episodes.flags.filter((flags) => flags).length;
  const common = { cursor, onCursor: setCursor, xLabel: AXES.find(([key]) => key === kind)[1] };
  return (
    <>
      <h1 tabIndex={-1}><Text v={makeTitle(run)} most={400} /></h1>
      <div class="tiles">
        <Tile big={run.result ? percent(run.result.accuracy) : accuracy ? percent(accuracy.points.at(-1).y) : "–"}>
          <Term w="unguided accuracy">unguided accuracy</Term>{run.result ? `, on ${plural(run.result.problems ?? 0, "test problem")}` : ""}
        </Tile>
        <Tile big={signal.length ? percent(signal.reduce((a, b) => a + b, 0) / signal.length) : "–"}>of the <Term w="group">groups</Term> <Term w="signal">taught something</Term></Tile>
        <Tile big={right ? percent(copied / right) : "–"}>of the right <Term w="guided" /> answers already stood in what was shown</Tile>
        <Tile big={number(suspicious)}><a href={format(`/run/${run.number}/suspicions`)}>recorded answers to look at</a>, of {number(run.episodes.update.length)}</Tile>
      </div>
      {page.rows.length > 1 && <Rows rows={page.rows} />}
      <Recorded run={run} />
      {xs.length + (accuracy ? 1 : 0) > 0 && (
        <div class="controls">
          <Choice label="Horizontal axis" name="x" value={kind} options={AXES.filter(([key]) => key !== "seconds" || run.seconds.length)} onChange={(value) => set({ x: value })} />
          <Choice label="Mean of" name="smooth" value={String(count)} options={SMOOTH} onChange={(value) => set({ smooth: value })} />
          {others.length > 0 && <Select label="One more metric" value={extra} options={[["", "–"], ...others.map((name) => [name, short(name, 60)])]} onChange={setExtra} />}
          {xs.length > 1 && (
            <label class="field">
              <span>One cursor in all pictures</span>
              <input type="range" min={xs[0]} max={xs.at(-1)} step="any" value={cursor ?? xs.at(-1)} onInput={(event) => setCursor(Number(event.currentTarget.value))} />
            </label>
          )}
        </div>
      )}
      <div class="panels even">
        {accuracy && (
          <Card title="How often is it right without help?">
            <p><Term w="unguided accuracy">Unguided accuracy</Term> on problems that it was not trained on, with its <Term w="95 % interval" />.{kind !== "update" && " Evaluations whose place on this axis is not known are left out."}</p>
            <Lines series={[accuracy]} text={`Unguided accuracy ${trend(accuracy.points)}`} {...common} />
            <Readout series={[accuracy]} cursor={cursor} />
          </Card>
        )}
        {panels.map((panel) => (
          <Card key={panel.title} title={panel.title}>
            <p>{panel.sentence}</p>
            <Lines series={panel.series} zero={!panel.fit} text={`${panel.title} ${panel.series.map((one) => `${one.name} ${trend(one.points)}`).join(", ")}`} {...common} />
            <Readout series={panel.series} cursor={cursor} />
          </Card>
        ))}
      </div>
      {!panels.length && !accuracy && <Card><p>This folder holds no curves: there is no metrics.jsonl and no evaluations.jsonl in it.</p></Card>}
    </>
  );
}

/** What was measured at the end of every run of the page, and of what is no run, such as the base. */
function Rows({ rows }) {
  return (
    <Card title="All rows side by side">
      <p>Accuracy without help on the test problems, with its <Term w="95 % interval" />.</p>
      <table>
        <thead><tr><th scope="col">row</th><th scope="col">accuracy</th><th scope="col">95 % interval</th></tr></thead>
        <tbody>
          {rows.map(([label, number, accuracy, low, high], i) => (
            <tr key={i}>
              <th scope="row">{number === null ? <Text v={label} most={100} /> : <a href={format(`/run/${number}`)}><Text v={label} most={100} /></a>}</th>
              <td>{fixed(accuracy)}</td>
              <td>{low === null ? "" : `${fixed(low, 2)} to ${fixed(high, 2)}`}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Card>
  );
}

function Readout({ series, cursor }) {
  if (cursor === null) return <p class="readout">&nbsp;</p>;
  const nearest = (points) => points.reduce((best, point) => (point.y !== null && (!best || Math.abs(point.x - cursor) < Math.abs(best.x - cursor)) ? point : best), null);
  return <p class="readout">{series.map((one) => ({ one, point: nearest(one.points) })).filter(({ point }) => point).map(({ one, point }) => `${one.name} ${fixed(point.y)} at ${number(Math.round(point.x))}`).join(" · ")}</p>;
}

/** Links to the first group of each update whose tokens are recorded. */
function Recorded({ run }) {
  if (!run.chunks.length) {
    return (
      <Card title="No tokens are recorded">
        <p>This run shows its curves{run.every_group ? " and groups" : ""} only. To read answers token by token, train with <code>--rollouts-every 50</code>: the tokens of every fiftieth update are then kept.</p>
      </Card>
    );
  }
  const first = new Map();
  run.groups.update.forEach((update, g) => {
    if (!first.has(update) && getRecorded(run, g).length) first.set(update, run.groups.group[g]);
  });
  return (
    <Card title="Read what the model wrote">
      <p>Every token of these updates is kept{run.cut ? " as far as it fits into this page" : ""}. <Text v={run.cut} /></p>
      <p class="chips">
        {[...first].slice(0, 60).map(([update, group]) => <a key={update} class="button" href={format(`/run/${run.number}/update/${update}/group/${group}`)}>update {update}</a>)}
      </p>
    </Card>
  );
}
