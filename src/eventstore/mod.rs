//! Events: appended, loaded, put in order, never changed.
