// Long lists by TanStack Virtual: only the rows that are seen are elements of the page.
import { Virtualizer, elementScroll, observeElementOffset, observeElementRect } from "@tanstack/virtual-core";
import { useLayoutEffect, useReducer, useRef, useState } from "preact/hooks";

export function useVirtual(count, height, measures = false) {
  const ref = useRef(null);
  const [, tick] = useReducer((n) => n + 1, 0);
  const options = {
    count, overscan: measures ? 1 : 6, estimateSize: () => height, getScrollElement: () => ref.current,
    observeElementRect, observeElementOffset, scrollToFn: elementScroll, onChange: () => tick(), initialRect: { width: 800, height: 600 },
  };
  const [virtual] = useState(() => new Virtualizer(options));
  virtual.setOptions(options);
  useLayoutEffect(() => virtual._didMount(), []);
  useLayoutEffect(() => virtual._willUpdate());
  return [ref, virtual];
}

const ROW = 40;

/** A table of any length. A row is a list of cells; the first may be a link. */
export function Table({ columns, rows, label, height = 460, rowClass }) {
  const [ref, virtual] = useVirtual(rows.length, ROW);
  const items = virtual.getVirtualItems();
  const before = items.length ? items[0].start : 0;
  const after = items.length ? virtual.getTotalSize() - items.at(-1).end : 0;
  const span = columns.length;
  return (
    <div class="scroll" ref={ref} style={{ maxHeight: `${height}px` }} tabIndex={0} role="region" aria-label={label}>
      <table aria-rowcount={rows.length + 1}>
        <thead><tr>{columns.map((column, i) => <th key={i} scope="col">{column}</th>)}</tr></thead>
        <tbody>
          {before > 0 && <tr aria-hidden="true"><td colSpan={span} style={{ height: `${before}px`, padding: 0 }} /></tr>}
          {items.map(({ index }) => (
            <tr key={index} aria-rowindex={index + 2} class={rowClass?.(index)} style={{ height: `${ROW}px` }}>
              {rows[index].map((cell, i) => <td key={i}>{cell}</td>)}
            </tr>
          ))}
          {after > 0 && <tr aria-hidden="true"><td colSpan={span} style={{ height: `${after}px`, padding: 0 }} /></tr>}
        </tbody>
      </table>
      {!rows.length && <p class="soft">Nothing to list.</p>}
    </div>
  );
}
