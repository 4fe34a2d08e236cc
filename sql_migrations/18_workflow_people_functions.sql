-- What people and frontends may do with jobs. The public functions run as the caller and only pass on; the private ones
-- run as the owner and decide who is asking. Somebody else's job is "not found".

-- The service and the project's owner act on every job; everybody else on own jobs.
create function workflow_private.is_operator() returns boolean
language sql stable set search_path = '' as $$
  -- the role that was set stays visible inside security definer code, and cannot be claimed by a token's text
  select coalesce(nullif(current_setting('role', true), 'none'), session_user)
    in ('service_role', 'postgres', 'supabase_admin')
$$;

create function workflow_private.may_touch(p_job public.workflow_generation_jobs) returns boolean
language sql stable set search_path = '' as $$
  select p_job.id is not null and (workflow_private.is_operator() or coalesce(p_job.user_id = auth.uid(), false))
$$;

create function workflow_private.note(p_job public.workflow_generation_jobs, p_kind text, p_now timestamptz)
returns void language sql volatile set search_path = '' as $$
  insert into public.workflow_job_events (job_id, attempt, worker_id, kind, at)
  select p_job.id, case when p_job.status = 'processing' then p_job.attempt end,
    case when p_job.status = 'processing' then p_job.worker_id end, p_kind, p_now
$$;

create function workflow_private.answer(p_accepted boolean, p_status text) returns jsonb
language sql immutable set search_path = '' as $$
  select jsonb_build_object('found', p_status is not null, 'accepted', p_accepted, 'status', p_status)
$$;

create function workflow_private.submit_job(
  p_prompt text, p_mode text, p_current_workflow jsonb, p_execution_history jsonb, p_config jsonb, p_priority integer,
  p_run_at timestamptz, p_idempotency_key text, p_id text, p_user_id uuid, p_traceparent text
) returns jsonb language plpgsql security definer set search_path = '' as $$
declare
  v_operator boolean := workflow_private.is_operator();
  v_user uuid := case when v_operator then p_user_id else auth.uid() end;
  v_job record;
begin
  if v_user is null and not v_operator then
    raise insufficient_privilege using message = 'a signed-in user is needed to submit a job';
  end if;
  insert into public.workflow_generation_jobs
    (id, user_id, prompt, mode, current_workflow, execution_history, config, priority, run_at, idempotency_key,
      traceparent)
  values (coalesce(p_id, workflow_private.new_job_id()), v_user, p_prompt, coalesce(p_mode, 'create'),
    p_current_workflow, coalesce(p_execution_history, '[]'), coalesce(p_config, '{}'),
    least(greatest(coalesce(p_priority, 0), -100), case when v_operator then 100 else 0 end),
    coalesce(p_run_at, now()), p_idempotency_key, case when v_operator then p_traceparent end)
  on conflict do nothing
  returning id, status, true as created into v_job;
  if v_job is null then
    -- a repeat: the same id or the same key of the same user
    select j.id, j.status, false as created into v_job from public.workflow_generation_jobs j
    where j.user_id is not distinct from v_user and (j.id = p_id or j.idempotency_key = p_idempotency_key)
    order by j.id = p_id desc limit 1;
  end if;
  if v_job is null then
    raise unique_violation using message = 'this job id is taken', hint = 'choose another id, or none';
  end if;
  return jsonb_build_object('job_id', v_job.id, 'status', v_job.status, 'created', v_job.created);
end
$$;

create function workflow_private.cancel_job(p_job text) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare
  v_job public.workflow_generation_jobs;
  v_now timestamptz;
begin
  select * into v_job from public.workflow_generation_jobs j where j.id = p_job for update;
  if not workflow_private.may_touch(v_job) then
    return workflow_private.answer(false, null);
  end if;
  v_now := clock_timestamp();
  if v_job.status = 'pending' then
    update public.workflow_generation_jobs j set status = 'cancelled', cancel_requested_at = v_now, finished_at = v_now,
      -- least() passes over a null
      duration_ms = case when j.started_at is not null
        then least(extract(epoch from v_now - j.started_at) * 1000, 2147483647)::integer end,
      error_message = 'The job was cancelled.', updated_at = v_now,
      error_details = coalesce(j.error_details, '{}') || '{"code": "CANCELLED"}'
    where j.id = p_job;
    perform workflow_private.note(v_job, 'cancelled', v_now);
    return workflow_private.answer(true, 'cancelled');
  elsif v_job.status = 'processing' and v_job.cancel_requested_at is null then
    update public.workflow_generation_jobs j set cancel_requested_at = v_now, updated_at = v_now where j.id = p_job;
    perform workflow_private.poke(v_job.worker_id);
    perform workflow_private.note(v_job, 'cancel_requested', v_now);
  end if;
  return workflow_private.answer(v_job.status in ('processing', 'cancelled'), v_job.status);
end
$$;

create function workflow_private.retry_job(p_job text) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare
  v_job public.workflow_generation_jobs;
  v_now timestamptz;
begin
  select * into v_job from public.workflow_generation_jobs j where j.id = p_job for update;
  if not workflow_private.may_touch(v_job) then
    return workflow_private.answer(false, null);
  elsif v_job.status not in ('failed', 'cancelled') then
    -- accepted when it is this very call repeated
    return workflow_private.answer(v_job.status = 'pending' and coalesce((
      select e.kind = 'retried' from public.workflow_job_events e where e.job_id = p_job order by e.id desc limit 1),
      false), v_job.status);
  end if;
  v_now := clock_timestamp();
  update public.workflow_generation_jobs j set
    status = 'pending', run_at = v_now, fair_rank = workflow_private.fair_rank(j.user_id), retry_count = 0,
    started_at = null, finished_at = null, duration_ms = null, workflow_result = null, preview = null,
    error_message = null, error_details = null, progress_percentage = 0, current_phase = null,
    cancel_requested_at = null, updated_at = v_now
  where j.id = p_job;
  perform workflow_private.note(v_job, 'retried', v_now);
  perform workflow_private.ring('retried', null);
  return workflow_private.answer(true, 'pending');
end
$$;

revoke all on function workflow_private.is_operator, workflow_private.may_touch, workflow_private.note,
  workflow_private.answer, workflow_private.submit_job, workflow_private.cancel_job, workflow_private.retry_job
  from public, anon, authenticated, service_role;
grant execute on function workflow_private.submit_job, workflow_private.cancel_job, workflow_private.retry_job
  to authenticated, service_role;

create function public.submit_workflow_job(
  p_prompt text, p_mode text default 'create', p_current_workflow jsonb default null,
  p_execution_history jsonb default null, p_config jsonb default null, p_priority integer default 0,
  p_run_at timestamptz default null, p_idempotency_key text default null, p_id text default null,
  p_user_id uuid default null, p_traceparent text default null
) returns jsonb language sql volatile security invoker set search_path = '' as $$
  select workflow_private.submit_job(p_prompt, p_mode, p_current_workflow, p_execution_history, p_config, p_priority,
    p_run_at, p_idempotency_key, p_id, p_user_id, p_traceparent)
$$;
comment on function public.submit_workflow_job is
  'Asks for a workflow. A repeat with the same id or idempotency key returns the same job. '
  'p_user_id, p_traceparent: service only.';

create function public.cancel_workflow_job(p_job text) returns jsonb
language sql volatile security invoker set search_path = '' as $$ select workflow_private.cancel_job(p_job) $$;
comment on function public.cancel_workflow_job is
  'Cancels a pending job at once, and asks the worker of a running one to stop.';

create function public.retry_workflow_job(p_job text) returns jsonb
language sql volatile security invoker set search_path = '' as $$ select workflow_private.retry_job(p_job) $$;
comment on function public.retry_workflow_job is 'Starts a failed or cancelled job again, with all its retries.';

create function public.prune_workflow_jobs(p_older_than interval default '7 days', p_limit integer default 10000)
returns integer language plpgsql security definer set search_path = '' as $$
declare
  v_pruned integer;
begin
  delete from public.workflow_generation_jobs j where j.id in (
    select o.id from public.workflow_generation_jobs o
    where o.finished_at < clock_timestamp() - p_older_than
    order by o.finished_at limit p_limit for update skip locked);
  get diagnostics v_pruned = row_count;
  delete from public.workflow_workers w where w.last_seen_at < clock_timestamp() - p_older_than;
  delete from workflow_private.claim_keys k where k.used_at < clock_timestamp() - greatest(p_older_than, '1 day');
  return v_pruned;
end
$$;
comment on function public.prune_workflow_jobs is
  'Deletes jobs that finished (at most p_limit), and workers last seen, more than p_older_than ago. Answers how many.';

create function public.cleanup_old_jobs() returns integer
language sql volatile security definer set search_path = '' as $$
  select public.prune_workflow_jobs('7 days', 2147483647)
$$;
comment on function public.cleanup_old_jobs is 'Deletes all jobs that finished more than 7 days ago. Returns how many.';

revoke all on function public.submit_workflow_job, public.cancel_workflow_job, public.retry_workflow_job,
  public.prune_workflow_jobs, public.cleanup_old_jobs from public, anon, authenticated, service_role;
grant execute on function public.submit_workflow_job, public.cancel_workflow_job, public.retry_workflow_job
  to authenticated, service_role;
grant execute on function public.prune_workflow_jobs, public.cleanup_old_jobs to service_role;
