// Numbers of checks and limits of suites: the end of a name says the unit.

import { number, percent } from '../../../lib/format';

const UNITS: [ending: string, unit: string][] = [
  ['_ms', 'ms'], ['_hz', 'Hz'], ['_rad', 'rad'], ['_bytes', 'B'], ['_s', 's'], ['_sec', 's'],
];

/** `longest_ms: 100` as `longest` and `100 ms`. */
export function figure(name: string, value: unknown): [name: string, value: string] {
  const words = (text: string) => text.replaceAll('_', ' ');
  if (typeof value !== 'number') return [words(name), typeof value === 'string' ? value : JSON.stringify(value)];
  if (name.endsWith('share') || name === 'completeness' || name === 'continuity') return [words(name.replace(/_share$/, '')), percent(value, 2)];
  for (const [ending, unit] of UNITS) {
    if (name.endsWith(ending)) return [words(name.slice(0, -ending.length)), `${number(value, 3)} ${unit}`];
  }
  return [words(name), number(value, 4)];
}

/** What stands beside a result; places in files and long lists say little in a table. */
export function figures(numbers: unknown): [string, string][] {
  if (numbers === null || typeof numbers !== 'object') return [];
  return Object.entries(numbers).slice(0, 8).map(([name, value]) => figure(name, value));
}
