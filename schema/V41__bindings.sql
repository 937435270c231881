-- Two who were bound before get their binding back, and a robot that was ever bound is not deleted.
create index stations_by_pair on stations (robot_id, data_collector_id);
