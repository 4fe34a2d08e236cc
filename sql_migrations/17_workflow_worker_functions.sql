-- The whole API of the worker. Every call may be repeated, because a reply can be lost after the commit.
-- A lost race, a wrong state and an unknown id are answers, never errors.
-- A queue's statistics are always out of date. So the planner settings of claim, reconcile and heartbeat (they hold in
-- what these call, too) leave only the indexes that are in the wanted order; and a disabled plan must not wake the JIT.

-- Whether the last attempt was lost with its worker: the job may have been the end of it.
create function workflow_private.is_suspect(p_details jsonb) returns boolean
language sql immutable set search_path = '' as $$
  select coalesce(p_details #>> '{history,-1,code}' = 'LEASE_LOST', false)
$$;

-- The step that a model does next. A null in a checkpoint means that the step is to be done again.
create function workflow_private.next_step(p_checkpoint jsonb) returns text
language sql immutable set search_path = '' as $$
  select case jsonb_typeof(p_checkpoint -> 'analyze') when 'object' then 'generate' else 'analyze' end
$$;

-- The head of the queue in the order of a worker that has the model of step p_prefer loaded: within a priority, jobs
-- with that next step go first, with bounds. Nobody comes from behind the first 4 * p_how_many + 16 places; of any 32
-- jobs claimed in a row, no more than 8 overtake the same waiting job, besides those claimed at the same moment.
-- A suspect keeps its place: it overtakes nobody, and nobody overtakes it.
create function workflow_private.in_turn(p_how_many integer, p_running text[], p_prefer text, p_now timestamptz)
returns text[] language plpgsql stable set search_path = ''
-- look-ups, no hash join, also when planned for few jobs; and planned once, which costs more than all the rest
set enable_hashjoin = off set plan_cache_mode = force_generic_plan as $$
begin
  return array(
    with claims as materialized (
      select e.at, c.priority, c.fair_rank, c.created_at, c.id
      from (select k.job_id, k.at from public.workflow_job_events k
            where k.kind = 'claimed' order by k.at desc limit 32) e
      -- not a plain join: with wrong statistics all of the table is read for each of the 32
      cross join lateral (select j.* from public.workflow_generation_jobs j
                          where j.id >= e.job_id order by j.id limit 1) c
      where c.id = e.job_id
    ), head as (
      select j.id, j.priority, j.fair_rank, j.created_at, j.run_at,
        workflow_private.next_step(j.checkpoint) = p_prefer as fits,
        workflow_private.is_suspect(j.error_details) and j.id <> all (p_running) as suspect
      from public.workflow_generation_jobs j
      where j.status = 'pending' and j.run_at <= p_now
      order by j.priority desc, j.fair_rank, j.created_at, j.id
      limit 4 * p_how_many + 16
    ), counted as (
      select h.*, count(*) filter (where h.fits) over fair as nth,
        -- how many may still overtake it; null: it is one of those that overtake
        case when h.suspect then 0 when not h.fits then 8 - (
          select count(*) from claims c where c.at >= h.run_at and c.priority = h.priority
            and (c.fair_rank, c.created_at, c.id) > (h.fair_rank, h.created_at, h.id)) end as room
      from head h window fair as (partition by h.priority order by h.fair_rank, h.created_at, h.id)
    ), bounded as (
      -- goes first when nobody before it has been overtaken enough
      select c.*, c.room is null and coalesce(c.nth <= min(c.nth + c.room) over fair, true) as first
      from counted c window fair as (partition by c.priority order by c.fair_rank, c.created_at, c.id)
    )
    select b.id from bounded b order by b.priority desc, b.first desc, b.fair_rank, b.created_at, b.id);
end
$$;

-- The next claimable rows, locked. What somebody else has locked is passed over: empty only when everything is.
create function workflow_private.lock_next(p_how_many integer, p_running text[], p_prefer text, p_now timestamptz)
returns table (id text, suspect boolean) language plpgsql set search_path = '' as $$
declare
  v_turns text[];
begin
  if p_prefer is not null then
    v_turns := workflow_private.in_turn(p_how_many, p_running, p_prefer, p_now);
    return query
      select j.id, workflow_private.is_suspect(j.error_details) and j.id <> all (p_running)
      from public.workflow_generation_jobs j
      where j.id = any (v_turns) and j.run_at <= p_now
        -- pending, in words that keep the planner from walking the queue's index, which it may believe to be empty
        and j.lease_expires_at is null and j.finished_at is null
      order by array_position(v_turns, j.id)
      limit p_how_many for update skip locked;
    if found then
      return;
    end if;
  end if;
  return query
    select j.id, workflow_private.is_suspect(j.error_details) and j.id <> all (p_running)
    from public.workflow_generation_jobs j
    where j.status = 'pending' and j.run_at <= p_now
    order by j.priority desc, j.fair_rank, j.created_at, j.id
    limit p_how_many for update skip locked;
end
$$;

-- The best claimable rows, locked. A suspect is taken alone and by a worker at no other work, so that if it is poison no
-- other job loses an attempt with it again. It keeps its place: the worker takes nothing more until it is free for it.
-- Who still runs the job itself has outlived it.
create function workflow_private.lock_best(
  p_how_many integer, p_running text[], p_prefer text, p_now timestamptz, out ids text[], out alone boolean
) language plpgsql set search_path = '' as $$
declare
  v_best record;
  v_busy boolean := p_running <> '{}';
begin
  ids := '{}';
  alone := false;
  for v_best in
    select n.id, n.suspect from workflow_private.lock_next(p_how_many, p_running, p_prefer, p_now) n
  loop
    alone := v_best.suspect;
    exit when alone and v_busy;
    ids := ids || v_best.id;
    exit when alone;
    v_busy := true;
  end loop;
end
$$;

-- False when this worker has already used the key; waits for a call with it that is under way.
create function workflow_private.use_claim_key(p_worker text, p_key text) returns boolean
language plpgsql set search_path = '' as $$
begin
  insert into workflow_private.claim_keys as k (worker_id, keys) values (p_worker, array[p_key])
  on conflict (worker_id) do update
    set keys = (array[p_key] || k.keys)[1:64], used_at = clock_timestamp()
    where p_key <> all (k.keys);
  return found;
end
$$;

create function workflow_private.is_paused(p_worker text) returns boolean
language sql stable set search_path = '' as $$
  select exists (select from public.workflow_workers w where w.worker_id = p_worker and w.paused_at is not null)
$$;

-- That very job, if it is pending, also before its time; a suspect under the same rule as in lock_best.
create function workflow_private.lock_named(p_job text, p_running text[], out ids text[], out alone boolean)
language plpgsql set search_path = '' as $$
begin
  select array[j.id], workflow_private.is_suspect(j.error_details) and j.id <> all (p_running) into ids, alone
  from public.workflow_generation_jobs j where j.id = p_job and j.status = 'pending' for update skip locked;
  alone := coalesce(alone, false);
  if ids is null or (alone and p_running <> '{}') then
    ids := '{}';
  end if;
end
$$;

create function workflow_private.take(
  p_ids text[], p_worker text, p_lease_seconds integer, p_claim_key text, p_max_retries integer
) returns jsonb language plpgsql set search_path = '' as $$
declare
  v_now timestamptz := clock_timestamp();
  v_jobs jsonb;
begin
  with claimed as (
    update public.workflow_generation_jobs j set
      status = 'processing', attempt = j.attempt + 1, worker_id = p_worker, claim_key = p_claim_key, write_seq = 0,
      lease_expires_at = v_now + workflow_private.lease(p_lease_seconds),
      started_at = coalesce(j.started_at, v_now), progress_percentage = 0, preview = null,
      current_phase = case when j.checkpoint is null then 'analyze' else coalesce(j.current_phase, 'analyze') end,
      error_message = null,
      error_details = case when j.error_details ? 'history'
        then jsonb_build_object('history', j.error_details -> 'history') end,
      max_retries = case when p_max_retries is null then j.max_retries
        else least(greatest(p_max_retries, 0), 100) end,
      updated_at = v_now
    where j.id = any (p_ids)
    returning j.*
  ), noted as (
    insert into public.workflow_job_events (job_id, attempt, worker_id, kind)
    select c.id, c.attempt, p_worker, 'claimed' from claimed c
  )
  select jsonb_agg(to_jsonb(c) order by c.priority desc, c.fair_rank, c.created_at, c.id) into v_jobs from claimed c;
  return coalesce(v_jobs, '[]');
end
$$;

create function public.claim_workflow_jobs(
  p_worker text, p_how_many integer default 1, p_lease_seconds integer default 20, p_claim_key text default null,
  p_max_retries integer default null, p_job text default null, p_running text[] default '{}',
  p_prefer text default null
) returns jsonb language plpgsql security definer set search_path = ''
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off set jit = off as $$
declare
  v_ids text[];
  v_jobs jsonb;
  v_alone boolean := false;
  v_paused boolean := workflow_private.is_paused(p_worker);
  v_room integer := case when v_paused then 0 else least(greatest(coalesce(p_how_many, 1), 0), 100) end;
  v_now timestamptz;
begin
  if p_claim_key is not null and not workflow_private.use_claim_key(p_worker, p_claim_key) then
    select coalesce(jsonb_agg(to_jsonb(j) order by j.priority desc, j.fair_rank, j.created_at, j.id), '[]'),
      coalesce(bool_or(workflow_private.is_suspect(j.error_details)), false) into v_jobs, v_alone
    from public.workflow_generation_jobs j
    where j.status = 'processing' and j.worker_id = p_worker and j.claim_key = p_claim_key;
  else
    perform workflow_private.rescue_expired(100, p_worker);
    if v_room = 0 then
      v_ids := '{}';
    elsif p_job is null then
      select best.ids, best.alone into v_ids, v_alone from workflow_private.lock_best(
        v_room, coalesce(p_running, '{}'), p_prefer, clock_timestamp()) best;
    else
      select named.ids, named.alone into v_ids, v_alone
      from workflow_private.lock_named(p_job, coalesce(p_running, '{}')) named;
    end if;
    v_jobs := workflow_private.take(v_ids, p_worker, p_lease_seconds, p_claim_key, p_max_retries);
  end if;
  v_now := clock_timestamp();
  return jsonb_build_object('jobs', v_jobs, 'alone', v_alone, 'paused', v_paused, 'next_due_in', workflow_private.next_due_in(v_now),
    'more', exists (select from public.workflow_generation_jobs j where j.status = 'pending' and j.run_at <= v_now));
end
$$;
comment on function public.claim_workflow_jobs is
  'Takes the best claimable jobs for a worker. A repeat with the same worker and p_claim_key takes nothing new. '
  '"alone": the worker gets nothing more until what it has is over, because a job here may have ended its last worker. '
  'p_prefer: the next step that costs this worker no model load, analyze or generate. p_job: only that job, also before '
  'its time. "paused": an operator has paused this worker, so it gets nothing.';

create function public.renew_workflow_job(
  p_job text, p_attempt integer, p_write integer, p_lease_seconds integer default 20,
  p_progress integer default null, p_phase text default null, p_logs jsonb default null,
  p_preview jsonb default null, p_checkpoint jsonb default null, p_observability jsonb default null
) returns jsonb language plpgsql security definer set search_path = '' as $$
declare
  v_now timestamptz := clock_timestamp();
  v_cancel boolean;
begin
  update public.workflow_generation_jobs j set
    lease_expires_at = v_now + workflow_private.lease(p_lease_seconds),
    updated_at = v_now,
    (write_seq, progress_percentage, current_phase, progress_logs, preview, checkpoint, observability) = (
      -- a repeated or overtaken write only extends the lease
      select case when fresh then p_write else j.write_seq end,
        case when fresh then greatest(j.progress_percentage,
          case when p_progress > 100 then 100 else p_progress end) else j.progress_percentage end,
        case when fresh then coalesce(p_phase, j.current_phase) else j.current_phase end,
        case when fresh then workflow_private.append_logs(j.progress_logs, p_logs, v_now) else j.progress_logs end,
        case when fresh then coalesce(p_preview, j.preview) else j.preview end,
        case when fresh and p_checkpoint is not null
          then workflow_private.merge_checkpoint(j.checkpoint, p_checkpoint) else j.checkpoint end,
        case when fresh then coalesce(p_observability, j.observability) else j.observability end
      from (select coalesce(p_write, 0) > j.write_seq as fresh) w)
  where j.id = p_job and j.attempt = p_attempt and j.status = 'processing'
  returning j.cancel_requested_at is not null into v_cancel;
  return jsonb_build_object('held', v_cancel is not null, 'cancel_requested', coalesce(v_cancel, false));
end
$$;
comment on function public.renew_workflow_job is
  'One write for lease, progress, log lines, preview and checkpoint. Says whether the attempt still holds the job.';

create function public.settle_workflow_job(
  p_job text, p_attempt integer, p_outcome text, p_result jsonb default null, p_error_message text default null,
  p_error_details jsonb default null, p_retry_in double precision default 0, p_logs jsonb default null,
  p_observability jsonb default null, p_checkpoint jsonb default null
) returns boolean language plpgsql security definer set search_path = '' as $$
declare
  v_job public.workflow_generation_jobs;
  v_delay double precision := least(greatest(coalesce(p_retry_in, 0), 0), 2592000);
  v_ending text;
begin
  if p_outcome is null or p_outcome not in ('completed', 'failed', 'retry', 'released', 'cancelled') then
    return false;
  end if;
  select * into v_job from public.workflow_generation_jobs j where j.id = p_job for update;
  if v_job.status is distinct from 'processing' or v_job.attempt is distinct from p_attempt then
    return exists (select from public.workflow_job_events e where e.job_id = p_job and e.attempt = p_attempt
      and e.kind in ('completed', 'failed', 'retry', 'released', 'cancelled', 'rescued')
      and e.detail ->> 'asked' = p_outcome);
  end if;
  v_ending := workflow_private.end_attempt(v_job, p_outcome, clock_timestamp(), p_result, p_error_message,
    p_error_details, v_delay, p_logs, p_observability, p_checkpoint);
  -- also with a delay: whoever hears it claims nothing yet, but learns the deadline
  if v_ending in ('retry', 'released') then
    perform workflow_private.ring(v_ending, v_job.worker_id);
  end if;
  return true;
end
$$;
comment on function public.settle_workflow_job is
  'Ends an attempt, once. True for its holder and for a repeat of the same call; false when the job is not its own.';

create function public.reconcile_workflow_jobs(p_dry_run boolean default false, p_limit integer default 1000)
returns jsonb language plpgsql security definer set search_path = ''
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off set jit = off as $$
declare
  v_limit integer := least(greatest(coalesce(p_limit, 1000), 0), 10000);
  v_ended jsonb;
  v_now timestamptz;
begin
  if coalesce(p_dry_run, false) then
    select jsonb_object_agg(ending.name, coalesce(of_it.ids, '[]')) into v_ended
    from unnest(array['rescued', 'failed', 'cancelled']) ending (name)
    left join (
      select workflow_private.ending_of(j, 'rescued') as name, jsonb_agg(j.id) as ids
      from (select * from public.workflow_generation_jobs e
            where e.status = 'processing' and e.lease_expires_at <= clock_timestamp() limit v_limit) j
      group by 1) of_it using (name);
  else
    v_ended := workflow_private.rescue_expired(v_limit, null);
  end if;
  v_now := clock_timestamp();
  return workflow_private.backlog(v_now) || jsonb_build_object(
    'rescued', jsonb_array_length(v_ended -> 'rescued'), 'exhausted', jsonb_array_length(v_ended -> 'failed'),
    'cancelled', jsonb_array_length(v_ended -> 'cancelled'),
    'job_ids', jsonb_path_query_array((v_ended -> 'rescued') || (v_ended -> 'failed') || (v_ended -> 'cancelled'),
      '$[0 to 99]'),
    'processing', (select count(*) from public.workflow_generation_jobs j where j.status = 'processing'),
    'expired', (select count(*) from public.workflow_generation_jobs j
                where j.status = 'processing' and j.lease_expires_at <= v_now));
end
$$;
comment on function public.reconcile_workflow_jobs is
  'Takes back jobs whose lease ran out, and says what is claimable and when the next thing is due.';

create function public.heartbeat_workflow_worker(
  p_worker text, p_info jsonb default '{}', p_stopping boolean default false
) returns jsonb language plpgsql security definer set search_path = ''
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off set jit = off as $$
declare
  v_now timestamptz := clock_timestamp();
  v_info jsonb := coalesce(p_info, '{}');
  v_busy text[] := array(select jsonb_array_elements_text(
    case jsonb_typeof(p_info -> 'busy_with') when 'array' then p_info -> 'busy_with' else '[]' end));
  v_beat bigint;
begin
  if coalesce(p_stopping, false) then
    -- a pause outlives the process: the next one of this name begins paused
    delete from public.workflow_workers w where w.worker_id = p_worker and w.paused_at is null;
    update public.workflow_workers w set busy_with = '{}', realtime = 'stopped' where w.worker_id = p_worker;
  else
    insert into public.workflow_workers as w
      (worker_id, hostname, pid, version, started_at, last_seen_at, busy_with, models, realtime, info)
    values (p_worker, v_info ->> 'hostname', (v_info ->> 'pid')::integer, v_info ->> 'version', v_now, v_now, v_busy,
      v_info -> 'models', v_info ->> 'realtime',
      v_info - array['hostname', 'pid', 'version', 'busy_with', 'models', 'realtime'])
    on conflict (worker_id) do update set
      started_at = case when (w.hostname, w.pid) is distinct from (excluded.hostname, excluded.pid)
        then v_now else w.started_at end,
      hostname = excluded.hostname, pid = excluded.pid, version = excluded.version, last_seen_at = v_now,
      beat = w.beat + 1, busy_with = excluded.busy_with, models = excluded.models, realtime = excluded.realtime,
      info = excluded.info
    returning w.beat into v_beat;
  end if;
  return workflow_private.backlog(v_now) || jsonb_build_object('beat', v_beat,
    'paused', workflow_private.is_paused(p_worker), 'now', extract(epoch from clock_timestamp())::double precision);
end
$$;
comment on function public.heartbeat_workflow_worker is
  'Writes the worker''s own row and answers what is claimable, since when, when the next thing is due, and whether an '
  'operator has paused this worker.';

revoke all on function workflow_private.is_suspect, workflow_private.next_step, workflow_private.in_turn,
  workflow_private.lock_next, workflow_private.lock_best, workflow_private.use_claim_key, workflow_private.take,
  workflow_private.is_paused, workflow_private.lock_named
  from public, anon, authenticated, service_role;
revoke all on function public.claim_workflow_jobs, public.renew_workflow_job, public.settle_workflow_job,
  public.reconcile_workflow_jobs, public.heartbeat_workflow_worker from public, anon, authenticated, service_role;
grant execute on function public.claim_workflow_jobs, public.renew_workflow_job, public.settle_workflow_job,
  public.reconcile_workflow_jobs, public.heartbeat_workflow_worker to service_role;
