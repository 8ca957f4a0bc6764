/** An item of a `LinkedList`, with the neighbours in the list. */
export interface Linked<T> {
  ahead: T | undefined;
  behind: T | undefined;
}

/**
 * A list whose items can be removed from any place in constant time: fifty thousand may leave in
 * one instant. An item stands in one list at a time.
 */
export class LinkedList<T extends Linked<T>> {
  first: T | undefined;
  last: T | undefined;

  append(item: T): void {
    item.ahead = this.last;
    if (this.last === undefined) this.first = item;
    else this.last.behind = item;
    this.last = item;
  }

  /** Has no effect on an item that stands in no list. */
  remove(item: T): void {
    const { ahead, behind } = item;
    if (ahead === undefined && this.first !== item) return;
    item.ahead = undefined;
    item.behind = undefined;
    if (behind === undefined) this.last = ahead;
    else behind.ahead = ahead;
    if (ahead === undefined) this.first = behind;
    else ahead.behind = behind;
  }
}
