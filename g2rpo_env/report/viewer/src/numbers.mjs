// Numbers as text.
export const number = (value) => (value ?? 0).toLocaleString("en-US");
export const percent = (share) => (share === null || share === undefined ? "–" : `${Math.round(share * 100)} %`);
export const plural = (count, word, many = `${word}s`) => `${number(count)} ${count === 1 ? word : many}`;

export function fixed(value, digits = 3) {
  if (value === null || value === undefined) return "–";
  return value !== 0 && Math.abs(value) < 10 ** -digits ? value.toExponential(1) : value.toFixed(digits);
}

export const signed = (value, digits = 3) => (value > 0 ? "+" : "") + fixed(value, digits);
