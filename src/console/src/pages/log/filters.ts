// The filters of the log, the same in the address and in the questions to the server.

import { router } from '../../lib/router.svelte';

/** In the order in which they are shown. */
export const FILTERS = ['category', 'type', 'about', 'stream', 'actor', 'correlation_id', 'content', 'since', 'until', 'from_position', 'to_position'] as const;
/** A stream has no end, no pages and no order. */
const OF_STREAM = new Set<string>(['category', 'type', 'about', 'stream', 'actor', 'correlation_id', 'content', 'since', 'from_position']);

export const CATEGORIES = [
  'order', 'batch', 'task', 'episode', 'device', 'station', 'dead_letter', 'subscription', 'bulk_run', 'sync_chain', 'sync_control', 'qa_suite', 'qa_reference', 'outside_job',
  'inspector', 'account', 'api_key', 'recorder_token', 'config_template',
];

/** The query of the filters in the address. Several values of `content` stand with blanks between. */
export function askedQuery(only: 'search' | 'stream'): URLSearchParams {
  const query = new URLSearchParams();
  for (const name of FILTERS) {
    const value = router.param(name);
    if (!value || (only === 'stream' && !OF_STREAM.has(name))) continue;
    if (name === 'content') for (const one of value.split(/\s+/).filter(Boolean)) query.append(name, one);
    else query.append(name, value);
  }
  return query;
}

export function filtered(): boolean {
  return FILTERS.some((name) => router.param(name) !== '');
}

/** The payload on one line, short enough for a table: nobody reads more of it there. */
export function brief(data: unknown): string {
  const text = JSON.stringify(data) ?? '';
  return text.length > 300 ? `${text.slice(0, 300)}…` : text;
}
