// Drawing the trend.

import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';

import { written } from '../../lib/format';
import type { components } from '../../lib/schema';
import type { Granularity } from './window';

const SECONDS: Record<Granularity, number> = { hour: 3600, day: 86_400, week: 604_800, month: 2_592_000 };

/** Draws into a place, and says how to take it away again. */
export function draw(place: HTMLElement, width: number, trend: components['schemas']['QualityBucket'][], by: Granularity, utc: boolean, names: [string, string, string, string]): () => void {
  const colour = (name: string) => resolved(place, `var(--${name})`);
  const [line, text] = [colour('line'), colour('text-2')];
  const axis = { stroke: text, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 }, font: '12px system-ui' };
  const share = (_: uPlot, value: number | null) => (value === null ? '–' : `${(value * 100).toFixed(1)} %`);
  const times = trend.map((bucket) => Date.parse(bucket.time) / 1000);
  const plot = new uPlot(
    {
      width,
      height: 220,
      tzDate: utc ? (at) => uPlot.tzDate(new Date(at * 1000), 'Etc/UTC') : (at) => new Date(at * 1000),
      cursor: { drag: { x: false, y: false } },
      scales: {
        x: { range: () => span(times, SECONDS[by]) },
        share: { range: [0, 1.02] },
        n: { range: (_u, _min, max) => [0, Math.max(1, max * 1.15)] },
      },
      axes: [
        { ...axis, space: 90, values: (_u, ticks) => ticks.map((tick) => label(tick, by, utc)) },
        { ...axis, scale: 'share', size: 56, values: (_u, ticks) => ticks.map((tick) => `${Math.round(tick * 100)} %`) },
        { ...axis, scale: 'n', side: 1, size: 50, grid: { show: false } },
      ],
      series: [
        { label: names[3], value: (_u: uPlot, at: number | null) => (at === null ? '–' : label(at, by, utc)) },
        { label: names[2], scale: 'n', stroke: colour('line-2'), fill: colour('back-3'), paths: uPlot.paths.bars?.({ size: [0.7, 60] }) ?? null, points: { show: false } },
        { label: names[0], scale: 'share', stroke: colour('good'), width: 2, value: share, points: { show: trend.length < 60 } },
        { label: names[1], scale: 'share', stroke: colour('bad'), width: 2, value: share, points: { show: trend.length < 60 } },
      ] as uPlot.Series[],
    },
    [times, trend.map((b) => b.judged), trend.map((b) => b.pass_rate ?? null), trend.map((b) => b.failure_rate ?? null)] as uPlot.AlignedData,
    place,
  );
  return () => plot.destroy();
}

/** All buckets, and room for a few where there are less: one alone has no scale. */
function span(times: number[], bucket: number): [number, number] {
  const last = times.at(-1) ?? 0;
  return [Math.min(times[0] ?? 0, last - 5 * bucket) - bucket / 2, last + bucket / 2];
}

/** `14:00` of a day, or the day; in the clock that was chosen. */
function label(seconds: number, by: Granularity, utc: boolean): string {
  const said = written(new Date(seconds * 1000), utc);
  return by === 'hour' ? said.slice(5, 16) : said.slice(0, 10);
}

/** What a colour of the page is right now; a canvas knows neither variables nor schemes. */
function resolved(place: HTMLElement, colour: string): string {
  const before = place.style.color;
  place.style.color = colour;
  const found = getComputedStyle(place).color;
  place.style.color = before;
  return found;
}
