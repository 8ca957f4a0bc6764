// Draws the page's diagrams, which are written as text. Without JavaScript the text stays.

import { withBase } from 'vitepress';

let count = 0;

/** @param {boolean} dark */
export async function drawDiagrams(dark) {
  const diagrams = [...document.querySelectorAll('pre.mermaid')];
  if (diagrams.length === 0) return;
  // `npm run docs` copies mermaid next to the pages. Bundling it would take longer than all the rest.
  const { default: mermaid } = await import(/* @vite-ignore */ withBase('/mermaid/mermaid.esm.min.mjs'));
  mermaid.initialize({
    startOnLoad: false,
    theme: dark ? 'dark' : 'default',
    fontFamily: getComputedStyle(document.body).fontFamily,
    // Long lines wrap, or the diagram would be wide and its text small.
    sequence: { wrap: true, width: 120, actorMargin: 24, diagramMarginX: 0 },
  });
  for (const diagram of diagrams) {
    const text = diagram.getAttribute('data-text') ?? diagram.textContent ?? '';
    diagram.setAttribute('data-text', text);
    const { svg } = await mermaid.render(`diagram-${++count}`, text);
    diagram.innerHTML = svg;
  }
}
