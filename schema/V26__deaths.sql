-- The death of a delivery is an event. Letters of before are not told of.
alter table dead_letters
    -- Whether the last death stands in the letter's stream.
    add column told boolean not null default true,
    -- The event of its death could not be delivered to a subscription that wanted to know.
    add column notification_failed boolean not null default false;
alter table dead_letters alter column told set default false;
create index dead_letters_untold on dead_letters (dead_letter_id) where not told;
