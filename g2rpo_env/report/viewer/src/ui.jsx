// Small pieces that every page uses. Text of a run is shown through <Text>, and never in another way.
import { createContext } from "preact";
import { useContext, useEffect, useRef, useState } from "preact/hooks";
import { OUTCOME_WORDS } from "./columns.mjs";
import { GLOSSARY } from "./glossary.mjs";
import { fixed, number, percent, plural, signed } from "./numbers.mjs";
import { cut, visible } from "./visible.mjs";

/** {state, go, set, announce, pack, load}: what a page is given. */
export const App = createContext(null);
export const useApp = () => useContext(App);

export const LONGEST_FIELD = 10000;

/** A text of a run: invisible characters written out, long ones cut with a button. */
export function Text({ v, most = LONGEST_FIELD, lines = false }) {
  const [all, setAll] = useState(false);
  const raw = String(v ?? "");
  const isLong = raw.length > most && !all;
  const shown = visible(isLong ? cut(raw, most) : raw, lines);
  if (!isLong) return shown;
  return (
    <>
      {shown}{" "}
      <button type="button" class="small" onClick={() => setAll(true)}>show all {number(raw.length)} characters</button>
    </>
  );
}

/** A short text in one line, for tables. */
export const short = (text, most = 80) => visible(cut(String(text ?? ""), most));

export { fixed, number, percent, plural, signed };

/** A word with its explanation, shown on hover and focus, and moved to the left where it would leave the window. */
export function Term({ w, children }) {
  const tip = useRef(null);
  const place = () => {
    tip.current.style.left = "0";
    const over = tip.current.getBoundingClientRect().right + 8 - document.documentElement.clientWidth;
    if (over > 0) tip.current.style.left = `${-over}px`;
  };
  return (
    <span class="term" onPointerEnter={place} onFocusCapture={place}>
      <button type="button">{children ?? w}</button>
      <span role="tooltip" ref={tip}>{GLOSSARY.get(w)}</span>
    </span>
  );
}

export function Card({ title, children, wide, id, aside }) {
  return (
    <section class={wide ? "card wide" : "card"} id={id}>
      {(title || aside) && (
        <div class="card-head">
          {title && <h2>{title}</h2>}
          {aside}
        </div>
      )}
      {children}
    </section>
  );
}

const ICONS = ["✓", "✗", "∅", "!"];

/** A verdict as icon and word. */
export function Verdict({ outcome }) {
  return (
    <span class={`verdict outcome-${outcome}`}>
      <span aria-hidden="true">{ICONS[outcome]}</span> {OUTCOME_WORDS[outcome]}
    </span>
  );
}

export const Guided = ({ reveal }) =>
  reveal > 0 ? <span class="chip guided">guided, {plural(reveal, "token")} shown</span> : <span class="chip">plain</span>;

/** A number as a bar from the middle. */
export function Bar({ value, most }) {
  if (value === null) return <span class="soft">not learnt from</span>;
  const width = most ? (Math.min(1, Math.abs(value) / most) * 50).toFixed(1) : 0;
  return (
    <span class="bar">
      <span class="bar-room" aria-hidden="true">
        <span class={value < 0 ? "down" : "up"} style={{ width: `${width}%`, [value < 0 ? "right" : "left"]: "50%" }} />
      </span>
      {signed(value, 2)}
    </span>
  );
}

/** One choice of several, as native radio buttons in a row. */
export function Choice({ label, name, value, options, onChange, hide = false }) {
  return (
    <fieldset class="choice">
      <legend class={hide ? "hidden" : undefined}>{label}</legend>
      {options.map(([key, text]) => (
        <label key={key}>
          <input type="radio" name={name} value={key} checked={key === value} onChange={() => onChange(key)} />
          <span>{text}</span>
        </label>
      ))}
    </fieldset>
  );
}

export function Select({ label, value, options, onChange }) {
  return (
    <label class="field">
      <span>{label}</span>
      <select value={value} onChange={(event) => onChange(event.currentTarget.value)}>
        {options.map(([key, text]) => <option key={key} value={key}>{text}</option>)}
      </select>
    </label>
  );
}

/** A button that copies a text; it says whether that worked. */
export function Copy({ children, text }) {
  const { announce } = useApp();
  const [done, setDone] = useState("");
  const copy = async () => {
    let worked = true;
    try {
      await navigator.clipboard.writeText(text());
    } catch {
      worked = copyByHand(text());
    }
    setDone(worked ? "copied" : "not copied");
    announce(worked ? "copied" : "the browser did not allow copying");
  };
  return <button type="button" onClick={copy}>{children}{done && ` · ${done}`}</button>;
}

function copyByHand(text) {
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  const worked = document.execCommand("copy");
  area.remove();
  return worked;
}

/** Width of an element, measured again when it changes. */
export function useWidth(first = 600) {
  const ref = useRef(null);
  const [width, setWidth] = useState(first);
  useEffect(() => {
    const observer = new ResizeObserver(([entry]) => setWidth(Math.max(200, Math.floor(entry.contentRect.width))));
    observer.observe(ref.current);
    return () => observer.disconnect();
  }, []);
  return [ref, width];
}

/** The value of a promise; undefined until it is there. */
export function usePromise(make, keys) {
  const [found, setFound] = useState({});
  useEffect(() => {
    let isWanted = true;
    make()?.then((value) => isWanted && setFound({ keys, value }));
    return () => (isWanted = false);
  }, keys);
  return found.keys?.every((key, i) => key === keys[i]) ? found.value : undefined;
}
