// The window and the filters of the dashboard, as they stand in the address and as the server is asked.

import { clock } from '../../lib/clock.svelte';
import { router } from '../../lib/router.svelte';

export const SPANS = ['24h', '7d', '30d', 'own'] as const;
export type Span = (typeof SPANS)[number];
export type Granularity = 'hour' | 'day' | 'week' | 'month';

const HOURS: Record<Exclude<Span, 'own'>, number> = { '24h': 24, '7d': 24 * 7, '30d': 24 * 30 };
export const NARROWED_BY = ['sop_id', 'workstation_id', 'robot_device_id', 'factory_id', 'scene_id', 'collector_operator_id', 'reason'] as const;

export function span(): Span {
  return SPANS.find((known) => known === router.param('span')) ?? '24h';
}

/** From when until when; the end is the next minute, so that what has just ended is within. */
export function times(): { start_time: string; end_time: string } {
  const chosen = span();
  if (chosen === 'own') {
    const end = router.param('to') || new Date(clock.now()).toISOString();
    return { start_time: router.param('from') || new Date(Date.parse(end) - 86_400_000).toISOString(), end_time: end };
  }
  const end = Math.ceil(clock.now() / 60_000) * 60_000 + 60_000;
  return { start_time: new Date(end - HOURS[chosen] * 3_600_000).toISOString(), end_time: new Date(end).toISOString() };
}

export function granularity(): Granularity {
  const said = router.param('by');
  if (said === 'hour' || said === 'day' || said === 'week' || said === 'month') return said;
  const { start_time, end_time } = times();
  return Date.parse(end_time) - Date.parse(start_time) <= 3 * 86_400_000 ? 'hour' : 'day';
}

/** Filters that stand in the address; topics and inspectors take none by what changes of an episode. */
export function narrowed(changing = true): Record<string, string> {
  return Object.fromEntries(NARROWED_BY.filter((name) => router.param(name) && (changing || name !== 'reason')).map((name) => [name, router.param(name)]));
}

/** `+08:00`: where days begin for who looks. */
export function offset(utc: boolean): string {
  const minutes = utc ? 0 : -new Date().getTimezoneOffset();
  const two = (n: number) => String(n).padStart(2, '0');
  return `${minutes < 0 ? '-' : '+'}${two(Math.floor(Math.abs(minutes) / 60))}:${two(Math.abs(minutes) % 60)}`;
}
