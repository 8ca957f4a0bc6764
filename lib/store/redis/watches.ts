import { readClaims, type Claim } from './claims.js';
import type { Session } from './session.js';

interface Watch extends Claim {
  readonly settle: (lost: number | undefined) => void;
}

/**
 * Has the master tell of changes to keys that are held: a read on the commit connection, whose reads it tracks. What has changed before is
 * seen by that read itself, so nothing falls between. All that come up in one turn of the event loop travel together.
 */
export class Watches {
  private session: Session | undefined;
  private toSend: Watch[] = [];

  constructor(
    /** Something was sent behind a WAIT that may block. */
    private readonly onSent: () => void,
  ) {}

  /** Answers with the place of the first key that the owner does not hold any more, -1 where it holds all; undefined where that was not answered. */
  add(claim: Claim): Promise<number | undefined> {
    if (this.session === undefined) return Promise.resolve(undefined);
    return new Promise((settle) => {
      if (this.toSend.push({ ...claim, settle }) === 1) process.nextTick(() => void this.send());
    });
  }

  attach(session: Session): void {
    this.session = session;
  }

  detach(): void {
    this.session = undefined;
  }

  private async send(): Promise<void> {
    const { session } = this;
    const watches = this.toSend.splice(0);
    const answer = readClaims(watches, (commands) =>
      session === undefined ? Promise.resolve([]) : session.askCommit(commands),
    );
    this.onSent();
    const found = await answer;
    for (const watch of watches) watch.settle(found.get(watch));
  }
}
