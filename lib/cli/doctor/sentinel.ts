import { systemClock } from '../../common/clock.js';
import { connecting } from '../../store/redis/connection/connecting.js';
import { ask, type Connector } from '../../store/redis/connection/connection.js';
import { addressIn, fieldsOf } from '../../store/redis/sentinel/sentinel-link.js';
import { addressText, ErrorReply, type Address } from '../../store/redis/resp.js';
import { RefusedError } from '../../store/redis/connection/error-replies.js';
import { count, ok, problem, warning, type Finding } from './finding.js';
import { LEASE_TIME } from './replication-findings.js';
import { timeText } from './server-findings.js';

/** What one Sentinel told of the master. */
export interface SentinelFacts {
  readonly address: string;
  /** `ip:port` of the master that the Sentinel names. */
  readonly master: string;
  readonly replicas: readonly string[];
  /** Addresses of the other Sentinels that this one knows. */
  readonly others: readonly string[];
  readonly flags: string;
  /** ms */
  readonly downAfter: number;
  readonly quorum: number;
  /** ms */
  readonly failoverTimeout: number;
}

/** Asks one Sentinel. Rejects with the reason if that fails. */
export async function askSentinel(
  connector: Connector,
  address: Address,
  name: string,
): Promise<SentinelFacts> {
  return connecting(connector, address, systemClock, new AbortController().signal, async (connect) => {
    const connection = await connect('doctor');
    const replies = await ask(connection, [
      ['sentinel', 'master', name],
      ['sentinel', 'replicas', name],
      ['sentinel', 'sentinels', name],
    ]);
    const refused = replies.find((reply) => reply instanceof ErrorReply);
    if (refused instanceof ErrorReply) throw new RefusedError(address, refused);
    const [master, replicas, others] = replies;
    connection.close();
    const fields = fieldsOf(master);
    const all = (list: unknown): string[] =>
      Array.isArray(list) ? list.map((each) => addressIn(fieldsOf(each as []))) : [];
    return {
      address: addressText(address),
      master: addressIn(fields),
      replicas: all(replicas),
      others: all(others),
      flags: fields.get('flags') ?? '',
      downAfter: Number(fields.get('down-after-milliseconds')),
      quorum: Number(fields.get('quorum')),
      failoverTimeout: Number(fields.get('failover-timeout')),
    };
  });
}

/** The least `down-after-milliseconds`: see docs/production.md. */
const LEAST_DOWN_AFTER = 2_000;
/** ms that a fail-over takes after the master was declared dead. */
const FAILOVER_TIME = 2_000;
/** ms: the default of Sentinel. */
const DEFAULT_FAILOVER_TIMEOUT = 180_000;

/** `silent`: the Sentinels that could not be asked, each with the reason. */
export function sentinelFindings(
  views: readonly SentinelFacts[],
  silent: readonly { readonly address: string; readonly reason: string }[],
): Finding[] {
  const findings = silent.map(({ address, reason }) =>
    problem(
      'sentinels',
      `Sentinel ${address} cannot be asked: ${reason}.`,
      'Restore the Sentinel, or remove it from the list. If it knows no such master, check the name (--master).',
    ),
  );
  const [first] = views;
  if (first === undefined) return findings;
  const known = new Set(views.flatMap(({ others }) => others));
  const total = Math.max(...views.map(({ others }) => others.length + 1));
  const listed = views.length + silent.length;
  findings.push(
    numberOfSentinels(total),
    ...(total > listed
      ? [
          warning(
            'sentinels',
            `The Sentinels know ${count(total, 'Sentinel')}, and the connection names ${listed}.`,
            `Name every Sentinel in the connection: what they know together is what counts. They know ${[...known].join(', ')}.`,
          ),
        ]
      : []),
    agreement(views),
  );
  for (const view of views) findings.push(...settingsOf(view, total));
  return findings;
}

function numberOfSentinels(total: number): Finding {
  const text = `${count(total, 'Sentinel')} watch${total === 1 ? 'es' : ''} the master.`;
  if (total >= 3) return ok('sentinels', text);
  return problem(
    'sentinels',
    text,
    'Run three Sentinels or more, on hosts of their own: with fewer, the loss of one host can stop every fail-over.',
  );
}

function agreement(views: readonly SentinelFacts[]): Finding {
  const masters = [...new Set(views.map(({ master }) => master))];
  if (masters.length > 1)
    return problem(
      'master',
      `The Sentinels name different masters: ${views.map(({ address, master }) => `${address} names ${master}`).join(', ')}.`,
      'Wait for the end of a fail-over. If that lasts, SENTINEL RESET on the Sentinels that are wrong.',
    );
  const down = views.filter(({ flags }) => /[so]_down/.test(flags));
  if (down.length === 0) return ok('master', `All Sentinels name ${masters[0]}.`);
  return problem(
    'master',
    `${down.map(({ address }) => address).join(', ')} cannot reach the master ${masters[0]}.`,
    'See whether the master answers, and whether the Sentinels reach the address.',
  );
}

export function settingsOf(
  {
    address,
    downAfter,
    quorum,
    failoverTimeout,
  }: Pick<SentinelFacts, 'address' | 'downAfter' | 'quorum' | 'failoverTimeout'>,
  total: number,
): Finding[] {
  const down = `Sentinel ${address} has down-after-milliseconds ${downAfter}.`;
  const majority = Math.floor(total / 2) + 1;
  const quorumText = `Sentinel ${address} has quorum ${quorum} of ${total}.`;
  const timeoutText = `Sentinel ${address} has failover-timeout ${failoverTimeout}.`;
  return [
    downAfter < LEAST_DOWN_AFTER
      ? warning(
          'down-after',
          down,
          'Set 2000 or more: a short pause of the master is then no fail-over, and the Sentinels know which replica has the most data.',
        )
      : downAfter + FAILOVER_TIME >= LEASE_TIME
        ? warning(
            'down-after',
            down,
            `With a lease of ${timeText(LEASE_TIME)} held locks end before a new master is there. Set 5000, or a longer leaseTime.`,
          )
        : ok('down-after', down),
    quorum > total
      ? problem('quorum', quorumText, `No fail-over can begin: set the quorum to ${majority}.`)
      : quorum < majority && total > 1
        ? warning(
            'quorum',
            quorumText,
            `Set the quorum to ${majority}, a majority: fewer may begin a fail-over that no majority wants.`,
          )
        : ok('quorum', quorumText),
    failoverTimeout > DEFAULT_FAILOVER_TIMEOUT || failoverTimeout < downAfter
      ? warning(
          'failover-timeout',
          timeoutText,
          failoverTimeout < downAfter
            ? 'Set it to more than down-after-milliseconds: a fail-over must be able to end.'
            : 'After a fail-over that failed, the next try comes after twice this time. Set 180000 or less.',
        )
      : ok('failover-timeout', timeoutText),
  ];
}
