// Causes and effects of an event, put in the order in which they are read.

import type { LogEvent } from '../../lib/live.svelte';

export interface Branch {
  of: LogEvent;
  depth: number;
}

/** The causes, the first one first; the event; and below it what followed, each below what led to it. */
export function treeOf(event: LogEvent, causes: LogEvent[], effects: LogEvent[]): Branch[] {
  const rows: Branch[] = causes.map((of, depth) => ({ of, depth }));
  const followed = new Map<string, LogEvent[]>();
  for (const effect of effects) {
    const cause = effect.causation_id ?? event.event_id;
    const siblings = followed.get(cause);
    if (siblings) siblings.push(effect);
    else followed.set(cause, [effect]);
  }
  const seen = new Set<string>();
  const grow = (of: LogEvent, depth: number): void => {
    // Chains are bounded by the server; a circle, which it never makes, ends here.
    if (seen.has(of.event_id)) return;
    seen.add(of.event_id);
    rows.push({ of, depth });
    for (const effect of followed.get(of.event_id) ?? []) grow(effect, depth + 1);
  };
  grow(event, causes.length);
  // An effect of something that is not shown still followed.
  for (const effect of effects) grow(effect, causes.length + 1);
  return rows;
}
