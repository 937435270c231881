// Questions about any registry. The description has a path for each; here they are one, with the registry's name in it.

import { api, body } from '../../lib/api';
import { href } from '../../lib/router.svelte';
import { session } from '../../lib/session.svelte';
import type { Entry, Kind, KindName } from './kind';
import { kindOf } from './kinds';

/** The one whose types stand for all: what differs are the fields. */
const LIST = '/api/v1/factories';
const ONE = '/api/v1/factories/{id}';
const list = (kind: KindName | string) => `/api/v1/${kind}` as typeof LIST;
const one = (kind: KindName | string) => `/api/v1/${kind}/{id}` as typeof ONE;

export interface Page {
  items: Entry[];
  total: number;
}

/** Also lists of units, where only their number is wanted. */
export async function listed(kind: KindName | string, query: Record<string, string | number>): Promise<Page> {
  const asked = Object.fromEntries(Object.entries(query).filter(([, value]) => value !== ''));
  return body(api.GET(list(kind), { params: { query: asked as never } })) as Promise<unknown> as Promise<Page>;
}

export async function found(kind: Kind, id: string): Promise<Entry> {
  return body(api.GET(one(kind.name), { params: { path: { id: id as never } } })) as Promise<unknown> as Promise<Entry>;
}

export async function made(kind: Kind, content: Record<string, unknown>): Promise<Entry> {
  return body(api.POST(list(kind.name), { body: content as never })) as Promise<unknown> as Promise<Entry>;
}

export async function changed(kind: Kind, id: string | number, content: Record<string, unknown>): Promise<Entry> {
  return body(api.PUT(one(kind.name), { params: { path: { id: id as never } }, body: content as never })) as Promise<unknown> as Promise<Entry>;
}

export async function removed(kind: Kind, id: string | number): Promise<void> {
  await api.DELETE(one(kind.name), { params: { path: { id: id as never } } });
}

export const may = {
  list: (kind: string) => session.may('GET', kind),
  make: (kind: Kind) => session.may('POST', kind.name),
  change: (kind: Kind) => session.may('PUT', `${kind.name}/{id}`),
  remove: (kind: Kind) => session.may('DELETE', `${kind.name}/{id}`),
};

/** The page of an entry; nothing where this login may not see such entries. */
export function placeOf(name: KindName, id: unknown): string | undefined {
  const kind = kindOf(name);
  if (kind === undefined || (typeof id !== 'string' && typeof id !== 'number') || !session.may('GET', `${name}/{id}`)) return undefined;
  return href([kind.page, kind.name, id]);
}
