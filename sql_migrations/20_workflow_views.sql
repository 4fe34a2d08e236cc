-- For dashboards. security_invoker: whoever asks sees no more than the tables show them.

create view public.workflow_jobs_at_a_glance with (security_invoker = on) as
select
  j.id, j.user_id, j.status, j.mode, left(j.prompt, 120) as prompt_start, j.priority,
  j.progress_percentage, j.current_phase, j.attempt, j.retry_count, j.max_retries, j.worker_id,
  j.created_at, j.run_at, j.started_at, j.finished_at, j.updated_at,
  j.cancel_requested_at is not null as cancel_requested,
  extract(epoch from coalesce(j.started_at, j.finished_at, now()) - j.created_at)::double precision as waited_seconds,
  extract(epoch from coalesce(j.finished_at, now()) - j.started_at)::double precision as worked_seconds,
  jsonb_array_length(j.workflow_result -> 'nodes') as nodes, j.preview -> 'nodes' as preview_nodes,
  j.error_details ->> 'code' as error_code, left(j.error_message, 200) as error_start, j.error_message
from public.workflow_generation_jobs j;
comment on view public.workflow_jobs_at_a_glance is 'One line per job, without its large values.';

-- The newest jobs, of all or of one status, a page at a time; those of one user have workflow_jobs_of_user.
create index workflow_jobs_newest on public.workflow_generation_jobs (created_at desc, id desc);
create index workflow_jobs_newest_of_status on public.workflow_generation_jobs (status, created_at desc, id desc);

create view public.workflow_queue_health with (security_invoker = on) as
select
  waiting.pending, waiting.claimable, waiting.pending - waiting.claimable as delayed, waiting.oldest_claimable_seconds,
  working.processing, working.expired_leases, lately.completed as completed_last_hour,
  lately.failed as failed_last_hour, lately.cancelled as cancelled_last_hour, lately.p50_seconds, lately.p95_seconds,
  workers.live as live_workers, workers.idle as idle_workers
from
  (select count(*) as pending, count(*) filter (where j.run_at <= now()) as claimable,
     extract(epoch from now() - min(j.run_at) filter (where j.run_at <= now()))::double precision
       as oldest_claimable_seconds
   from public.workflow_generation_jobs j where j.status = 'pending') waiting,
  (select count(*) as processing, count(*) filter (where j.lease_expires_at <= now()) as expired_leases
   from public.workflow_generation_jobs j where j.status = 'processing') working,
  (select count(*) filter (where j.status = 'completed') as completed,
     count(*) filter (where j.status = 'failed') as failed, count(*) filter (where j.status = 'cancelled') as cancelled,
     percentile_cont(0.5) within group (order by j.duration_ms / 1000.0) as p50_seconds,
     percentile_cont(0.95) within group (order by j.duration_ms / 1000.0) as p95_seconds
   from public.workflow_generation_jobs j where j.finished_at > now() - interval '1 hour') lately,
  (select count(*) as live, count(*) filter (where w.busy_with = '{}' and w.paused_at is null) as idle
   from public.workflow_workers w
   where w.last_seen_at > now() - interval '2 minutes' and w.realtime is distinct from 'stopped') workers;
comment on view public.workflow_queue_health is 'One row: what waits, what runs, the last hour, the workers.';

-- observability holds the figures of each phase under "phases", and their sum beside it.
create view public.workflow_model_performance with (security_invoker = on) as
select
  figures.model, phase.key as phase, count(*) as calls, max(j.finished_at) as last_at,
  percentile_cont(0.5) within group (order by figures.total_time_ms) as p50_total_ms,
  percentile_cont(0.95) within group (order by figures.total_time_ms) as p95_total_ms,
  percentile_cont(0.5) within group (order by figures.time_to_first_token_ms) as p50_first_token_ms,
  avg(figures.tokens_per_second) as tokens_per_second, avg(figures.model_load_time_ms) as model_load_ms,
  sum(figures.input_tokens) as input_tokens, sum(figures.output_tokens) as output_tokens
from public.workflow_generation_jobs j
cross join lateral jsonb_each(j.observability -> 'phases') phase
cross join lateral jsonb_to_record(
  case jsonb_typeof(phase.value) when 'object' then phase.value else '{}' end) figures (
  model text, total_time_ms double precision, time_to_first_token_ms double precision,
  tokens_per_second double precision, model_load_time_ms double precision, input_tokens numeric, output_tokens numeric)
where j.finished_at is not null and jsonb_typeof(j.observability -> 'phases') = 'object' and figures.model is not null
group by figures.model, phase.key;
comment on view public.workflow_model_performance is 'Per model and phase: calls, times, tokens, of finished jobs.';

create view public.workflow_failures_by_code with (security_invoker = on) as
select
  date_trunc('day', j.finished_at) as day, j.error_details ->> 'code' as code, j.error_details ->> 'cause' as cause,
  j.error_details ->> 'phase' as phase, count(*) as jobs, max(j.finished_at) as last_at,
  (array_agg(j.id order by j.finished_at desc))[1] as last_job_id
from public.workflow_generation_jobs j
where j.status = 'failed'
group by 1, 2, 3, 4;
comment on view public.workflow_failures_by_code is 'Failed jobs per day, code, cause and phase.';

revoke all on public.workflow_jobs_at_a_glance, public.workflow_queue_health, public.workflow_model_performance,
  public.workflow_failures_by_code from public, anon, authenticated, service_role;
grant select on public.workflow_jobs_at_a_glance, public.workflow_queue_health, public.workflow_model_performance,
  public.workflow_failures_by_code to service_role;
grant select on public.workflow_jobs_at_a_glance to authenticated;
