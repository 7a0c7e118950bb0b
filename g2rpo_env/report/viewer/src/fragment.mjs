// State in the fragment of the address: every view is a link. What the grammar does not know opens the overview.
const NUMBER = "(-?\\d{1,15})";
const PAGES = [
  ["overview", `^/run/${NUMBER}$`, ["run"]],
  ["groups", `^/run/${NUMBER}/groups$`, ["run"]],
  ["problems", `^/run/${NUMBER}/problems$`, ["run"]],
  ["problem", `^/run/${NUMBER}/problem/${NUMBER}$`, ["run", "problem"]],
  ["suspicions", `^/run/${NUMBER}/suspicions$`, ["run"]],
  ["about", `^/run/${NUMBER}/about$`, ["run"]],
  ["group", `^/run/${NUMBER}/update/${NUMBER}/group/${NUMBER}$`, ["run", "update", "group"]],
  ["episode", `^/run/${NUMBER}/update/${NUMBER}/group/${NUMBER}/member/${NUMBER}$`, ["run", "update", "group", "member"]],
  ["compare", `^/compare/${NUMBER}/${NUMBER}$`, ["run", "other"]],
  ["compare-group", `^/compare/${NUMBER}/${NUMBER}/update/${NUMBER}/problem/${NUMBER}$`, ["run", "other", "update", "problem"]],
].map(([page, pattern, names]) => [page, new RegExp(pattern), names]);

const RANGE = /^-?\d{0,15}(\.\d{1,9})?~-?\d{0,15}(\.\d{1,9})?$/;
const WORD = /^[a-z_]{1,20}$/;
const FREE = /^[^]{1,500}$/;
/** Parameters that a fragment may have, with the form of their values. */
export const PARAMETERS = new Map([
  ["channel", WORD], ["x", WORD], ["smooth", /^\d{1,2}$/], ["sort", WORD], ["rule", WORD], ["kind", WORD],
  ["verdict", WORD], ["guided", WORD], ["role", WORD], ["suspicion", WORD], ["stage", /^\d{1,4}$/],
  ["updates", RANGE], ["reveal", RANGE], ["reward", RANGE], ["problem", FREE], ["answer", FREE], ["token", /^\d{1,9}$/],
]);

export function parse(fragment) {
  const [path, query = ""] = String(fragment).replace(/^#/, "").split("?", 2);
  const params = new Map();
  for (const pair of query.split("&")) {
    const [name, value = ""] = pair.split("=", 2);
    const text = decode(value);
    if (text !== null && PARAMETERS.get(name)?.test(text)) params.set(name, text);
  }
  for (const [page, pattern, names] of PAGES) {
    const found = pattern.exec(path);
    if (found) return { page, params, ...Object.fromEntries(names.map((name, i) => [name, Number(found[i + 1])])) };
  }
  return { page: "overview", run: 0, params };
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}

/** A fragment from a path such as "/run/0/groups" and parameters; empty ones are left out. */
export function format(path, params = new Map()) {
  const pairs = [...params].filter(([, value]) => value !== "" && value != null);
  const query = pairs.map(([name, value]) => `${name}=${encodeURIComponent(wellFormed(value))}`).join("&");
  return `#${path}${query ? "?" + query : ""}`;
}

const wellFormed = (text) => String(text).replace(/[\ud800-\udfff]/gu, "\ufffd");
