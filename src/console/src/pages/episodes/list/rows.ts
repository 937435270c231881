// The list of episodes, by the route that fits role and filters: who operates the site has one that searches, an inspector
// one that searches ids and flags, everyone has the plain one.

import { api, body } from '../../../lib/api';
import { session } from '../../../lib/session.svelte';

export const PAGE = 50;
export const FILTERS = ['q', 'qa_status', 'sync_status', 'robot_device_id', 'collector_operator_id', 'sop_id', 'label', 'created_at_from', 'created_at_to', 'copies'] as const;
export type Filters = Record<(typeof FILTERS)[number], string>;

/** One row, whichever route it is from; what that route does not tell is absent. */
export interface Row {
  id: number;
  episode_id?: string | null;
  task_id: number;
  created_at: string;
  qa_status: string;
  quality_flag?: string | null;
  robot_device_id?: string | null;
  robot_type?: string | null;
  sop?: string;
  sop_slug?: string | null;
  sop_version?: string | null;
  scene_name?: string | null;
  duration_sec?: number | null;
  file_size_bytes?: number | null;
  sync_status?: string;
  labels?: string[];
}

export interface Rows {
  items: Row[];
  total: number;
}

export type Source = 'operated' | 'judged' | 'plain';

export function sourceOf(filters: Filters): Source {
  if (filters.copies) return 'plain';
  if (session.may('GET', 'data-ops/episodes')) return 'operated';
  return filters.q && session.may('GET', 'qa/episodes') ? 'judged' : 'plain';
}

/** The plain route's parameters for a choice of `copies`. */
const COPIES: Record<string, Record<string, string>> = {
  deleted: { edge_copy: 'deleted' },
  delete_failed: { edge_copy: 'delete_failed' },
  damaged: { damaged_copy: 'true' },
  outdated: { cloud_outdated: 'true' },
  person: { qa_status: 'inspector_approved' },
};

export async function rows(filters: Filters, offset: number): Promise<Rows> {
  const source = sourceOf(filters);
  const said = (...names: (keyof Filters)[]) => Object.fromEntries(names.filter((name) => filters[name]).map((name) => [name, filters[name]]));
  const times = said('created_at_from', 'created_at_to');
  if (source === 'operated') {
    const query = { ...said('q', 'qa_status', 'sync_status', 'robot_device_id', 'collector_operator_id', 'sop_id', 'label'), ...times, limit: PAGE, offset };
    return (await body(api.GET('/api/v1/data-ops/episodes', { params: { query } }))) as Rows;
  }
  if (source === 'judged') {
    const query = { q: filters.q, status: filters.qa_status || 'all', page: Math.floor(offset / PAGE) + 1, page_size: PAGE };
    return (await body(api.GET('/api/v1/qa/episodes', { params: { query } }))) as Rows;
  }
  const query = { ...said('robot_device_id', 'collector_operator_id', 'qa_status'), ...times, ...COPIES[filters.copies], limit: String(PAGE), offset: String(offset) };
  return (await body(api.GET('/api/v1/episodes', { params: { query } }))) as Rows;
}
