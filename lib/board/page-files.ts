import { readFileSync } from 'node:fs';

/** The files that the page loads, with their media types. */
const TYPES = {
  'app.js': 'text/javascript; charset=utf-8',
  'board.js': 'text/javascript; charset=utf-8',
  'board.css': 'text/css; charset=utf-8',
  'icon.svg': 'image/svg+xml',
} as const;

type FileName = keyof typeof TYPES;

export const PAGE_FILES = Object.keys(TYPES) as readonly FileName[];

export interface PageFile {
  readonly type: string;
  readonly text: string;
}

const read = new Map<string, string>();

/** Reads a file of the page once. */
function textOf(name: string): string {
  let text = read.get(name);
  if (text === undefined)
    read.set(name, (text = readFileSync(new URL(`page/${name}`, import.meta.url), 'utf8')));
  return text;
}

/** The file that the last part of this path names; undefined if the page has no such file. */
export function pageFile(path: string): PageFile | undefined {
  const name = PAGE_FILES.find((each) => path.endsWith(`/${each}`));
  return name && { type: TYPES[name], text: textOf(name) };
}

/** The page for a request of this path. */
export function pageHtml(path: string): PageFile {
  return {
    type: 'text/html; charset=utf-8',
    text: textOf('index.html').replaceAll('{root}', rootFrom(path)),
  };
}

/**
 * Where the page's files are, relative to the page: `./locks/` from `/ops/locks`, and `./` from
 * `/ops/locks/`. Relative, because a proxy may have removed a prefix. The path is the client's.
 */
export function rootFrom(path: string): string {
  const last = path.slice(path.lastIndexOf('/') + 1);
  return last === '' ? './' : `./${last.replaceAll(/[^\w.~%-]/g, encodeURIComponent)}/`;
}
