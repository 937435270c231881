-- Two who were bound before get their binding back, and who was ever bound is not deleted.
create index stations_by_pair on stations (robot_id, data_collector_id);
create index stations_by_collector on stations (data_collector_id);
