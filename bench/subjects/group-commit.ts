/** A lock that a group asks for. */
export interface Wanted {
  readonly key: string;
  readonly owner: string;
}

interface Waiting extends Wanted {
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/**
 * Sends requests in groups, one group at a time: the requests that arrive while a group is in flight
 * are the next group. `send` resolves with the outcome of each lock of the group, in order.
 */
export function inGroups(
  send: (group: readonly Wanted[]) => Promise<readonly boolean[]>,
): (key: string, owner: string) => Promise<void> {
  let waiting: Waiting[] = [];
  let isBusy = false;
  const next = async (): Promise<void> => {
    isBusy = true;
    while (waiting.length > 0) {
      const group = waiting;
      waiting = [];
      try {
        const granted = await send(group);
        group.forEach(({ key, resolve, reject }, index) => {
          if (granted[index] === true) resolve();
          else reject(refused(key));
        });
      } catch (error) {
        for (const { reject } of group) reject(error as Error);
      }
    }
    isBusy = false;
  };
  return (key, owner) =>
    new Promise((resolve, reject) => {
      waiting.push({ key, owner, resolve, reject });
      if (!isBusy) void next();
    });
}

export function refused(key: string): Error {
  return new Error(`${key} was not taken`);
}
