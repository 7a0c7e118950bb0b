// What a token view can show besides who wrote a token: value, colour and a sentence for each channel.
import { fixed, signed } from "./numbers.mjs";
import { cut } from "./visible.mjs";

/** name -> {title, sentence, value(token), range(values) -> [low, high], diverging, missing} */
export const CHANNELS = new Map([
  ["role", {
    title: "Who wrote it",
    sentence: "Grey is the prompt, green with a dotted line the part of the true solution that was shown, blue what the model wrote, yellow what the environment put in between.",
    value: () => null,
  }],
  ["probability", {
    title: "Probability",
    sentence: "How likely the model found each token when it wrote it; for revealed tokens, how likely it finds them after this update. The darker, the likelier.",
    value: (token) => token.probability, range: () => [0, 1], format: (v) => fixed(v),
    missing: "Probabilities were not recorded.",
  }],
  ["entropy", {
    title: "Unsure",
    sentence: "How unsure the model was at each place, in nats: 0 is certain, 0.69 a coin toss. The darker, the more unsure.",
    value: (token) => token.entropy, range: (values) => [0, Math.max(0.1, ...values)], format: (v) => `${fixed(v, 2)} nats`,
    missing: "Entropies were not recorded: runs of version 2 hold them.",
  }],
  ["credit", {
    title: "Credit",
    sentence: "What each token was worth in this update: advantage times weight over the sum of all weights. Blue is pushed up, orange pushed down.",
    value: (token) => token.credit, diverging: true, format: (v) => signed(v, 5),
    missing: "The update did not learn from this episode, so no token has credit.",
  }],
  ["weight", {
    title: "In the loss",
    sentence: "How much each token counted in the loss. Hatched tokens were not in the loss.",
    value: (token) => token.weight, range: (values) => [0, Math.max(1e-9, ...values)], format: (v) => (v > 0 ? fixed(v, 4) : "0, not in the loss"),
  }],
  ["change", {
    title: "Change",
    sentence: "Log-probability after the update minus before it. Blue became likelier, orange less likely.",
    value: (token) => token.change, diverging: true, format: (v) => signed(v),
    missing: "Probabilities after the update were not recorded: runs of version 2 hold them.",
  }],
  ["alternatives", {
    title: "Alternatives",
    sentence: "The likeliest tokens at each place. Choose a token to see them; underlined tokens have some.",
    value: (token) => (token.top ? 1 : null), range: () => [0, 4], format: () => "",
    missing: "Alternatives were not recorded: train with --rollouts-top 5.",
  }],
]);

/** [low, high] of a channel in an episode; null where no token has a value. Long lists are not spread. */
export function getRange(channel, tokens) {
  let low = Infinity;
  let high = -Infinity;
  for (const token of tokens) {
    const value = channel.value(token);
    if (value === null) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (low > high) return null;
  if (channel.diverging) {
    const most = Math.max(Math.abs(low), Math.abs(high), 1e-12);
    return [-most, most];
  }
  return channel.range ? channel.range([high]) : [low, high];
}

const STRONGEST = 0.5;

/** Background of a token, with an opacity that leaves the text readable on light and on dark paper. */
export function getColor(channel, token, range) {
  const value = channel.value(token);
  if (value === null || !range) return undefined;
  const share = Math.min(1, Math.abs(value) / Math.max(range[1], 1e-12));
  const name = channel.diverging ? (value < 0 ? "down" : "up") : "more";
  return `rgb(var(--${name}) / ${(share * STRONGEST).toFixed(3)})`;
}

/** A sentence on a whole episode: what a person would count. */
export function summarize(name, tokens) {
  const values = tokens.map((token) => CHANNELS.get(name).value(token));
  const known = values.filter((value) => value !== null);
  if (!known.length) return CHANNELS.get(name).missing ?? "";
  if (name === "weight") {
    const inside = known.filter((value) => value > 0).length;
    return `${inside} of ${tokens.length} tokens were in the loss, ${tokens.length - inside} were not.`;
  }
  if (name === "change" || name === "credit") {
    const up = known.filter((value) => value > 0).length;
    const down = known.filter((value) => value < 0).length;
    const words = name === "change" ? ["became likelier", "less likely"] : ["were pushed up", "pushed down"];
    return `${up} tokens ${words[0]} and ${down} ${words[1]}.`;
  }
  if (name === "probability") return `On average a token had probability ${fixed(known.reduce((a, b) => a + b, 0) / known.length, 2)}.`;
  if (name === "entropy") return `The model was most unsure where it had ${fixed(known.reduce((a, b) => Math.max(a, b), 0), 2)} nats.`;
  return `${known.length} of ${tokens.length} tokens have alternatives.`;
}

/** Places of the tokens with the largest values of a channel, at most `count`. */
export function findExtremes(name, tokens, count = 5) {
  const { value, diverging } = CHANNELS.get(name);
  const sign = name === "probability" ? -1 : 1;
  return tokens
    .map((token, place) => ({ place, value: value(token) }))
    .filter((one) => one.value !== null && (name !== "probability" || tokens[one.place].role === 2))
    .sort((a, b) => (diverging ? Math.abs(b.value) - Math.abs(a.value) : sign * (b.value - a.value)))
    .slice(0, count);
}

/** What a screen reader says of a token. */
export function describe(token, place, count, roles) {
  const parts = [`token ${place + 1} of ${count}`, roles[token.role], JSON.stringify(cut(token.text, 200))];
  if (token.probability !== null) parts.push(`probability ${fixed(token.probability, 2)}`);
  if (token.entropy !== null) parts.push(`${fixed(token.entropy, 2)} nats unsure`);
  if (token.credit !== null) parts.push(`credit ${token.credit < 0 ? "minus" : "plus"} ${fixed(Math.abs(token.credit), 4)}`);
  if (token.change !== null) parts.push(`change ${token.change < 0 ? "minus" : "plus"} ${fixed(Math.abs(token.change), 3)}`);
  parts.push(token.weight > 0 ? "in the loss" : "not in the loss");
  return parts.join(", ");
}
