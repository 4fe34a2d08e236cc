-- The tables and functions that the recorded PostgREST was asked about, for a cluster made by devstack/postgres.py:
-- its bootstrap already has the roles and auth.uid(). Run as role postgres by tests/integration/rest_replay.py.
create schema private;

create table public.jobs(
  id uuid primary key default gen_random_uuid(),
  user_id uuid,
  status text not null default 'pending' check (status in ('pending','processing','completed')),
  prompt text not null,
  payload jsonb not null default '{}',
  created_at timestamptz not null default now(),
  worker text,
  lease bigint not null default 0,
  idem_key text unique
);
create table public.job_logs(id bigint generated always as identity primary key, job_id uuid not null references public.jobs(id) on delete cascade, msg text);
create table public.secrets(id int primary key, v text);
create table public.typed(id int primary key, big bigint, num numeric(30,10), f float8, ts timestamptz, tsn timestamp, d date, tags text[], b bytea, j json, jb jsonb, flag boolean, r int4range);
insert into public.typed values (1, 9223372036854775807, 12345678901234567890.0123456789, 'NaN', '2026-01-02 03:04:05.600+00', '2026-01-02 03:04:05', '2026-01-02', '{a,"b,c",null}', '\x00ff', '{"b":1, "a":2,"a":3}', '{"b":1, "a":2,"a":3, "big":12345678901234567890123, "e":1e400}', true, '[1,5)');
insert into public.typed(id, ts, f) values (2, 'infinity', 'Infinity');
create table public.many(n int primary key);
insert into public.many select generate_series(1,1500);
alter table public.jobs enable row level security;
alter table public.job_logs enable row level security;
create policy own_sel on public.jobs for select using (auth.uid() = user_id);
create policy own_ins on public.jobs for insert with check (auth.uid() = user_id);
create policy own_upd on public.jobs for update using (auth.uid() = user_id) with check (auth.uid() = user_id and status <> 'completed');
grant all on public.jobs, public.job_logs, public.typed, public.many to anon, authenticated, service_role;
revoke all on public.secrets from anon, authenticated, service_role;

create function public.claim_jobs(worker_id text, max_jobs int) returns setof public.jobs language sql volatile as $$
  update public.jobs j set status='processing', worker=worker_id, lease=j.lease+1
  where id in (select id from public.jobs where status='pending' order by created_at limit max_jobs for update skip locked) returning j.* $$;
create function public.settle_job(job_id uuid, lease bigint, outcome jsonb) returns boolean language plpgsql volatile as $$
  #variable_conflict use_column
  begin update public.jobs j set status='completed', payload=outcome where j.id=settle_job.job_id and j.lease=settle_job.lease and j.status='processing'; return found; end $$;
create function public.ret_void() returns void language plpgsql as $$ begin null; end $$;
create function public.ret_null_int() returns int language sql as $$ select null::int $$;
create function public.ret_null_json() returns jsonb language sql as $$ select null::jsonb $$;
create function public.ret_json_null() returns jsonb language sql as $$ select 'null'::jsonb $$;
create function public.ret_int() returns int language sql as $$ select 42 $$;
create function public.ret_bigint() returns bigint language sql as $$ select 9223372036854775807 $$;
create function public.ret_text() returns text language sql as $$ select 'a "quoted" é text' $$;
create function public.ret_ts() returns timestamptz language sql as $$ select '2026-01-02 03:04:05.600+00'::timestamptz $$;
create function public.ret_jsonb() returns jsonb language sql as $$ select '{"z":1,"a":[1,2,{"k":null}],"n":1.50}'::jsonb $$;
create function public.ret_json() returns json language sql as $$ select '{"z":1,  "a":[1,2]}'::json $$;
create function public.ret_jsonb_array() returns jsonb language sql as $$ select '[1,"two",null]'::jsonb $$;
create function public.ret_jsonb_string() returns jsonb language sql as $$ select '"just text"'::jsonb $$;
create function public.ret_job(job_id uuid) returns public.jobs language sql stable as $$ select * from public.jobs where id=job_id $$;
create function public.ret_setof_text() returns setof text language sql as $$ values ('a'),('b') $$;
create function public.ret_setof_jsonb() returns setof jsonb language sql as $$ values ('{"a":1}'::jsonb),('{"a":2}') $$;
create function public.ret_setof_void_none() returns setof int language sql as $$ select 1 where false $$;
create function public.ret_array() returns int[] language sql as $$ select array[1,2,3] $$;
create function public.ret_table() returns table(status text, n bigint) language sql stable as $$ values ('pending',2::bigint),('completed',0) $$;
create function public.ret_out(a int, out x int, out y text) language sql as $$ select a+1, 'y' $$;
create function public.ret_out1(a int, out x int) language sql as $$ select a+1 $$;
create function public.echo_args(a int, b text default 'dflt', c jsonb default '{"d":1}') returns jsonb language sql immutable as $$ select jsonb_build_object('a',a,'b',b,'c',c,'c_type',jsonb_typeof(c)) $$;
create function public.echo_arr(ids uuid[]) returns jsonb language sql immutable as $$ select to_jsonb(ids) $$;
create function public.echo_text(t text) returns text language sql immutable as $$ select t $$;
create function public.echo_jsonb(j jsonb) returns jsonb language sql immutable as $$ select j $$;
create function public.echo_ts(t timestamptz) returns timestamptz language sql immutable as $$ select t $$;
create function public.take_json(json) returns json language sql immutable as $$ select json_build_object('got',$1) $$;
create function public.vari(variadic v text[]) returns jsonb language sql immutable as $$ select to_jsonb(v) $$;
create function public.over(a int) returns text language sql immutable as $$ select 'int' $$;
create function public.over(a int, b int) returns text language sql immutable as $$ select 'int,int' $$;
create function public.ambi(a int) returns text language sql immutable as $$ select 'int' $$;
create function public.ambi(a text) returns text language sql immutable as $$ select 'text' $$;
create function public.raise_state(state text, msg text default 'boom', det text default null, hnt text default null) returns void language plpgsql as $$
 begin if det is null and hnt is null then raise exception using errcode=state, message=msg;
  else raise exception using errcode=state, message=msg, detail=coalesce(det,''), hint=coalesce(hnt,''); end if; end $$;
create function public.raise_plain() returns void language plpgsql as $$ begin raise exception 'plain failure for job %', 7 using detail='the detail', hint='the hint'; end $$;
create function public.raise_pt409() returns void language plpgsql as $$ begin raise sqlstate 'PT409' using message='lease lost', detail='{"lease":3}', hint='claim again'; end $$;
create function public.raise_pgrst(m text, d text) returns void language plpgsql as $$ begin raise sqlstate 'PGRST' using message=m, detail=d; end $$;
create function public.raise_div0() returns int language sql as $$ select 1/0 $$;
create function public.raise_assert() returns void language plpgsql as $$ begin assert 1=2, 'assert failed'; end $$;
create function public.raise_nodata() returns void language plpgsql as $$ declare r record; begin select * into strict r from public.many where n=-1; end $$;
create function public.bad_column() returns int language plpgsql as $$ begin return (select nope from public.many limit 1); end $$;
create function public.bad_table() returns int language plpgsql as $$ begin return (select 1 from public.nope limit 1); end $$;
create function public.bad_func() returns int language plpgsql as $$ begin return public.nope(1); end $$;
create function public.raise_warning_then_ok() returns int language plpgsql as $$ begin raise warning 'careful'; return 1; end $$;
create function public.set_202() returns jsonb language plpgsql as $$ begin perform set_config('response.status','202',true); perform set_config('response.headers','[{"X-Lease":"5"},{"Retry-After":"3"}]',true); return '{"ok":true}'; end $$;
create function public.set_bad_status() returns int language plpgsql as $$ begin perform set_config('response.status','nope',true); return 1; end $$;
create function public.gucs() returns jsonb language sql stable as $$ select jsonb_build_object('claims',current_setting('request.jwt.claims',true)::jsonb,'method',current_setting('request.method',true),'path',current_setting('request.path',true),'role',current_setting('role'),'current_user',current_user,'session_user',session_user,'isolation',current_setting('transaction_isolation'),'read_only',current_setting('transaction_read_only'),'statement_timeout',current_setting('statement_timeout'),'lock_timeout',current_setting('lock_timeout'),'search_path',current_setting('search_path'),'app',current_setting('application_name'),'tz',current_setting('timezone'),'header_names',(select jsonb_agg(k order by k) from jsonb_object_keys(current_setting('request.headers',true)::jsonb) k)) $$;
create function public.gucs_volatile() returns jsonb language sql volatile as $$ select public.gucs() $$;
create function public.gucs_hoisted() returns jsonb language sql volatile set statement_timeout='1234ms' set default_transaction_isolation='serializable' as $$ select public.gucs() $$;
create function public.admin_only() returns text language sql as $$ select 'secret' $$;
revoke execute on function public.admin_only() from public, anon, authenticated; grant execute on function public.admin_only() to service_role;
create function public.read_secret() returns text language sql as $$ select v from public.secrets limit 1 $$;
create function private.hidden() returns int language sql as $$ select 1 $$;
create function public.sleeper(seconds float8) returns text language plpgsql volatile as $$ begin perform pg_sleep(seconds); return 'slept'; end $$;
create function public.sleeper_1s(seconds float8) returns text language plpgsql volatile set statement_timeout='1s' as $$ begin perform pg_sleep(seconds); return 'slept'; end $$;
create function public.sleep_insert(seconds float8, k text) returns uuid language plpgsql volatile as $$ declare r uuid; begin perform pg_sleep(seconds); insert into public.jobs(prompt,idem_key) values ('sleep_insert',k) returning id into r; return r; end $$;
create function public.insert_sleep(seconds float8, k text) returns uuid language plpgsql volatile as $$ declare r uuid; begin insert into public.jobs(prompt,idem_key) values ('insert_sleep',k) returning id into r; perform pg_sleep(seconds); return r; end $$;
create function public.lock_two(first uuid, second uuid, pause float8) returns void language plpgsql as $$ begin perform 1 from public.jobs where id=first for update; perform pg_sleep(pause); perform 1 from public.jobs where id=second for update; end $$;
create function public.lock_nowait(j uuid) returns void language plpgsql as $$ begin perform 1 from public.jobs where id=j for update nowait; end $$;
create function public.lock_short(j uuid) returns void language plpgsql set lock_timeout='300ms' as $$ begin perform 1 from public.jobs where id=j for update; end $$;
create function public.hold(j uuid, seconds float8) returns void language plpgsql as $$ begin perform 1 from public.jobs where id=j for update; perform pg_sleep(seconds); end $$;
create function public.serial_bump(j uuid, pause float8) returns bigint language plpgsql set default_transaction_isolation='serializable' as $$ declare v bigint; begin select lease into v from public.jobs where id=j; perform pg_sleep(pause); update public.jobs set lease=v+1 where id=j returning lease into v; return v; end $$;
create function public.insert_dup(k text) returns uuid language sql volatile as $$ insert into public.jobs(prompt,idem_key) values ('dup',k) returning id $$;
create function public.stable_writer() returns uuid language sql stable as $$ select gen_random_uuid() $$;
create function public.vol_writer(p text) returns uuid language sql volatile as $$ insert into public.jobs(prompt) values (p) returning id $$;
create function public.big_text(n int) returns int language sql as $$ select 1 $$;
create function public.len_of(t text) returns int language sql immutable as $$ select length(t) $$;
create function public.deep(n int) returns int language plpgsql as $$ begin return public.deep(n+1); end $$;
create function public.hello(name text default 'world') returns text language sql immutable as $$ select 'hello '||name $$;
create function public.claim_one(worker_id text) returns public.jobs language plpgsql as $$ declare r public.jobs; begin update public.jobs j set status='processing', worker=worker_id, lease=j.lease+1 where id=(select id from public.jobs where status='pending' order by created_at limit 1 for update skip locked) returning j.* into r; return r; end $$;
alter default privileges in schema public grant all on tables to anon, authenticated, service_role;
create function public.claim_many() returns setof public.many language sql volatile as $$ select * from public.many order by n $$;
