-- The history of every job, and the workers that are running.

create table public.workflow_job_events (
  id bigint generated always as identity primary key,
  job_id text not null references public.workflow_generation_jobs (id) on delete cascade,
  -- null: nothing was running (a pending job was cancelled, a finished one was started again)
  attempt integer,
  worker_id text,
  kind text not null,
  at timestamptz not null default clock_timestamp(),
  detail jsonb not null default '{}',
  constraint workflow_event_kind_known check (kind in
    ('claimed', 'completed', 'failed', 'retry', 'released', 'cancelled', 'rescued', 'cancel_requested', 'retried'))
);
comment on table public.workflow_job_events is 'Append-only history of the jobs. Never holds a prompt or a config.';
create index workflow_events_of_job on public.workflow_job_events (job_id, id);
-- Who was claimed last: bounds how often a waiting job is overtaken.
create index workflow_events_claims on public.workflow_job_events (at) where kind = 'claimed';
-- One ending per attempt, whatever happens: the database's own proof that nothing is settled twice.
create unique index workflow_events_one_ending on public.workflow_job_events (job_id, attempt)
  where kind in ('completed', 'failed', 'retry', 'released', 'cancelled', 'rescued');

create table public.workflow_workers (
  worker_id text primary key,
  hostname text,
  pid integer,
  version text,
  started_at timestamptz not null default clock_timestamp(),
  last_seen_at timestamptz not null default clock_timestamp(),
  -- +1 per heartbeat: the worker waits for its own change to come back through Realtime
  beat bigint not null default 1,
  busy_with text[] not null default '{}',
  models jsonb,
  realtime text,
  -- somebody wants its attention: a job came back to pending, or a cancel was asked for
  poked_at timestamptz,
  -- an operator wants it to claim nothing; it stays so until an operator lifts it
  paused_at timestamptz,
  info jsonb not null default '{}',
  -- also a value in a Realtime filter, so no character that means something there
  constraint workflow_worker_id_charset check (worker_id ~ '^[A-Za-z0-9_-]{1,64}$'),
  constraint workflow_worker_info_size check (pg_column_size(info) <= 65536)
);
comment on table public.workflow_workers is 'One row per running worker, written by its heartbeat.';

-- The claim calls of each worker that were carried out, newest first. Not published: it changes with every claim.
create table workflow_private.claim_keys (
  worker_id text primary key,
  keys text[] not null,
  used_at timestamptz not null default clock_timestamp()
);

alter table public.workflow_job_events enable row level security;
alter table public.workflow_workers enable row level security;
alter table workflow_private.claim_keys enable row level security;
revoke all on public.workflow_job_events, public.workflow_workers, workflow_private.claim_keys
  from public, anon, authenticated, service_role;
