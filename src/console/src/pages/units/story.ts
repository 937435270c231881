// The events of a unit as a tree: who did something, what was answered, and what followed from it.

import type { Happened } from './types';

export interface Node {
  event: Happened;
  children: Node[];
}

/** What one request, message or follower did together. */
export interface Deed {
  key: string;
  actor: string;
  role: string;
  at: string;
  nodes: Node[];
  /** The event that led to it, where that is not part of the story: `task/17/6`. */
  because: string;
}

/** Answers of devices are no effects of what was asked in the log's own terms; that they belong together stands in `command_id`. */
const ANSWERS = ['device_command_settled', 'device_command_answered_late'];

function commandOf(event: Happened): string | undefined {
  const id = (event.data as { command_id?: unknown } | null)?.command_id;
  return typeof id === 'string' ? id : undefined;
}

export function deeds(events: Happened[]): Deed[] {
  const nodes = new Map(events.map((event) => [event.event_id, { event, children: [] } as Node]));
  const asked = new Map<string, Node>();
  for (const node of nodes.values()) {
    const command = commandOf(node.event);
    if (node.event.type === 'device_command_requested' && command) asked.set(command, node);
  }
  const found: Deed[] = [];
  const open = new Map<string, Deed>();
  for (const node of nodes.values()) {
    const { event } = node;
    const command = ANSWERS.includes(event.type) ? commandOf(event) : undefined;
    const parent = (event.causation_id ? nodes.get(event.causation_id) : undefined) ?? (command ? asked.get(command) : undefined);
    if (parent && parent !== node) {
      parent.children.push(node);
      continue;
    }
    const key = `${event.correlation_id ?? event.event_id} ${event.causation_id ?? ''}`;
    const deed = open.get(key);
    if (deed) deed.nodes.push(node);
    else {
      const made: Deed = { key: `${key} ${event.event_id}`, actor: event.actor ?? '', role: event.role ?? '', at: event.recorded_at, nodes: [node], because: event.causation_id ?? '' };
      open.set(key, made);
      found.push(made);
    }
  }
  return found;
}

const TELLING = ['reason', 'detail', 'text', 'action', 'by', 'source', 'rejection', 'failure', 'outcome', 'seen', 'disposition', 'status', 'label', 'verdict', 'word', 'decision', 'effect', 'mode', 'kind', 'name', 'target_count', 'count', 'report', 'cause', 'cloud', 'why', 'added', 'removed'];
const LONGEST = 160;

/** What an event says, in a few words; its page has all of it. */
export function said(event: Happened): string {
  const data = event.data as Record<string, unknown> | null;
  if (data === null || typeof data !== 'object') return '';
  const words = TELLING.filter((key) => data[key] !== undefined && data[key] !== null && data[key] !== '').map((key) => `${key}: ${inWords(data[key])}`);
  const text = words.join(' · ');
  return text.length > LONGEST * 2 ? `${text.slice(0, LONGEST * 2)}…` : text;
}

function inWords(value: unknown): string {
  if (typeof value === 'string') return value.length > LONGEST ? `${value.slice(0, LONGEST)}…` : value;
  if (Array.isArray(value)) return value.length > 5 ? `${value.length}` : value.map(inWords).join(', ');
  if (typeof value === 'object' && value !== null) {
    return Object.entries(value)
      .filter(([key, inner]) => inner !== null && inner !== undefined && !key.endsWith('_id') && key !== 'epoch')
      .slice(0, 4)
      .map(([key, inner]) => (typeof inner === 'object' && inner !== null && Object.keys(inner).length === 0 ? key : `${key} ${inWords(inner)}`))
      .join(', ');
  }
  return String(value);
}
