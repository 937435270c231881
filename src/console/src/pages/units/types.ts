import type { components } from '../../lib/schema';

type Schemas = components['schemas'];
export type Order = Schemas['Order'];
export type Batch = Schemas['Batch'];
export type Task = Schemas['Task'];
export type Station = Schemas['Station'];
export type Connection = Schemas['Connection'];
export type DeviceMessage = Schemas['Messages']['items'][number];
export type Letter = Schemas['Paged_DeadLetter']['items'][number];
/** An event, as the log shows it; `LogEvent` of the live tail is the same with all of its fields. */
export type Happened = Schemas['LoggedEvent'];
