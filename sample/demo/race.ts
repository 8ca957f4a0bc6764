/** The result of many payments for the same orders at the same time. */
export interface RaceResult {
  readonly requests: number;
  readonly statuses: ReadonlyMap<string, number>;
  /** Charges beyond the first, over all orders. */
  readonly doubleCharges: number;
  readonly confirmations: ReadonlyMap<number, number>;
  readonly latencies: readonly number[];
}

/** Sends `times` payments of each order at once, to all shops in turn. */
export async function race(
  shops: readonly string[],
  bank: string,
  route: string,
  orders: readonly string[],
  times: number,
  onAnswer: (done: number, all: number) => void,
): Promise<RaceResult> {
  const statuses = new Map<string, number>();
  const confirmations = new Map<number, number>();
  const latencies: number[] = [];
  const calls = Array.from({ length: times }, (_, turn) =>
    orders.map((order, i) => ({ order, shop: shops[(turn + i) % shops.length] })),
  ).flat();
  let done = 0;
  await Promise.all(
    calls.map(async ({ order, shop }) => {
      const start = performance.now();
      const response = await fetch(`${shop}/orders/${order}/${route}`, { method: 'POST' });
      const answer = (await response.json()) as { status?: string; confirmedBy?: number; code?: string };
      latencies.push(performance.now() - start);
      count(statuses, `${response.status} ${answer.status ?? answer.code ?? ''}`);
      if (answer.confirmedBy !== undefined) count(confirmations, answer.confirmedBy);
      onAnswer(++done, calls.length);
    }),
  );
  let doubleCharges = 0;
  for (const order of orders) {
    const { charges } = (await (await fetch(`${bank}/charges/${order}`)).json()) as { charges: number };
    doubleCharges += Math.max(0, charges - 1);
  }
  return {
    requests: calls.length,
    statuses,
    doubleCharges,
    confirmations,
    latencies: latencies.toSorted((a, b) => a - b),
  };
}

function count<K>(counts: Map<K, number>, key: K): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}
