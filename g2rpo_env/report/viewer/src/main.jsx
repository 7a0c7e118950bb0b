// The page: its data, its state in the address, its keys, and the shell around what is shown.
import { render } from "preact";
import { useCallback, useEffect, useMemo, useRef, useState } from "preact/hooks";
import { About } from "./about.jsx";
import { CHANNELS } from "./channels.mjs";
import { makeRun } from "./columns.mjs";
import { Compare, CompareGroup } from "./compare.jsx";
import { inflate, makeLoader } from "./data.mjs";
import { Episode } from "./episode.jsx";
import { FILTERS } from "./filters.mjs";
import { format, parse } from "./fragment.mjs";
import { Group } from "./group.jsx";
import { Groups } from "./groups.jsx";
import { Overview } from "./overview.jsx";
import { OneProblem, Problems } from "./problems.jsx";
import { Suspicions } from "./suspicions.jsx";
import { App, short } from "./ui.jsx";
import { cut, visible } from "./visible.mjs";
import "./viewer.css";

const PAGES = new Map([
  ["overview", Overview], ["groups", Groups], ["group", Group], ["episode", Episode], ["problems", Problems], ["problem", OneProblem],
  ["suspicions", Suspicions], ["compare", Compare], ["compare-group", CompareGroup], ["about", About],
]);

const KEYS = [
  ["← →", "token before or after"], ["↑ ↓", "line above or below"], ["Home, End", "first or last token"], ["n, p", "next or previous member"],
  ["j, k", "next or previous group"], ["i, u", "next or previous update"], ["c", "next channel"], ["f", "filters"], ["r", "show everything again"], ["?", "this list"],
];

const isTyping = (event) => /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && event.target.type !== "radio" && event.target.type !== "range";

function Viewer({ page }) {
  const [state, setState] = useState(() => parse(location.hash));
  const [said, announce] = useState("");
  const help = useRef(null);
  const keys = useRef(new Map());
  const main = useRef(null);
  const wasOnTokens = useRef(false);
  useEffect(() => {
    const change = () => setState(parse(location.hash));
    addEventListener("hashchange", change);
    return () => removeEventListener("hashchange", change);
  }, []);
  const go = useCallback((path, params) => { location.hash = format(path, params); }, []);
  const set = useCallback((changes) => {
    const [path] = location.hash.replace(/^#/, "").split("?");
    const params = new Map(parse(location.hash).params);
    for (const [name, value] of Object.entries(changes)) params.set(name, value);
    history.replaceState(null, "", format(path || "/run/0", params));
    setState(parse(location.hash));
  }, []);
  const useKeys = (paths) => { keys.current = paths; };
  const number = state.run >= 0 && state.run < page.runs.length ? state.run : 0;
  const run = page.runs[number];
  const other = page.runs[state.other >= 0 && state.other < page.runs.length ? state.other : Math.min(1, page.runs.length - 1)];
  const place = [state.page, state.run, state.other, state.update, state.group, state.member, state.problem].join("/");
  // Where the focus goes when another page has come: to its title, or to the tokens where it was on tokens before.
  const arrive = useCallback(() => {
    const title = main.current?.querySelector("h1");
    const token = main.current?.querySelector(".strip [tabindex='0']");
    if (title) document.title = `${cut(title.textContent, 80)} – ${page.title}`;
    if (wasOnTokens.current && token) {
      wasOnTokens.current = false;
      token.focus({ preventScroll: true });
    } else if (document.activeElement === document.body || !main.current?.contains(document.activeElement)) title?.focus({ preventScroll: true });
  }, []);
  useEffect(() => {
    if (!document.activeElement?.closest(".strip")) main.current?.querySelector("h1")?.focus({ preventScroll: true });
    scrollTo(0, 0);
    arrive();
  }, [place]);
  if (state.page !== "episode") keys.current = new Map();
  useEffect(() => {
    const press = (event) => {
      if (isTyping(event) || event.ctrlKey || event.metaKey || event.altKey) return;
      const path = keys.current.get(event.key);
      if (event.key === "?") help.current.open ? help.current.close() : help.current.showModal();
      else if (path) {
        wasOnTokens.current = Boolean(document.activeElement?.closest?.(".strip"));
        go(path, new Map([["channel", parse(location.hash).params.get("channel")]]));
      } else if (event.key === "r") set(Object.fromEntries(FILTERS.map((name) => [name, ""])));
      else if (event.key === "f") (document.querySelector(".filters select")?.checkVisibility() ? document.querySelector(".filters select").focus() : document.querySelector("[data-filters]")?.click());
      else if (event.key === "c" && parse(location.hash).page === "episode") {
        const names = [...CHANNELS.keys()];
        set({ channel: names[(names.indexOf(parse(location.hash).params.get("channel") ?? "role") + 1) % names.length] });
      } else return;
      event.preventDefault();
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, []);
  const app = useMemo(() => ({ state, go, set, announce, arrive, page, load: page.load, useKeys }), [state]);
  const Page = PAGES.get(state.page);
  const links = [
    ["Overview", `/run/${number}`, ["overview"]], ["Groups", `/run/${number}/groups`, ["groups", "group", "episode"]],
    ["Problems", `/run/${number}/problems`, ["problems", "problem"]], ["Suspicions", `/run/${number}/suspicions`, ["suspicions"]],
    ...(page.runs.length > 1 ? [["Compare", `/compare/${number}/${number === 0 ? 1 : 0}`, ["compare", "compare-group"]]] : []),
    ["About", `/run/${number}/about`, ["about"]],
  ];
  return (
    <App.Provider value={app}>
      <a class="skip" href="#main" onClick={(event) => { event.preventDefault(); main.current.querySelector("h1")?.focus(); }}>to the page</a>
      <header>
        <div class="inner">
          <p class="brand">{short(page.title.replace(/ – g2rpo-env$/, ""), 120)}</p>
          {page.runs.length > 1 && state.page !== "compare" && state.page !== "compare-group" && (
            <label class="field inline"><span>Run</span>
              <select value={String(number)} onChange={(event) => go(links.find(([, , pages]) => pages.includes(state.page))[1].replace(`/run/${number}`, `/run/${event.currentTarget.value}`))} data-run>
                {page.runs.map((one, i) => <option key={i} value={String(i)}>{short(one.label, 60)}</option>)}
              </select>
            </label>
          )}
          <nav aria-label="Pages">
            {links.map(([label, path, pages]) => <a key={label} href={format(path)} aria-current={pages.includes(state.page) ? "page" : undefined}>{label}</a>)}
          </nav>
          <button type="button" onClick={() => help.current.showModal()}>Keys <kbd>?</kbd></button>
        </div>
      </header>
      <main id="main" ref={main}>
        <Page key={`${state.page}-${number}-${state.other}`} run={run} other={other} update={state.update} group={state.group} member={state.member} problem={state.problem} />
      </main>
      <footer><div class="inner">Made by g2rpo-env {short(page.version, 30)}. This file is complete in itself and asks no network for anything.</div></footer>
      <p class="hidden" aria-live="polite" data-announced>{visible(said)}</p>
      <dialog ref={help} aria-label="Keys">
        <form method="dialog">
          <h2>Keys</h2>
          <dl class="pairs">{KEYS.map(([key, text]) => <div key={key}><dt><kbd>{key}</kbd></dt><dd>{text}</dd></div>)}</dl>
          <button type="submit">Close</button>
        </form>
      </dialog>
    </App.Provider>
  );
}

async function start() {
  const read = (name) => document.getElementById(name).textContent;
  const page = await inflate(read("index"));
  const runs = page.runs.map(makeRun);
  render(<Viewer page={{ ...page, runs, load: makeLoader(read) }} />, document.getElementById("app"));
  document.documentElement.dataset.ready = "yes";
}

start();
