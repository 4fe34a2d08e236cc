-- Who sees and inserts what, and which changes Realtime publishes. anon has nothing.

create policy "users see their own jobs" on public.workflow_generation_jobs
  for select to authenticated using (user_id = (select auth.uid()));
create policy "users insert their own jobs, not ahead of others" on public.workflow_generation_jobs
  for insert to authenticated with check (user_id = (select auth.uid()) and priority <= 0);

grant select on public.workflow_generation_jobs to authenticated, service_role;
grant insert (id, prompt, mode, current_workflow, execution_history, config, priority, run_at, idempotency_key)
  on public.workflow_generation_jobs to authenticated;
grant insert (id, prompt, mode, current_workflow, execution_history, config, priority, run_at, idempotency_key,
              user_id, max_retries, traceparent)
  on public.workflow_generation_jobs to service_role;
-- without a policy: only roles that bypass row level security see rows
grant select on public.workflow_workers, public.workflow_job_events to service_role;

do $$
declare
  v_table regclass;
begin
  if not exists (select from pg_publication where pubname = 'supabase_realtime' and not puballtables) then
    return;
  end if;
  foreach v_table in array array['public.workflow_generation_jobs', 'public.workflow_workers']::regclass[] loop
    if not exists (select from pg_publication_rel r join pg_publication p on p.oid = r.prpubid
                   where p.pubname = 'supabase_realtime' and r.prrelid = v_table) then
      execute format('alter publication supabase_realtime add table %s', v_table);
    end if;
  end loop;
end
$$;
