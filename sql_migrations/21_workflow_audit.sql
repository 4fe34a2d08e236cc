-- The proof, from the history, that nothing was lost and nothing done twice. Reads only; `consumer audit` calls it.

-- Looks at the jobs that changed since then (all without p_since and p_within), each with its whole history, in one
-- snapshot. "Before" is the last earlier event that moved the job; a request to cancel moves nothing.
-- Merge joins only: a queue's statistics are out of date, and over the inner lists nothing else stays n log n.
create function public.audit_workflow_jobs(
  p_since timestamptz default null, p_within interval default null, p_limit integer default 100
) returns jsonb language sql stable security definer set search_path = ''
set enable_nestloop = off set enable_hashjoin = off set jit = off as $$
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
comment on function public.audit_workflow_jobs is
  'Proves from the history: one owner and one ending per attempt, and each job is as its last ending left it.';

revoke all on function public.audit_workflow_jobs from public, anon, authenticated, service_role;
grant execute on function public.audit_workflow_jobs to service_role;

notify pgrst, 'reload schema';
