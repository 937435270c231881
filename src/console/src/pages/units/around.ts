// What surrounds a batch or a task: asked for together, and less often than the unit itself.

import { api, body } from '../../lib/api';
import { session } from '../../lib/session.svelte';
import type { Around } from './findings';
import { MADE_BY, newest } from './log';

const ENDED = ['completed', 'cancelled', 'failed', 'recalled'];

/** `batch` names the batch and its state, where it has to be said what made it so. */
export async function around(orderId: string, stationId: string | null, batch?: { id: string; status: string }): Promise<Around> {
  const [order, station] = await Promise.all([
    body(api.GET('/api/v1/orders/{id}', { params: { path: { id: Number(orderId) } } })),
    stationId ? body(api.GET('/api/v1/stations/{id}', { params: { path: { id: Number(stationId) } } })).catch(() => undefined) : undefined,
  ]);
  const device = station?.robot_serial;
  const links =
    device && session.may('GET', 'devices/{device_id}/connection')
      ? await body(api.GET('/api/v1/devices/{device_id}/connection', { params: { path: { device_id: device } } }))
      : undefined;
  const [batchMadeBy, orderMadeBy, linkClosed] = await Promise.all([
    batch && ENDED.includes(batch.status) ? newest(`batch/${batch.id}`, MADE_BY.batch?.[batch.status] ?? []) : undefined,
    order.status === 'paused' || order.status === 'cancelled' ? newest(`order/${orderId}`, MADE_BY.order?.[order.status] ?? []) : undefined,
    links && !links.connected ? newest(`device/${device}`, ['device_link_closed']) : undefined,
  ]);
  return { order, station, links, batchMadeBy, orderMadeBy, linkClosed };
}
