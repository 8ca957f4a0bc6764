import { MODULE_OPTIONS } from '../../module/options.js';
import { addressText } from '../../store/redis/resp.js';
import { ok, problem, warning, type Finding } from './finding.js';
import { timeText } from './server-findings.js';
import type { ServerFacts } from './server-facts.js';

/** ms: the default of the option. */
const CLOCK_SKEW = MODULE_OPTIONS.clockSkew.default;
/** ms by which the clock of this machine may differ before that is worth a word. */
const OWN_DIFFERENCE = 5_000;

/** The clocks of the servers against each other: a lock outlives its lease by `clockSkew`. */
export function clockFindings(servers: readonly Pick<ServerFacts, 'address' | 'clock'>[]): Finding[] {
  const known = servers.filter(({ clock }) => Number.isFinite(clock.offset));
  const [first] = known;
  if (first === undefined) return [];
  const sorted = known.toSorted((one, other) => one.clock.offset - other.clock.offset);
  const [behind, ahead] = [sorted[0]!, sorted.at(-1)!];
  const difference = ahead.clock.offset - behind.clock.offset;
  const uncertainty = (ahead.clock.roundTrip + behind.clock.roundTrip) / 2;
  const findings: Finding[] = [];
  const text =
    `The clock of ${addressText(ahead.address)} is ${timeText(Math.max(0, difference))} ahead of the clock of ${addressText(behind.address)} ` +
    `(± ${timeText(uncertainty)}).`;
  const advice = 'Run NTP on every host. The clocks must not differ by more than the option clockSkew (1 s).';
  if (known.length > 1)
    findings.push(
      difference - uncertainty > CLOCK_SKEW
        ? problem('clocks', text, advice)
        : difference + uncertainty > CLOCK_SKEW / 2
          ? warning('clocks', text, advice)
          : ok('clocks', text),
    );
  const own = Math.abs(first.clock.offset) - first.clock.roundTrip / 2;
  findings.push(
    own > OWN_DIFFERENCE
      ? warning(
          'own-clock',
          `The clock of this machine differs from that of ${addressText(first.address)} by ${timeText(Math.abs(first.clock.offset))}.`,
          'Locks do not depend on it, but times in logs do. Run NTP here, too.',
        )
      : ok(
          'own-clock',
          `The clock of this machine agrees with that of ${addressText(first.address)} to ${timeText(Math.max(first.clock.roundTrip / 2, Math.abs(first.clock.offset)))}.`,
        ),
  );
  return findings;
}
