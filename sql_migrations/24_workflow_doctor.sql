-- What the database says about itself, for `consumer doctor` and for a worker that is degraded. Reads the catalogue and
-- changes nothing, so it also answers where writes are refused.

-- All that the migrations have made, by migration; functions with their number of arguments. A test holds it complete.
create function workflow_private.schema_parts() returns table (migration integer, kind text, name text)
language sql immutable set search_path = '' as $$
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

-- What is there under our schemas' names, in the same words. Of a trigger that is switched off nothing is said.
create function workflow_private.schema_found() returns table (kind text, name text)
language sql stable set search_path = '' as $$
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

-- Who must be able to do what; whatever else the three roles of the API can do with our things is too much.
create function workflow_private.rights_due() returns table (grantee text, privilege text, object text)
language sql stable set search_path = '' as $$
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

create function workflow_private.rights_found() returns table (grantee text, privilege text, object text)
language sql stable set search_path = '' as $$
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

create function public.inspect_workflow_schema() returns jsonb
language sql stable security definer set search_path = '' as $$
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
comment on function public.inspect_workflow_schema is
  'What is missing, open or wrong in the database of the workflow jobs, by its own catalogue. Changes nothing.';

revoke all on function workflow_private.schema_parts, workflow_private.schema_found, workflow_private.rights_due,
  workflow_private.rights_found, public.inspect_workflow_schema from public, anon, authenticated, service_role;
grant execute on function public.inspect_workflow_schema to service_role;

notify pgrst, 'reload schema';
