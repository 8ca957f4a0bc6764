import { readFileSync } from 'node:fs';
import { whyStale } from '../../scripts/install.mjs';

const wanted = {
  packages: {
    '': { version: '1.0.0' },
    'node_modules/a': { version: '1.0.0', integrity: 'sha512-a' },
    'node_modules/for-another-system': { version: '2.0.0', integrity: 'sha512-o', optional: true },
  },
};
const installed = { packages: { 'node_modules/a': wanted.packages['node_modules/a'] } };

describe('node_modules', () => {
  it.each([
    ['nothing is installed', undefined, 'not there'],
    ['npm left no list of packages in it', {}, 'not there'],
    ['a package is missing', { packages: {} }, 'node_modules/a is missing'],
    [
      'a package has another version',
      { packages: { 'node_modules/a': { version: '0.9.0', integrity: 'sha512-9' } } },
      'node_modules/a is 0.9.0, package-lock.json has 1.0.0',
    ],
    [
      'a package has the version and other contents',
      { packages: { 'node_modules/a': { version: '1.0.0', integrity: 'sha512-x' } } },
      'node_modules/a is 1.0.0',
    ],
    [
      'an optional package is an old one',
      { packages: { ...installed.packages, 'node_modules/for-another-system': { version: '1.0.0' } } },
      'node_modules/for-another-system is 1.0.0',
    ],
  ])('is stale where %s', (_, found, reason) => {
    expect(whyStale(wanted, found)).toContain(reason);
  });

  it('is not stale where only packages for other systems are missing, or something was added', () => {
    const packages = { ...installed.packages, 'node_modules/added': { version: '1.0.0' } };
    expect(whyStale(wanted, { packages })).toBeUndefined();
  });

  it('is not stale right after npm ci', () => {
    const [lock, hidden] = ['package-lock.json', 'node_modules/.package-lock.json'].map((path) =>
      JSON.parse(readFileSync(path, 'utf8')),
    );
    expect(whyStale(lock, hidden)).toBeUndefined();
  });
});
