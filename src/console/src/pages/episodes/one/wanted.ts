// By which rules an episode was judged: the log knows, and the certificate of an approved one; then the suite itself is asked.

import { api, body } from '../../../lib/api';
import { session } from '../../../lib/session.svelte';
import type { Suite } from '../types';

interface Judged {
  suite: string;
  version: number;
}

async function byLog(id: number, run: number): Promise<Judged | undefined> {
  if (!session.may('GET', 'events')) return undefined;
  const query = { stream: `episode/${id}`, type: 'qa_run_ended', limit: 100 };
  const { items } = (await body(api.GET('/api/v1/events', { params: { query: query as never } }))) as unknown as { items: { data: { number?: number; judgement: { suite: string; suite_version: number } } }[] };
  const ended = items.find((item) => item.data.number === run) ?? items[0];
  return ended && { suite: ended.data.judgement.suite, version: ended.data.judgement.suite_version };
}

async function byCertificate(id: number): Promise<Judged | undefined> {
  const { certificate } = await body(api.GET('/api/v1/episodes/{id}/certificate', { params: { path: { id } } }));
  const verdict = statementOf(certificate.payload).predicate.verdict;
  return verdict ? { suite: verdict.suite, version: verdict.suite_version } : undefined;
}

/** The suite of a run, where it can be known. */
export async function suiteOf(id: number, run: number, approved: boolean): Promise<Suite | undefined> {
  if (!session.may('GET', 'qa/suites/{id}')) return undefined;
  try {
    const judged = (await byLog(id, run)) ?? (approved ? await byCertificate(id) : undefined);
    if (judged === undefined) return undefined;
    const shipped = await suite('default');
    if (shipped.name === judged.suite && shipped.version === judged.version) return shipped;
    const { items } = (await body(api.GET('/api/v1/qa/suites', { params: { query: { name: judged.suite, limit: 100 } } }))) as { items: Suite[] };
    const found = items.find((item) => item.version === judged.version);
    return found && (await suite(found.id));
  } catch {
    // Limits are one column beside what was found: without them the checks are shown all the same.
    return undefined;
  }
}

const suite = (id: string) => body(api.GET('/api/v1/qa/suites/{id}', { params: { path: { id } } }));

/** What a certificate says, as far as it is shown. */
export interface Statement {
  subject?: { name: string; digest: { sha256: string } }[];
  predicate: {
    issued_at: string;
    approval: { at: string; by: string; status: string };
    people: Record<string, string | null>;
    verdict: { suite: string; suite_version: number; score_milli?: number } | null;
    log: { events: { position: number; type: string; event_id: string; recorded_at: string }[]; left_out?: { count: number } | null };
  };
}

/** The statement within an envelope; its text is UTF-8. */
export function statementOf(payload: string): Statement {
  const octets = Uint8Array.from(atob(payload), (letter) => letter.charCodeAt(0));
  return JSON.parse(new TextDecoder().decode(octets)) as Statement;
}
