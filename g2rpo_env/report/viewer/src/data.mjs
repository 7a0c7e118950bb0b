// Data blocks of the page: base64, gzip, JSON. The last few chunks that were opened are kept.
const KEPT = 3;

export async function inflate(base64) {
  const binary = atob(base64);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

/** A function name -> promise of a chunk. `read` gives the text of a block. */
export function makeLoader(read) {
  const kept = new Map();
  return (name) => {
    const found = kept.get(name) ?? inflate(read(name));
    kept.delete(name);
    kept.set(name, found);
    if (kept.size > KEPT) kept.delete(kept.keys().next().value);
    return found;
  };
}
