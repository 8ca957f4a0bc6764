import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { MUTANTS } from '../../simulation/mutations/index.js';

const root = join(import.meta.dirname, '../..');

describe('The code that a mutant replaces', () => {
  it.each(MUTANTS.map((mutant) => [mutant.name, mutant] as const))(
    'occurs exactly once: %s',
    (_, { changes }) => {
      for (const [file, pairs] of Object.entries(changes)) {
        const code = readFileSync(join(root, file), 'utf8');
        for (const [sound] of pairs)
          expect([file, sound, code.split(sound).length - 1]).toEqual([file, sound, 1]);
      }
    },
  );
});
