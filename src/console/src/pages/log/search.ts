// Questions to the log, and their answers.

import { api, body } from '../../lib/api';
import type { LogEvent } from '../../lib/live.svelte';

export interface EventPage {
  items: LogEvent[];
  limit: number;
  next_after?: number;
  readable_to: number;
}

/** A page of events. `content` may be repeated, which the description's types do not know. */
export async function search(query: URLSearchParams): Promise<EventPage> {
  const content = query.getAll('content');
  const asked = { ...Object.fromEntries(query), ...(content.length > 0 ? { content } : {}) };
  return (await body(api.GET('/api/v1/events', { params: { query: asked as never } }))) as unknown as EventPage;
}
