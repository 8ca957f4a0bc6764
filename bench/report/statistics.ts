/** The value below which the share `p` of the values lies. NaN if there are no values. */
export function percentile(values: readonly number[], p: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))] ?? Number.NaN;
}

/** NaN if there are no values. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (sorted.length === 0) return Number.NaN;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

export function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

/** The first and the third quartile, as whole numbers or with two decimals below 100. */
export function quartilesOf(values: readonly number[]): string {
  const text = (value: number): string => (value < 100 ? value.toFixed(2) : String(Math.round(value)));
  return `${text(percentile(values, 0.25))}-${text(percentile(values, 0.75))}`;
}
