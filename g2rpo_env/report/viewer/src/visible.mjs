// Characters that leave no ink are written out, as g2rpo_env.render.make_visible does it.
const INVISIBLE =
  /[\p{C}\p{Zl}\p{Zp}\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\u180b-\u180f\ufe00-\ufe0f\u{e0100}-\u{e01ef}]/gu;
const INVISIBLE_ONCE = new RegExp(INVISIBLE.source, "u");
const SHORT = new Map([["\n", "\\n"], ["\t", "\\t"], ["\r", "\\r"]]);

function writeOut(char) {
  const code = char.codePointAt(0);
  const hex = code.toString(16);
  if (SHORT.has(char)) return SHORT.get(char);
  if (code < 256) return "\\x" + hex.padStart(2, "0");
  return code < 65536 ? "\\u" + hex.padStart(4, "0") : "\\U" + hex.padStart(8, "0");
}

/** The text with every invisible character written out; line breaks stay where `lines` says so. */
export function visible(text, lines = false) {
  const shown = String(text ?? "");
  if (!INVISIBLE_ONCE.test(shown)) return shown;
  return shown.replace(INVISIBLE, (char) => (lines && char === "\n" ? char : writeOut(char)));
}

/** Whether a text has characters that are written out. */
export const hasInvisible = (text) => INVISIBLE_ONCE.test(text);

/** A text of at most `most` characters, cut between two of them. */
export function cut(text, most) {
  if (text.length <= most) return text;
  const end = text.charCodeAt(most - 1) >= 0xd800 && text.charCodeAt(most - 1) < 0xdc00 ? most - 1 : most;
  return text.slice(0, end) + "…";
}
