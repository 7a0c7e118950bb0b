// Answers that a person should read, by the rule that found them.
import { useMemo } from "preact/hooks";
import { Bars } from "./charts.jsx";
import { getGroup, getRecorded } from "./columns.mjs";
import { linkOf } from "./groups.jsx";
import { Table } from "./list.jsx";
import { Card, Verdict, number, percent, plural, short, useApp } from "./ui.jsx";

/** e -> {g, m, e} of every recorded episode. */
function placeEpisodes(run) {
  const places = new Map();
  for (let g = 0; g < run.groups.size.length; g++) getRecorded(run, g).forEach((e, m) => places.set(e, { g, m, e }));
  return places;
}

export function Suspicions({ run }) {
  const { state, set, page } = useApp();
  const places = useMemo(() => placeEpisodes(run), [run]);
  const { flags, update, outcome } = run.episodes;
  const counts = page.rules.map((_, i) => flags.filter((one) => one & (1 << i)).length);
  const first = counts.findIndex((count) => count > 0);
  const named = page.rules.findIndex(([name]) => name === state.params.get("rule"));
  const rule = named >= 0 ? named : Math.max(0, first);
  const found = useMemo(() => flags.map((one, e) => [one, e]).filter(([one]) => one & (1 << rule)).map(([, e]) => places.get(e)).filter(Boolean).sort((a, b) => a.g - b.g || a.m - b.m), [run, rule]);
  const points = run.chunks.map(([, x]) => ({ x, y: found.filter(({ e }) => update[e] === x).length }));
  const rows = found.map((match) => {
    const i = run.starts[match.g] + match.m;
    const has = match.m < run.groups.size[match.g];
    const answer = has && run.groups.answer[i] !== null ? run.answers[run.groups.answer[i]] : null;
    return [<a href={linkOf(run, match)}>update {update[match.e]}, member {match.m}</a>, short(getGroup(run, match.g).problem[0], 50), <Verdict outcome={outcome[match.e]} />, answer === null ? "–" : <code>{short(answer, 50)}</code>, has && run.groups.reveal[i] ? `${run.groups.reveal[i]} shown` : "plain"];
  });
  const any = flags.filter(Boolean).length;
  return (
    <>
      <h1 tabIndex={-1}>{any ? `${plural(any, "recorded answer")} of ${number(flags.length)} ${any === 1 ? "deserves" : "deserve"} a look` : "No rule found anything in the recorded answers"}</h1>
      <p class="lead">Each rule says “look here”. None says that the model cheats: open a few answers and judge.</p>
      <Card title="Rules">
        <ul class="rules">
          {page.rules.map(([name, title, meaning], i) => (
            <li key={name}>
              <button type="button" aria-pressed={i === rule} onClick={() => set({ rule: name })} data-rule={name}>
                <strong>{title}</strong> <span class="count">{number(counts[i])}{flags.length > 0 && ` · ${percent(counts[i] / flags.length)}`}</span>
                <span class="meaning">{meaning}</span>
              </button>
            </li>
          ))}
        </ul>
      </Card>
      <Card title={page.rules[rule][1]} aside={<span class="count">{plural(found.length, "answer")}</span>}>
        {points.length > 1 && <Bars points={points} xLabel="update" name="answers" text={`${page.rules[rule][1]}: number of answers by update`} />}
        <Table columns={["answer", "problem", "verdict", "final answer", "help"]} rows={rows} label="Answers that the rule found" />
      </Card>
    </>
  );
}
