import { isPrivateName, whyForeign } from '../../lib/board/board-guards.js';
import { boardSettings } from '../../lib/board/board-options.js';
import { rootFrom } from '../../lib/board/page-files.js';

describe('A request is refused as one of another site', () => {
  it.each([
    ['a program that is no browser', { host: 'a.example' }, false],
    ['the page itself, over TLS', { 'sec-fetch-site': 'same-origin' }, false],
    ['an address that the operator typed', { 'sec-fetch-site': 'none' }, false],
    ['another site', { 'sec-fetch-site': 'cross-site' }, true],
    ['another host of the same site', { 'sec-fetch-site': 'same-site' }, true],
    [
      'another site that knows the host',
      { 'sec-fetch-site': 'cross-site', origin: 'http://a.example', host: 'a.example' },
      true,
    ],
    ['the page itself, without TLS', { origin: 'http://10.0.0.5:3000', host: '10.0.0.5:3000' }, false],
    ['the page itself, over HTTP/2', { origin: 'https://a.example', ':authority': 'a.example' }, false],
    ['another site, without TLS', { origin: 'http://evil.example', host: '10.0.0.5:3000' }, true],
    ['another port', { origin: 'http://10.0.0.5:3001', host: '10.0.0.5:3000' }, true],
    ['a sandboxed frame', { origin: 'null', host: '10.0.0.5:3000' }, true],
    ['a longer name', { origin: 'http://a.example.evil.example', host: 'a.example' }, true],
  ])('%s: %#', (_, headers, isRefused) => {
    expect(whyForeign(headers) !== undefined).toBe(isRefused);
  });
});

describe('Who may see a board', () => {
  const guards = [{ canActivate: () => true }];
  const before = process.env['NODE_ENV'];
  afterEach(() => {
    process.env['NODE_ENV'] = before;
  });
  it.each([
    ['development', undefined, 'open'],
    ['development', guards, 'guarded'],
    ['production', undefined, 'refused'],
    ['production', [], 'refused'],
    ['production', guards, 'guarded'],
    ['test', undefined, 'refused'],
    ['Development', undefined, 'refused'],
  ])('NODE_ENV %s, guards %p: %s', (environment, given, access) => {
    process.env['NODE_ENV'] = environment;
    expect(boardSettings({ guards: given }).access).toBe(access);
  });

  it('is nobody if NODE_ENV is not set and there are no guards', () => {
    delete process.env['NODE_ENV'];
    expect(boardSettings({}).access).toBe('refused');
  });
});

describe('A name that no other site can have', () => {
  it.each([
    [undefined, true],
    ['localhost:3000', true],
    ['127.0.0.1', true],
    ['192.168.0.7:80', true],
    ['[::1]:3000', true],
    ['app', true],
    ['app:3000', true],
    ['shop.localhost', true],
    ['mac.local:3000', true],
    ['evil.example', false],
    ['127.0.0.1.evil.example:3000', false],
    ['localhost.evil.example', false],
    ['evillocalhost.com', false],
    ['evil.', false],
    ['', false],
    ['a b', false],
  ])('%p: %p', (host, isPrivate) => {
    expect(isPrivateName(host)).toBe(isPrivate);
  });
});

describe('The page finds its files', () => {
  it.each([
    ['/locks', './locks/'],
    ['/locks/', './'],
    ['/api/v1/ops/locks', './locks/'],
    ['/', './'],
    ['/ops/%3Clocks%3E', './%3Clocks%3E/'],
    ['/tenants/"><script>', './%22%3E%3Cscript%3E/'],
  ])('of %s at %s', (path, root) => {
    expect(rootFrom(path)).toBe(root);
  });
});
