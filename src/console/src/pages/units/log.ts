// What the log says of a unit. Logins that may not read it get nothing, and pages say so.

import { api } from '../../lib/api';
import { session } from '../../lib/session.svelte';
import type { Happened } from './types';

export function mayRead(): boolean {
  return session.may('GET', 'events');
}

/** The newest of some types in one stream; undefined where there is none, or where the log may not be read. */
export async function newest(stream: string, types: string[]): Promise<Happened | undefined> {
  if (!mayRead()) return undefined;
  const { data } = await api.GET('/api/v1/events', { params: { query: { stream, type: types.join(','), order: 'desc', limit: 1 } } });
  return data?.items[0];
}

/** The newest events about a unit, in the order of the log. */
export async function about(unit: string, limit = 100): Promise<Happened[] | undefined> {
  if (!mayRead()) return undefined;
  const { data } = await api.GET('/api/v1/events', { params: { query: { about: unit, order: 'desc', limit } } });
  return data?.items.reverse();
}

/** Which events may have brought an order or a batch into the state that it is in. */
export const MADE_BY: Record<string, Record<string, string[]>> = {
  order: {
    paused: ['order_paused'],
    cancelled: ['order_cancelled'],
    completed: ['order_completed'],
    in_progress: ['order_resumed', 'order_reopened', 'order_started'],
    created: ['order_resumed', 'order_reopened', 'order_placed'],
  },
  batch: {
    pending: ['batch_created'],
    active: ['batch_started'],
    cancelled: ['batch_cancelled'],
    recalled: ['batch_recalled'],
    completed: ['batch_completed', 'batch_finalized', 'batch_trimmed'],
  },
};
