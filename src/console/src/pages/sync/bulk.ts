// What many episodes are chosen by; the names are those of the routes, and of the address.

export const BULK_FILTERS = ['qa_status', 'sync_status', 'created_at_from', 'created_at_to', 'robot_device_id', 'label', 'q'] as const;
export const QA_STATES = ['approved', 'inspector_approved', 'needs_inspection', 'pending_qa', 'rejected', 'failed'];
export const SYNC_STATES = ['not_started', 'pending', 'in_progress', 'completed', 'failed'];
