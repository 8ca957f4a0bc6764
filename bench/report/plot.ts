import { createRequire } from 'node:module';
import { join } from 'node:path';

/** Horizontal bars, one group for each category, drawn to an SVG file. */
export interface Plot {
  /** The name of the file without `.svg`. */
  readonly name: string;
  readonly title: string;
  readonly unit: string;
  readonly categories: readonly string[];
  readonly series: readonly { readonly name: string; readonly values: readonly (number | undefined)[] }[];
  /** A logarithmic axis, for figures of different magnitudes. */
  readonly log?: boolean;
  /** Whether a category gets the emphasised colour. */
  readonly emphasis?: (category: string) => boolean;
}

interface Echarts {
  init(
    element: null,
    theme: null,
    settings: object,
  ): { setOption(option: object): void; renderToSVGString(): string };
}

const COLOURS = ['#9dbad5', '#5b8db8', '#2f6690', '#16425b'];
const OURS = ['#f4b183', '#e8834a', '#d1581e', '#a53f0f'];

export function svgOf({ title, unit, categories, series, log, emphasis }: Plot): string {
  const echarts = createRequire(join(process.cwd(), 'bench/package.json'))('echarts') as Echarts;
  const height = 90 + categories.length * (10 + 12 * series.length);
  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width: 900, height });
  chart.setOption({
    animation: false,
    backgroundColor: '#ffffff',
    title: { text: title, left: 10, textStyle: { fontSize: 15 } },
    legend: series.length > 1 ? { top: 28, left: 10, itemHeight: 10 } : { show: false },
    grid: { left: 10, right: 70, top: 58, bottom: 10, containLabel: true },
    xAxis: { type: log === true ? 'log' : 'value', name: unit, nameLocation: 'end' },
    yAxis: { type: 'category', inverse: true, data: categories },
    series: series.map(({ name, values }, i) => ({
      type: 'bar',
      name,
      color: COLOURS[(COLOURS.length - series.length + i) % COLOURS.length],
      label: {
        show: true,
        position: 'right',
        fontSize: 9,
        formatter: ({ value }: { value: number }) => short(value),
      },
      data: values.map((value, row) => ({
        value: value ?? null,
        ...(emphasis?.(categories[row] ?? '') === true && {
          itemStyle: { color: OURS[(OURS.length - series.length + i) % OURS.length] },
        }),
      })),
    })),
  });
  return chart.renderToSVGString();
}

function short(value: number): string {
  if (value === null || value === undefined) return '';
  return value >= 100 ? Math.round(value).toLocaleString('en-US') : value.toPrecision(2);
}
