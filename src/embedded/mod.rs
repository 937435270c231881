//! A private Postgres cluster and S3 endpoint for one-command use.
