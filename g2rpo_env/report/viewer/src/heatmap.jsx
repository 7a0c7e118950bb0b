// All groups of a run as one picture of a few paths, however many there are.
import { useMemo, useRef, useState } from "preact/hooks";
import { getKind, getRecorded, getShares } from "./columns.mjs";
import { Text, percent, useApp, useWidth } from "./ui.jsx";

const LEVELS = 10;
const HEIGHT = 20;
const STRIP = 34;
const FOOT = 30;
const LEFT = 46;

/** Columns of the map: [{update, cells: [g]}], each sorted. */
export function layOut(run, sort) {
  const columns = new Map();
  run.groups.update.forEach((update, g) => {
    if (!columns.has(update)) columns.set(update, []);
    columns.get(update).push(g);
  });
  const levels = run.problems.map((problem) => Number(problem[5] ?? 0));
  const shares = sort === "success" ? run.groups.update.map((_, g) => getShares(run, g).all ?? 0) : null;
  const keys = {
    success: (g) => -shares[g],
    problem: (g) => run.problems[run.groups.problem[g]][0],
    level: (g) => levels[run.groups.problem[g]],
  };
  const key = keys[sort];
  const sorted = [...columns].sort((a, b) => a[0] - b[0]).map(([update, cells]) => ({ update, cells }));
  if (key) for (const { cells } of sorted) cells.sort((a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : a - b));
  return sorted;
}

const box = (x, y, w, h) => `M${x} ${y}h${w}v${h}h${-w}z`;

/** Paths by what they are filled with. */
export function draw(run, columns, cell, rows, fits) {
  const fills = Array.from({ length: LEVELS + 1 }, () => []);
  const faded = [];
  const marks = [];
  const strip = { none: [], mixed: [], all: [] };
  const gap = cell > 4 ? 1 : 0;
  columns.forEach(({ cells }, c) => {
    const x = LEFT + c * cell;
    const counts = { none: 0, mixed: 0, all: 0 };
    let isRecorded = false;
    cells.forEach((g, r) => {
      const { guided, plain } = getShares(run, g);
      const y = STRIP + r * HEIGHT;
      const halves = guided === null ? [[plain, y, HEIGHT - 2]] : plain === null ? [[guided, y, HEIGHT - 2]]
        : [[guided, y, (HEIGHT - 2) / 2], [plain, y + (HEIGHT - 2) / 2, (HEIGHT - 2) / 2]];
      for (const [share, top, height] of halves) if (share !== null) fills[Math.round(share * LEVELS)].push(box(x, top, cell - gap, height));
      if (fits && !fits.has(g)) faded.push(box(x, y, cell - gap, HEIGHT - 2));
      counts[getKind(run, g)] += 1;
      isRecorded ||= getRecorded(run, g).length > 0;
    });
    let top = 0;
    for (const kind of ["all", "mixed", "none"]) {
      const height = ((STRIP - 8) * counts[kind]) / cells.length;
      if (height) strip[kind].push(box(x, top, cell - gap, height));
      top += height;
    }
    if (isRecorded) {
      const middle = x + (cell - gap) / 2;
      const y = STRIP + rows * HEIGHT + 3;
      marks.push(`M${middle} ${y}l5 8h-10z`);
    }
  });
  return { fills, faded, marks, strip };
}

const shade = (level) => `rgb(var(--more) / ${(0.07 + (0.88 * level) / LEVELS).toFixed(2)})`;

export function HeatMap({ run, sort, fits, onOpen }) {
  const { announce } = useApp();
  const [ref, width] = useWidth(900);
  const [at, setAt] = useState(null);
  const map = useRef(null);
  const columns = useMemo(() => layOut(run, sort), [run, sort]);
  const rows = useMemo(() => columns.reduce((most, { cells }) => Math.max(most, cells.length), 0), [columns]);
  const cell = Math.max(5, Math.min(34, Math.floor((width - LEFT - 4) / Math.max(1, columns.length))));
  const paths = useMemo(() => draw(run, columns, cell, rows, fits), [run, columns, cell, rows, fits]);
  const size = [LEFT + columns.length * cell + 4, STRIP + rows * HEIGHT + FOOT];
  const get = ({ c, r }) => columns[c]?.cells[r];
  const tell = (g) => {
    const shares = getShares(run, g);
    const { update, problem } = run.groups;
    const words = [shares.guided !== null && `guided ${percent(shares.guided)} right`, shares.plain !== null && `plain ${percent(shares.plain)} right`];
    return [`update ${update[g]}, problem `, run.problems[problem[g]][0], `: ${words.filter(Boolean).join(", ")}`, getRecorded(run, g).length ? ", tokens recorded" : ""];
  };
  const find = (event) => {
    const origin = event.currentTarget.getBoundingClientRect();
    return { c: Math.floor((event.clientX - origin.left - LEFT) / cell), r: Math.floor((event.clientY - origin.top - STRIP) / HEIGHT) };
  };
  const onKeyDown = (event) => {
    const here = at ?? { c: 0, r: 0 };
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const move = moves[event.key];
    if (event.key === "Enter" && get(here) !== undefined) return onOpen(get(here));
    if (!move) return;
    event.preventDefault();
    const c = Math.max(0, Math.min(columns.length - 1, here.c + (at ? move[0] : 0)));
    const r = Math.max(0, Math.min(columns[c].cells.length - 1, here.r + (at ? move[1] : 0)));
    setAt({ c, r });
    announce(tell(get({ c, r })).join(""));
  };
  const chosen = at && get(at);
  const every = Math.max(1, Math.ceil(44 / cell));
  return (
    <div>
      <div ref={ref} />
      <div class="heat" ref={map} tabIndex={0} role="group" aria-label="Map of all groups: arrow keys move, Enter opens a group" onKeyDown={onKeyDown}>
        <svg
          width={size[0]} height={size[1]} role="img" aria-label={`Success of the groups of ${columns.length} updates`}
          onPointerMove={(event) => setAt(find(event))} onPointerLeave={() => setAt(null)}
          onClick={(event) => get(find(event)) !== undefined && onOpen(get(find(event)))}
        >
          <path d={paths.strip.none.join("")} class="kind-none" />
          <path d={paths.strip.mixed.join("")} class="kind-mixed" />
          <path d={paths.strip.all.join("")} class="kind-all" />
          {paths.fills.map((path, level) => path.length > 0 && <path key={level} d={path.join("")} style={{ fill: shade(level) }} />)}
          {paths.faded.length > 0 && <path d={paths.faded.join("")} class="faded" />}
          <path d={paths.marks.join("")} class="mark" />
          {columns.map(({ update }, c) => c % every === 0 && <text key={update} x={LEFT + c * cell + cell / 2} y={size[1] - 4} class="tick">{update}</text>)}
          <text x="0" y="16" class="tick left">share</text>
          <text x="0" y={STRIP + 13} class="tick left">groups</text>
          {chosen !== undefined && chosen !== null && at && <rect x={LEFT + at.c * cell - 1} y={STRIP + at.r * HEIGHT - 1} width={cell + 1} height={HEIGHT} class="here" />}
        </svg>
      </div>
      <p class="readout">{chosen !== undefined && chosen !== null ? tell(chosen).map((part, i) => <Text key={i} v={part} most={120} />) : "Point at a cell, or use the arrow keys in the map; a click or Enter opens the group."}</p>
      <ul class="legend">
        <li><span class="ramp"><span aria-hidden="true">{[0, 2, 5, 8, 10].map((level) => <span key={level} style={{ background: shade(level) }} />)}</span></span> none right to all right; upper half guided, lower half plain members</li>
        <li><span class="swatch kind-all" /> strip: all alike and right</li>
        <li><span class="swatch kind-mixed" /> mixed, teaches</li>
        <li><span class="swatch kind-none" /> all alike, none right</li>
        <li><span aria-hidden="true">▲</span> tokens recorded</li>
      </ul>
    </div>
  );
}
