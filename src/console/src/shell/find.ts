// Where `order 4`, `task 17`, a public id or a device id leads.

import { api } from '../lib/api';
import { href } from '../lib/router.svelte';
import { session } from '../lib/session.svelte';

const UNITS: Record<string, string[]> = {
  order: ['orders'], batch: ['batches'], task: ['tasks'], episode: ['episodes'], station: ['registry', 'stations'], robot: ['registry', 'robots'],
};

/** The address of what is called so, or nothing. */
export async function find(text: string): Promise<string | undefined> {
  const asked = text.trim();
  const unit = /^(order|batch|task|episode|station|robot)\s*[#/ ]?\s*(\d+)$/i.exec(asked);
  if (unit?.[1] && unit[2]) return href([...(UNITS[unit[1].toLowerCase()] ?? []), unit[2]]);
  const position = /^(?:event|position)?\s*#(\d+)$/i.exec(asked);
  if (position?.[1] && session.may('GET', 'events')) return href(['log', position[1]]);
  if (asked.startsWith('task_')) {
    const { data } = await api.GET('/api/v1/tasks', { params: { query: { task_id: asked, limit: 1 } as never } });
    const task = (data as { items?: { id: number | string; task_id: string }[] } | undefined)?.items?.find((item) => item.task_id === asked);
    if (task) return href(['tasks', task.id]);
  }
  if (/^[0-9a-f-]{36}$/i.test(asked)) {
    const { data } = await api.GET('/api/v1/episodes/{id}', { params: { path: { id: asked as never } } }).catch(() => ({ data: undefined }));
    const episode = data as { id?: number } | undefined;
    if (episode?.id !== undefined) return href(['episodes', episode.id]);
  }
  return undefined;
}
