import { describe, expect, it } from '@jest/globals';
import {
  CALL_OPTIONS,
  resolveOptions,
  withoutOptions,
  type WithLockOptions,
} from '../../lib/lock/options.js';
import { checkOptions, MODULE_OPTIONS, type ReplicaLockModuleOptions } from '../../lib/module/options.js';

/**
 * A value for each declared option: an option that is declared and missing here does not compile.
 */
const MODULE_SAMPLES: Required<ReplicaLockModuleOptions> = {
  connection: 'memory:',
  replicas: 'majority',
  allowNoReplicas: true,
  quarantine: '1m',
  replicaTimeout: 5,
  leaseTime: '20s',
  renew: false,
  maxHoldTime: '1h',
  waitTime: Infinity,
  keyPrefix: 'app:',
  clockSkew: 0,
  shutdownTimeout: 0,
  allowEviction: true,
  exceptionFactory: (error) => error,
  answerErrors: false,
};
const CALL_SAMPLES: Required<WithLockOptions> = {
  leaseTime: 5_000,
  waitTime: Infinity,
  renew: false,
  maxHoldTime: '1h',
  minHoldTime: 5,
  limit: 2,
  replicas: 2,
  replicaTimeout: '2s',
  signal: new AbortController().signal,
  label: 'order:{id}',
  reentrant: false,
};

describe('An option that is declared', () => {
  const base = withoutOptions(checkOptions({ connection: 'memory:' }).defaults);

  it.each(Object.entries(MODULE_SAMPLES))('is accepted by the module: %s', (name, value) => {
    expect(() => checkOptions({ connection: 'memory:', leaseTime: 1_000, [name]: value })).not.toThrow();
  });

  it.each(Object.entries(CALL_SAMPLES))('is accepted by a call, and used: %s', (name, value) => {
    const read = resolveOptions({ [name]: value }, base)[name as keyof WithLockOptions];
    expect(read).toEqual(typeof value === 'string' ? expect.anything() : value);
    expect(read).not.toEqual(base[name as keyof WithLockOptions] ?? 'the default');
  });

  it.each(['connection', 'keyPrefix', 'replicas', 'renew', 'maxHoldTime', 'exceptionFactory'])(
    'is refused with the accepted values if its value is wrong: %s',
    (name) => {
      expect(() => checkOptions({ connection: 'memory:', [name]: new Date(0) })).toThrow(/it must be /);
    },
  );

  it('is in the table that names, checks and the documentation test derive from', () => {
    expect(Object.keys(MODULE_OPTIONS).toSorted()).toEqual(Object.keys(MODULE_SAMPLES).toSorted());
    expect(Object.keys(CALL_OPTIONS).toSorted()).toEqual(Object.keys(CALL_SAMPLES).toSorted());
  });
});

describe('A duration', () => {
  it.each([
    [20_000 / 3, 6_667],
    ['2.2m', 132_000],
    // 0 would mean that there is none.
    [0.2, 1],
    [0, 0],
    [Infinity, Infinity],
  ] as const)('is whole ms: %s is %s', (given, read) => {
    const base = withoutOptions(checkOptions({ connection: 'memory:' }).defaults);
    expect(resolveOptions({ waitTime: given }, base).waitTime).toBe(read);
  });
});

describe('An option that is not declared', () => {
  it('is refused, with the name that was probably meant', () => {
    expect(() => checkOptions({ connection: 'memory:', leasetime: 1 } as never)).toThrow(
      "There is no option 'leasetime': did you mean 'leaseTime'?",
    );
  });
});
