-- What the page of the HTTP face shows, for operators: one call for everything, one for a single job. What is read and
-- what is sent is bounded and found by index, so neither grows with the tables.

-- The newest failures, however many jobs went well since.
create index workflow_jobs_failed on public.workflow_generation_jobs (finished_at) where status = 'failed';

-- Counts stop at 1000. Times are given as moments, so that what has not changed is the same text.
create function workflow_private.page_queue(p_now timestamptz) returns jsonb
language sql stable set search_path = '' as $$
  select jsonb_build_object(
    'claimable', (select count(*) from (select from public.workflow_generation_jobs j
                  where j.status = 'pending' and j.run_at <= p_now limit 1000) capped),
    'delayed', (select count(*) from (select from public.workflow_generation_jobs j
                where j.status = 'pending' and j.run_at > p_now limit 1000) capped),
    'oldest_claimable_at', (select j.run_at from public.workflow_generation_jobs j
                where j.status = 'pending' and j.run_at <= p_now order by j.run_at limit 1),
    'next_run_at', (select j.run_at from public.workflow_generation_jobs j
                where j.status = 'pending' and j.run_at > p_now order by j.run_at limit 1),
    'in_work', (select count(*) from public.workflow_generation_jobs j where j.status = 'processing'),
    'expired', (select count(*) from public.workflow_generation_jobs j
                where j.status = 'processing' and j.lease_expires_at <= p_now),
    'finished_last_hour', (select count(*) from (select from public.workflow_generation_jobs j
                where j.finished_at > p_now - interval '1 hour' limit 1000) capped),
    'failed_last_hour', (select count(*) from (select from public.workflow_generation_jobs j
                where j.status = 'failed' and j.finished_at > p_now - interval '1 hour' limit 1000) capped))
$$;

-- Four lists of lines: the jobs in work, the next 20 of the queue, the newest 20 that ended, the newest 20 that failed.
create function workflow_private.page_jobs() returns jsonb
language sql stable set search_path = '' as $$
  with shown as materialized (
    (select 'in_work' as part, row_number() over (order by j.started_at, j.id) as n, j.id
     from public.workflow_generation_jobs j where j.status = 'processing' order by j.started_at, j.id limit 50)
    union all
    (select 'waiting', row_number() over (order by j.priority desc, j.fair_rank, j.created_at, j.id), j.id
     from public.workflow_generation_jobs j where j.status = 'pending'
     order by j.priority desc, j.fair_rank, j.created_at, j.id limit 20)
    union all
    (select 'finished', row_number() over (order by j.finished_at desc), j.id
     from public.workflow_generation_jobs j where j.finished_at is not null order by j.finished_at desc limit 20)
    union all
    (select 'failed', row_number() over (order by j.finished_at desc), j.id
     from public.workflow_generation_jobs j where j.status = 'failed' order by j.finished_at desc limit 20)
  ), lists as (
    select s.part, jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
      'id', j.id, 'status', j.status, 'mode', j.mode, 'prompt', left(j.prompt, 120), 'priority', nullif(j.priority, 0),
      'progress', j.progress_percentage, 'phase', j.current_phase, 'attempt', j.attempt, 'worker', j.worker_id,
      'created_at', j.created_at, 'run_at', case when j.status = 'pending' then j.run_at end,
      'started_at', j.started_at, 'finished_at', j.finished_at, 'updated_at', j.updated_at,
      'cancel_requested', nullif(j.cancel_requested_at is not null, false),
      'code', left(j.error_details ->> 'code', 60))) order by s.n) as lines
    from shown s join public.workflow_generation_jobs j on j.id = s.id group by s.part
  )
  select '{"in_work": [], "waiting": [], "finished": [], "failed": []}'
    || coalesce((select jsonb_object_agg(l.part, l.lines) from lists l), '{}')
$$;

create function workflow_private.page_workers() returns jsonb
language sql stable set search_path = '' as $$
  select coalesce(jsonb_agg(jsonb_build_object(
    'worker', w.worker_id, 'hostname', left(w.hostname, 100), 'pid', w.pid, 'version', left(w.version, 40),
    'started_at', w.started_at, 'last_seen_at', w.last_seen_at, 'state', w.state,
    'busy_with', to_jsonb(w.busy_with[1:50]), 'realtime', left(w.realtime, 40),
    'degraded', left(w.info ->> 'degraded', 300), 'concurrency', w.info -> 'concurrency',
    'model_server', left(w.info #>> '{model_server,state}', 40),
    'trouble', left(w.info #>> '{model_server,trouble,why}', 300),
    'missed_events', w.info -> 'missed_events') order by w.worker_id), '[]')
  from (select newest.*, g.state from public.workflow_workers newest
        join public.workflow_workers_at_a_glance g using (worker_id) order by newest.last_seen_at desc limit 50) w
$$;

-- The last 24 hours by the hour. Of each hour at most 500 ended jobs are counted, and its newest 12 tell the speed.
create function workflow_private.page_trends(p_now timestamptz) returns jsonb
language sql stable set search_path = '' as $$
  with hours as materialized (
    select h.n, date_trunc('hour', p_now, 'UTC') + make_interval(hours => h.n - 23) as at
    from generate_series(0, 23) h (n)
  ), counted as materialized (
    select h.n,
      (select count(*) from (select from public.workflow_generation_jobs j where j.finished_at >= h.at
         and j.finished_at < h.at + interval '1 hour' limit 500) capped) as finished,
      (select count(*) from (select from public.workflow_generation_jobs j where j.status = 'failed'
         and j.finished_at >= h.at and j.finished_at < h.at + interval '1 hour' limit 500) capped) as failed
    from hours h
  ), sample as materialized (
    select h.n, newest.seconds, newest.phases
    from hours h cross join lateral (
      select j.duration_ms / 1000.0 as seconds, j.observability -> 'phases' as phases
      from public.workflow_generation_jobs j
      where j.finished_at >= h.at and j.finished_at < h.at + interval '1 hour'
      order by j.finished_at desc limit 12) newest
  ), speeds as materialized (
    select left(figures.model, 60) as model, s.n,
      round((percentile_cont(0.5) within group (order by figures.tokens_per_second))::numeric, 1) as speed,
      count(*) as calls
    from sample s
    cross join lateral jsonb_each(case jsonb_typeof(s.phases) when 'object' then s.phases else '{}' end) phase
    cross join lateral jsonb_to_record(case jsonb_typeof(phase.value) when 'object' then phase.value else '{}' end)
      figures (model text, tokens_per_second double precision)
    where figures.model is not null and figures.tokens_per_second is not null
    group by 1, 2
  ), models as (
    select m.model, (select jsonb_agg(s.speed order by h.n) from hours h
                     left join speeds s on s.n = h.n and s.model = m.model) as speeds
    from (select s.model, sum(s.calls) as calls from speeds s group by 1 order by 2 desc, 1 limit 6) m
  ), failures as (
    select left(coalesce(f.error_details ->> 'code', '?'), 60) as code, left(f.error_details ->> 'cause', 60) as cause,
      count(*) as jobs, max(f.finished_at) as last_at, (array_agg(f.id order by f.finished_at desc))[1] as last_job
    from (select j.id, j.finished_at, j.error_details from public.workflow_generation_jobs j
          where j.status = 'failed' and j.finished_at >= (select min(h.at) from hours h)
          order by j.finished_at desc limit 200) f
    group by 1, 2 order by 3 desc, 4 desc limit 12
  )
  select jsonb_build_object(
    'since', (select min(h.at) from hours h),
    'finished', (select jsonb_agg(c.finished order by c.n) from counted c),
    'failed', (select jsonb_agg(c.failed order by c.n) from counted c),
    'median_seconds', (select round((percentile_cont(0.5) within group (order by s.seconds))::numeric, 1) from sample s),
    'models', (select coalesce(jsonb_agg(to_jsonb(m) order by m.model), '[]') from models m),
    'failures', (select coalesce(jsonb_agg(jsonb_strip_nulls(to_jsonb(f)) order by f.jobs desc, f.last_at desc), '[]')
                 from failures f))
$$;

create function public.workflow_page(p_trends boolean default true) returns jsonb
language sql stable security definer set search_path = ''
-- as for the worker's functions: statistics of a queue are always out of date
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
  select jsonb_build_object('now', now.at, 'queue', workflow_private.page_queue(now.at),
      'workers', workflow_private.page_workers())
    || workflow_private.page_jobs()
    || case when p_trends then jsonb_build_object('trends', workflow_private.page_trends(now.at)) else '{}' end
  from (select clock_timestamp() as at) now
$$;
comment on function public.workflow_page is
  'What the page of a worker shows: the queue, the workers, the newest jobs, and with p_trends the last 24 hours.';

-- One job with its history (newest 200 events), without what its user supplied in config. Null: there is none.
create function public.workflow_page_job(p_job text) returns jsonb
language sql stable security definer set search_path = '' as $$
  select jsonb_build_object(
    'id', j.id, 'status', j.status, 'mode', j.mode, 'prompt', j.prompt, 'priority', j.priority,
    'progress', j.progress_percentage, 'phase', j.current_phase, 'attempt', j.attempt, 'worker', j.worker_id,
    'retry_count', j.retry_count, 'max_retries', j.max_retries, 'created_at', j.created_at, 'run_at', j.run_at,
    'started_at', j.started_at, 'finished_at', j.finished_at, 'updated_at', j.updated_at,
    'duration_ms', j.duration_ms, 'cancel_requested', j.cancel_requested_at is not null, 'preview', j.preview,
    'log', j.progress_logs, 'observability', j.observability, 'error_message', j.error_message,
    'error_details', j.error_details, 'workflow', j.workflow_result, 'now', clock_timestamp(),
    'events', (select coalesce(jsonb_agg(jsonb_build_object('kind', e.kind, 'at', e.at, 'attempt', e.attempt,
        'worker', e.worker_id, 'detail', e.detail - 'result_sha256') order by e.id), '[]')
      from (select * from public.workflow_job_events newest where newest.job_id = j.id
            order by newest.id desc limit 200) e))
  from public.workflow_generation_jobs j where j.id = p_job
$$;
comment on function public.workflow_page_job is 'One job as the page of a worker shows it, with its history.';

revoke all on function workflow_private.page_queue, workflow_private.page_jobs, workflow_private.page_workers,
  workflow_private.page_trends from public, anon, authenticated, service_role;
revoke all on function public.workflow_page, public.workflow_page_job from public, anon, authenticated, service_role;
grant execute on function public.workflow_page, public.workflow_page_job to service_role;

notify pgrst, 'reload schema';
