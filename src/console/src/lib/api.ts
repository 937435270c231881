// Asking the server. Paths, parameters and answers are typed from the server's own description (`npm run types`).

import createClient, { type Client, type Middleware } from 'openapi-fetch';

import { API, ask } from './ask';
import { clock } from './clock.svelte';
import { Refusal, refusalOf } from './refusal';
import type { paths } from './schema';
import { session } from './session.svelte';

/** Where the server does not take the token any more, the session has ended. Another password than the right one, where one is asked for, ends nothing. */
function ended(refusal: Refusal): Refusal {
  if (refusal.status === 401 && refusal.code !== 'login_refused') session.forget(true);
  return refusal;
}

const signed: Middleware = {
  onRequest({ request }) {
    if (session.token) request.headers.set('authorization', `Bearer ${session.token}`);
    return request;
  },
  async onResponse({ response }) {
    clock.heard(response.headers.get('date'));
    if (response.ok) return response;
    throw ended(await Refusal.of(response));
  },
  onError({ error }) {
    throw Refusal.unreachable(error);
  },
};

/** Paths are written as the description has them: `api.GET('/api/v1/orders/{id}', …)`. */
export const api: Client<paths> = createClient<paths>({
  baseUrl: new URL('../..', API).href.replace(/\/$/, ''),
  credentials: 'omit',
  cache: 'no-store',
});
api.use(signed);

/** The body of an answer; a refusal was thrown before. */
export async function body<T>(answer: Promise<{ data?: T }>): Promise<T> {
  const { data } = await answer;
  return data as T;
}

/** As `ask`, with the login: what has no type in the description. */
export async function asked(path: string, init: RequestInit = {}): Promise<Response> {
  try {
    return await ask(path, { ...init, headers: { ...init.headers, authorization: `Bearer ${session.token}` } });
  } catch (thrown) {
    throw ended(refusalOf(thrown));
  }
}

/** What is no JSON: pictures, files, exports. The path is below `api/v1/`. */
export async function file(path: string, signal?: AbortSignal): Promise<Blob> {
  return (await asked(path, { signal: signal ?? null })).blob();
}

/** Lets the browser keep a file under a name. */
export async function download(path: string, name: string): Promise<void> {
  save(await file(path), name);
}

/** The same of what is here already. */
export function save(content: Blob, name: string): void {
  const url = URL.createObjectURL(content);
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  link.click();
  // The browser has begun by then; until it has, the bytes have to stay.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
