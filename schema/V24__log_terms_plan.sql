-- Most terms are rare (an id), some are in every event (a kind of stream). A page must read both in the order of the index
-- and stop at its end; a planner that expects a handful of rows for any term would read all of them and sort. So it is told
-- that terms are common: of a rare one little is read either way.
alter table log_terms alter column term set (n_distinct = 20);
