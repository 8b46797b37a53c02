-- migrate:up
-- What waits to go into the stdin of commands that were started with `stdin_open`. A row a
-- command, there from its submission to its end; offsets count all of its stdin.
create table command_stdin (
    command_id  text primary key references commands on delete cascade,
    accepted    bigint not null,                -- where the next piece begins
    fed         bigint not null,                -- up to here the workspace has it
    closed      boolean not null default false,
    check (fed <= accepted)
);

create table command_input (
    command_id  text not null references command_stdin on delete cascade,
    start       bigint not null,
    data        bytea not null,
    primary key (command_id, start)
);

-- A trigger, for a command has many ways to end and none may leave its input behind.
create function forget_input() returns trigger language plpgsql as $$
begin
    delete from command_stdin where command_id = new.id;
    return null;
end
$$;

create trigger commands_forget_input after update of status on commands
    for each row
    when (new.status not in ('queued', 'running') and new.spec @> '{"stdin_open": true}')
    execute function forget_input();

-- migrate:down
drop trigger commands_forget_input on commands;
drop function forget_input;
drop table command_input;
drop table command_stdin;
