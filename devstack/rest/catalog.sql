-- What devstack/rest/cache.py knows about the exposed schema: one row, three JSON documents.
select
  (select coalesce(json_agg(json_build_object(
     'name', c.relname,
     'key', (select coalesce(json_agg(a.attname order by k.place), '[]')
             from pg_index i, unnest(i.indkey::int2[]) with ordinality k(number, place), pg_attribute a
             where i.indrelid = c.oid and i.indisprimary and a.attrelid = c.oid and a.attnum = k.number),
     'columns', (select coalesce(json_agg(json_build_object(
                   'name', a.attname, 'type', format('%I.%I', n.nspname, t.typname),
                   'default', case when a.attgenerated = '' then pg_get_expr(d.adbin, d.adrelid) end) order by a.attnum), '[]')
                 from pg_attribute a
                 join pg_type t on t.oid = a.atttypid
                 join pg_namespace n on n.oid = t.typnamespace
                 left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
                 where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped))), '[]')::text
   from pg_class c
   where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'v', 'm', 'f', 'p')) as relations,

  (select coalesce(json_agg(json_build_object(
     'name', p.proname,
     'volatile', p.provolatile = 'v',
     'set', p.proretset,
     'void', p.prorettype = 'void'::regtype,
     'composite', r.typtype = 'c' or coalesce(p.proargmodes::text[] && '{t,b,o}', false),
     'relation', (select c.relname from pg_class c where c.oid = r.typrelid and c.relkind <> 'c'),
     'settings', coalesce(p.proconfig, '{}'),
     'parameters', (select coalesce(json_agg(json_build_object(
                      'name', coalesce(p.proargnames[a.place], ''), 'label', format_type(t.oid, null),
                      'type', format('%I.%I', n.nspname, t.typname),
                      'required', a.number <= p.pronargs - p.pronargdefaults,
                      'variadic', p.provariadic <> 0 and a.number = p.pronargs) order by a.number), '[]')
                    from (select s.place, s.oid, row_number() over (order by s.place) as number
                          from unnest(coalesce(p.proallargtypes, p.proargtypes::oid[])) with ordinality s(oid, place)
                          where coalesce(p.proargmodes[s.place], 'i') in ('i', 'b', 'v')) a
                    join pg_type t on t.oid = a.oid join pg_namespace n on n.oid = t.typnamespace),
     'columns', (select coalesce(json_object_agg(o.name, format('%I.%I', n.nspname, t.typname)), '{}')
                 from (select p.proargnames[s.place] as name, s.oid
                       from unnest(p.proallargtypes) with ordinality s(oid, place)
                       where p.proargmodes[s.place] in ('o', 'b', 't')
                       union all
                       select a.attname, a.atttypid from pg_attribute a
                       where a.attrelid = r.typrelid and a.attnum > 0 and not a.attisdropped) o
                 join pg_type t on t.oid = o.oid join pg_namespace n on n.oid = t.typnamespace
                 where o.name <> ''))
     order by p.oid), '[]')::text
   from pg_proc p
   join pg_type r on r.oid = p.prorettype
   where p.pronamespace = 'public'::regnamespace and p.prokind = 'f'
     and p.prorettype not in ('trigger'::regtype, 'event_trigger'::regtype)) as functions,

  (select coalesce(json_object_agg(m.rolname, m.settings), '{}')::text
   from (select r.rolname,
                (select json_object_agg(split_part(c.entry, '=', 1), substr(c.entry, strpos(c.entry, '=') + 1))
                 from unnest(r.rolconfig) c(entry)
                 join pg_settings s on s.name = split_part(c.entry, '=', 1) and s.context = 'user') as settings
         from pg_roles r
         where r.rolname <> session_user and r.rolconfig is not null and pg_has_role(session_user, r.oid, 'MEMBER')) m
   where m.settings is not null) as roles
