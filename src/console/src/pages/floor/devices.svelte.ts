// What robots do, as it happens: the stream of devices, which every login but a screen's may follow. Each robot is an object of its own, so
// that a change redraws its row alone; and what came is shown once a second, with the ages that grow then, however much it is.

import { Follower } from '../../lib/live.svelte';
import { session } from '../../lib/session.svelte';

interface Told {
  device_id: string;
  updated_at: string;
  recorder_connected?: boolean;
  transfer_connected?: boolean;
  current_state?: string;
  task_id?: string;
  active?: boolean;
  detail?: string;
}

export class Device {
  recorder = $state(false);
  transfer = $state(false);
  /** As the recorder says it; empty while nothing is known. */
  state = $state('');
  task = $state('');
  /** Since when it is so. */
  since = $state('');
  warning = $state('');

  tell(kind: string, told: Told): void {
    if (kind === 'device_connection') {
      const recorder = told.recorder_connected === true;
      if (recorder !== this.recorder) this.since = told.updated_at;
      this.recorder = recorder;
      this.transfer = told.transfer_connected === true;
    } else if (kind === 'recorder_state' || kind === 'recorder_syncing') {
      const state = told.current_state ?? '';
      if (state !== this.state || (told.task_id ?? '') !== this.task) this.since = told.updated_at;
      this.state = state;
      this.task = told.task_id ?? '';
    } else if (kind === 'device_warning') {
      this.warning = told.active ? (told.detail ?? '') : '';
    }
  }
}

const WAITING_MAX = 1000;

export class Devices {
  /** Replaced when a robot is heard of for the first time, and not when one changes. */
  all = $state.raw<ReadonlyMap<string, Device>>(new Map());
  /** Whether anything is known of robots yet. */
  told = $state(false);
  counts = $state.raw({ connected: 0, recording: 0, warned: 0 });

  #waiting: [kind: string, told: Told][] = [];
  /** None where the login may not hear of robots, as a screen may not. */
  #follower: Follower | undefined;

  constructor() {
    if (!session.may('GET', 'device-state/stream')) return;
    this.#follower = new Follower('device-state/stream', (message) => {
      const told = JSON.parse(message.data) as Partial<Told>;
      if (typeof told.device_id !== 'string') return;
      this.#waiting.push([message.event ?? '', told as Told]);
      // Also while nobody looks: what waits does not grow with the shift.
      if (this.#waiting.length >= WAITING_MAX) this.#take();
    });
  }

  get link() {
    return this.#follower?.state;
  }

  close(): void {
    this.#follower?.close();
  }

  /** Takes over what came since, while the page is looked at. */
  show(): void {
    if (this.#waiting.length > 0 && !document.hidden) this.#take();
  }

  #take(): void {
    this.told = true;
    const waiting = this.#waiting;
    this.#waiting = [];
    let grown: Map<string, Device> | undefined;
    for (const [kind, told] of waiting) {
      let device = (grown ?? this.all).get(told.device_id);
      if (device === undefined) {
        grown ??= new Map(this.all);
        device = new Device();
        grown.set(told.device_id, device);
      }
      device.tell(kind, told);
    }
    if (grown !== undefined) this.all = grown;
    let [connected, recording, warned] = [0, 0, 0];
    for (const device of this.all.values()) {
      if (device.recorder && device.transfer) connected += 1;
      if (device.recorder && (device.state === 'recording' || device.state === 'paused')) recording += 1;
      if (device.warning !== '') warned += 1;
    }
    this.counts = { connected, recording, warned };
  }
}
