-- What an attempt is made of: what is due, log lines, checkpoints, and the one place where an attempt ends.
-- Called by the functions of the next file only.

-- Seconds until the next thing is due: a back-off or delayed job, or a lease that runs out. Null: nothing is.
create function workflow_private.next_due_in(p_now timestamptz) returns double precision
language sql stable set search_path = '' as $$
  select case when due.at <= p_now then 0 else extract(epoch from due.at - p_now) end::double precision
  from (select least(
    (select j.run_at from public.workflow_generation_jobs j
     where j.status = 'pending' and j.run_at > p_now order by j.run_at limit 1),
    (select min(j.lease_expires_at) from public.workflow_generation_jobs j where j.status = 'processing')) as at) due
$$;

create function workflow_private.lease(p_seconds integer) returns interval
language sql immutable set search_path = '' as $$
  select make_interval(secs => least(greatest(coalesce(p_seconds, 20), 1), 3600))
$$;

-- What could be claimed now and since when, and what is delayed (counted up to 1000). run_at is the moment a job becomes
-- claimable. What is counted is in the order of the index of run_at, or else the planner may take any other one.
create function workflow_private.backlog(p_now timestamptz) returns jsonb
language sql stable set search_path = '' as $$
  select jsonb_build_object(
    'claimable', (select count(*) from (select from public.workflow_generation_jobs j
                  where j.status = 'pending' and j.run_at <= p_now order by j.run_at limit 1000) capped),
    'oldest_claimable_seconds', (select extract(epoch from p_now - j.run_at)::double precision
                  from public.workflow_generation_jobs j
                  where j.status = 'pending' and j.run_at <= p_now order by j.run_at limit 1),
    'delayed', (select count(*) from (select from public.workflow_generation_jobs j
                where j.status = 'pending' and j.run_at > p_now order by j.run_at limit 1000) capped),
    'next_due_in', workflow_private.next_due_in(p_now))
$$;

-- The newest 100 log entries. An entry without a timestamp gets the database's.
create function workflow_private.append_logs(p_old jsonb, p_new jsonb, p_now timestamptz) returns jsonb
language sql stable set search_path = '' as $$
  select case when p_new is null then p_old else (
    select coalesce(jsonb_agg(newest.entry order by newest.n), '[]') from (
      select both_.entry, both_.n from (
        select o.value as entry, o.ordinality as n from jsonb_array_elements(coalesce(p_old, '[]')) with ordinality o
        union all
        select jsonb_build_object(
            'timestamp', coalesce(nullif(a.value -> 'timestamp', 'null'), to_jsonb(p_now)),
            'message', left(a.value ->> 'message', 500),
            'progress', a.value -> 'progress', 'phase', a.value -> 'phase'), 1000 + a.ordinality
        from jsonb_array_elements(case jsonb_typeof(p_new) when 'array' then p_new else jsonb_build_array(p_new) end)
          with ordinality a
        where jsonb_typeof(a.value) = 'object'
      ) both_ order by both_.n desc limit 100
    ) newest) end
$$;

-- Finished phases by name; a null drops a phase whose inputs have changed.
create function workflow_private.merge_checkpoint(p_old jsonb, p_new jsonb) returns jsonb
language sql immutable set search_path = '' as $$
  select nullif((coalesce(p_old, '{}') || p_new)
    - array(select n.key from jsonb_each(p_new) n where n.value = 'null'), '{}')
$$;

-- How an attempt really ends: a wanted cancel wins over everything but a failure, and spent retries make a failure.
create function workflow_private.ending_of(p_job public.workflow_generation_jobs, p_outcome text) returns text
language sql immutable set search_path = '' as $$
  select case
    when p_job.cancel_requested_at is not null and p_outcome <> 'failed' then 'cancelled'
    when p_outcome in ('retry', 'rescued') and p_job.retry_count >= p_job.max_retries then 'failed'
    else p_outcome end
$$;

-- error_details after an ending: the given ones, who and what they are about, and the attempts before (newest 20).
create function workflow_private.details_after(
  p_job public.workflow_generation_jobs, p_outcome text, p_ending text, p_message text, p_given jsonb, p_now timestamptz
) returns jsonb language plpgsql stable set search_path = '' as $$
declare
  v_given jsonb := case jsonb_typeof(p_given) when 'object' then p_given - 'history' else '{}' end;
  v_history jsonb := coalesce(p_job.error_details -> 'history', '[]');
begin
  if p_ending = 'completed' then return null; end if;
  if p_ending = 'released' then return p_job.error_details; end if;
  if p_ending in ('retry', 'rescued') then
    v_history := v_history || jsonb_build_object(
      'attempt', p_job.attempt, 'code', v_given -> 'code', 'message', p_message, 'at', p_now);
    if jsonb_array_length(v_history) > 20 then v_history := v_history - 0; end if;
  elsif p_ending = 'cancelled' then
    v_given := jsonb_build_object('code', 'CANCELLED');
  elsif p_ending <> p_outcome then
    v_given := v_given || jsonb_build_object('code', 'ATTEMPTS_EXHAUSTED', 'cause', v_given -> 'code');
  end if;
  return jsonb_build_object('attempt', p_job.attempt) || v_given
    || case v_history when '[]' then '{}' else jsonb_build_object('history', v_history) end;
end
$$;

-- Names a result in the history without holding it, so that the audit sees whose result a job has.
create function workflow_private.digest(p_value jsonb) returns text
language sql immutable set search_path = '' as $$
  select encode(sha256(convert_to(p_value::text, 'UTF8')), 'hex')
$$;

-- Ends the running attempt of a locked row: one update, one event. Returns the ending.
create function workflow_private.end_attempt(
  p_job public.workflow_generation_jobs, p_outcome text, p_now timestamptz,
  p_result jsonb, p_message text, p_details jsonb, p_retry_in double precision, p_logs jsonb, p_observability jsonb,
  p_checkpoint jsonb
) returns text language plpgsql set search_path = '' as $$
declare
  v_ending text := workflow_private.ending_of(p_job, p_outcome);
  v_again boolean := v_ending in ('retry', 'released', 'rescued');
  v_details jsonb := workflow_private.details_after(p_job, p_outcome, v_ending, p_message, p_details, p_now);
begin
  update public.workflow_generation_jobs j set
    status = case when v_again then 'pending' else v_ending end,
    run_at = case when v_again then p_now + make_interval(secs => p_retry_in) else j.run_at end,
    retry_count = j.retry_count + (v_ending in ('retry', 'rescued'))::integer,
    finished_at = case when not v_again then p_now end,
    duration_ms = case when not v_again
      then least(extract(epoch from p_now - j.started_at) * 1000, 2147483647)::integer end,
    workflow_result = case when v_ending = 'completed' then p_result end,
    progress_percentage = case when v_ending = 'completed' then 100 else j.progress_percentage end,
    error_message = case v_ending when 'completed' then null when 'released' then j.error_message
      when 'cancelled' then 'The job was cancelled.' else left(coalesce(p_message, 'The job failed.'), 2000) end,
    error_details = v_details,
    lease_expires_at = null, claim_key = null, updated_at = p_now,
    progress_logs = workflow_private.append_logs(j.progress_logs, p_logs, p_now),
    observability = coalesce(p_observability, j.observability),
    checkpoint = case when p_checkpoint is null then j.checkpoint
      else workflow_private.merge_checkpoint(j.checkpoint, p_checkpoint) end
  where j.id = p_job.id;
  insert into public.workflow_job_events (job_id, attempt, worker_id, kind, at, detail)
  values (p_job.id, p_job.attempt, p_job.worker_id, v_ending, p_now, jsonb_strip_nulls(jsonb_build_object(
    'asked', p_outcome, 'phase', p_job.current_phase, 'retry_in', case when v_again then p_retry_in end,
    'result_sha256', case when v_ending = 'completed' then workflow_private.digest(p_result) end,
    'code', case when v_ending <> 'released' then v_details -> 'code' end, 'cause', v_details -> 'cause')));
  return v_ending;
end
$$;

-- Takes jobs back from workers that stopped renewing. Returns {"rescued": [ids], "failed": [ids], "cancelled": [ids]}.
create function workflow_private.rescue_expired(p_limit integer, p_actor text) returns jsonb
language plpgsql set search_path = '' as $$
declare
  v_job public.workflow_generation_jobs;
  v_ended jsonb := '{"rescued": [], "failed": [], "cancelled": []}';
  v_ending text;
begin
  for v_job in
    select * from public.workflow_generation_jobs j
    where j.status = 'processing' and j.lease_expires_at <= clock_timestamp()
    limit p_limit for update skip locked
  loop
    v_ending := workflow_private.end_attempt(v_job, 'rescued', clock_timestamp(), null,
      'The worker that had the job stopped answering.', '{"code": "LEASE_LOST"}', 0, null, null, null);
    v_ended := jsonb_set(v_ended, array[v_ending], (v_ended -> v_ending) || to_jsonb(v_job.id));
  end loop;
  if v_ended -> 'rescued' <> '[]' then
    perform workflow_private.ring('rescue', p_actor);
  end if;
  return v_ended;
end
$$;

revoke all on function workflow_private.next_due_in, workflow_private.lease, workflow_private.backlog,
  workflow_private.append_logs, workflow_private.merge_checkpoint, workflow_private.ending_of,
  workflow_private.details_after, workflow_private.digest, workflow_private.end_attempt,
  workflow_private.rescue_expired
  from public, anon, authenticated, service_role;
