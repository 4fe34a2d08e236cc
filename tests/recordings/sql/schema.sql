SELECT pg_catalog.set_config('search_path', '', false);
CREATE SCHEMA public;
ALTER SCHEMA public OWNER TO pg_database_owner;
COMMENT ON SCHEMA public IS 'standard public schema';
CREATE SCHEMA workflow_private;
ALTER SCHEMA workflow_private OWNER TO postgres;
CREATE FUNCTION public.audit_workflow_jobs(p_since timestamp with time zone DEFAULT NULL::timestamp with time zone, p_within interval DEFAULT NULL::interval, p_limit integer DEFAULT 100) RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO ''
    SET enable_nestloop TO 'off'
    SET enable_hashjoin TO 'off'
    SET jit TO 'off'
    AS $$
with since as materialized (
  select coalesce(greatest(p_since, clock_timestamp() - p_within), '-infinity') as at
), changed as materialized (
  select j.id from public.workflow_generation_jobs j where j.updated_at >= (select s.at from since s)
  union
  select e.job_id from public.workflow_job_events e where e.at >= (select s.at from since s)
), history as materialized (
  select e.id, e.job_id, e.attempt, e.worker_id, e.kind, e.at, e.detail ->> 'code' as code,
    e.detail ->> 'result_sha256' as result_sha256,
    max(e.id) filter (where e.kind <> 'cancel_requested') over earlier as before_id,
    coalesce(max(e.attempt) filter (where e.kind = 'claimed') over earlier, 0) as claimed_before,
    count(*) filter (where e.kind not in ('claimed', 'cancel_requested', 'retried'))
      over (partition by e.job_id, e.attempt order by e.id rows between unbounded preceding and 1 preceding)
      as endings_before,
    coalesce(max(e.id) filter (where e.kind = 'retried') over (partition by e.job_id), 0) as round_began
  from public.workflow_job_events e join changed c on c.id = e.job_id
  window earlier as (partition by e.job_id order by e.id rows between unbounded preceding and 1 preceding)
), judged as (
  select h.*, b.kind as before_kind, b.attempt as before_attempt, b.worker_id as before_worker,
    case h.kind
      when 'claimed' then case
        when b.kind in ('completed', 'failed', 'cancelled') then 'terminal_is_final'
        when h.attempt <= h.claimed_before then 'one_owner_per_attempt'
        when b.kind = 'claimed' then 'attempts_never_overlap'
        when h.attempt is distinct from h.claimed_before + 1 then 'attempts_are_consecutive' end
      when 'retried' then case
        when b.kind = 'completed' then 'terminal_is_final'
        when b.kind is null or b.kind not in ('failed', 'cancelled') then 'retry_follows_an_end' end
      when 'cancel_requested' then case
        when b.kind in ('completed', 'failed', 'cancelled') then 'terminal_is_final'
        when (b.kind, b.attempt, b.worker_id) is distinct from ('claimed', h.attempt, h.worker_id)
          then 'cancel_asks_the_owner' end
      else case
        when h.attempt is not null and h.endings_before > 0 then 'one_ending_per_attempt'
        when b.kind in ('completed', 'failed', 'cancelled') then 'terminal_is_final'
        -- cancelled while it waited: nobody owned it
        when h.kind = 'cancelled' and h.attempt is null and b.kind is distinct from 'claimed' then null
        when (b.kind, b.attempt, b.worker_id) is distinct from ('claimed', h.attempt, h.worker_id)
          then 'only_the_owner_ends' end
      end as rule
  from history h left join history b on b.id = h.before_id
), sums as (
  select h.job_id, max(h.id) filter (where h.kind <> 'cancel_requested') as newest_id,
    max(h.id) filter (where h.kind = 'claimed') as claim_id,
    count(*) filter (where h.kind in ('retry', 'rescued') and h.id > h.round_began) as retries
  from history h group by h.job_id
), compared as (
  select c.id as job_id, j.id is null as lost, j.status, j.attempt, j.worker_id, j.retry_count, j.lease_expires_at,
    j.run_at, j.started_at, j.finished_at, j.workflow_result, j.error_message, j.error_details, n.at, n.code,
    n.kind, n.result_sha256, coalesce(o.attempt, 0) as last_attempt, o.worker_id as last_worker,
    coalesce(s.retries, 0) as retries,
    case when n.kind = 'claimed' then 'processing' when n.kind in ('completed', 'failed', 'cancelled') then n.kind
      else 'pending' end as due_status
  from changed c
  left join public.workflow_generation_jobs j on j.id = c.id
  left join sums s on s.job_id = c.id
  left join history n on n.id = s.newest_id
  left join history o on o.id = s.claim_id
), broken as (
  select h.job_id, h.attempt, h.rule, h.id as event_id, case h.rule
    when 'terminal_is_final' then format('The job was %s, and yet it was %s afterwards.', h.before_kind, h.kind)
    when 'one_owner_per_attempt' then format('Attempt %s was claimed once more, by %s.', h.attempt, h.worker_id)
    when 'attempts_never_overlap' then
      format('Attempt %s was claimed while attempt %s had not ended.', h.attempt, h.before_attempt)
    when 'attempts_are_consecutive' then
      format('Attempt %s was claimed after attempt %s.', coalesce(h.attempt::text, 'nameless'), h.claimed_before)
    when 'retry_follows_an_end' then 'The job was started again although it had neither failed nor been cancelled.'
    when 'cancel_asks_the_owner' then
      format('A cancel was asked of attempt %s, which did not have the job.', coalesce(h.attempt::text, 'nameless'))
    when 'one_ending_per_attempt' then format('Attempt %s ended once more, as %s.', h.attempt, h.kind)
    when 'only_the_owner_ends' then format('Attempt %s, by %s, ended as %s although it did not have the job.',
      coalesce(h.attempt::text, 'nameless'), coalesce(h.worker_id, 'nobody'), h.kind) end as message
  from judged h where h.rule is not null
  union all
  select x.job_id, x.attempt, rule.name, null, case rule.name
    when 'no_job_is_lost' then 'There is a history but no job.'
    when 'status_follows_history' then format('The job is %s; by its history it is %s.', x.status, x.due_status)
    when 'attempt_follows_history' then
      format('The job counts %s attempts; by its history it had %s.', x.attempt, x.last_attempt)
    when 'worker_follows_history' then format('The job names %s as its worker; by its history it was %s.',
      coalesce(x.worker_id, 'nobody'), coalesce(x.last_worker, 'nobody'))
    when 'retries_follow_history' then
      format('The job counts %s retries; by its history it had %s.', x.retry_count, x.retries)
    when 'lease_fits_status' then format('The job is %s and its lease ends %s.', x.status,
      coalesce('at ' || x.lease_expires_at, 'never: it has none'))
    when 'pending_is_claimable' then format('The job waits until %s and nobody will ever claim it.', x.run_at)
    when 'finished_at_is_the_ending' then format('The job finished at %s; by its history it finished at %s.',
      coalesce(x.finished_at::text, 'no time'), case when x.due_status = x.kind then x.at::text else 'no time' end)
    when 'result_is_the_settled_one' then 'The workflow is not what the ending attempt wrote.'
    when 'error_is_the_settled_one' then 'The error is not what the ending attempt wrote.' end
  from compared x cross join lateral (values
    ('no_job_is_lost', x.lost),
    ('status_follows_history', x.status <> x.due_status),
    ('attempt_follows_history', x.attempt <> x.last_attempt),
    ('worker_follows_history', not x.lost and x.worker_id is distinct from x.last_worker),
    ('retries_follow_history', x.retry_count <> x.retries),
    ('lease_fits_status', (x.status = 'processing') <> (x.lease_expires_at is not null)
      or x.status = 'processing' and (x.worker_id is null or x.started_at is null
        -- longer than any lease may be: a job that nobody could ever take back
        or x.lease_expires_at > clock_timestamp() + workflow_private.lease(2147483647))),
    ('pending_is_claimable', x.status = 'pending' and not isfinite(x.run_at)),
    ('finished_at_is_the_ending',
      x.status = x.due_status and x.finished_at is distinct from case when x.status = x.kind then x.at end),
    ('result_is_the_settled_one', x.status = x.due_status and workflow_private.digest(x.workflow_result)
      is distinct from case x.status when 'completed' then x.result_sha256 end),
    ('error_is_the_settled_one', x.status = x.due_status and case x.status
      when 'completed' then x.error_message is not null or x.error_details is not null
      when 'failed' then x.error_message is null or x.error_details ->> 'code' is distinct from x.code
      when 'cancelled' then x.error_message is null or x.error_details ->> 'code' is distinct from 'CANCELLED' end)
  ) rule (name, broken) where rule.broken
)
select jsonb_build_object(
  'jobs', (select count(*) from changed),
  'attempts', (select count(*) from history h where h.kind = 'claimed'),
  'events', (select count(*) from history),
  'violation_count', (select count(*) from broken),
  'offending_jobs', (select count(distinct b.job_id) from broken b),
  'violations', (select coalesce(jsonb_agg(jsonb_build_object('job_id', v.job_id, 'attempt', v.attempt, 'rule', v.rule,
      'message', v.message) order by v.job_id, v.event_id, v.rule), '[]')
    from (select * from broken b order by b.job_id, b.event_id, b.rule
          limit least(greatest(coalesce(p_limit, 100), 0), 1000)) v))
$$;
ALTER FUNCTION public.audit_workflow_jobs(p_since timestamp with time zone, p_within interval, p_limit integer) OWNER TO postgres;
COMMENT ON FUNCTION public.audit_workflow_jobs(p_since timestamp with time zone, p_within interval, p_limit integer) IS 'Proves from the history: one owner and one ending per attempt, and each job is as its last ending left it.';
CREATE FUNCTION public.cancel_workflow_job(p_job text) RETURNS jsonb
    LANGUAGE sql
    SET search_path TO ''
    AS $$ select workflow_private.cancel_job(p_job) $$;
ALTER FUNCTION public.cancel_workflow_job(p_job text) OWNER TO postgres;
COMMENT ON FUNCTION public.cancel_workflow_job(p_job text) IS 'Cancels a pending job at once, and asks the worker of a running one to stop.';
CREATE FUNCTION public.claim_workflow_jobs(p_worker text, p_how_many integer DEFAULT 1, p_lease_seconds integer DEFAULT 20, p_claim_key text DEFAULT NULL::text, p_max_retries integer DEFAULT NULL::integer, p_job text DEFAULT NULL::text, p_running text[] DEFAULT '{}'::text[], p_prefer text DEFAULT NULL::text) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET enable_sort TO 'off'
    SET jit TO 'off'
    AS $$
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
ALTER FUNCTION public.claim_workflow_jobs(p_worker text, p_how_many integer, p_lease_seconds integer, p_claim_key text, p_max_retries integer, p_job text, p_running text[], p_prefer text) OWNER TO postgres;
COMMENT ON FUNCTION public.claim_workflow_jobs(p_worker text, p_how_many integer, p_lease_seconds integer, p_claim_key text, p_max_retries integer, p_job text, p_running text[], p_prefer text) IS 'Takes the best claimable jobs for a worker. A repeat with the same worker and p_claim_key takes nothing new. "alone": the worker gets nothing more until what it has is over, because a job here may have ended its last worker. p_prefer: the next step that costs this worker no model load, analyze or generate. p_job: only that job, also before its time. "paused": an operator has paused this worker, so it gets nothing.';
CREATE FUNCTION public.cleanup_old_jobs() RETURNS integer
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO ''
    AS $$
  select public.prune_workflow_jobs('7 days', 2147483647)
$$;
ALTER FUNCTION public.cleanup_old_jobs() OWNER TO postgres;
COMMENT ON FUNCTION public.cleanup_old_jobs() IS 'Deletes all jobs that finished more than 7 days ago. Returns how many.';
CREATE FUNCTION public.heartbeat_workflow_worker(p_worker text, p_info jsonb DEFAULT '{}'::jsonb, p_stopping boolean DEFAULT false) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET enable_sort TO 'off'
    SET jit TO 'off'
    AS $$
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
ALTER FUNCTION public.heartbeat_workflow_worker(p_worker text, p_info jsonb, p_stopping boolean) OWNER TO postgres;
COMMENT ON FUNCTION public.heartbeat_workflow_worker(p_worker text, p_info jsonb, p_stopping boolean) IS 'Writes the worker''s own row and answers what is claimable, since when, when the next thing is due, and whether an operator has paused this worker.';
CREATE FUNCTION public.inspect_workflow_schema() RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $$
  with missing as (
    select p.migration, p.kind || ' ' || p.name as part from workflow_private.schema_parts() p
    where not exists (select from workflow_private.schema_found() f where f.kind = p.kind and f.name = p.name)
  ), published (name) as (values ('public.workflow_generation_jobs'), ('public.workflow_workers')
  ), ours as (
    select c.oid, n.nspname || '.' || c.relname as name, c.relrowsecurity, c.relreplident
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    join workflow_private.schema_parts() p on p.kind = 'table' and p.name = n.nspname || '.' || c.relname
  ), rights_missing as (
    select due.* from workflow_private.rights_due() due
    -- what is not there at all is told above
    where not exists (select from missing m where m.part in ('table ' || due.object, 'view ' || due.object,
      'function ' || due.object))
    except select * from workflow_private.rights_found()
  ), rights_excess as (
    select * from workflow_private.rights_found() except select * from workflow_private.rights_due()
  )
  select jsonb_build_object(
    'now', extract(epoch from clock_timestamp())::double precision,
    'server', current_setting('server_version'),
    'version', (select max(p.migration) from workflow_private.schema_parts() p
      where p.migration < coalesce((select min(m.migration) from missing m), 2147483647)),
    'missing', (select coalesce(jsonb_agg(m.migration || ': ' || m.part order by m.migration, m.part), '[]')
      from missing m),
    'published', (select exists (select from pg_catalog.pg_publication p where p.pubname = 'supabase_realtime'
      and p.pubinsert and p.pubupdate)),
    'unpublished', (select coalesce(jsonb_agg(p.name order by p.name), '[]') from published p
      where not exists (select from pg_catalog.pg_publication_tables t
        where t.pubname = 'supabase_realtime' and t.schemaname || '.' || t.tablename = p.name)),
    'logical', current_setting('wal_level') = 'logical',
    'without_identity', (select coalesce(jsonb_agg(o.name order by o.name), '[]') from ours o
      join published p on p.name = o.name
      where o.relreplident = 'n' or o.relreplident = 'd'
        and not exists (select from pg_catalog.pg_index i where i.indrelid = o.oid and i.indisprimary)),
    'rights_missing', (select coalesce(jsonb_agg(format('%s %s on %s', r.grantee, r.privilege, r.object)
      order by r.object, r.grantee, r.privilege), '[]') from rights_missing r),
    'rights_excess', (select coalesce(jsonb_agg(format('%s %s on %s', r.grantee, r.privilege, r.object)
      order by r.object, r.grantee, r.privilege), '[]') from rights_excess r),
    'open_tables', (select coalesce(jsonb_agg(o.name order by o.name), '[]') from ours o where not o.relrowsecurity),
    'foreign_policies', (select coalesce(jsonb_agg(p.polname order by p.polname), '[]')
      from pg_catalog.pg_policy p join ours o on o.oid = p.polrelid
      where not exists (select from workflow_private.schema_parts() s where s.kind = 'policy' and s.name = p.polname)),
    'bypasses_rls', (select r.rolbypassrls from pg_catalog.pg_roles r where r.rolname = 'service_role'),
    'invalid_indexes', (select coalesce(jsonb_agg(i.indexrelid::regclass::text order by i.indexrelid), '[]')
      from pg_catalog.pg_index i join ours o on o.oid = i.indrelid where not (i.indisvalid and i.indisready)),
    'broadcasts', (select exists (select from pg_catalog.pg_proc p
      join pg_catalog.pg_namespace n on n.oid = p.pronamespace
      where n.nspname = 'realtime' and p.proname = 'send' and p.pronargs = 4)),
    -- a Supabase project whose disk is full is set to read only
    'read_only', current_setting('default_transaction_read_only') = 'on' or pg_is_in_recovery(),
    'bytes', pg_database_size(current_database()))
$$;
ALTER FUNCTION public.inspect_workflow_schema() OWNER TO postgres;
COMMENT ON FUNCTION public.inspect_workflow_schema() IS 'What is missing, open or wrong in the database of the workflow jobs, by its own catalogue. Changes nothing.';
CREATE FUNCTION public.pause_workflow_workers(p_worker text, p_paused boolean) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_workers text[];
  v_now timestamptz := clock_timestamp();
begin
  with changed as (
    update public.workflow_workers w set poked_at = v_now,
      paused_at = case when p_paused then coalesce(w.paused_at, v_now) end
    where w.worker_id in (
      -- in order, so that two such calls never wait for each other
      select l.worker_id from public.workflow_workers l where p_worker is null or l.worker_id = p_worker
      order by l.worker_id for update)
    returning w.worker_id
  )
  select coalesce(array_agg(c.worker_id order by c.worker_id), '{}') into v_workers from changed c;
  perform workflow_private.broadcast('worker_poke', jsonb_build_object('worker_id', w.id))
  from unnest(v_workers) w (id);
  return jsonb_build_object('paused', p_paused, 'workers', v_workers);
end
$$;
ALTER FUNCTION public.pause_workflow_workers(p_worker text, p_paused boolean) OWNER TO postgres;
COMMENT ON FUNCTION public.pause_workflow_workers(p_worker text, p_paused boolean) IS 'Pauses a worker, or all that have a row when p_worker is null; or resumes. Answers which there were. May be repeated.';
CREATE FUNCTION public.prune_workflow_jobs(p_older_than interval DEFAULT '7 days'::interval, p_limit integer DEFAULT 10000, p_dry_run boolean DEFAULT false) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_pruned integer;
begin
  if p_dry_run then
    return (select count(*) from (
      select from public.workflow_generation_jobs o
      where o.finished_at < clock_timestamp() - p_older_than limit p_limit) old);
  end if;
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
ALTER FUNCTION public.prune_workflow_jobs(p_older_than interval, p_limit integer, p_dry_run boolean) OWNER TO postgres;
COMMENT ON FUNCTION public.prune_workflow_jobs(p_older_than interval, p_limit integer, p_dry_run boolean) IS 'Deletes jobs (at most p_limit) that finished, and workers last seen, that long ago. p_dry_run only counts the jobs.';
CREATE FUNCTION public.reconcile_workflow_jobs(p_dry_run boolean DEFAULT false, p_limit integer DEFAULT 1000) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET enable_sort TO 'off'
    SET jit TO 'off'
    AS $_$
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
$_$;
ALTER FUNCTION public.reconcile_workflow_jobs(p_dry_run boolean, p_limit integer) OWNER TO postgres;
COMMENT ON FUNCTION public.reconcile_workflow_jobs(p_dry_run boolean, p_limit integer) IS 'Takes back jobs whose lease ran out, and says what is claimable and when the next thing is due.';
CREATE FUNCTION public.renew_workflow_job(p_job text, p_attempt integer, p_write integer, p_lease_seconds integer DEFAULT 20, p_progress integer DEFAULT NULL::integer, p_phase text DEFAULT NULL::text, p_logs jsonb DEFAULT NULL::jsonb, p_preview jsonb DEFAULT NULL::jsonb, p_checkpoint jsonb DEFAULT NULL::jsonb, p_observability jsonb DEFAULT NULL::jsonb) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
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
ALTER FUNCTION public.renew_workflow_job(p_job text, p_attempt integer, p_write integer, p_lease_seconds integer, p_progress integer, p_phase text, p_logs jsonb, p_preview jsonb, p_checkpoint jsonb, p_observability jsonb) OWNER TO postgres;
COMMENT ON FUNCTION public.renew_workflow_job(p_job text, p_attempt integer, p_write integer, p_lease_seconds integer, p_progress integer, p_phase text, p_logs jsonb, p_preview jsonb, p_checkpoint jsonb, p_observability jsonb) IS 'One write for lease, progress, log lines, preview and checkpoint. Says whether the attempt still holds the job.';
CREATE FUNCTION public.retry_workflow_job(p_job text) RETURNS jsonb
    LANGUAGE sql
    SET search_path TO ''
    AS $$ select workflow_private.retry_job(p_job) $$;
ALTER FUNCTION public.retry_workflow_job(p_job text) OWNER TO postgres;
COMMENT ON FUNCTION public.retry_workflow_job(p_job text) IS 'Starts a failed or cancelled job again, with all its retries.';
CREATE FUNCTION public.settle_workflow_job(p_job text, p_attempt integer, p_outcome text, p_result jsonb DEFAULT NULL::jsonb, p_error_message text DEFAULT NULL::text, p_error_details jsonb DEFAULT NULL::jsonb, p_retry_in double precision DEFAULT 0, p_logs jsonb DEFAULT NULL::jsonb, p_observability jsonb DEFAULT NULL::jsonb, p_checkpoint jsonb DEFAULT NULL::jsonb) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
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
ALTER FUNCTION public.settle_workflow_job(p_job text, p_attempt integer, p_outcome text, p_result jsonb, p_error_message text, p_error_details jsonb, p_retry_in double precision, p_logs jsonb, p_observability jsonb, p_checkpoint jsonb) OWNER TO postgres;
COMMENT ON FUNCTION public.settle_workflow_job(p_job text, p_attempt integer, p_outcome text, p_result jsonb, p_error_message text, p_error_details jsonb, p_retry_in double precision, p_logs jsonb, p_observability jsonb, p_checkpoint jsonb) IS 'Ends an attempt, once. True for its holder and for a repeat of the same call; false when the job is not its own.';
CREATE FUNCTION public.submit_workflow_job(p_prompt text, p_mode text DEFAULT 'create'::text, p_current_workflow jsonb DEFAULT NULL::jsonb, p_execution_history jsonb DEFAULT NULL::jsonb, p_config jsonb DEFAULT NULL::jsonb, p_priority integer DEFAULT 0, p_run_at timestamp with time zone DEFAULT NULL::timestamp with time zone, p_idempotency_key text DEFAULT NULL::text, p_id text DEFAULT NULL::text, p_user_id uuid DEFAULT NULL::uuid, p_traceparent text DEFAULT NULL::text) RETURNS jsonb
    LANGUAGE sql
    SET search_path TO ''
    AS $$
  select workflow_private.submit_job(p_prompt, p_mode, p_current_workflow, p_execution_history, p_config, p_priority,
    p_run_at, p_idempotency_key, p_id, p_user_id, p_traceparent)
$$;
ALTER FUNCTION public.submit_workflow_job(p_prompt text, p_mode text, p_current_workflow jsonb, p_execution_history jsonb, p_config jsonb, p_priority integer, p_run_at timestamp with time zone, p_idempotency_key text, p_id text, p_user_id uuid, p_traceparent text) OWNER TO postgres;
COMMENT ON FUNCTION public.submit_workflow_job(p_prompt text, p_mode text, p_current_workflow jsonb, p_execution_history jsonb, p_config jsonb, p_priority integer, p_run_at timestamp with time zone, p_idempotency_key text, p_id text, p_user_id uuid, p_traceparent text) IS 'Asks for a workflow. A repeat with the same id or idempotency key returns the same job. p_user_id, p_traceparent: service only.';
CREATE FUNCTION public.workflow_page(p_trends boolean DEFAULT true) RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET jit TO 'off'
    AS $$
  select jsonb_build_object('now', now.at, 'queue', workflow_private.page_queue(now.at),
      'workers', workflow_private.page_workers())
    || workflow_private.page_jobs()
    || case when p_trends then jsonb_build_object('trends', workflow_private.page_trends(now.at)) else '{}' end
  from (select clock_timestamp() as at) now
$$;
ALTER FUNCTION public.workflow_page(p_trends boolean) OWNER TO postgres;
COMMENT ON FUNCTION public.workflow_page(p_trends boolean) IS 'What the page of a worker shows: the queue, the workers, the newest jobs, and with p_trends the last 24 hours.';
CREATE FUNCTION public.workflow_page_job(p_job text) RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $$
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
ALTER FUNCTION public.workflow_page_job(p_job text) OWNER TO postgres;
COMMENT ON FUNCTION public.workflow_page_job(p_job text) IS 'One job as the page of a worker shows it, with its history.';
CREATE FUNCTION workflow_private.after_jobs_insert() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
begin
  if exists (select from inserted) then
    -- the first of a long list wake whoever there is; all the others are announced by postgres_changes
    perform workflow_private.broadcast('job_pending', jsonb_build_object('reason', 'insert',
      'jobs', (select jsonb_agg(i.id) from (select n.id from inserted n limit 100) i)));
  end if;
  return null;
end
$$;
ALTER FUNCTION workflow_private.after_jobs_insert() OWNER TO postgres;
CREATE FUNCTION workflow_private.answer(p_accepted boolean, p_status text) RETURNS jsonb
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $$
  select jsonb_build_object('found', p_status is not null, 'accepted', p_accepted, 'status', p_status)
$$;
ALTER FUNCTION workflow_private.answer(p_accepted boolean, p_status text) OWNER TO postgres;
CREATE FUNCTION workflow_private.append_logs(p_old jsonb, p_new jsonb, p_now timestamp with time zone) RETURNS jsonb
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $$
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
ALTER FUNCTION workflow_private.append_logs(p_old jsonb, p_new jsonb, p_now timestamp with time zone) OWNER TO postgres;
CREATE FUNCTION workflow_private.backlog(p_now timestamp with time zone) RETURNS jsonb
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $$
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
ALTER FUNCTION workflow_private.backlog(p_now timestamp with time zone) OWNER TO postgres;
CREATE FUNCTION workflow_private.before_job_insert() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
begin
  -- here and not as a check: the inputs never change again, and a check would walk them at every renewal
  if not (workflow_private.readable(new.current_workflow) and workflow_private.readable(new.execution_history)
      and workflow_private.readable(new.config)) then
    raise exception 'current_workflow, execution_history or config is nested deeper than 63 levels '
      'or holds a number beyond 1e308'
      using errcode = '23514', constraint = 'workflow_job_json_readable', table = 'workflow_generation_jobs';
  end if;
  new.fair_rank := workflow_private.fair_rank(new.user_id);
  new.run_at := greatest(new.run_at, new.created_at);
  return new;
end
$$;
ALTER FUNCTION workflow_private.before_job_insert() OWNER TO postgres;
CREATE FUNCTION workflow_private.broadcast(p_event text, p_payload jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
begin
  if to_regprocedure('realtime.send(jsonb,text,text,boolean)') is not null then
    perform realtime.send(p_payload, p_event, 'workflow_jobs', true);
  end if;
exception when others then
  raise warning 'workflow doorbell did not ring: %', sqlerrm;
end
$$;
ALTER FUNCTION workflow_private.broadcast(p_event text, p_payload jsonb) OWNER TO postgres;
CREATE FUNCTION workflow_private.cancel_job(p_job text) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
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
ALTER FUNCTION workflow_private.cancel_job(p_job text) OWNER TO postgres;
CREATE FUNCTION workflow_private.new_job_id() RETURNS text
    LANGUAGE sql
    SET search_path TO ''
    AS $$
  select 'job_' || floor(extract(epoch from clock_timestamp()))::bigint
    || '_' || left(replace(gen_random_uuid()::text, '-', ''), 10)
$$;
ALTER FUNCTION workflow_private.new_job_id() OWNER TO postgres;
CREATE TABLE public.workflow_generation_jobs (
    id text DEFAULT workflow_private.new_job_id() NOT NULL,
    user_id uuid DEFAULT auth.uid(),
    status text DEFAULT 'pending'::text NOT NULL,
    prompt text NOT NULL,
    mode text DEFAULT 'create'::text NOT NULL,
    current_workflow jsonb,
    execution_history jsonb DEFAULT '[]'::jsonb,
    config jsonb DEFAULT '{}'::jsonb,
    workflow_result jsonb,
    error_message text,
    error_details jsonb,
    progress_percentage integer DEFAULT 0,
    current_phase text,
    progress_logs jsonb DEFAULT '[]'::jsonb,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    started_at timestamp with time zone,
    finished_at timestamp with time zone,
    duration_ms integer,
    worker_id text,
    retry_count integer DEFAULT 0 NOT NULL,
    max_retries integer DEFAULT 3 NOT NULL,
    observability jsonb DEFAULT '{}'::jsonb,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    priority smallint DEFAULT 0 NOT NULL,
    run_at timestamp with time zone DEFAULT now() NOT NULL,
    attempt integer DEFAULT 0 NOT NULL,
    lease_expires_at timestamp with time zone,
    checkpoint jsonb,
    idempotency_key text,
    cancel_requested_at timestamp with time zone,
    preview jsonb,
    traceparent text,
    fair_rank bigint DEFAULT 0 NOT NULL,
    write_seq integer DEFAULT 0 NOT NULL,
    claim_key text,
    CONSTRAINT workflow_job_completed_has_result CHECK (((status = 'completed'::text) = (workflow_result IS NOT NULL))),
    CONSTRAINT workflow_job_counts CHECK (((retry_count >= 0) AND ((max_retries >= 0) AND (max_retries <= 100)) AND (attempt >= 0))),
    CONSTRAINT workflow_job_edit_has_workflow CHECK (((mode <> 'edit'::text) OR (current_workflow IS NOT NULL))),
    CONSTRAINT workflow_job_id_charset CHECK ((id ~ '^[A-Za-z0-9_-]{1,64}$'::text)),
    CONSTRAINT workflow_job_idempotency_key_size CHECK (((char_length(idempotency_key) >= 1) AND (char_length(idempotency_key) <= 200))),
    CONSTRAINT workflow_job_input_sizes CHECK (((COALESCE(pg_column_size(current_workflow), 0) <= 2097152) AND (COALESCE(pg_column_size(execution_history), 0) <= 2097152) AND (COALESCE(pg_column_size(config), 0) <= 262144))),
    CONSTRAINT workflow_job_json_types CHECK (((COALESCE(jsonb_typeof(current_workflow), 'object'::text) = 'object'::text) AND (COALESCE(jsonb_typeof(execution_history), 'array'::text) = 'array'::text) AND (COALESCE(jsonb_typeof(config), 'object'::text) = 'object'::text) AND (COALESCE(jsonb_typeof(workflow_result), 'object'::text) = 'object'::text) AND (COALESCE(jsonb_typeof(error_details), 'object'::text) = 'object'::text) AND (COALESCE(jsonb_typeof(progress_logs), 'array'::text) = 'array'::text) AND (COALESCE(jsonb_typeof(observability), 'object'::text) = 'object'::text) AND (COALESCE(jsonb_typeof(checkpoint), 'object'::text) = 'object'::text) AND (COALESCE(jsonb_typeof(preview), 'object'::text) = 'object'::text))),
    CONSTRAINT workflow_job_mode_known CHECK ((mode = ANY (ARRAY['create'::text, 'edit'::text]))),
    CONSTRAINT workflow_job_output_sizes CHECK (((COALESCE(pg_column_size(workflow_result), 0) <= 4194304) AND (COALESCE(pg_column_size(checkpoint), 0) <= 8388608) AND (COALESCE(pg_column_size(error_details), 0) <= 1048576) AND (COALESCE(pg_column_size(preview), 0) <= 262144) AND (COALESCE(pg_column_size(observability), 0) <= 262144) AND (COALESCE(char_length(error_message), 0) <= 2000))),
    CONSTRAINT workflow_job_phase_known CHECK ((current_phase = ANY (ARRAY['analyze'::text, 'node_selection'::text, 'workflow_generation'::text, 'node_configuration'::text, 'validation'::text]))),
    CONSTRAINT workflow_job_priority_range CHECK (((priority >= '-100'::integer) AND (priority <= 100))),
    CONSTRAINT workflow_job_processing_has_lease CHECK (((status = 'processing'::text) = (lease_expires_at IS NOT NULL))),
    CONSTRAINT workflow_job_processing_has_worker CHECK (((status <> 'processing'::text) OR ((worker_id IS NOT NULL) AND (started_at IS NOT NULL) AND (attempt > 0)))),
    CONSTRAINT workflow_job_progress_range CHECK (((progress_percentage >= 0) AND (progress_percentage <= 100))),
    CONSTRAINT workflow_job_prompt_size CHECK ((((char_length(prompt) >= 1) AND (char_length(prompt) <= 20000)) AND (prompt ~ '\S'::text))),
    CONSTRAINT workflow_job_run_at_range CHECK (((run_at >= '1970-01-01 00:00:00+00'::timestamp with time zone) AND (run_at < '2200-01-01 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT workflow_job_status_known CHECK ((status = ANY (ARRAY['pending'::text, 'processing'::text, 'completed'::text, 'failed'::text, 'cancelled'::text]))),
    CONSTRAINT workflow_job_terminal_is_finished CHECK (((status = ANY (ARRAY['completed'::text, 'failed'::text, 'cancelled'::text])) = (finished_at IS NOT NULL))),
    CONSTRAINT workflow_job_traceparent_form CHECK ((traceparent ~ '^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$'::text)),
    CONSTRAINT workflow_job_worker_id_charset CHECK ((worker_id ~ '^[A-Za-z0-9_-]{1,64}$'::text))
)
WITH (fillfactor='80');
ALTER TABLE public.workflow_generation_jobs OWNER TO postgres;
COMMENT ON TABLE public.workflow_generation_jobs IS 'One row per asked-for workflow. Insert a row; a worker fills workflow_result.';
CREATE FUNCTION workflow_private.details_after(p_job public.workflow_generation_jobs, p_outcome text, p_ending text, p_message text, p_given jsonb, p_now timestamp with time zone) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
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
ALTER FUNCTION workflow_private.details_after(p_job public.workflow_generation_jobs, p_outcome text, p_ending text, p_message text, p_given jsonb, p_now timestamp with time zone) OWNER TO postgres;
CREATE FUNCTION workflow_private.digest(p_value jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $$
  select encode(sha256(convert_to(p_value::text, 'UTF8')), 'hex')
$$;
ALTER FUNCTION workflow_private.digest(p_value jsonb) OWNER TO postgres;
CREATE FUNCTION workflow_private.end_attempt(p_job public.workflow_generation_jobs, p_outcome text, p_now timestamp with time zone, p_result jsonb, p_message text, p_details jsonb, p_retry_in double precision, p_logs jsonb, p_observability jsonb, p_checkpoint jsonb) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
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
ALTER FUNCTION workflow_private.end_attempt(p_job public.workflow_generation_jobs, p_outcome text, p_now timestamp with time zone, p_result jsonb, p_message text, p_details jsonb, p_retry_in double precision, p_logs jsonb, p_observability jsonb, p_checkpoint jsonb) OWNER TO postgres;
CREATE FUNCTION workflow_private.ending_of(p_job public.workflow_generation_jobs, p_outcome text) RETURNS text
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $$
  select case
    when p_job.cancel_requested_at is not null and p_outcome <> 'failed' then 'cancelled'
    when p_outcome in ('retry', 'rescued') and p_job.retry_count >= p_job.max_retries then 'failed'
    else p_outcome end
$$;
ALTER FUNCTION workflow_private.ending_of(p_job public.workflow_generation_jobs, p_outcome text) OWNER TO postgres;
CREATE FUNCTION workflow_private.fair_rank(p_user uuid) RETURNS bigint
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET enable_sort TO 'off'
    SET jit TO 'off'
    AS $$
  -- not before everybody's first, and behind this user's own last
  select greatest(
    coalesce((select j.fair_rank from public.workflow_generation_jobs j where j.status = 'pending'
              order by j.fair_rank limit 1), 0),
    coalesce(case when p_user is null
      then (select j.fair_rank + 1 from public.workflow_generation_jobs j where j.status = 'pending'
            and j.user_id is null order by j.fair_rank desc limit 1)
      else (select j.fair_rank + 1 from public.workflow_generation_jobs j where j.status = 'pending'
            and j.user_id = p_user order by j.fair_rank desc limit 1)
      end, 0))
$$;
ALTER FUNCTION workflow_private.fair_rank(p_user uuid) OWNER TO postgres;
CREATE FUNCTION workflow_private.in_turn(p_how_many integer, p_running text[], p_prefer text, p_now timestamp with time zone) RETURNS text[]
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    SET enable_hashjoin TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
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
ALTER FUNCTION workflow_private.in_turn(p_how_many integer, p_running text[], p_prefer text, p_now timestamp with time zone) OWNER TO postgres;
CREATE FUNCTION workflow_private.is_operator() RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $$
  -- the role that was set stays visible inside security definer code, and cannot be claimed by a token's text
  select coalesce(nullif(current_setting('role', true), 'none'), session_user)
    in ('service_role', 'postgres', 'supabase_admin')
$$;
ALTER FUNCTION workflow_private.is_operator() OWNER TO postgres;
CREATE FUNCTION workflow_private.is_paused(p_worker text) RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $$
  select exists (select from public.workflow_workers w where w.worker_id = p_worker and w.paused_at is not null)
$$;
ALTER FUNCTION workflow_private.is_paused(p_worker text) OWNER TO postgres;
CREATE FUNCTION workflow_private.is_suspect(p_details jsonb) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $$
  select coalesce(p_details #>> '{history,-1,code}' = 'LEASE_LOST', false)
$$;
ALTER FUNCTION workflow_private.is_suspect(p_details jsonb) OWNER TO postgres;
CREATE FUNCTION workflow_private.lease(p_seconds integer) RETURNS interval
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $$
  select make_interval(secs => least(greatest(coalesce(p_seconds, 20), 1), 3600))
$$;
ALTER FUNCTION workflow_private.lease(p_seconds integer) OWNER TO postgres;
CREATE FUNCTION workflow_private.lock_best(p_how_many integer, p_running text[], p_prefer text, p_now timestamp with time zone, OUT ids text[], OUT alone boolean) RETURNS record
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
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
ALTER FUNCTION workflow_private.lock_best(p_how_many integer, p_running text[], p_prefer text, p_now timestamp with time zone, OUT ids text[], OUT alone boolean) OWNER TO postgres;
CREATE FUNCTION workflow_private.lock_named(p_job text, p_running text[], OUT ids text[], OUT alone boolean) RETURNS record
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
begin
  select array[j.id], workflow_private.is_suspect(j.error_details) and j.id <> all (p_running) into ids, alone
  from public.workflow_generation_jobs j where j.id = p_job and j.status = 'pending' for update skip locked;
  alone := coalesce(alone, false);
  if ids is null or (alone and p_running <> '{}') then
    ids := '{}';
  end if;
end
$$;
ALTER FUNCTION workflow_private.lock_named(p_job text, p_running text[], OUT ids text[], OUT alone boolean) OWNER TO postgres;
CREATE FUNCTION workflow_private.lock_next(p_how_many integer, p_running text[], p_prefer text, p_now timestamp with time zone) RETURNS TABLE(id text, suspect boolean)
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
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
ALTER FUNCTION workflow_private.lock_next(p_how_many integer, p_running text[], p_prefer text, p_now timestamp with time zone) OWNER TO postgres;
CREATE FUNCTION workflow_private.may_touch(p_job public.workflow_generation_jobs) RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $$
  select p_job.id is not null and (workflow_private.is_operator() or coalesce(p_job.user_id = auth.uid(), false))
$$;
ALTER FUNCTION workflow_private.may_touch(p_job public.workflow_generation_jobs) OWNER TO postgres;
CREATE FUNCTION workflow_private.merge_checkpoint(p_old jsonb, p_new jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $$
  select nullif((coalesce(p_old, '{}') || p_new)
    - array(select n.key from jsonb_each(p_new) n where n.value = 'null'), '{}')
$$;
ALTER FUNCTION workflow_private.merge_checkpoint(p_old jsonb, p_new jsonb) OWNER TO postgres;
CREATE FUNCTION workflow_private.next_due_in(p_now timestamp with time zone) RETURNS double precision
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $$
  select case when due.at <= p_now then 0 else extract(epoch from due.at - p_now) end::double precision
  from (select least(
    (select j.run_at from public.workflow_generation_jobs j
     where j.status = 'pending' and j.run_at > p_now order by j.run_at limit 1),
    (select min(j.lease_expires_at) from public.workflow_generation_jobs j where j.status = 'processing')) as at) due
$$;
ALTER FUNCTION workflow_private.next_due_in(p_now timestamp with time zone) OWNER TO postgres;
CREATE FUNCTION workflow_private.next_step(p_checkpoint jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $$
  select case jsonb_typeof(p_checkpoint -> 'analyze') when 'object' then 'generate' else 'analyze' end
$$;
ALTER FUNCTION workflow_private.next_step(p_checkpoint jsonb) OWNER TO postgres;
CREATE FUNCTION workflow_private.note(p_job public.workflow_generation_jobs, p_kind text, p_now timestamp with time zone) RETURNS void
    LANGUAGE sql
    SET search_path TO ''
    AS $$
  insert into public.workflow_job_events (job_id, attempt, worker_id, kind, at)
  select p_job.id, case when p_job.status = 'processing' then p_job.attempt end,
    case when p_job.status = 'processing' then p_job.worker_id end, p_kind, p_now
$$;
ALTER FUNCTION workflow_private.note(p_job public.workflow_generation_jobs, p_kind text, p_now timestamp with time zone) OWNER TO postgres;
CREATE FUNCTION workflow_private.page_jobs() RETURNS jsonb
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $$
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
ALTER FUNCTION workflow_private.page_jobs() OWNER TO postgres;
CREATE FUNCTION workflow_private.page_queue(p_now timestamp with time zone) RETURNS jsonb
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $$
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
ALTER FUNCTION workflow_private.page_queue(p_now timestamp with time zone) OWNER TO postgres;
CREATE FUNCTION workflow_private.page_trends(p_now timestamp with time zone) RETURNS jsonb
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $$
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
ALTER FUNCTION workflow_private.page_trends(p_now timestamp with time zone) OWNER TO postgres;
CREATE FUNCTION workflow_private.page_workers() RETURNS jsonb
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $$
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
ALTER FUNCTION workflow_private.page_workers() OWNER TO postgres;
CREATE FUNCTION workflow_private.poke(p_worker text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
begin
  update public.workflow_workers w set poked_at = clock_timestamp() where w.worker_id = p_worker;
  perform workflow_private.broadcast('worker_poke', jsonb_build_object('worker_id', p_worker));
end
$$;
ALTER FUNCTION workflow_private.poke(p_worker text) OWNER TO postgres;
CREATE FUNCTION workflow_private.readable(p_value jsonb) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $_$
  select p_value is null or not (jsonb_path_exists(p_value, 'lax $.**{64}')
    or jsonb_path_exists(p_value, 'lax $.** ? (@.type() == "number" && (@ > 1e308 || @ < -1e308))'))
$_$;
ALTER FUNCTION workflow_private.readable(p_value jsonb) OWNER TO postgres;
CREATE FUNCTION workflow_private.rescue_expired(p_limit integer, p_actor text) RETURNS jsonb
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
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
ALTER FUNCTION workflow_private.rescue_expired(p_limit integer, p_actor text) OWNER TO postgres;
CREATE FUNCTION workflow_private.retry_job(p_job text) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
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
ALTER FUNCTION workflow_private.retry_job(p_job text) OWNER TO postgres;
CREATE FUNCTION workflow_private.rights_due() RETURNS TABLE(grantee text, privilege text, object text)
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $$
  select due.grantee, due.privilege, unnest(due.objects) from (values
    ('authenticated', 'SELECT', array['public.workflow_generation_jobs', 'public.workflow_jobs_at_a_glance']),
    ('authenticated', 'INSERT', array['public.workflow_generation_jobs']),
    ('service_role', 'SELECT', array['public.workflow_generation_jobs', 'public.workflow_workers',
      'public.workflow_job_events', 'public.workflow_jobs_at_a_glance', 'public.workflow_queue_health',
      'public.workflow_model_performance', 'public.workflow_failures_by_code', 'public.workflow_workers_at_a_glance']),
    ('service_role', 'INSERT', array['public.workflow_generation_jobs']),
    ('authenticated', 'EXECUTE', array['workflow_private.new_job_id/0', 'workflow_private.submit_job/11',
      'workflow_private.cancel_job/1', 'workflow_private.retry_job/1', 'public.submit_workflow_job/11',
      'public.cancel_workflow_job/1', 'public.retry_workflow_job/1']),
    ('service_role', 'EXECUTE', array['workflow_private.new_job_id/0', 'workflow_private.submit_job/11',
      'workflow_private.cancel_job/1', 'workflow_private.retry_job/1'])
  ) due (grantee, privilege, objects)
  union all
  select 'service_role', 'EXECUTE', p.name from workflow_private.schema_parts() p
  where p.kind = 'function' and p.name like 'public.%'
$$;
ALTER FUNCTION workflow_private.rights_due() OWNER TO postgres;
CREATE FUNCTION workflow_private.rights_found() RETURNS TABLE(grantee text, privilege text, object text)
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $$
  with relation as (
    select c.oid, n.nspname || '.' || c.relname as name
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    join workflow_private.schema_parts() p on p.name = n.nspname || '.' || c.relname and p.kind in ('table', 'view')
  ), function as (
    select f.oid, p.name
    from pg_catalog.pg_proc f join pg_catalog.pg_namespace n on n.oid = f.pronamespace
    join workflow_private.schema_parts() p
      on p.name = n.nspname || '.' || f.proname || '/' || f.pronargs and p.kind = 'function'
  ), role (name) as (values ('anon'), ('authenticated'), ('service_role'))
  select role.name, can.privilege, relation.name
  from relation cross join role cross join (values ('SELECT'), ('INSERT'), ('UPDATE')) can (privilege)
  where has_any_column_privilege(role.name::name, relation.oid, can.privilege)
  union all
  select role.name, can.privilege, relation.name
  from relation cross join role cross join (values ('DELETE'), ('TRUNCATE')) can (privilege)
  where has_table_privilege(role.name::name, relation.oid, can.privilege)
  union all
  select role.name, 'EXECUTE', function.name from function cross join role
  where has_function_privilege(role.name::name, function.oid, 'EXECUTE')
$$;
ALTER FUNCTION workflow_private.rights_found() OWNER TO postgres;
CREATE FUNCTION workflow_private.ring(p_reason text, p_not_worker text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
begin
  update public.workflow_workers w set poked_at = clock_timestamp()
  where w.worker_id in (
    select l.worker_id from public.workflow_workers l
    where l.last_seen_at > clock_timestamp() - interval '2 minutes' and l.worker_id is distinct from p_not_worker
    for update skip locked);
  perform workflow_private.broadcast('job_pending', jsonb_build_object('reason', p_reason));
end
$$;
ALTER FUNCTION workflow_private.ring(p_reason text, p_not_worker text) OWNER TO postgres;
CREATE FUNCTION workflow_private.schema_found() RETURNS TABLE(kind text, name text)
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $$
  select case c.relkind when 'v' then 'view' when 'i' then 'index' else 'table' end, n.nspname || '.' || c.relname
  from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where n.nspname in ('public', 'workflow_private') and c.relkind in ('r', 'p', 'v', 'i')
  union all
  select 'function', n.nspname || '.' || p.proname || '/' || p.pronargs
  from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
  where n.nspname in ('public', 'workflow_private')
  union all
  select 'trigger', t.tgname from pg_catalog.pg_trigger t
  where t.tgrelid = to_regclass('public.workflow_generation_jobs') and not t.tgisinternal and t.tgenabled <> 'D'
  union all
  select 'policy', p.polname from pg_catalog.pg_policy p
  where p.polrelid = to_regclass('public.workflow_generation_jobs')
$$;
ALTER FUNCTION workflow_private.schema_found() OWNER TO postgres;
CREATE FUNCTION workflow_private.schema_parts() RETURNS TABLE(migration integer, kind text, name text)
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $$
  select part.migration, part.kind, unnest(part.names) from (values
    (13, 'table', array['public.workflow_generation_jobs']),
    (13, 'function', array['workflow_private.new_job_id/0']),
    (13, 'index', array['public.workflow_jobs_claim_order', 'public.workflow_jobs_due',
      'public.workflow_jobs_users_last_rank', 'public.workflow_jobs_first_rank', 'public.workflow_jobs_in_work',
      'public.workflow_jobs_finished', 'public.workflow_jobs_of_user', 'public.workflow_jobs_idempotency']),
    (14, 'table', array['public.workflow_job_events', 'public.workflow_workers', 'workflow_private.claim_keys']),
    (14, 'index', array['public.workflow_events_of_job', 'public.workflow_events_claims',
      'public.workflow_events_one_ending']),
    (15, 'function', array['workflow_private.fair_rank/1', 'workflow_private.readable/1',
      'workflow_private.before_job_insert/0', 'workflow_private.broadcast/2', 'workflow_private.after_jobs_insert/0',
      'workflow_private.ring/2', 'workflow_private.poke/1']),
    (15, 'trigger', array['workflow_job_takes_its_place', 'workflow_jobs_ring_the_doorbell']),
    (16, 'function', array['workflow_private.next_due_in/1', 'workflow_private.lease/1', 'workflow_private.backlog/1',
      'workflow_private.append_logs/3', 'workflow_private.merge_checkpoint/2', 'workflow_private.ending_of/2',
      'workflow_private.details_after/6', 'workflow_private.digest/1', 'workflow_private.end_attempt/10',
      'workflow_private.rescue_expired/2']),
    (17, 'function', array['workflow_private.is_paused/1', 'workflow_private.lock_named/2',
      'workflow_private.is_suspect/1', 'workflow_private.next_step/1',
      'workflow_private.in_turn/4', 'workflow_private.lock_next/4', 'workflow_private.lock_best/4',
      'workflow_private.use_claim_key/2', 'workflow_private.take/5', 'public.claim_workflow_jobs/8',
      'public.renew_workflow_job/10', 'public.settle_workflow_job/10', 'public.reconcile_workflow_jobs/2',
      'public.heartbeat_workflow_worker/3']),
    (18, 'function', array['workflow_private.is_operator/0', 'workflow_private.may_touch/1', 'workflow_private.note/3',
      'workflow_private.answer/2', 'workflow_private.submit_job/11', 'workflow_private.cancel_job/1',
      'workflow_private.retry_job/1', 'public.submit_workflow_job/11', 'public.cancel_workflow_job/1',
      'public.retry_workflow_job/1', 'public.prune_workflow_jobs/3', 'public.cleanup_old_jobs/0']),
    (19, 'policy', array['users see their own jobs', 'users insert their own jobs, not ahead of others']),
    (20, 'view', array['public.workflow_jobs_at_a_glance', 'public.workflow_queue_health',
      'public.workflow_model_performance', 'public.workflow_failures_by_code']),
    (20, 'index', array['public.workflow_jobs_newest', 'public.workflow_jobs_newest_of_status']),
    (21, 'function', array['public.audit_workflow_jobs/3']),
    (22, 'function', array['public.pause_workflow_workers/2']),
    (22, 'view', array['public.workflow_workers_at_a_glance']),
    (23, 'index', array['public.workflow_jobs_failed']),
    (23, 'function', array['workflow_private.page_queue/1', 'workflow_private.page_jobs/0',
      'workflow_private.page_workers/0', 'workflow_private.page_trends/1', 'public.workflow_page/1',
      'public.workflow_page_job/1']),
    (24, 'function', array['workflow_private.schema_parts/0', 'workflow_private.schema_found/0',
      'workflow_private.rights_due/0', 'workflow_private.rights_found/0', 'public.inspect_workflow_schema/0'])
  ) part (migration, kind, names)
$$;
ALTER FUNCTION workflow_private.schema_parts() OWNER TO postgres;
CREATE FUNCTION workflow_private.submit_job(p_prompt text, p_mode text, p_current_workflow jsonb, p_execution_history jsonb, p_config jsonb, p_priority integer, p_run_at timestamp with time zone, p_idempotency_key text, p_id text, p_user_id uuid, p_traceparent text) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
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
ALTER FUNCTION workflow_private.submit_job(p_prompt text, p_mode text, p_current_workflow jsonb, p_execution_history jsonb, p_config jsonb, p_priority integer, p_run_at timestamp with time zone, p_idempotency_key text, p_id text, p_user_id uuid, p_traceparent text) OWNER TO postgres;
CREATE FUNCTION workflow_private.take(p_ids text[], p_worker text, p_lease_seconds integer, p_claim_key text, p_max_retries integer) RETURNS jsonb
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
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
ALTER FUNCTION workflow_private.take(p_ids text[], p_worker text, p_lease_seconds integer, p_claim_key text, p_max_retries integer) OWNER TO postgres;
CREATE FUNCTION workflow_private.use_claim_key(p_worker text, p_key text) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
begin
  insert into workflow_private.claim_keys as k (worker_id, keys) values (p_worker, array[p_key])
  on conflict (worker_id) do update
    set keys = (array[p_key] || k.keys)[1:64], used_at = clock_timestamp()
    where p_key <> all (k.keys);
  return found;
end
$$;
ALTER FUNCTION workflow_private.use_claim_key(p_worker text, p_key text) OWNER TO postgres;
CREATE VIEW public.workflow_failures_by_code WITH (security_invoker='on') AS
 SELECT date_trunc('day'::text, finished_at) AS day,
    (error_details ->> 'code'::text) AS code,
    (error_details ->> 'cause'::text) AS cause,
    (error_details ->> 'phase'::text) AS phase,
    count(*) AS jobs,
    max(finished_at) AS last_at,
    (array_agg(id ORDER BY finished_at DESC))[1] AS last_job_id
   FROM public.workflow_generation_jobs j
  WHERE (status = 'failed'::text)
  GROUP BY (date_trunc('day'::text, finished_at)), (error_details ->> 'code'::text), (error_details ->> 'cause'::text), (error_details ->> 'phase'::text);
ALTER VIEW public.workflow_failures_by_code OWNER TO postgres;
COMMENT ON VIEW public.workflow_failures_by_code IS 'Failed jobs per day, code, cause and phase.';
CREATE TABLE public.workflow_job_events (
    id bigint NOT NULL,
    job_id text NOT NULL,
    attempt integer,
    worker_id text,
    kind text NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    detail jsonb DEFAULT '{}'::jsonb NOT NULL,
    CONSTRAINT workflow_event_kind_known CHECK ((kind = ANY (ARRAY['claimed'::text, 'completed'::text, 'failed'::text, 'retry'::text, 'released'::text, 'cancelled'::text, 'rescued'::text, 'cancel_requested'::text, 'retried'::text])))
);
ALTER TABLE public.workflow_job_events OWNER TO postgres;
COMMENT ON TABLE public.workflow_job_events IS 'Append-only history of the jobs. Never holds a prompt or a config.';
ALTER TABLE public.workflow_job_events ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.workflow_job_events_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE VIEW public.workflow_jobs_at_a_glance WITH (security_invoker='on') AS
 SELECT id,
    user_id,
    status,
    mode,
    "left"(prompt, 120) AS prompt_start,
    priority,
    progress_percentage,
    current_phase,
    attempt,
    retry_count,
    max_retries,
    worker_id,
    created_at,
    run_at,
    started_at,
    finished_at,
    updated_at,
    (cancel_requested_at IS NOT NULL) AS cancel_requested,
    (EXTRACT(epoch FROM (COALESCE(started_at, finished_at, now()) - created_at)))::double precision AS waited_seconds,
    (EXTRACT(epoch FROM (COALESCE(finished_at, now()) - started_at)))::double precision AS worked_seconds,
    jsonb_array_length((workflow_result -> 'nodes'::text)) AS nodes,
    (preview -> 'nodes'::text) AS preview_nodes,
    (error_details ->> 'code'::text) AS error_code,
    "left"(error_message, 200) AS error_start,
    error_message
   FROM public.workflow_generation_jobs j;
ALTER VIEW public.workflow_jobs_at_a_glance OWNER TO postgres;
COMMENT ON VIEW public.workflow_jobs_at_a_glance IS 'One line per job, without its large values.';
CREATE VIEW public.workflow_model_performance WITH (security_invoker='on') AS
 SELECT figures.model,
    phase.key AS phase,
    count(*) AS calls,
    max(j.finished_at) AS last_at,
    percentile_cont((0.5)::double precision) WITHIN GROUP (ORDER BY figures.total_time_ms) AS p50_total_ms,
    percentile_cont((0.95)::double precision) WITHIN GROUP (ORDER BY figures.total_time_ms) AS p95_total_ms,
    percentile_cont((0.5)::double precision) WITHIN GROUP (ORDER BY figures.time_to_first_token_ms) AS p50_first_token_ms,
    avg(figures.tokens_per_second) AS tokens_per_second,
    avg(figures.model_load_time_ms) AS model_load_ms,
    sum(figures.input_tokens) AS input_tokens,
    sum(figures.output_tokens) AS output_tokens
   FROM ((public.workflow_generation_jobs j
     CROSS JOIN LATERAL jsonb_each((j.observability -> 'phases'::text)) phase(key, value))
     CROSS JOIN LATERAL jsonb_to_record(
        CASE jsonb_typeof(phase.value)
            WHEN 'object'::text THEN phase.value
            ELSE '{}'::jsonb
        END) figures(model text, total_time_ms double precision, time_to_first_token_ms double precision, tokens_per_second double precision, model_load_time_ms double precision, input_tokens numeric, output_tokens numeric))
  WHERE ((j.finished_at IS NOT NULL) AND (jsonb_typeof((j.observability -> 'phases'::text)) = 'object'::text) AND (figures.model IS NOT NULL))
  GROUP BY figures.model, phase.key;
ALTER VIEW public.workflow_model_performance OWNER TO postgres;
COMMENT ON VIEW public.workflow_model_performance IS 'Per model and phase: calls, times, tokens, of finished jobs.';
CREATE TABLE public.workflow_workers (
    worker_id text NOT NULL,
    hostname text,
    pid integer,
    version text,
    started_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    last_seen_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    beat bigint DEFAULT 1 NOT NULL,
    busy_with text[] DEFAULT '{}'::text[] NOT NULL,
    models jsonb,
    realtime text,
    poked_at timestamp with time zone,
    paused_at timestamp with time zone,
    info jsonb DEFAULT '{}'::jsonb NOT NULL,
    CONSTRAINT workflow_worker_id_charset CHECK ((worker_id ~ '^[A-Za-z0-9_-]{1,64}$'::text)),
    CONSTRAINT workflow_worker_info_size CHECK ((pg_column_size(info) <= 65536))
);
ALTER TABLE public.workflow_workers OWNER TO postgres;
COMMENT ON TABLE public.workflow_workers IS 'One row per running worker, written by its heartbeat.';
CREATE VIEW public.workflow_queue_health WITH (security_invoker='on') AS
 SELECT waiting.pending,
    waiting.claimable,
    (waiting.pending - waiting.claimable) AS delayed,
    waiting.oldest_claimable_seconds,
    working.processing,
    working.expired_leases,
    lately.completed AS completed_last_hour,
    lately.failed AS failed_last_hour,
    lately.cancelled AS cancelled_last_hour,
    lately.p50_seconds,
    lately.p95_seconds,
    workers.live AS live_workers,
    workers.idle AS idle_workers
   FROM ( SELECT count(*) AS pending,
            count(*) FILTER (WHERE (j.run_at <= now())) AS claimable,
            (EXTRACT(epoch FROM (now() - min(j.run_at) FILTER (WHERE (j.run_at <= now())))))::double precision AS oldest_claimable_seconds
           FROM public.workflow_generation_jobs j
          WHERE (j.status = 'pending'::text)) waiting,
    ( SELECT count(*) AS processing,
            count(*) FILTER (WHERE (j.lease_expires_at <= now())) AS expired_leases
           FROM public.workflow_generation_jobs j
          WHERE (j.status = 'processing'::text)) working,
    ( SELECT count(*) FILTER (WHERE (j.status = 'completed'::text)) AS completed,
            count(*) FILTER (WHERE (j.status = 'failed'::text)) AS failed,
            count(*) FILTER (WHERE (j.status = 'cancelled'::text)) AS cancelled,
            percentile_cont((0.5)::double precision) WITHIN GROUP (ORDER BY ((((j.duration_ms)::numeric / 1000.0))::double precision)) AS p50_seconds,
            percentile_cont((0.95)::double precision) WITHIN GROUP (ORDER BY ((((j.duration_ms)::numeric / 1000.0))::double precision)) AS p95_seconds
           FROM public.workflow_generation_jobs j
          WHERE (j.finished_at > (now() - '01:00:00'::interval))) lately,
    ( SELECT count(*) AS live,
            count(*) FILTER (WHERE ((w.busy_with = '{}'::text[]) AND (w.paused_at IS NULL))) AS idle
           FROM public.workflow_workers w
          WHERE ((w.last_seen_at > (now() - '00:02:00'::interval)) AND (w.realtime IS DISTINCT FROM 'stopped'::text))) workers;
ALTER VIEW public.workflow_queue_health OWNER TO postgres;
COMMENT ON VIEW public.workflow_queue_health IS 'One row: what waits, what runs, the last hour, the workers.';
CREATE VIEW public.workflow_workers_at_a_glance WITH (security_invoker='on') AS
 SELECT worker_id,
        CASE
            WHEN ((last_seen_at <= (now() - '00:02:00'::interval)) OR (realtime = 'stopped'::text)) THEN 'away'::text
            WHEN ((paused_at IS NOT NULL) AND (busy_with <> '{}'::text[])) THEN 'pausing'::text
            WHEN (paused_at IS NOT NULL) THEN 'paused'::text
            WHEN (busy_with <> '{}'::text[]) THEN 'busy'::text
            ELSE 'idle'::text
        END AS state,
    paused_at,
    busy_with,
    realtime,
    ((info -> 'model_server'::text) ->> 'state'::text) AS model_server,
    hostname,
    pid,
    version,
    started_at,
    last_seen_at,
    (EXTRACT(epoch FROM (now() - last_seen_at)))::double precision AS seen_seconds_ago,
    models,
    (info -> 'health'::text) AS health,
    ((info ->> 'heartbeat_seconds'::text))::double precision AS heartbeat_seconds
   FROM public.workflow_workers w;
ALTER VIEW public.workflow_workers_at_a_glance OWNER TO postgres;
COMMENT ON VIEW public.workflow_workers_at_a_glance IS 'One line per worker: what it does now. away: no heartbeat for 2 minutes.';
CREATE TABLE workflow_private.claim_keys (
    worker_id text NOT NULL,
    keys text[] NOT NULL,
    used_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);
ALTER TABLE workflow_private.claim_keys OWNER TO postgres;
ALTER TABLE ONLY public.workflow_generation_jobs
    ADD CONSTRAINT workflow_generation_jobs_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.workflow_job_events
    ADD CONSTRAINT workflow_job_events_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.workflow_workers
    ADD CONSTRAINT workflow_workers_pkey PRIMARY KEY (worker_id);
ALTER TABLE ONLY workflow_private.claim_keys
    ADD CONSTRAINT claim_keys_pkey PRIMARY KEY (worker_id);
CREATE INDEX workflow_events_claims ON public.workflow_job_events USING btree (at) WHERE (kind = 'claimed'::text);
CREATE INDEX workflow_events_of_job ON public.workflow_job_events USING btree (job_id, id);
CREATE UNIQUE INDEX workflow_events_one_ending ON public.workflow_job_events USING btree (job_id, attempt) WHERE (kind = ANY (ARRAY['completed'::text, 'failed'::text, 'retry'::text, 'released'::text, 'cancelled'::text, 'rescued'::text]));
CREATE INDEX workflow_jobs_claim_order ON public.workflow_generation_jobs USING btree (priority DESC, fair_rank, created_at, id, run_at) WHERE (status = 'pending'::text);
CREATE INDEX workflow_jobs_due ON public.workflow_generation_jobs USING btree (run_at) WHERE (status = 'pending'::text);
CREATE INDEX workflow_jobs_failed ON public.workflow_generation_jobs USING btree (finished_at) WHERE (status = 'failed'::text);
CREATE INDEX workflow_jobs_finished ON public.workflow_generation_jobs USING btree (finished_at) WHERE (finished_at IS NOT NULL);
CREATE INDEX workflow_jobs_first_rank ON public.workflow_generation_jobs USING btree (fair_rank) WHERE (status = 'pending'::text);
CREATE UNIQUE INDEX workflow_jobs_idempotency ON public.workflow_generation_jobs USING btree (user_id, idempotency_key) NULLS NOT DISTINCT WHERE (idempotency_key IS NOT NULL);
CREATE INDEX workflow_jobs_in_work ON public.workflow_generation_jobs USING btree (worker_id, claim_key) WHERE (status = 'processing'::text);
CREATE INDEX workflow_jobs_newest ON public.workflow_generation_jobs USING btree (created_at DESC, id DESC);
CREATE INDEX workflow_jobs_newest_of_status ON public.workflow_generation_jobs USING btree (status, created_at DESC, id DESC);
CREATE INDEX workflow_jobs_of_user ON public.workflow_generation_jobs USING btree (user_id, created_at DESC);
CREATE INDEX workflow_jobs_users_last_rank ON public.workflow_generation_jobs USING btree (user_id, fair_rank) WHERE (status = 'pending'::text);
CREATE TRIGGER workflow_job_takes_its_place BEFORE INSERT ON public.workflow_generation_jobs FOR EACH ROW EXECUTE FUNCTION workflow_private.before_job_insert();
CREATE TRIGGER workflow_jobs_ring_the_doorbell AFTER INSERT ON public.workflow_generation_jobs REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT EXECUTE FUNCTION workflow_private.after_jobs_insert();
ALTER TABLE ONLY public.workflow_generation_jobs
    ADD CONSTRAINT workflow_generation_jobs_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.workflow_job_events
    ADD CONSTRAINT workflow_job_events_job_id_fkey FOREIGN KEY (job_id) REFERENCES public.workflow_generation_jobs(id) ON DELETE CASCADE;
CREATE POLICY "users insert their own jobs, not ahead of others" ON public.workflow_generation_jobs FOR INSERT TO authenticated WITH CHECK (((user_id = ( SELECT auth.uid() AS uid)) AND (priority <= 0)));
CREATE POLICY "users see their own jobs" ON public.workflow_generation_jobs FOR SELECT TO authenticated USING ((user_id = ( SELECT auth.uid() AS uid)));
ALTER TABLE public.workflow_generation_jobs ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.workflow_job_events ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.workflow_workers ENABLE ROW LEVEL SECURITY;
ALTER TABLE workflow_private.claim_keys ENABLE ROW LEVEL SECURITY;
GRANT USAGE ON SCHEMA public TO anon;
GRANT USAGE ON SCHEMA public TO authenticated;
GRANT USAGE ON SCHEMA public TO service_role;
GRANT ALL ON SCHEMA public TO postgres;
GRANT USAGE ON SCHEMA workflow_private TO authenticated;
GRANT USAGE ON SCHEMA workflow_private TO service_role;
REVOKE ALL ON FUNCTION public.audit_workflow_jobs(p_since timestamp with time zone, p_within interval, p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION public.audit_workflow_jobs(p_since timestamp with time zone, p_within interval, p_limit integer) TO service_role;
REVOKE ALL ON FUNCTION public.cancel_workflow_job(p_job text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.cancel_workflow_job(p_job text) TO authenticated;
GRANT ALL ON FUNCTION public.cancel_workflow_job(p_job text) TO service_role;
REVOKE ALL ON FUNCTION public.claim_workflow_jobs(p_worker text, p_how_many integer, p_lease_seconds integer, p_claim_key text, p_max_retries integer, p_job text, p_running text[], p_prefer text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.claim_workflow_jobs(p_worker text, p_how_many integer, p_lease_seconds integer, p_claim_key text, p_max_retries integer, p_job text, p_running text[], p_prefer text) TO service_role;
REVOKE ALL ON FUNCTION public.cleanup_old_jobs() FROM PUBLIC;
GRANT ALL ON FUNCTION public.cleanup_old_jobs() TO service_role;
REVOKE ALL ON FUNCTION public.heartbeat_workflow_worker(p_worker text, p_info jsonb, p_stopping boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION public.heartbeat_workflow_worker(p_worker text, p_info jsonb, p_stopping boolean) TO service_role;
REVOKE ALL ON FUNCTION public.inspect_workflow_schema() FROM PUBLIC;
GRANT ALL ON FUNCTION public.inspect_workflow_schema() TO service_role;
REVOKE ALL ON FUNCTION public.pause_workflow_workers(p_worker text, p_paused boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION public.pause_workflow_workers(p_worker text, p_paused boolean) TO service_role;
REVOKE ALL ON FUNCTION public.prune_workflow_jobs(p_older_than interval, p_limit integer, p_dry_run boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION public.prune_workflow_jobs(p_older_than interval, p_limit integer, p_dry_run boolean) TO service_role;
REVOKE ALL ON FUNCTION public.reconcile_workflow_jobs(p_dry_run boolean, p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION public.reconcile_workflow_jobs(p_dry_run boolean, p_limit integer) TO service_role;
REVOKE ALL ON FUNCTION public.renew_workflow_job(p_job text, p_attempt integer, p_write integer, p_lease_seconds integer, p_progress integer, p_phase text, p_logs jsonb, p_preview jsonb, p_checkpoint jsonb, p_observability jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION public.renew_workflow_job(p_job text, p_attempt integer, p_write integer, p_lease_seconds integer, p_progress integer, p_phase text, p_logs jsonb, p_preview jsonb, p_checkpoint jsonb, p_observability jsonb) TO service_role;
REVOKE ALL ON FUNCTION public.retry_workflow_job(p_job text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.retry_workflow_job(p_job text) TO authenticated;
GRANT ALL ON FUNCTION public.retry_workflow_job(p_job text) TO service_role;
REVOKE ALL ON FUNCTION public.settle_workflow_job(p_job text, p_attempt integer, p_outcome text, p_result jsonb, p_error_message text, p_error_details jsonb, p_retry_in double precision, p_logs jsonb, p_observability jsonb, p_checkpoint jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION public.settle_workflow_job(p_job text, p_attempt integer, p_outcome text, p_result jsonb, p_error_message text, p_error_details jsonb, p_retry_in double precision, p_logs jsonb, p_observability jsonb, p_checkpoint jsonb) TO service_role;
REVOKE ALL ON FUNCTION public.submit_workflow_job(p_prompt text, p_mode text, p_current_workflow jsonb, p_execution_history jsonb, p_config jsonb, p_priority integer, p_run_at timestamp with time zone, p_idempotency_key text, p_id text, p_user_id uuid, p_traceparent text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.submit_workflow_job(p_prompt text, p_mode text, p_current_workflow jsonb, p_execution_history jsonb, p_config jsonb, p_priority integer, p_run_at timestamp with time zone, p_idempotency_key text, p_id text, p_user_id uuid, p_traceparent text) TO authenticated;
GRANT ALL ON FUNCTION public.submit_workflow_job(p_prompt text, p_mode text, p_current_workflow jsonb, p_execution_history jsonb, p_config jsonb, p_priority integer, p_run_at timestamp with time zone, p_idempotency_key text, p_id text, p_user_id uuid, p_traceparent text) TO service_role;
REVOKE ALL ON FUNCTION public.workflow_page(p_trends boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION public.workflow_page(p_trends boolean) TO service_role;
REVOKE ALL ON FUNCTION public.workflow_page_job(p_job text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.workflow_page_job(p_job text) TO service_role;
REVOKE ALL ON FUNCTION workflow_private.after_jobs_insert() FROM PUBLIC;
REVOKE ALL ON FUNCTION workflow_private.answer(p_accepted boolean, p_status text) FROM PUBLIC;
REVOKE ALL ON FUNCTION workflow_private.append_logs(p_old jsonb, p_new jsonb, p_now timestamp with time zone) FROM PUBLIC;
REVOKE ALL ON FUNCTION workflow_private.backlog(p_now timestamp with time zone) FROM PUBLIC;
REVOKE ALL ON FUNCTION workflow_private.before_job_insert() FROM PUBLIC;
REVOKE ALL ON FUNCTION workflow_private.broadcast(p_event text, p_payload jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION workflow_private.cancel_job(p_job text) FROM PUBLIC;
GRANT ALL ON FUNCTION workflow_private.cancel_job(p_job text) TO authenticated;
GRANT ALL ON FUNCTION workflow_private.cancel_job(p_job text) TO service_role;
REVOKE ALL ON FUNCTION workflow_private.new_job_id() FROM PUBLIC;
GRANT ALL ON FUNCTION workflow_private.new_job_id() TO authenticated;
GRANT ALL ON FUNCTION workflow_private.new_job_id() TO service_role;
GRANT SELECT ON TABLE public.workflow_generation_jobs TO authenticated;
GRANT SELECT ON TABLE public.workflow_generation_jobs TO service_role;
GRANT INSERT(id) ON TABLE public.workflow_generation_jobs TO authenticated;
GRANT INSERT(id) ON TABLE public.workflow_generation_jobs TO service_role;
GRANT INSERT(user_id) ON TABLE public.workflow_generation_jobs TO service_role;
GRANT INSERT(prompt) ON TABLE public.workflow_generation_jobs TO authenticated;
GRANT INSERT(prompt) ON TABLE public.workflow_generation_jobs TO service_role;
GRANT INSERT(mode) ON TABLE public.workflow_generation_jobs TO authenticated;
GRANT INSERT(mode) ON TABLE public.workflow_generation_jobs TO service_role;
GRANT INSERT(current_workflow) ON TABLE public.workflow_generation_jobs TO authenticated;
GRANT INSERT(current_workflow) ON TABLE public.workflow_generation_jobs TO service_role;
GRANT INSERT(execution_history) ON TABLE public.workflow_generation_jobs TO authenticated;
GRANT INSERT(execution_history) ON TABLE public.workflow_generation_jobs TO service_role;
GRANT INSERT(config) ON TABLE public.workflow_generation_jobs TO authenticated;
GRANT INSERT(config) ON TABLE public.workflow_generation_jobs TO service_role;
GRANT INSERT(max_retries) ON TABLE public.workflow_generation_jobs TO service_role;
GRANT INSERT(priority) ON TABLE public.workflow_generation_jobs TO authenticated;
GRANT INSERT(priority) ON TABLE public.workflow_generation_jobs TO service_role;
GRANT INSERT(run_at) ON TABLE public.workflow_generation_jobs TO authenticated;
GRANT INSERT(run_at) ON TABLE public.workflow_generation_jobs TO service_role;
GRANT INSERT(idempotency_key) ON TABLE public.workflow_generation_jobs TO authenticated;
GRANT INSERT(idempotency_key) ON TABLE public.workflow_generation_jobs TO service_role;
GRANT INSERT(traceparent) ON TABLE public.workflow_generation_jobs TO service_role;
REVOKE ALL ON FUNCTION workflow_private.details_after(p_job public.workflow_generation_jobs, p_outcome text, p_ending text, p_message text, p_given jsonb, p_now timestamp with time zone) FROM PUBLIC;
REVOKE ALL ON FUNCTION workflow_private.digest(p_value jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION workflow_private.end_attempt(p_job public.workflow_generation_jobs, p_outcome text, p_now timestamp with time zone, p_result jsonb, p_message text, p_details jsonb, p_retry_in double precision, p_logs jsonb, p_observability jsonb, p_checkpoint jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION workflow_private.ending_of(p_job public.workflow_generation_jobs, p_outcome text) FROM PUBLIC;
REVOKE ALL ON FUNCTION workflow_private.fair_rank(p_user uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION workflow_private.in_turn(p_how_many integer, p_running text[], p_prefer text, p_now timestamp with time zone) FROM PUBLIC;
REVOKE ALL ON FUNCTION workflow_private.is_operator() FROM PUBLIC;
REVOKE ALL ON FUNCTION workflow_private.is_paused(p_worker text) FROM PUBLIC;
REVOKE ALL ON FUNCTION workflow_private.is_suspect(p_details jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION workflow_private.lease(p_seconds integer) FROM PUBLIC;
REVOKE ALL ON FUNCTION workflow_private.lock_best(p_how_many integer, p_running text[], p_prefer text, p_now timestamp with time zone, OUT ids text[], OUT alone boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION workflow_private.lock_named(p_job text, p_running text[], OUT ids text[], OUT alone boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION workflow_private.lock_next(p_how_many integer, p_running text[], p_prefer text, p_now timestamp with time zone) FROM PUBLIC;
REVOKE ALL ON FUNCTION workflow_private.may_touch(p_job public.workflow_generation_jobs) FROM PUBLIC;
REVOKE ALL ON FUNCTION workflow_private.merge_checkpoint(p_old jsonb, p_new jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION workflow_private.next_due_in(p_now timestamp with time zone) FROM PUBLIC;
REVOKE ALL ON FUNCTION workflow_private.next_step(p_checkpoint jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION workflow_private.note(p_job public.workflow_generation_jobs, p_kind text, p_now timestamp with time zone) FROM PUBLIC;
REVOKE ALL ON FUNCTION workflow_private.page_jobs() FROM PUBLIC;
REVOKE ALL ON FUNCTION workflow_private.page_queue(p_now timestamp with time zone) FROM PUBLIC;
REVOKE ALL ON FUNCTION workflow_private.page_trends(p_now timestamp with time zone) FROM PUBLIC;
REVOKE ALL ON FUNCTION workflow_private.page_workers() FROM PUBLIC;
REVOKE ALL ON FUNCTION workflow_private.poke(p_worker text) FROM PUBLIC;
REVOKE ALL ON FUNCTION workflow_private.readable(p_value jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION workflow_private.rescue_expired(p_limit integer, p_actor text) FROM PUBLIC;
REVOKE ALL ON FUNCTION workflow_private.retry_job(p_job text) FROM PUBLIC;
GRANT ALL ON FUNCTION workflow_private.retry_job(p_job text) TO authenticated;
GRANT ALL ON FUNCTION workflow_private.retry_job(p_job text) TO service_role;
REVOKE ALL ON FUNCTION workflow_private.rights_due() FROM PUBLIC;
REVOKE ALL ON FUNCTION workflow_private.rights_found() FROM PUBLIC;
REVOKE ALL ON FUNCTION workflow_private.ring(p_reason text, p_not_worker text) FROM PUBLIC;
REVOKE ALL ON FUNCTION workflow_private.schema_found() FROM PUBLIC;
REVOKE ALL ON FUNCTION workflow_private.schema_parts() FROM PUBLIC;
REVOKE ALL ON FUNCTION workflow_private.submit_job(p_prompt text, p_mode text, p_current_workflow jsonb, p_execution_history jsonb, p_config jsonb, p_priority integer, p_run_at timestamp with time zone, p_idempotency_key text, p_id text, p_user_id uuid, p_traceparent text) FROM PUBLIC;
GRANT ALL ON FUNCTION workflow_private.submit_job(p_prompt text, p_mode text, p_current_workflow jsonb, p_execution_history jsonb, p_config jsonb, p_priority integer, p_run_at timestamp with time zone, p_idempotency_key text, p_id text, p_user_id uuid, p_traceparent text) TO authenticated;
GRANT ALL ON FUNCTION workflow_private.submit_job(p_prompt text, p_mode text, p_current_workflow jsonb, p_execution_history jsonb, p_config jsonb, p_priority integer, p_run_at timestamp with time zone, p_idempotency_key text, p_id text, p_user_id uuid, p_traceparent text) TO service_role;
REVOKE ALL ON FUNCTION workflow_private.take(p_ids text[], p_worker text, p_lease_seconds integer, p_claim_key text, p_max_retries integer) FROM PUBLIC;
REVOKE ALL ON FUNCTION workflow_private.use_claim_key(p_worker text, p_key text) FROM PUBLIC;
GRANT SELECT ON TABLE public.workflow_failures_by_code TO service_role;
GRANT SELECT ON TABLE public.workflow_job_events TO service_role;
GRANT SELECT ON TABLE public.workflow_jobs_at_a_glance TO service_role;
GRANT SELECT ON TABLE public.workflow_jobs_at_a_glance TO authenticated;
GRANT SELECT ON TABLE public.workflow_model_performance TO service_role;
GRANT SELECT ON TABLE public.workflow_workers TO service_role;
GRANT SELECT ON TABLE public.workflow_queue_health TO service_role;
GRANT SELECT ON TABLE public.workflow_workers_at_a_glance TO service_role;
