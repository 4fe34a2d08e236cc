-- What happens at an insert: the job gets its place in the queue, and the doorbell rings.
-- Both run as the owner, because a user sees only own rows.

create function workflow_private.fair_rank(p_user uuid) returns bigint
language sql volatile security definer set search_path = ''
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off set jit = off as $$
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

-- PostgreSQL's jsonb holds what JSON readers elsewhere refuse: nesting without end, integers of thousands of digits.
create function workflow_private.readable(p_value jsonb) returns boolean
language sql immutable set search_path = '' as $$
  select p_value is null or not (jsonb_path_exists(p_value, 'lax $.**{64}')
    or jsonb_path_exists(p_value, 'lax $.** ? (@.type() == "number" && (@ > 1e308 || @ < -1e308))'))
$$;
revoke all on function workflow_private.readable(jsonb) from public, anon, authenticated, service_role;

create function workflow_private.before_job_insert() returns trigger
language plpgsql security definer set search_path = '' as $$
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

-- A failing doorbell must never fail what rings it, an insert or a cancel: it is only a hint.
create function workflow_private.broadcast(p_event text, p_payload jsonb) returns void
language plpgsql security definer set search_path = '' as $$
begin
  if to_regprocedure('realtime.send(jsonb,text,text,boolean)') is not null then
    perform realtime.send(p_payload, p_event, 'workflow_jobs', true);
  end if;
exception when others then
  raise warning 'workflow doorbell did not ring: %', sqlerrm;
end
$$;

create function workflow_private.after_jobs_insert() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if exists (select from inserted) then
    -- the first of a long list wake whoever there is; all the others are announced by postgres_changes
    perform workflow_private.broadcast('job_pending', jsonb_build_object('reason', 'insert',
      'jobs', (select jsonb_agg(i.id) from (select n.id from inserted n limit 100) i)));
  end if;
  return null;
end
$$;

-- For a job that comes back to pending: workers listen to inserts of jobs only, so their own rows are touched as well.
create function workflow_private.ring(p_reason text, p_not_worker text) returns void
language plpgsql security definer set search_path = '' as $$
begin
  update public.workflow_workers w set poked_at = clock_timestamp()
  where w.worker_id in (
    select l.worker_id from public.workflow_workers l
    where l.last_seen_at > clock_timestamp() - interval '2 minutes' and l.worker_id is distinct from p_not_worker
    for update skip locked);
  perform workflow_private.broadcast('job_pending', jsonb_build_object('reason', p_reason));
end
$$;

-- For one worker, about a job that it has: its own row is touched, and the others leave the broadcast alone.
create function workflow_private.poke(p_worker text) returns void
language plpgsql security definer set search_path = '' as $$
begin
  update public.workflow_workers w set poked_at = clock_timestamp() where w.worker_id = p_worker;
  perform workflow_private.broadcast('worker_poke', jsonb_build_object('worker_id', p_worker));
end
$$;

revoke all on function workflow_private.fair_rank(uuid), workflow_private.before_job_insert(),
  workflow_private.broadcast(text, jsonb), workflow_private.after_jobs_insert(),
  workflow_private.ring(text, text), workflow_private.poke(text)
  from public, anon, authenticated, service_role;

create trigger workflow_job_takes_its_place before insert on public.workflow_generation_jobs
  for each row execute function workflow_private.before_job_insert();
create trigger workflow_jobs_ring_the_doorbell after insert on public.workflow_generation_jobs
  referencing new table as inserted
  for each statement execute function workflow_private.after_jobs_insert();
