// All groups of all updates, the filters, and the list of what they let through.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { OUTCOMES, OUTCOME_WORDS, ROLES, getEpisode, getGroup, getMembers, joinText } from "./columns.mjs";
import { FILTERS, findMatches, hasText, isActive } from "./filters.mjs";
import { format } from "./fragment.mjs";
import { HeatMap } from "./heatmap.jsx";
import { Table } from "./list.jsx";
import { Card, Select, Text, Verdict, fixed, plural, short, signed, useApp } from "./ui.jsx";

const SORTS = [["order", "as sampled"], ["success", "by success"], ["problem", "by problem"], ["level", "by difficulty"]];

export function Groups({ run }) {
  const { state, set, go, page, announce } = useApp();
  const { params } = state;
  const sort = SORTS.some(([key]) => key === params.get("sort")) ? params.get("sort") : "order";
  const key = FILTERS.map((name) => params.get(name) ?? "").join("\n");
  const columns = useMemo(() => findMatches(run, params, page.rules), [run, key]);
  const [matches, progress] = useTextSearch(run, columns, params.get("answer"));
  const active = isActive(params);
  const fits = useMemo(() => (active ? new Set(matches.map(({ g }) => g)) : null), [matches, active]);
  const members = useMemo(() => run.groups.size.reduce((a, b) => a + b, 0), [run]);
  const said = active ? `${plural(matches.length, "answer")} of ${members.toLocaleString("en-US")} match` : plural(members, "answer");
  useEffect(() => announce(said), [said]);
  const open = (g) => go(`/run/${run.number}/update/${run.groups.update[g]}/group/${run.groups.group[g]}`);
  return (
    <>
      <h1 tabIndex={-1}>Which groups were right, and when?</h1>
      <div class="with-filters">
        <Filters run={run} />
        <div>
          <Card aside={<Select label="Rows" value={sort} options={SORTS} onChange={(value) => set({ sort: value })} />} title="A column per update, a cell per group">
            {run.groups.size.length ? <HeatMap run={run} sort={sort} fits={fits} onOpen={open} /> : <p>This folder holds no groups.</p>}
            {!run.every_group && run.groups.size.length > 0 && <p class="soft">Only recorded updates are shown: this run was made before groups.jsonl existed.</p>}
          </Card>
          <Card title={active ? "What the filters let through" : "All answers"} aside={<span class="count" data-count>{said}</span>}>
            {progress !== null && <p><progress value={progress} max="1" aria-label="Searching the texts" /> searching the texts</p>}
            <Matches run={run} matches={matches} />
          </Card>
        </div>
      </div>
    </>
  );
}

/** Matches whose text has what is looked for: chunks are opened one after the other. */
function useTextSearch(run, matches, wanted) {
  const { load } = useApp();
  const [found, setFound] = useState({ matches: null, progress: 0, list: [] });
  useEffect(() => {
    if (!wanted) return undefined;
    let isWanted = true;
    (async () => {
      const low = wanted.toLowerCase();
      const list = [];
      const rest = matches.filter(({ e }) => e === null);
      const byUpdate = new Map();
      for (const match of matches) {
        if (match.e === null) continue;
        const update = run.episodes.update[match.e];
        byUpdate.set(update, [...(byUpdate.get(update) ?? []), match]);
      }
      for (const match of rest) {
        const answer = getMembers(run, match.g)[match.m]?.answer ?? "";
        if (answer.toLowerCase().includes(low)) list.push(match);
      }
      let done = 0;
      for (const [update, some] of byUpdate) {
        const chunk = await load(run.chunkOf.get(update));
        if (!isWanted) return;
        for (const match of some) {
          const episode = getEpisode(chunk, run.episodes.place[match.e]);
          if (hasText(joinText(episode, 2), episode.answer, low)) list.push(match);
        }
        done += 1;
        setFound({ matches, wanted, progress: done / byUpdate.size, list: [...list] });
      }
      setFound({ matches, wanted, progress: 1, list });
    })();
    return () => (isWanted = false);
  }, [matches, wanted]);
  if (!wanted) return [matches, null];
  const isNow = found.matches === matches && found.wanted === wanted;
  return [isNow ? found.list : [], isNow && found.progress === 1 ? null : isNow ? found.progress : 0];
}

export function linkOf(run, { g, m, e }) {
  const path = `/run/${run.number}/update/${run.groups.update[g]}/group/${run.groups.group[g]}`;
  return format(e === null ? path : `${path}/member/${m}`);
}

function Matches({ run, matches }) {
  const rows = useMemo(() => {
    const make = (match) => {
      const i = run.starts[match.g] + match.m;
      const has = match.m < run.groups.size[match.g];
      const answer = has && run.groups.answer[i] !== null ? run.answers[run.groups.answer[i]] : null;
      const outcome = match.e !== null ? run.episodes.outcome[match.e] : run.groups.correct[i] ? 0 : 1;
      return [
        <a href={linkOf(run, match)}>update {run.groups.update[match.g]}, member {match.m}</a>,
        short(getGroup(run, match.g).problem[0], 40), <Verdict outcome={outcome} />, answer === null ? "–" : short(answer, 40),
        has && run.groups.reveal[i] ? `${run.groups.reveal[i]} shown` : "plain", has ? fixed(run.groups.reward[i], 2) : "–",
        has && run.groups.advantage[i] !== null ? signed(run.groups.advantage[i], 2) : "–", match.e === null ? "no" : "yes",
      ];
    };
    return new Proxy(matches, { get: (list, key) => (key === "length" ? list.length : typeof key === "string" && /^\d+$/.test(key) ? make(list[key]) : list[key]) });
  }, [run, matches]);
  return <Table columns={["answer", "problem", "verdict", "final answer", "help", "reward", "advantage", "tokens"]} rows={rows} label="Answers" height={420} />;
}

// -- filters ----------------------------------------------------------------------------------------------------------

const ANY = ["", "any"];

export function Filters({ run }) {
  const { state, set, page } = useApp();
  const dialog = useRef(null);
  const { params } = state;
  const stages = useMemo(() => [...new Set(run.episodes.stage)].sort((a, b) => a - b), [run]);
  const pick = (name, label, options) => <Select label={label} value={params.get(name) ?? ""} options={[ANY, ...options]} onChange={(value) => set({ [name]: value })} />;
  const reset = () => set(Object.fromEntries(FILTERS.map((name) => [name, ""])));
  const fields = (
    <>
      {pick("verdict", "Verdict", OUTCOMES.map((name, i) => [name, OUTCOME_WORDS[i]]))}
      {pick("guided", "Help", [["guided", "guided"], ["plain", "plain"]])}
      <Field name="problem" label="Problem or prompt has" />
      <Field name="answer" label="Answer has" />
      <Range name="updates" label="Updates" />
      <Range name="reveal" label="Tokens shown" />
      <Range name="reward" label="Reward" />
      {pick("suspicion", "Look here", page.rules.map(([name, title]) => [name, title]))}
      {pick("role", "Has text of", ROLES.map((name) => [name, name]))}
      {stages.length > 1 && pick("stage", "Stage", stages.map((stage) => [String(stage), String(stage)]))}
      <button type="button" onClick={reset} disabled={!isActive(params)} data-reset>Show everything <kbd>r</kbd></button>
    </>
  );
  return (
    <>
      <aside class="filters card" aria-label="Filters">{fields}</aside>
      <div class="filters-narrow">
        <button type="button" data-filters onClick={() => dialog.current.showModal()}>Filters{isActive(params) ? " (some are set)" : ""}</button>
        <dialog ref={dialog} aria-label="Filters">
          <form method="dialog">{fields}<button type="submit">Close</button></form>
        </dialog>
      </div>
    </>
  );
}

function Field({ name, label }) {
  const { state, set } = useApp();
  const value = state.params.get(name) ?? "";
  const timer = useRef(0);
  const change = (event) => {
    const text = event.currentTarget.value;
    clearTimeout(timer.current);
    timer.current = setTimeout(() => set({ [name]: text }), 250);
  };
  return <label class="field"><span>{label}</span><input type="search" name={name} defaultValue={value} key={value === "" ? "empty" : "set"} onInput={change} maxLength={500} /></label>;
}

function Range({ name, label }) {
  const { state, set } = useApp();
  const [low, high] = (state.params.get(name) ?? "~").split("~");
  const change = (from, to) => set({ [name]: from === "" && to === "" ? "" : `${from}~${to}` });
  return (
    <fieldset class="range">
      <legend>{label}</legend>
      <input type="number" step="any" aria-label={`${label}, from`} placeholder="from" value={low} onChange={(event) => change(event.currentTarget.value, high)} />
      <input type="number" step="any" aria-label={`${label}, to`} placeholder="to" value={high} onChange={(event) => change(low, event.currentTarget.value)} />
    </fieldset>
  );
}
