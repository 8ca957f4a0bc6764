import { context, SpanStatusCode, type Context, type Span, type Tracer } from '@opentelemetry/api';
import type { AcquisitionEnd, LockEvent } from '../lock/events.js';
import {
  CONFIRMED_BY,
  ERROR_TYPE,
  FENCING_TOKEN,
  INSTANCE,
  LIMIT,
  LOCK_NAME,
  OUTCOME,
  outcomeOf,
} from './attributes.js';

/**
 * Makes two spans for each lock, both children of the caller's span: `acquire <name>`, and
 * `hold <name>` from the grant to the release or the loss.
 */
export class LockSpans {
  /** The `hold` spans by the lock's owner. */
  private readonly holding = new Map<string, Span>();

  constructor(
    private readonly tracer: Tracer,
    private readonly instance: string,
  ) {}

  onAsked(name: string): (end: AcquisitionEnd) => void {
    const parent = context.active();
    const span = this.start('acquire', name, parent);
    return (end) => {
      span.setAttribute(OUTCOME, outcomeOf(end));
      if (end.kind === 'acquired') {
        const { owner, fencingToken, limit, confirmedBy } = end.lock;
        const attributes = {
          [FENCING_TOKEN]: fencingToken,
          ...(limit !== Infinity && { [LIMIT]: limit }),
        };
        span.setAttributes({ ...attributes, [CONFIRMED_BY]: confirmedBy });
        const hold = this.start('hold', name, parent);
        hold.setAttributes(attributes);
        this.holding.set(owner, hold);
      } else if (end.kind === 'refused' && outcomeOf(end) !== 'aborted') failWith(span, end.error);
      span.end();
    };
  }

  onEvent(event: LockEvent): void {
    if (event.type !== 'released' && event.type !== 'lost') return;
    const span = this.holding.get(event.owner);
    if (span === undefined) return;
    this.holding.delete(event.owner);
    if (event.type === 'lost') failWith(span, event.error);
    span.end();
  }

  private start(what: string, name: string, parent: Context): Span {
    const attributes = { [LOCK_NAME]: name, [INSTANCE]: this.instance };
    return this.tracer.startSpan(`${what} ${name}`, { attributes }, parent);
  }
}

/** Records the error's code, and not its message: messages name keys, hosts and processes. */
function failWith(span: Span, error: unknown): void {
  const code = String((error as { code?: unknown }).code);
  span.setAttribute(ERROR_TYPE, code);
  // A busy lock is a regular outcome: the caller decides if that is an error.
  if (code !== 'LOCK_CONTENDED') span.setStatus({ code: SpanStatusCode.ERROR, message: code });
}
