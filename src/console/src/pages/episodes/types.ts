// What the server says of episodes, by the names of its description.

import type { components } from '../../lib/schema';

type Schemas = components['schemas'];

export type Episode = Schemas['Episode'];
export type Timeline = Schemas['Timeline'];
export type TimelineTopic = Schemas['TimelineTopic'];
export type Check = Schemas['QaCheckOfRun'];
export type Suite = Schemas['SuiteOfSite'];
export type CheckRule = Schemas['CheckRule'];
export type Copies = Schemas['Copies'];
export type Decision = Schemas['InspectionDecision'];
export type QueueItem = Schemas['InspectionItem'];
export type Certificate = Schemas['EpisodeCertificate'];
export type Salvage = Schemas['Salvage'];

export const STATUSES = ['pending_qa', 'qa_running', 'approved', 'needs_inspection', 'inspector_approved', 'rejected', 'failed'] as const;
export const SYNC_STATUSES = ['not_started', 'pending', 'in_progress', 'completed', 'failed'] as const;

/** What has a certificate, and may go to the cloud. */
export function isApproved(status: string): boolean {
  return status === 'approved' || status === 'inspector_approved';
}

/** What an inspector decides about. */
export function isOpen(status: string): boolean {
  return status === 'needs_inspection' || status === 'failed';
}
