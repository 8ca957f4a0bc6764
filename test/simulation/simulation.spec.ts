import { describe, it } from '@jest/globals';
import { runSchedule } from '../../simulation/schedule.js';

describe('The library in a simulated deployment', () => {
  it('has one holder per key, growing tokens and nothing left behind, whatever goes wrong', async () => {
    const { random } = Math;
    try {
      for (let seed = 900_001; seed <= 900_100; seed++) {
        const { violations, history } = await runSchedule(seed);
        if (violations.length > 0)
          throw new Error(`seed ${seed}: ${violations.join('; ')}\n${history().join('\n')}`);
      }
    } finally {
      Math.random = random;
    }
  }, 90_000);
});
