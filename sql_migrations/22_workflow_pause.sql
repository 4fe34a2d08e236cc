-- Pausing workers: a paused worker finishes what it has and claims nothing until it is resumed. The flag is in its row;
-- claims and heartbeats answer it, and a poke makes the worker ask at once.

create function public.pause_workflow_workers(p_worker text, p_paused boolean) returns jsonb
language plpgsql volatile security definer set search_path = '' as $$
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
comment on function public.pause_workflow_workers is
  'Pauses a worker, or all that have a row when p_worker is null; or resumes. Answers which there were. May be repeated.';

create view public.workflow_workers_at_a_glance with (security_invoker = on) as
select
  w.worker_id,
  case
    when w.last_seen_at <= now() - interval '2 minutes' or w.realtime = 'stopped' then 'away'
    when w.paused_at is not null and w.busy_with <> '{}' then 'pausing'
    when w.paused_at is not null then 'paused'
    when w.busy_with <> '{}' then 'busy'
    else 'idle'
  end as state,
  w.paused_at, w.busy_with, w.realtime, w.info -> 'model_server' ->> 'state' as model_server,
  w.hostname, w.pid, w.version, w.started_at, w.last_seen_at,
  extract(epoch from now() - w.last_seen_at)::double precision as seen_seconds_ago, w.models
from public.workflow_workers w;
comment on view public.workflow_workers_at_a_glance is 'One line per worker: what it does now. away: no heartbeat for 2 minutes.';

revoke all on function public.pause_workflow_workers from public, anon, authenticated, service_role;
grant execute on function public.pause_workflow_workers to service_role;
revoke all on public.workflow_workers_at_a_glance from public, anon, authenticated, service_role;
grant select on public.workflow_workers_at_a_glance to service_role;

notify pgrst, 'reload schema';
