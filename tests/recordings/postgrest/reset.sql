-- The rows that the recorder put back before some of its requests (records with "reset").
truncate public.jobs, public.job_logs;
insert into public.jobs (id, user_id, status, prompt, created_at, idem_key)
select format('00000000-0000-4000-8000-%s', lpad(n::text, 12, '0'))::uuid, u::uuid, s, p,
       timestamptz '2026-01-02 03:04:00.12+00' + n * interval '1 second', 'k' || n
from (values (1, '11111111-1111-4111-8111-111111111111', 'pending', 'one'),
             (2, '11111111-1111-4111-8111-111111111111', 'pending', 'two'),
             (3, '22222222-2222-4222-8222-222222222222', 'pending', 'three'),
             (4, null, 'processing', 'four'),
             (5, '11111111-1111-4111-8111-111111111111', 'completed', 'five')) v(n, u, s, p)
order by n;
