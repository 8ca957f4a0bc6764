// The documentation site: README.md is the start page, docs/ has the guides, and site/api the
// reference that typedoc wrote. All of them are read where they are.

import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '../..');
const read = (/** @type {string} */ path) => readFileSync(join(root, path), 'utf8');
const { version, homepage } = JSON.parse(read('package.json'));
const repository = homepage.replace(/#.*$/, '');

/** The order in which a reader needs the guides. Guides that are not listed follow. */
const ORDER = [
  'getting-started',
  'decorating',
  'service',
  'kinds',
  'options',
  'errors',
  'troubleshooting',
  'guarantees',
  'fencing',
  'production',
  'operating',
  'board',
  'command-line',
  'testing',
  'migrating',
  'benchmarks',
];
const OTHER_PAGES = ['CHANGELOG.md', 'CONTRIBUTING.md', 'SECURITY.md'];

const guides = readdirSync(join(root, 'docs'))
  .filter((name) => name.endsWith('.md'))
  .map((name) => name.replace(/\.md$/, ''))
  .toSorted((one, other) => placeOf(one) - placeOf(other) || one.localeCompare(other));

/** @param {string} guide */
function placeOf(guide) {
  return ORDER.includes(guide) ? ORDER.indexOf(guide) : ORDER.length;
}

/**
 * The first heading of a page.
 * @param {string} path
 */
function titleOf(path) {
  const [, title = path] = /^# (.*)$/m.exec(read(path)) ?? [];
  return title;
}

/**
 * The folder's page is README.md in the repository, and index.md on the site.
 * @param {string} path
 */
function pageOf(path) {
  return path.replace(/(^|\/)README\.md$/, '$1index.md').replace(/^site\/api\//, 'api/');
}

/** @param {string} path of a file in the repository */
function isPage(path) {
  return /^(README\.md|docs\/.*\.md|site\/api\/.*\.md)$/.test(path) || OTHER_PAGES.includes(path);
}

/**
 * Where a link of a page leads on the site: to the page, or to the repository if the file is no
 * page. VitePress checks the links to pages.
 * @param {string} from the page's path
 * @param {string} href
 */
function targetOf(from, href) {
  if (href === '' || /^([a-z]+:|#|\/)/i.test(href)) return href;
  const [target = '', anchor] = href.split('#');
  const path = normalize(join(dirname(from), decodeURI(target))).replaceAll('\\', '/');
  const hash = anchor === undefined ? '' : `#${anchor}`;
  if (isPage(path)) return `/${pageOf(path)}${hash}`;
  if (!existsSync(join(root, path))) return href;
  const kind = statSync(join(root, path)).isDirectory() ? 'tree' : 'blob';
  return `${repository}/${kind}/main/${path}${hash}`;
}

/** @param {import('markdown-it')} md */
function followLinks(md) {
  md.core.ruler.push('repository-links', ({ tokens, env }) => {
    const from = normalize(env.realPath ?? env.path)
      .slice(normalize(root).length + 1)
      .replaceAll('\\', '/');
    for (const token of tokens) {
      for (const child of token.children ?? []) {
        if (child.type === 'link_open') child.attrSet('href', targetOf(from, child.attrGet('href') ?? ''));
      }
    }
  });
}

/**
 * Braces in a page are text, and no expressions of Vue.
 * @param {import('markdown-it')} md
 */
function keepBraces(md) {
  const shown = (/** @type {string} */ text) => md.utils.escapeHtml(text).replaceAll('{', '&#123;');
  md.renderer.rules.text = (tokens, index) => shown(tokens[index]?.content ?? '');
  md.renderer.rules.code_inline = (tokens, index) =>
    `<code v-pre>${shown(tokens[index]?.content ?? '')}</code>`;
}

/**
 * A block of the language "mermaid" keeps its text, which theme/diagrams.mjs draws in the browser.
 * @param {import('markdown-it')} md
 */
function keepDiagrams(md) {
  const { fence } = md.renderer.rules;
  md.renderer.rules.fence = (tokens, index, ...rest) => {
    const { info = '', content = '' } = tokens[index] ?? {};
    if (info.trim() !== 'mermaid') return fence?.(tokens, index, ...rest) ?? '';
    return `<pre class="mermaid" v-pre>${md.utils.escapeHtml(content)}</pre>\n`;
  };
}

const apiSidebar = existsSync(join(root, 'site/api/typedoc-sidebar.json'))
  ? JSON.parse(read('site/api/typedoc-sidebar.json').replaceAll('"/site/api/', '"/api/'))
  : [];

/** The pages lie outside of this folder, but their code needs the Vue of this folder. */
const vueOfThisFolder = {
  name: 'vue-of-this-folder',
  enforce: 'pre',
  /**
   * @this {import('vite').Rollup.PluginContext}
   * @type {(id: string, importer: string | undefined, options: object) => unknown}
   */
  resolveId(id, importer, options) {
    if (!/^vue(\/|$)/.test(id) || importer === undefined || importer.startsWith(join(root, 'site/')))
      return undefined;
    return this.resolve(id, fileURLToPath(import.meta.url), { ...options, skipSelf: true });
  },
};

export default {
  title: 'nestjs-replica-lock',
  description: JSON.parse(read('package.json')).description,
  lang: 'en',
  // No icon, or browsers ask for one that is not there.
  head: [['link', { rel: 'icon', href: 'data:,' }]],
  srcDir: '..',
  outDir: '../.cache/site',
  cacheDir: '../.cache/vitepress',
  // Markdown files that are no pages.
  srcExclude: ['{lib,test,bench,campaign,simulation,matrix,sample,scripts,dist,coverage}/**/*.md'],
  rewrites: (/** @type {string} */ path) => pageOf(path),
  lastUpdated: false,
  markdown: {
    html: false,
    preConfig: followLinks,
    config(md) {
      keepBraces(md);
      keepDiagrams(md);
    },
  },
  themeConfig: {
    search: { provider: 'local' },
    outline: [2, 3],
    nav: [
      { text: 'Guides', link: '/docs/getting-started' },
      { text: 'API', link: '/api/' },
      { text: `v${version}`, link: '/CHANGELOG' },
    ],
    sidebar: {
      '/api/': apiSidebar,
      '/': [
        { text: 'Overview', link: '/' },
        {
          text: 'Guides',
          items: guides.map((guide) => ({ text: titleOf(`docs/${guide}.md`), link: `/docs/${guide}` })),
        },
        {
          text: 'Reference',
          items: [
            { text: 'API', link: '/api/' },
            { text: 'Benchmarks', link: '/docs/bench/' },
            ...OTHER_PAGES.map((page) => ({
              text: titleOf(page),
              link: `/${page.replace(/\.md$/, '')}`,
            })),
          ],
        },
      ],
    },
  },
  vite: {
    plugins: [vueOfThisFolder],
    publicDir: join(root, '.cache/site-public'),
    // The index of the search is one large part, which the first search loads.
    build: { chunkSizeWarningLimit: 2000 },
  },
};
