// Why a task has no episode: the first reason that holds, from the nearest to its end to the furthest. docs/devices.md and
// docs/production-units.md say what follows from what; this only says it in a sentence, with the event that shows it.

import { t } from '../../texts';
import { ofStation, type Around } from './findings';
import type { Happened, Letter, Task } from './types';

export interface Answer {
  key: string;
  tone: 'good' | 'bad' | 'warn' | 'busy';
  text: string;
  /** What helps. */
  help?: string;
  event?: Happened | undefined;
}

export interface Facts {
  task: Task;
  around: Around;
  /** What is known of it from the log, oldest first; undefined where the login may not read it. */
  events: Happened[] | undefined;
  letters: Letter[];
}

const CLAIMS = ['upload_reported', 'late_upload_reported', 'damaged_upload_wanted'];
const VERDICTS = ['upload_verified', 'upload_rejected', 'late_upload_verified', 'late_upload_rejected'];

/** The newest event of some types in the task's own stream. */
export function last(events: Happened[] | undefined, id: number, types: string[]): Happened | undefined {
  return events?.findLast((event) => event.category === 'task' && event.stream_id === String(id) && types.includes(event.type));
}

export function upload(events: Happened[] | undefined, id: number) {
  const claim = last(events, id, CLAIMS);
  const verdict = last(events, id, VERDICTS);
  const judged = verdict !== undefined && (claim === undefined || verdict.sequence > claim.sequence);
  return { claim, verdict: judged ? verdict : undefined, rejected: judged && verdict.type.endsWith('_rejected') ? verdict : undefined };
}

export function why(facts: Facts): Answer {
  const { task, around, events, letters } = facts;
  const texts = t().units.why;
  const newest = (...types: string[]) => last(events, task.id, types);
  if (task.episode) return { key: 'episode', tone: 'good', text: texts.episode, event: newest('upload_verified', 'late_upload_verified') };
  const { claim, verdict, rejected } = upload(events, task.id);
  const died = letters.find((letter) => letter.subscriber === 'upload_verification' && letter.resolution === 'unresolved');
  if (died) return { key: 'died', tone: 'bad', text: texts.died(died.last_error ?? died.reason), help: texts.diedHelp, event: claim };
  // A person who ended it knew of the rejection, and said more; of what came after that, the rejection is the newest word.
  const ended = newest('task_failed_by_person');
  if (rejected && (task.status === 'uploading' || task.status === 'failed') && !(ended && ended.sequence > rejected.sequence)) {
    // The error of a task that has failed is that of its failure.
    const words = task.status === 'uploading' ? task.error_message : null;
    return { key: 'rejected', tone: 'bad', text: texts.rejected(words ?? JSON.stringify((rejected.data as { rejection?: unknown }).rejection)), help: texts.rejectedHelp, event: rejected };
  }
  if (claim && !verdict && task.status !== 'pending') return { key: 'verifying', tone: 'busy', text: texts.verifying, event: claim };
  if (task.status === 'completed') return { key: 'byHand', tone: 'warn', text: texts.byHand, event: newest('task_completed_externally') };
  if (task.status === 'cancelled') return { key: 'cancelled', tone: 'bad', text: texts.cancelled, event: around.batchMadeBy ?? around.orderMadeBy ?? newest('task_cancelled') };
  if (task.status === 'failed') return ofFailed(task, newest);
  if (task.status === 'uploading') return ofUploading(facts, newest);
  return ofBefore(facts, newest);
}

type Newest = (...types: string[]) => Happened | undefined;

function ofFailed(task: Task, newest: Newest): Answer {
  const texts = t().units.why;
  const ended = newest('task_failed_by_person', 'upload_failed');
  const reason = task.error_message ?? t().common.unknown;
  if (ended?.type === 'task_failed_by_person') return { key: 'ended', tone: 'bad', text: texts.ended(ended.actor ?? '', reason), help: texts.failedHelp, event: ended };
  return { key: 'failed', tone: 'bad', text: texts.failed(reason), help: ended ? texts.uploadFailedHelp : texts.failedHelp, event: ended };
}

function ofUploading({ task, around }: Facts, newest: Newest): Answer {
  const texts = t().units.why;
  const finished = newest('recording_finished');
  const device = around.station?.robot_serial ?? '';
  if (around.links && !around.links.transfer_connected) {
    return { key: 'uploaderAway', tone: 'bad', text: texts.uploaderAway(device), help: texts.uploaderAwayHelp, event: around.linkClosed ?? finished };
  }
  const missing = newest('upload_file_missing');
  if (missing) return { key: 'missing', tone: 'bad', text: texts.missing(task.error_message ?? ''), help: texts.missingHelp, event: missing };
  if (task.error_message) return { key: 'trouble', tone: 'warn', text: texts.trouble(task.error_message), help: texts.uploadHelp, event: finished };
  return { key: 'onItsWay', tone: 'busy', text: texts.onItsWay, help: texts.uploadHelp, event: finished };
}

function ofBefore({ task, around }: Facts, newest: Newest): Answer {
  const texts = t().units.why;
  const places = ofStation(around);
  const away = places.find(({ key }) => key === 'disconnected');
  if (task.status === 'in_progress') {
    const event = newest('recording_started');
    return away
      ? { key: 'recordingAway', tone: 'bad', text: texts.recordingAway(away.text), help: texts.recordingAwayHelp, event: around.linkClosed ?? event }
      : { key: 'recording', tone: 'busy', text: texts.recording, event };
  }
  if (around.order?.status === 'paused') return { key: 'paused', tone: 'warn', text: texts.paused, help: texts.pausedHelp, event: around.orderMadeBy };
  const place = places[0];
  if (place) return { key: place.key, tone: place.tone, text: texts.notRecorded(place.text), help: place.key === 'disconnected' ? texts.robotAwayHelp : '', event: place.event };
  if (task.status === 'ready') return { key: 'ready', tone: 'busy', text: texts.ready, event: newest('task_configured') };
  const dropped = newest('recording_abandoned');
  if (dropped) return { key: 'dropped', tone: 'warn', text: texts.dropped, event: dropped };
  return { key: 'pending', tone: 'busy', text: texts.pending, help: texts.pendingHelp, event: newest('task_created') };
}
