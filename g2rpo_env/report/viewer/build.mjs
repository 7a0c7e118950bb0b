// Bundles src/ into dist/. Equal sources and an equal package-lock.json give equal bytes.
import { readFileSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const result = await build({
  entryPoints: [{ in: "src/main.jsx", out: "viewer" }],
  bundle: true,
  minify: true,
  format: "iife",
  target: ["chrome111", "firefox115", "safari16.4"],
  jsx: "automatic",
  jsxImportSource: "preact",
  charset: "ascii",
  define: { "process.env.NODE_ENV": "\"production\"" },
  legalComments: "none",
  alias: { "d3-geo": "./src/nomaps.mjs" },
  metafile: true,
  outdir: "dist",
});

// The licence of every package that the bundle holds something of.
const packages = new Set(
  Object.keys(result.metafile.inputs)
    .map((path) => /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1])
    .filter(Boolean),
);
const texts = [...packages].sort().map((name) => {
  const { version, license } = JSON.parse(readFileSync(`node_modules/${name}/package.json`, "utf8"));
  const file = ["LICENSE", "LICENSE.md", "LICENSE.txt", "license", "LICENCE"].map((f) => `node_modules/${name}/${f}`).find(exists);
  return `${name} ${version} (${license})\n\n${file ? readFileSync(file, "utf8").trim() : "(no licence file)"}\n`;
});
writeFileSync("dist/LICENSES.txt", texts.join(`\n${"-".repeat(80)}\n\n`));

function exists(path) {
  try {
    readFileSync(path);
    return true;
  } catch {
    return false;
  }
}
