// What a list of letters is filtered by: the same in the address, in the list, and in the preview of a replay.

import { router } from '../../lib/router.svelte';

export const REASONS = ['attempts_used_up', 'permanent_error', 'expired', 'causation_too_deep'] as const;
export const RESOLUTIONS = ['unresolved', 'replayed', 'resolved'] as const;

export interface LetterFilter {
  subscriber?: string;
  destination?: string;
  event_type?: string;
  stream?: string;
  from?: string;
  to?: string;
  reason?: (typeof REASONS)[number];
  notification_failed?: boolean;
}

export type Resolution = (typeof RESOLUTIONS)[number];

/** The filter in the address; what was given a wrong value there is left to the server to refuse. */
export function askedFilter(): LetterFilter {
  const filter: LetterFilter = {};
  for (const name of ['subscriber', 'destination', 'event_type', 'stream', 'from', 'to'] as const) {
    const value = router.param(name);
    if (value) filter[name] = value;
  }
  const reason = router.param('reason');
  if (reason) filter.reason = reason as LetterFilter['reason'] & string;
  const failed = router.param('notification_failed');
  if (failed) filter.notification_failed = failed === 'true';
  return filter;
}

/** Unresolved ones, unless others are asked for. */
export function askedResolution(): Resolution | undefined {
  const asked = router.param('resolution');
  return asked === 'all' ? undefined : ((asked || 'unresolved') as Resolution);
}
