-- The jobs: one row in, one workflow out. Insert a row here and a worker builds the workflow.
-- Everything the server controls is written by the functions of the files that follow; nobody has UPDATE or DELETE.

-- Not exposed by the API: security definer code lives here, so that nobody calls it over HTTP.
create schema workflow_private;
revoke all on schema workflow_private from public;
grant usage on schema workflow_private to authenticated, service_role;

create function workflow_private.new_job_id() returns text
language sql volatile set search_path = '' as $$
  select 'job_' || floor(extract(epoch from clock_timestamp()))::bigint
    || '_' || left(replace(gen_random_uuid()::text, '-', ''), 10)
$$;
revoke all on function workflow_private.new_job_id() from public, anon;
-- a column default runs as the one who inserts
grant execute on function workflow_private.new_job_id() to authenticated, service_role;

create table public.workflow_generation_jobs (
  id text primary key default workflow_private.new_job_id(),
  user_id uuid default auth.uid() references auth.users (id) on delete cascade,
  status text not null default 'pending',
  prompt text not null,
  mode text not null default 'create',
  current_workflow jsonb,
  execution_history jsonb default '[]',
  config jsonb default '{}',
  workflow_result jsonb,
  error_message text,
  error_details jsonb,
  progress_percentage integer default 0,
  current_phase text,
  progress_logs jsonb default '[]',
  created_at timestamptz not null default now(),
  started_at timestamptz,
  finished_at timestamptz,
  duration_ms integer,
  worker_id text,
  retry_count integer not null default 0,
  max_retries integer not null default 3,
  observability jsonb default '{}',
  updated_at timestamptz not null default now(),
  priority smallint not null default 0,
  -- the moment it becomes claimable: asked for by the user, moved on by back-off, set to now by release and rescue
  run_at timestamptz not null default now(),
  -- the fencing token: every claim raises it, renew and settle must name it
  attempt integer not null default 0,
  lease_expires_at timestamptz,
  checkpoint jsonb,
  idempotency_key text,
  cancel_requested_at timestamptz,
  preview jsonb,
  traceparent text,
  -- place in the queue among equal priorities: start-time fair queuing over users
  fair_rank bigint not null default 0,
  -- number of the last renewal of this attempt that was written
  write_seq integer not null default 0,
  -- names the claim call that took it, so that the call can be repeated
  claim_key text,

  constraint workflow_job_id_charset check (id ~ '^[A-Za-z0-9_-]{1,64}$'),
  constraint workflow_job_worker_id_charset check (worker_id ~ '^[A-Za-z0-9_-]{1,64}$'),
  constraint workflow_job_status_known check (status in ('pending', 'processing', 'completed', 'failed', 'cancelled')),
  constraint workflow_job_prompt_size check (char_length(prompt) between 1 and 20000 and prompt ~ '\S'),
  constraint workflow_job_mode_known check (mode in ('create', 'edit')),
  constraint workflow_job_edit_has_workflow check (mode <> 'edit' or current_workflow is not null),
  constraint workflow_job_json_types check (
    coalesce(jsonb_typeof(current_workflow), 'object') = 'object'
    and coalesce(jsonb_typeof(execution_history), 'array') = 'array'
    and coalesce(jsonb_typeof(config), 'object') = 'object'
    and coalesce(jsonb_typeof(workflow_result), 'object') = 'object'
    and coalesce(jsonb_typeof(error_details), 'object') = 'object'
    and coalesce(jsonb_typeof(progress_logs), 'array') = 'array'
    and coalesce(jsonb_typeof(observability), 'object') = 'object'
    and coalesce(jsonb_typeof(checkpoint), 'object') = 'object'
    and coalesce(jsonb_typeof(preview), 'object') = 'object'
  ),
  -- pg_column_size does not unpack a value that has not changed, so an update stays cheap
  constraint workflow_job_input_sizes check (
    coalesce(pg_column_size(current_workflow), 0) <= 2097152
    and coalesce(pg_column_size(execution_history), 0) <= 2097152
    and coalesce(pg_column_size(config), 0) <= 262144
  ),
  constraint workflow_job_output_sizes check (
    coalesce(pg_column_size(workflow_result), 0) <= 4194304
    and coalesce(pg_column_size(checkpoint), 0) <= 8388608
    and coalesce(pg_column_size(error_details), 0) <= 1048576
    and coalesce(pg_column_size(preview), 0) <= 262144
    and coalesce(pg_column_size(observability), 0) <= 262144
    and coalesce(char_length(error_message), 0) <= 2000
  ),
  constraint workflow_job_progress_range check (progress_percentage between 0 and 100),
  constraint workflow_job_phase_known check (current_phase in
    ('analyze', 'node_selection', 'workflow_generation', 'node_configuration', 'validation')),
  constraint workflow_job_counts check (retry_count >= 0 and max_retries between 0 and 100 and attempt >= 0),
  constraint workflow_job_priority_range check (priority between -100 and 100),
  -- an infinite or absurd time would break every computed deadline
  constraint workflow_job_run_at_range check (run_at >= '1970-01-01 00:00:00+00' and run_at < '2200-01-01 00:00:00+00'),
  constraint workflow_job_idempotency_key_size check (char_length(idempotency_key) between 1 and 200),
  constraint workflow_job_traceparent_form check (traceparent ~ '^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$'),
  -- the state machine
  constraint workflow_job_terminal_is_finished
    check ((status in ('completed', 'failed', 'cancelled')) = (finished_at is not null)),
  constraint workflow_job_processing_has_lease check ((status = 'processing') = (lease_expires_at is not null)),
  constraint workflow_job_processing_has_worker
    check (status <> 'processing' or (worker_id is not null and started_at is not null and attempt > 0)),
  constraint workflow_job_completed_has_result check ((status = 'completed') = (workflow_result is not null))
) with (fillfactor = 80);
comment on table public.workflow_generation_jobs is
  'One row per asked-for workflow. Insert a row; a worker fills workflow_result.';

alter table public.workflow_generation_jobs enable row level security;
revoke all on public.workflow_generation_jobs from public, anon, authenticated, service_role;

-- Claim order. run_at is last, so that jobs that are not due are passed over inside the index.
create index workflow_jobs_claim_order on public.workflow_generation_jobs
  (priority desc, fair_rank, created_at, id, run_at) where status = 'pending';
-- What is due, since when, and when the next one is.
create index workflow_jobs_due on public.workflow_generation_jobs (run_at) where status = 'pending';
-- The two look-ups of the fair rank: a user's last place, and everybody's first.
create index workflow_jobs_users_last_rank on public.workflow_generation_jobs
  (user_id, fair_rank) where status = 'pending';
create index workflow_jobs_first_rank on public.workflow_generation_jobs (fair_rank) where status = 'pending';
-- Leases are not indexed: jobs in work are few, and so a renewal touches no index (a HOT update).
create index workflow_jobs_in_work on public.workflow_generation_jobs
  (worker_id, claim_key) where status = 'processing';
create index workflow_jobs_finished on public.workflow_generation_jobs (finished_at) where finished_at is not null;
create index workflow_jobs_of_user on public.workflow_generation_jobs (user_id, created_at desc);
create unique index workflow_jobs_idempotency on public.workflow_generation_jobs (user_id, idempotency_key)
  nulls not distinct where idempotency_key is not null;
