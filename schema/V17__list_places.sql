-- Lists are read page by page from a place in them. These two read the pages of a station's and an order's
-- batches; all other lists have an index that ends as they are ordered, or are short.
create index batches_by_station_in_order on batches (station_id, id);
create index batches_by_order_in_order on batches (order_id, id);
