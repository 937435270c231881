import type { components } from '../../lib/schema';

export type Snapshot = components['schemas']['ProductionSnapshot'];
export type StationCard = Snapshot['stations'][number];
export type BatchCard = Snapshot['active_batches'][number];
