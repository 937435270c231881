// What stands in the way of orders and batches. Each finding follows from what the interface says, so that it can be looked up.

import { clock } from '../../lib/clock.svelte';
import { number } from '../../lib/format';
import { href } from '../../lib/router.svelte';
import { t } from '../../texts';
import type { Batch, Connection, Happened, Order, Station } from './types';

export interface Finding {
  key: string;
  tone: 'bad' | 'warn' | 'busy';
  text: string;
  event?: Happened | undefined;
  link?: { to: string; text: string };
}

export function ofOrder(order: Order, madeBy: Happened | undefined, open: number): Finding[] {
  const texts = t().units.finding;
  const found: Finding[] = [];
  if (order.status === 'paused') found.push({ key: 'paused', tone: 'warn', text: texts.orderPaused, event: madeBy });
  if (order.status === 'cancelled') found.push({ key: 'cancelled', tone: 'bad', text: texts.orderCancelled, event: madeBy });
  if (order.status === 'completed') found.push({ key: 'completed', tone: 'busy', text: texts.orderCompleted, event: madeBy });
  if (order.status === 'created' || order.status === 'in_progress') {
    const left = order.target_count - order.task_count;
    const lost = order.failed_count + order.cancelled_count;
    if (left > 0) found.push({ key: 'undispatched', tone: 'warn', text: texts.undispatched(number(left)) });
    else if (open === 0 && lost > 0) found.push({ key: 'quota', tone: 'bad', text: texts.quotaUsed(number(lost)) });
    if (order.deadline && Date.parse(order.deadline) < clock.now()) found.push({ key: 'late', tone: 'bad', text: texts.late });
  }
  return found;
}

/** Names are as long as people made them; a sentence has place for the beginning. */
const short = (name: string) => (name.length > 60 ? `${name.slice(0, 60)}…` : name);

export interface Around {
  order?: Order | undefined;
  station?: Station | undefined;
  links?: Connection | undefined;
  batchMadeBy?: Happened | undefined;
  orderMadeBy?: Happened | undefined;
  linkClosed?: Happened | undefined;
}

/** What holds for the place where tasks are to be recorded. */
export function ofStation({ station, links, linkClosed }: Around): Finding[] {
  const texts = t().units.finding;
  const found: Finding[] = [];
  if (station === undefined) return found;
  const device = station.robot_serial ?? '';
  if (!station.is_current) {
    const to = station.superseded_by ? { to: href(['tasks'], { workstation_id: station.superseded_by }), text: texts.newBinding } : undefined;
    found.push({ key: 'superseded', tone: 'bad', text: texts.superseded(short(station.name)), ...(to ? { link: to } : {}) });
  }
  if (station.status === 'break') found.push({ key: 'break', tone: 'warn', text: texts.onBreak(short(station.name)) });
  if (links && !links.connected && device) {
    const text = links.recorder_connected ? texts.uploaderAway(device) : links.transfer_connected ? texts.recorderAway(device) : texts.robotAway(device);
    found.push({ key: 'disconnected', tone: 'bad', text, event: linkClosed });
  }
  return found;
}

export function ofBatch(batch: Batch, around: Around, uploading: number): Finding[] {
  const texts = t().units.finding;
  const found: Finding[] = [];
  if (batch.status === 'cancelled') found.push({ key: 'cancelled', tone: 'bad', text: texts.batchCancelled, event: around.batchMadeBy });
  if (batch.status === 'recalled') found.push({ key: 'recalled', tone: 'bad', text: texts.batchRecalled, event: around.batchMadeBy });
  if (batch.status === 'completed') found.push({ key: 'completed', tone: 'busy', text: texts.batchCompleted, event: around.batchMadeBy });
  if (batch.status === 'pending' || batch.status === 'active') {
    if (around.order?.status === 'paused') found.push({ key: 'orderPaused', tone: 'warn', text: texts.orderPaused, event: around.orderMadeBy });
    found.push(...ofStation(around));
  }
  if (uploading > 0) found.push({ key: 'uploading', tone: 'busy', text: texts.uploading(number(uploading)), link: { to: href(['tasks'], { status: 'uploading', workstation_id: batch.workstation_id }), text: texts.lookAtThem } });
  return found;
}
