// Asking the server. Paths, parameters and answers are typed from the server's own description (`npm run types`).

import createClient, { type Client, type Middleware } from 'openapi-fetch';

import { Refusal } from './refusal';
import type { paths } from './schema';
import { API, session } from './session.svelte';

const signed: Middleware = {
  onRequest({ request }) {
    if (session.token) request.headers.set('authorization', `Bearer ${session.token}`);
    return request;
  },
  async onResponse({ response }) {
    if (response.ok) return response;
    const refusal = await Refusal.of(response);
    // Another password than the right one, where one is asked for: the session stands.
    if (refusal.status === 401 && refusal.code !== 'login_refused') session.forget(true);
    throw refusal;
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

/** What is no JSON: pictures, files, exports. The path is below `api/v1/`. */
export async function file(path: string, signal?: AbortSignal): Promise<Blob> {
  let response: Response;
  try {
    response = await fetch(API + path, { headers: { authorization: `Bearer ${session.token}` }, credentials: 'omit', signal: signal ?? null });
  } catch (cause) {
    throw Refusal.unreachable(cause);
  }
  if (response.status === 401) session.forget(true);
  if (!response.ok) throw await Refusal.of(response);
  return response.blob();
}

/** Lets the browser keep a file under a name. */
export async function download(path: string, name: string): Promise<void> {
  const url = URL.createObjectURL(await file(path));
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  link.click();
  // The browser has begun by then; until it has, the bytes have to stay.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
