import { LinkedList, type Linked } from '../common/linked-list.js';

/** A question to the store without an answer yet, in the queue of one key. */
export class Question implements Linked<Question> {
  ahead: Question | undefined = undefined;
  behind: Question | undefined = undefined;

  constructor(
    /** The name that the attempt has in the store. */
    readonly owner: string,
    /** The number among all questions for the key. */
    readonly number: number,
    /**
     * Changes of the key before the question. A notice may arrive before the answer to the read
     * that asked for notices.
     */
    readonly changes: number,
    /** The monotonic instant. */
    readonly askedAt: number,
  ) {}
}

/** What callers of this process have asked the store for one key. */
export class Questions {
  private readonly open = new LinkedList<Question>();
  private count = 0;
  /** Questions that had been asked when the last answer came. */
  private answered = 0;
  /** The attempt that failed last. Until it is taken back, other callers find the key busy. */
  private failedOwner: string | undefined = undefined;
  /** The owner that `attemptOf` looked up last, and whether that owner's question is open. */
  private lastLookup: { readonly owner: string; isOpen: boolean } | undefined = undefined;

  add(owner: string, changes: number, askedAt: number): Question {
    const question = new Question(owner, ++this.count, changes, askedAt);
    this.open.append(question);
    return question;
  }

  /**
   * The question was answered or given up. `isTakenBack`: the attempt may have been written, and
   * holds nothing.
   */
  close(question: Question, isTakenBack: boolean): void {
    this.open.remove(question);
    if (isTakenBack) this.failedOwner = question.owner;
    if (this.lastLookup?.owner === question.owner) this.lastLookup.isOpen = false;
  }

  /** An answer outdates all questions until now. */
  hear(): void {
    this.answered = this.count;
  }

  /**
   * Tells if this owner is only an attempt of this process: `open` if the attempt may still be
   * granted, `over` if the attempt failed and is being taken back. Such an owner holds nothing. An
   * owner that is not found is never found later, so thousands of callers that meet one holder cost
   * one search.
   */
  attemptOf(owner: string): 'open' | 'over' | undefined {
    if (owner === this.failedOwner) return 'over';
    if (this.lastLookup?.owner !== owner) {
      let question = this.open.first;
      while (question !== undefined && question.owner !== owner) question = question.behind;
      this.lastLookup = { owner, isOpen: question !== undefined };
    }
    return this.lastLookup.isOpen ? 'open' : undefined;
  }

  /** The instant of the newest question; undefined if an answer came since. */
  get awaitedSince(): number | undefined {
    const { last } = this.open;
    return last !== undefined && last.number > this.answered ? last.askedAt : undefined;
  }

  /** True if a question has been open since this instant, and no answer came meanwhile. */
  isSilentSince(instant: number): boolean {
    let question = this.open.first;
    while (question !== undefined && question.number <= this.answered) question = question.behind;
    return question !== undefined && question.askedAt <= instant;
  }
}
