//! Claims outbox rows, has them delivered, settles them.
