// Names that filters offer: asked once when a form is opened. A site with more than a page of them still filters by address.

import { api } from '../../lib/api';
import { session } from '../../lib/session.svelte';

export interface Named {
  id: string;
  name: string;
}

interface Answer {
  items?: Record<string, unknown>[];
}

async function asked(path: 'sops' | 'stations' | 'scenes' | 'robot_types', name: (item: Record<string, string>) => string): Promise<Named[]> {
  if (!session.may('GET', path)) return [];
  try {
    const { data } = await api.GET(`/api/v1/${path}`, { params: { query: { limit: 100 } as never } });
    return ((data as unknown as Answer).items ?? []).map((item) => ({ id: String(item.id), name: name(item as Record<string, string>) }));
  } catch {
    // A filter without names is no reason to show no list.
    return [];
  }
}

export const sops = () => asked('sops', (item) => `${item.slug} @ ${item.version}`);
export const stations = () => asked('stations', (item) => item.name ?? String(item.id));
export const scenes = () => asked('scenes', (item) => item.name ?? String(item.id));
export const robotTypes = () => asked('robot_types', (item) => item.name ?? String(item.id));
