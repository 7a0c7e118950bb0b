// The tokens of an episode: one tab stop, arrow keys, one text node per token.
import { useLayoutEffect, useMemo, useRef } from "preact/hooks";
import { CHANNELS, describe, findExtremes, getColor, getRange, summarize } from "./channels.mjs";
import { ROLES } from "./columns.mjs";
import { Table, useVirtual } from "./list.jsx";
import { Text, fixed, percent, signed, useApp } from "./ui.jsx";
import { cut, hasInvisible, visible } from "./visible.mjs";

export const LONGEST_TOKEN = 200;
const WHOLE = 1200; // tokens that are shown without blocks
const BLOCK = 300;

/** What stands for a token: one text, never empty. */
export function tokenText(token) {
  if (token.text === "") return token.part ? "·" : "∅";
  return visible(cut(token.text, LONGEST_TOKEN));
}

const SPECIAL = /^<[^<>\s]{1,30}>$/;

function classOf(token, channelName, promptReveal, place) {
  const classes = ["tok", `role-${token.role}`];
  if (hasInvisible(token.text) || SPECIAL.test(token.text) || token.text === "") classes.push("badge");
  if (channelName === "role") classes.push("tint");
  if (channelName === "weight" && !(token.weight > 0)) classes.push("out");
  if (channelName === "alternatives" && token.top) classes.push("has");
  if (promptReveal && place >= promptReveal[0] && place < promptReveal[1]) classes.push("shown");
  return classes.join(" ");
}

function Token({ token, place, channel, name, range, chosen, promptReveal }) {
  const text = tokenText(token);
  const mark = (
    <span
      role="option" aria-label={text.trim() ? undefined : "space"} aria-selected={chosen} tabIndex={chosen ? 0 : -1} data-t={place} id={`t${place}`}
      class={classOf(token, name, promptReveal, place)}
      style={name === "role" ? undefined : { backgroundColor: getColor(channel, token, range) }}
    >{text}</span>
  );
  return token.text.includes("\n") ? <>{mark}<br /></> : mark;
}

export function TokenView({ episode, name, chosen, onChoose, onHover }) {
  const { announce } = useApp();
  const { tokens, promptReveal } = episode;
  const channel = CHANNELS.get(name);
  const range = useMemo(() => getRange(channel, tokens), [name, tokens]);
  const strip = useRef(null);
  const wantsFocus = useRef(false);
  const blocks = tokens.length > WHOLE ? Math.ceil(tokens.length / BLOCK) : 0;
  const [scroll, virtual] = useVirtual(blocks, 220, true);

  const choose = (place) => {
    const next = Math.max(0, Math.min(tokens.length - 1, place));
    wantsFocus.current = true;
    if (blocks) virtual.scrollToIndex(Math.floor(next / BLOCK));
    onChoose(next);
    announce(describe(tokens[next], next, tokens.length, ROLES));
  };
  useLayoutEffect(() => {
    if (!wantsFocus.current) return;
    const node = strip.current.querySelector(`#t${chosen}`);
    if (node) {
      node.focus();
      wantsFocus.current = false;
    }
  });
  const onKeyDown = (event) => {
    const steps = { ArrowRight: chosen + 1, ArrowLeft: chosen - 1, Home: 0, End: tokens.length - 1 };
    let place = steps[event.key];
    if (event.key === "ArrowDown" || event.key === "ArrowUp") place = findLine(event.target, event.key === "ArrowDown") ?? chosen;
    if (place === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    choose(place);
  };
  const placeOf = (event) => event.target.closest?.("[data-t]")?.dataset.t;
  const show = (place) => {
    const token = tokens[place];
    return <Token key={place} {...{ token, place, channel, name, range, promptReveal }} chosen={place === chosen} />;
  };
  const events = {
    onKeyDown,
    onClick: (event) => placeOf(event) !== undefined && choose(Number(placeOf(event))),
    onPointerOver: (event) => onHover(placeOf(event) === undefined ? null : Number(placeOf(event))),
    onPointerLeave: () => onHover(null),
  };
  const items = blocks ? virtual.getVirtualItems() : [];
  if (!tokens.length) return <p class="soft">This episode has no tokens.</p>;
  return (
    <div class={blocks ? "strip-scroll" : undefined} ref={scroll}>
      <div class="strip" role="listbox" aria-label="Tokens of the episode" aria-orientation="horizontal" ref={strip} {...events}>
        {!blocks && tokens.map((_, place) => show(place))}
        {blocks > 0 && (
          <div role="presentation" style={{ height: `${virtual.getTotalSize()}px`, position: "relative" }}>
            <div role="presentation" style={{ transform: `translateY(${items[0]?.start ?? 0}px)` }}>
              {items.map(({ index }) => (
                <div role="presentation" key={index} data-index={index} ref={virtual.measureElement} class="block">
                  {tokens.slice(index * BLOCK, (index + 1) * BLOCK).map((_, i) => show(index * BLOCK + i))}
                </div>
              ))}
            </div>
          </div>
        )}
      </div>
    </div>
  );
}

/** The token below or above one, by its place on the screen. */
function findLine(node, isDown) {
  const here = node.getBoundingClientRect();
  const all = [...node.closest(".strip").querySelectorAll(".tok")];
  const place = all.indexOf(node);
  const rest = isDown ? all.slice(place + 1) : all.slice(0, place).reverse();
  let line = null;
  let best = null;
  for (const other of rest) {
    const box = other.getBoundingClientRect();
    if (Math.abs(box.top - here.top) < 4) continue;
    line ??= box.top;
    if (Math.abs(box.top - line) > 4) break;
    const distance = Math.abs(box.left - here.left);
    if (!best || distance < best.distance) best = { distance, place: Number(other.dataset.t) };
  }
  return best?.place;
}

// -- beside the tokens ------------------------------------------------------------------------------------------------

export function Legend({ name, tokens, environment }) {
  const channel = CHANNELS.get(name);
  const range = getRange(channel, tokens);
  const roles = ROLES.map((role, i) => [role, i]).filter(([, i]) => i < 3 || environment);
  const ramp = (share) => `rgb(var(--${channel.diverging ? (share < 0 ? "down" : "up") : "more"}) / ${Math.abs(share) * 0.5})`;
  const steps = channel.diverging ? [-1, -0.5, 0, 0.5, 1] : [0, 0.25, 0.5, 0.75, 1];
  return (
    <div class="token-legend">
      {roles.map(([role, i]) => <span key={role}><span class={`tok role-${i} ${name === "role" ? "tint" : ""}`}>abc</span> {["prompt", "shown to the model", "written by the model", "environment"][i]}</span>)}
      {name === "weight" && <span><span class="tok out">abc</span> not in the loss</span>}
      {name !== "role" && name !== "alternatives" && range && (
        <span class="ramp">
          {channel.format(range[0])}
          <span aria-hidden="true">{steps.map((share) => <span key={share} style={{ background: ramp(share) }} />)}</span>
          {channel.format(range[1])}
        </span>
      )}
    </div>
  );
}

export function Summary({ name, tokens, onChoose }) {
  const extremes = name === "role" || name === "alternatives" ? [] : findExtremes(name, tokens);
  const word = { probability: "Least likely", entropy: "Most unsure", credit: "Most credit", weight: "Heaviest", change: "Changed most" }[name];
  return (
    <div class="summary">
      <p>{CHANNELS.get(name).sentence}{name !== "role" && <> <strong data-summary>{summarize(name, tokens)}</strong></>}</p>
      {extremes.length > 0 && (
        <p class="jump">{word}:{" "}
          {extremes.map(({ place, value }) => (
            <button type="button" class="small" key={place} onClick={() => onChoose(place)}>
              <code>{tokenText(tokens[place])}</code> {CHANNELS.get(name).format(value)}
            </button>
          ))}
        </p>
      )}
    </div>
  );
}

export function Inspector({ token, place, count }) {
  if (!token) return <p class="soft">Choose a token to see all that is known of it.</p>;
  const rows = [
    ["place", `${place + 1} of ${count}`],
    ["id", token.id],
    ["written by", ["prompt", "revealed solution", "the model", "the environment"][token.role]],
    [token.role === 1 ? "probability after" : "probability", fixed(token.probability)],
    ["log-prob before", fixed(token.before)],
    ["log-prob after", fixed(token.after)],
    ["change", token.change === null ? "–" : signed(token.change)],
    ["unsure (entropy)", token.entropy === null ? "–" : `${fixed(token.entropy, 2)} nats`],
    ["weight", token.weight > 0 ? fixed(token.weight, 5) : "0, not in the loss"],
    ["credit", token.credit === null ? "–" : signed(token.credit, 5)],
  ];
  return (
    <>
      <p class="big-token"><Text v={JSON.stringify(token.text)} most={300} /></p>
      {token.part && <p class="soft">A part of the character that the next token ends.</p>}
      <dl class="pairs">{rows.map(([name, value]) => <div key={name}><dt>{name}</dt><dd>{value}</dd></div>)}</dl>
      {token.top && (
        <>
          <h2>Likeliest here</h2>
          <ol class="top">
            {token.top.slice(0, 10).map((one, i) => (
              <li key={i} class={one.id === token.id ? "taken" : undefined}>
                <span class="top-bar" style={{ width: `${Math.min(1, one.probability ?? 0) * 100}%` }} aria-hidden="true" />
                <code>{visible(cut(one.text, 40)) || "∅"}</code> <span>{percent(one.probability)}{one.id === token.id && " · taken"}</span>
              </li>
            ))}
          </ol>
        </>
      )}
    </>
  );
}

export function TokenTable({ tokens }) {
  const columns = ["place", "token", "id", "written by", "probability", "entropy", "weight", "credit", "change"];
  const rows = useMemo(
    () => tokens.map((token, t) => [
      t + 1, <code>{visible(cut(token.text, 60))}</code>, token.id, ROLES[token.role], fixed(token.probability), fixed(token.entropy, 2),
      token.weight > 0 ? fixed(token.weight, 4) : "0, not in the loss", fixed(token.credit, 5), fixed(token.change),
    ]),
    [tokens],
  );
  return <Table columns={columns} rows={rows} label="Tokens of the episode" />;
}
