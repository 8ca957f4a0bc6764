import base from './jest.config.mjs';

/** The tests of `npm run test:browser`, which need a Chromium. */
export default {
  ...base,
  roots: ['<rootDir>/test/browser'],
  testPathIgnorePatterns: ['/node_modules/'],
  testTimeout: 60_000,
  maxWorkers: 1,
};
