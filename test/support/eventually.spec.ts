import { until } from './eventually.js';

describe('until', () => {
  it('checks again until the condition holds, and returns its value', async () => {
    let looks = 0;
    expect(await until(() => ++looks === 3 && 'found', { what: 'the third look' })).toBe('found');
    expect(looks).toBe(3);
  });

  it('fails and names the condition when the time is over', async () => {
    await expect(until(() => false, { within: 30, what: 'pigs fly' })).rejects.toThrow(
      'Waited 30 ms in vain until pigs fly: it did not hold',
    );
  });

  it('takes an error for "not yet", and reports the last one', async () => {
    let looks = 0;
    const look = (): boolean => {
      if (++looks < 3) throw new Error(`look ${looks}`);
      return true;
    };
    expect(await until(look, { what: 'it no longer throws' })).toBe(true);
    await expect(
      until(() => Promise.reject(new Error('no route')), { within: 30, what: 'it answers' }),
    ).rejects.toThrow('Waited 30 ms in vain until it answers: no route');
  });

  it('ends in time even if the condition itself hangs', async () => {
    await expect(until(() => new Promise(() => {}), { within: 30, what: 'it answers' })).rejects.toThrow(
      'the last check did not end',
    );
  });
});
