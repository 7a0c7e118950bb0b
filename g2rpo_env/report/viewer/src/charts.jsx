// Charts by Observable Plot, each with a sentence for those who do not see it and its numbers as a table.
import * as Plot from "@observablehq/plot";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { Table } from "./list.jsx";
import { fixed, useWidth } from "./ui.jsx";

const SERIES = ["var(--s0)", "var(--s1)", "var(--s2)", "var(--s3)"];

/** Plot puts aria-label on plain <g>, where it is not allowed; the picture gets one label instead. */
function label(svg, text) {
  for (const node of svg.querySelectorAll("[aria-label],[aria-hidden],[aria-description]")) {
    for (const name of ["aria-label", "aria-hidden", "aria-description"]) node.removeAttribute(name);
  }
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", text);
  return svg;
}

export function Chart({ options, text, height = 190, cursor, onCursor, table }) {
  const [box, width] = useWidth();
  const hold = useRef(null);
  const scale = useRef(null);
  const [left, setLeft] = useState(null);
  const [isTable, setIsTable] = useState(false);
  useLayoutEffect(() => {
    if (isTable) return;
    const svg = Plot.plot({ width, height, marginLeft: 46, marginBottom: 34, style: { background: "none" }, ...options });
    scale.current = svg.scale("x");
    hold.current.replaceChildren(label(svg, text));
  }, [options, width, isTable]);
  useEffect(() => {
    const place = cursor == null || !scale.current ? null : scale.current.apply(cursor);
    setLeft(place >= 46 && place <= width ? place : null);
  }, [cursor, width, options]);
  const move = (event) => {
    if (!onCursor || !scale.current?.invert) return;
    onCursor(scale.current.invert(event.clientX - event.currentTarget.getBoundingClientRect().left));
  };
  return (
    <div class="chart">
      <div ref={box} />
      {isTable ? <Table columns={table.columns} rows={table.rows} label={text} height={height + 40} /> : (
        <div class="plot" onPointerMove={move} onPointerLeave={() => onCursor?.(null)}>
          <div ref={hold} />
          {left !== null && <div class="cursor" style={{ left: `${left}px` }} />}
        </div>
      )}
      {table && (
        <button type="button" class="small" aria-pressed={isTable} onClick={() => setIsTable(!isTable)}>
          {isTable ? "as picture" : "as table"}
        </button>
      )}
    </div>
  );
}

const shortNumber = (value) => (Math.abs(value) >= 1e5 || (value !== 0 && Math.abs(value) < 1e-3) ? value.toExponential(0) : String(+value.toFixed(4)));

/** The values of an axis; where all are alike there is some room around them. */
function findDomain(series, zero) {
  let [low, high] = zero ? [0, 0] : [Infinity, -Infinity];
  for (const { points, raw } of series) {
    for (const point of [...points, ...(raw ?? [])]) {
      for (const value of [point.y, point.low, point.high]) {
        if (value == null) continue;
        low = Math.min(low, value);
        high = Math.max(high, value);
      }
    }
  }
  if (low > high) return [0, 1];
  const room = low === high ? Math.abs(low) / 5 || 1 : 0;
  return [zero && low === 0 ? 0 : low - room, high + room];
}

/** Lines of one panel. `series`: [{name, points: [{x, y, low, high}], dash}] */
export function Lines({ series, text, xLabel, yLabel, zero = true, isNamed = false, ...rest }) {
  const colors = series.map((one, i) => one.color ?? SERIES[i % SERIES.length]);
  const marks = series.flatMap((one, i) => {
    const points = one.points.filter((point) => point.y !== null);
    const band = points.filter((point) => point.low != null && point.high != null);
    return [
      ...(band.length ? [Plot.areaY(band, { x: "x", y1: "low", y2: "high", fill: colors[i], fillOpacity: 0.16 })] : []),
      ...(one.raw ? [Plot.lineY(one.raw.filter((point) => point.y !== null), { x: "x", y: "y", stroke: colors[i], strokeOpacity: 0.25, strokeWidth: 1 })] : []),
      Plot.lineY(points, { x: "x", y: "y", stroke: colors[i], strokeWidth: 2, strokeDasharray: one.dash }),
      ...(points.length < 40 ? [Plot.dot(points, { x: "x", y: "y", fill: colors[i], r: 3 })] : []),
    ];
  });
  const options = {
    x: { label: xLabel, nice: false, ticks: 6, tickFormat: (x) => (Number.isInteger(x) ? x.toLocaleString("en-US") : "") },
    y: { label: yLabel ?? null, grid: true, ticks: 5, tickFormat: shortNumber, domain: findDomain(series, zero), nice: true },
    marks: [...marks, ...(zero ? [Plot.ruleY([0], { strokeOpacity: 0.4 })] : [])],
  };
  const key = JSON.stringify([series, xLabel, zero]);
  const kept = useRef({});
  if (kept.current.key !== key) kept.current = { key, options };
  const xs = [...new Set(series.flatMap((one) => one.points.map((point) => point.x)))].sort((a, b) => a - b);
  const looks = series.map((one) => new Map(one.points.map((point) => [point.x, point])));
  const table = {
    columns: [xLabel, ...series.map((one) => one.name)],
    rows: xs.map((x) => [fixed(x, 0), ...looks.map((look) => fixed(look.get(x)?.y))]),
  };
  return (
    <>
      {(series.length > 1 || isNamed) && (
        <ul class="legend">
          {series.map((one, i) => (
            <li key={one.name}><svg width="22" height="8" aria-hidden="true"><line x1="0" x2="22" y1="4" y2="4" stroke={colors[i]} stroke-width="3" stroke-dasharray={one.dash} /></svg> {one.name}</li>
          ))}
        </ul>
      )}
      <Chart options={kept.current.options} text={text} table={table} {...rest} />
    </>
  );
}

/** Bars over updates. */
export function Bars({ points, text, xLabel, name }) {
  const key = JSON.stringify(points);
  const kept = useRef({});
  if (kept.current.key !== key) {
    const options = {
      x: { label: xLabel, type: "band", ticks: points.filter((_, i) => i % Math.ceil(points.length / 12) === 0).map((p) => p.x) },
      y: { label: null, grid: true, ticks: 4, tickFormat: (y) => (Number.isInteger(y) ? String(y) : "") },
      marks: [Plot.barY(points, { x: "x", y: "y", fill: "var(--s0)" }), Plot.ruleY([0])],
    };
    kept.current = { key, options };
  }
  const table = { columns: [xLabel, name], rows: points.map((point) => [point.x, point.y]) };
  return <Chart options={kept.current.options} text={text} table={table} height={150} />;
}
