-- What a recorder is configured with names the person at the robot, and stands in no event. Kept with the event that asks for
-- the command, deleted with the one that settles it; what is left over is deleted within a day.
create table command_params (
    command_id text primary key,
    params jsonb not null,
    created_at timestamptz not null
);
