// The queue of inspectors: what narrows it, and taking the next one of it.

import { api, body } from '../../../lib/api';
import { href, router } from '../../../lib/router.svelte';

export const QUEUE_FILTERS = ['order', 'level', 'station_id', 'sop_id', 'failed'] as const;

/** What stands in the address, as the queue's routes are asked. */
export function queueQuery(): Record<string, string> {
  return Object.fromEntries(QUEUE_FILTERS.filter((name) => router.param(name)).map((name) => [name, router.param(name)]));
}

/** Takes the next one and goes there; false where nothing waits. */
export async function takeNext(): Promise<boolean> {
  const query = queueQuery();
  const taken = await body(api.POST('/api/v1/inspection/next', { params: { query: query as never } }));
  if (!taken) return false;
  router.go(href(['inspection', taken.episode_id], query));
  return true;
}

/** Reasons that were given in this tab, the newest first: the same thing is often wrong again. */
export const reasons: Record<'approved' | 'rejected', string[]> = { approved: [], rejected: [] };

export function remember(decision: 'approved' | 'rejected', reason: string): void {
  reasons[decision] = [reason, ...reasons[decision].filter((known) => known !== reason)].slice(0, 10);
}
