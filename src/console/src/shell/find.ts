// Where `order 4`, `task 17`, `#6012` or a public id leads.

import { api, body } from '../lib/api';
import { href } from '../lib/router.svelte';
import { session } from '../lib/session.svelte';
import { unitHref } from '../lib/streams';

const REGISTRY: Record<string, string> = { station: 'stations', robot: 'robots' };

/** The address of what is called so, or nothing. */
export async function find(text: string): Promise<string | undefined> {
  const asked = text.trim();
  const unit = /^(order|batch|task|episode|station|robot)\s*[#/ ]?\s*(\d+)$/i.exec(asked);
  if (unit?.[1] && unit[2]) {
    const kind = unit[1].toLowerCase();
    return unitHref(kind, unit[2]) ?? href(['registry', REGISTRY[kind] ?? '', unit[2]]);
  }
  const delivery = /^(letter|webhook)\s*[#/ ]?\s*(\d+)$/i.exec(asked);
  if (delivery?.[1] && delivery[2] && session.may('GET', 'dead-letters')) return href(['deliveries', `${delivery[1].toLowerCase()}s`, delivery[2]]);
  const position = /^(?:event|position)?\s*#(\d+)$/i.exec(asked);
  if (position?.[1] && session.may('GET', 'events')) return href(['log', position[1]]);
  if (asked.startsWith('task_')) {
    const { items } = await body(api.GET('/api/v1/tasks', { params: { query: { task_id: asked, limit: 1 } } }));
    const task = items.find((item) => item.task_id === asked);
    if (task) return href(['tasks', task.id]);
  }
  if (/^[0-9a-f-]{36}$/i.test(asked)) {
    const episode = (await episodesOf(asked)).find((item) => item.episode_id === asked.toLowerCase());
    if (episode) return href(['episodes', episode.id]);
  }
  return undefined;
}

/** Those that a search of ids finds, by the route that the login has for it. */
async function episodesOf(publicId: string): Promise<{ id: number; episode_id?: string | null }[]> {
  if (session.may('GET', 'data-ops/episodes')) {
    return (await body(api.GET('/api/v1/data-ops/episodes', { params: { query: { q: publicId, limit: 1 } } }))).items;
  }
  if (session.may('GET', 'qa/episodes')) {
    return (await body(api.GET('/api/v1/qa/episodes', { params: { query: { q: publicId, status: 'all', page: 1, page_size: 1 } } }))).items;
  }
  return [];
}
