# SPDX-License-Identifier: GPL-3.0-or-later
"""The fingerprint of a schema: SHA-256 over a canonical text of the catalogues.

No oids, statistics or sizes, and nothing that pg_dump does not carry over (dropped columns, which side of an
inheritance defined a column first), so that a restored database prints the same text as its source. One exception is
known: the server prints some expressions differently after they were printed and parsed once, so compare a copy with
``normal``. Objects of extensions are left out: the extension and its version stand for them.
"""

from __future__ import annotations

import hashlib
import re

from .connection import PINNED, Connection, rows

# Names of what users made: not the system's schemas, and not a member of an extension.
_OWN = """
WITH own_namespace AS (
  SELECT oid, nspname FROM pg_catalog.pg_namespace
  WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'),
member AS (SELECT classid, objid FROM pg_catalog.pg_depend WHERE deptype = 'e'),
own_class AS (
  SELECT c.*, pg_catalog.format('%I.%I', n.nspname, c.relname) AS name
  FROM pg_catalog.pg_class c JOIN own_namespace n ON n.oid = c.relnamespace
  WHERE c.relpersistence <> 't'
    AND NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_catalog.pg_class'::regclass AND m.objid = c.oid)),
own_proc AS (
  SELECT p.*, p.oid::regprocedure::text AS name
  FROM pg_catalog.pg_proc p JOIN own_namespace n ON n.oid = p.pronamespace
  WHERE NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_catalog.pg_proc'::regclass AND m.objid = p.oid)),
own_type AS (
  SELECT t.*, pg_catalog.format('%I.%I', n.nspname, t.typname) AS name
  FROM pg_catalog.pg_type t JOIN own_namespace n ON n.oid = t.typnamespace
  WHERE t.typtype IN ('e', 'd', 'r', 'c', 'b') AND (t.typrelid = 0 OR EXISTS (
      SELECT FROM pg_catalog.pg_class c WHERE c.oid = t.typrelid AND c.relkind = 'c'))
    AND t.typelem = 0
    AND NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_catalog.pg_type'::regclass AND m.objid = t.oid))
"""
_PARTS = (
    # Schemas and extensions
    "SELECT 'namespace', nspname, '' FROM own_namespace",
    """SELECT 'extension', e.extname, pg_catalog.concat_ws(' ', e.extversion, n.nspname)
    FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace""",
    # Relations: kind, persistence, row security, storage options, parents and partition bounds
    """SELECT 'relation', name, pg_catalog.concat_ws(' ', relkind, relpersistence, relrowsecurity, relforcerowsecurity,
      relreplident, reloptions, reloftype::regtype, am.amname, pg_catalog.pg_get_partkeydef(own_class.oid),
      pg_catalog.pg_get_expr(relpartbound, own_class.oid),
      (SELECT pg_catalog.string_agg(inhparent::regclass::text, ',' ORDER BY inhseqno)
         FROM pg_catalog.pg_inherits WHERE inhrelid = own_class.oid),
      (SELECT pg_catalog.concat_ws(' ', s.srvname, f.ftoptions) FROM pg_catalog.pg_foreign_table f
         JOIN pg_catalog.pg_foreign_server s ON s.oid = f.ftserver WHERE f.ftrelid = own_class.oid))
    FROM own_class LEFT JOIN pg_catalog.pg_am am ON am.oid = relam WHERE relkind <> 'i' AND relkind <> 'I'""",
    # Options that begin with pg_ are the server's own bookkeeping: 15.20 counts versions of a column there.
    # Only generated columns name others; to look up those of a wide table for each default takes seconds.
    """SELECT 'column', c.name, pg_catalog.concat_ws(' ',
      pg_catalog.row_number() OVER (PARTITION BY c.oid ORDER BY a.attnum), pg_catalog.quote_ident(a.attname),
      pg_catalog.format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN 'not null' END,
      a.attidentity, a.attgenerated, a.attstorage, a.attcompression,
      ARRAY(SELECT o FROM pg_catalog.unnest(a.attoptions) o WHERE o !~ '^pg_'), a.attfdwoptions,
      CASE WHEN a.attcollation <> t.typcollation THEN a.attcollation::regcollation END,
      pg_catalog.pg_get_expr(d.adbin, CASE WHEN a.attgenerated <> '' THEN d.adrelid ELSE 0 END))
    FROM own_class c JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid
    JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c')""",
    # Constraints; the foreign keys of partitions follow from those of their parents
    """SELECT 'constraint', coalesce(c.name, k.contypid::regtype::text), pg_catalog.concat_ws(' ',
      pg_catalog.quote_ident(k.conname), k.convalidated, pg_catalog.pg_get_constraintdef(k.oid))
    FROM pg_catalog.pg_constraint k LEFT JOIN own_class c ON c.oid = k.conrelid
    WHERE NOT (k.contype = 'f' AND k.conparentid <> 0) AND k.contype <> 't'
      AND (c.oid IS NOT NULL OR k.contypid IN (SELECT oid FROM own_type))""",
    # Only those that pg_dump carries over: what a failed CREATE INDEX CONCURRENTLY leaves, it does not.
    """SELECT 'index', c.name, pg_catalog.concat_ws(' ', i.indisvalid, i.indisclustered, i.indisreplident,
      pg_catalog.pg_get_indexdef(i.indexrelid), c.reloptions)
    FROM pg_catalog.pg_index i JOIN own_class c ON c.oid = i.indexrelid
    JOIN own_class t ON t.oid = i.indrelid
    WHERE (i.indisvalid OR t.relkind = 'p') AND i.indisready""",
    """SELECT 'statistics', pg_catalog.format('%I.%I', n.nspname, s.stxname), pg_catalog.pg_get_statisticsobjdef(s.oid)
    FROM pg_catalog.pg_statistic_ext s JOIN own_namespace n ON n.oid = s.stxnamespace""",
    """SELECT 'sequence', c.name, pg_catalog.concat_ws(' ', seqtypid::regtype, seqstart, seqincrement, seqmax, seqmin,
      seqcache, seqcycle, (SELECT pg_catalog.format('%s %s', d.refobjid::regclass, d.refobjsubid > 0)
        FROM pg_catalog.pg_depend d WHERE d.objid = c.oid AND d.classid = 'pg_catalog.pg_class'::regclass
          AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.deptype IN ('a', 'i')))
    FROM own_class c JOIN pg_catalog.pg_sequence ON seqrelid = c.oid""",
    # Code
    """SELECT 'view', name, pg_catalog.pg_get_viewdef(oid) FROM own_class WHERE relkind IN ('v', 'm')""",
    """SELECT 'rule', c.name, pg_catalog.concat_ws(' ', r.ev_enabled, pg_catalog.pg_get_ruledef(r.oid))
    FROM pg_catalog.pg_rewrite r JOIN own_class c ON c.oid = r.ev_class WHERE r.rulename <> '_RETURN'""",
    """SELECT 'function', name, CASE WHEN prokind = 'a' THEN (
        SELECT pg_catalog.concat_ws(' ', aggkind, aggtransfn, aggfinalfn, aggcombinefn, aggserialfn, aggdeserialfn,
          aggmtransfn, aggminvtransfn, aggmfinalfn, aggsortop::regoperator, aggtranstype::regtype,
          aggmtranstype::regtype, aggfinalmodify, agginitval, aggminitval)
        FROM pg_catalog.pg_aggregate WHERE aggfnoid = own_proc.oid)
      ELSE pg_catalog.pg_get_functiondef(oid) END FROM own_proc""",
    """SELECT 'trigger', c.name, pg_catalog.concat_ws(' ', t.tgenabled, pg_catalog.pg_get_triggerdef(t.oid))
    FROM pg_catalog.pg_trigger t JOIN own_class c ON c.oid = t.tgrelid WHERE NOT t.tgisinternal""",
    """SELECT 'event trigger', evtname, pg_catalog.concat_ws(' ', evtevent, evtenabled, evttags, evtfoid::regproc)
    FROM pg_catalog.pg_event_trigger e WHERE NOT EXISTS (
      SELECT FROM member m WHERE m.classid = 'pg_catalog.pg_event_trigger'::regclass AND m.objid = e.oid)""",
    """SELECT 'policy', c.name, pg_catalog.concat_ws(' ', pg_catalog.quote_ident(p.polname), p.polpermissive, p.polcmd,
      (SELECT pg_catalog.string_agg(CASE r WHEN 0 THEN 'public' ELSE pg_catalog.pg_get_userbyid(r) END, ','
         ORDER BY CASE r WHEN 0 THEN 'public' ELSE pg_catalog.pg_get_userbyid(r) END)
         FROM pg_catalog.unnest(p.polroles) r),
      pg_catalog.pg_get_expr(p.polqual, p.polrelid), pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid))
    FROM pg_catalog.pg_policy p JOIN own_class c ON c.oid = p.polrelid""",
    # Types
    """SELECT 'type', name, pg_catalog.concat_ws(' ', typtype,
      (SELECT pg_catalog.string_agg(pg_catalog.quote_literal(enumlabel), ',' ORDER BY enumsortorder)
         FROM pg_catalog.pg_enum WHERE enumtypid = own_type.oid),
      CASE WHEN typtype = 'd' THEN pg_catalog.concat_ws(' ', pg_catalog.format_type(typbasetype, typtypmod),
        typnotnull, typdefault, CASE WHEN typcollation <> 0 THEN typcollation::regcollation END) END,
      (SELECT pg_catalog.concat_ws(' ', rngsubtype::regtype, rngsubopc, rngcanonical, rngsubdiff)
         FROM (SELECT rngsubtype, (SELECT opcname FROM pg_catalog.pg_opclass o WHERE o.oid = r.rngsubopc) AS rngsubopc,
               rngcanonical, rngsubdiff FROM pg_catalog.pg_range r WHERE r.rngtypid = own_type.oid) x))
    FROM own_type""",
    """SELECT 'collation', pg_catalog.format('%I.%I', n.nspname, c.collname), pg_catalog.concat_ws(' ', c.collprovider,
      c.collisdeterministic, c.collencoding, c.collcollate, c.collctype)
    FROM pg_catalog.pg_collation c JOIN own_namespace n ON n.oid = c.collnamespace
    WHERE NOT EXISTS (
      SELECT FROM member m WHERE m.classid = 'pg_catalog.pg_collation'::regclass AND m.objid = c.oid)""",
    """SELECT 'cast', pg_catalog.format('%s %s', castsource::regtype, casttarget::regtype),
      pg_catalog.concat_ws(' ', castcontext, castmethod, castfunc::regprocedure)
    FROM pg_catalog.pg_cast c WHERE c.oid >= 16384
      AND NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_catalog.pg_cast'::regclass AND m.objid = c.oid)""",
    # Replication
    """SELECT 'publication', p.pubname, pg_catalog.concat_ws(' ', puballtables, pubinsert, pubupdate, pubdelete,
      pubtruncate, pubviaroot, (SELECT pg_catalog.string_agg(pg_catalog.format('%I.%I', schemaname, tablename), ','
        ORDER BY schemaname, tablename) FROM pg_catalog.pg_publication_tables t WHERE t.pubname = p.pubname))
    FROM pg_catalog.pg_publication p""",
    # Comments on what is listed above, by the name that the server gives to the object
    """SELECT 'comment', (pg_catalog.pg_identify_object(d.classoid, d.objoid, d.objsubid)).identity, d.description
    FROM pg_catalog.pg_description d WHERE d.objoid >= 16384 AND d.classoid <> 'pg_catalog.pg_largeobject'::regclass
      AND NOT EXISTS (SELECT FROM member m WHERE m.classid = d.classoid AND m.objid = d.objoid)
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_extension e WHERE d.classoid = 'pg_catalog.pg_extension'::regclass
        AND e.oid = d.objoid)""",
)
_TEXT = _OWN + " SELECT * FROM (" + "\nUNION ALL ".join(_PARTS) + ") lines(kind, name, definition)"
_UNUSABLE = (
    _OWN
    + """ SELECT c.name, t.name FROM pg_catalog.pg_index i JOIN own_class c ON c.oid = i.indexrelid
    JOIN own_class t ON t.oid = i.indrelid
    WHERE NOT ((i.indisvalid OR t.relkind = 'p') AND i.indisready) ORDER BY c.name"""
)
# Who owns what and who may do what. An owner's default rights are written out, since a restore writes them out too.
_OWNED = (
    ("pg_namespace", "nspowner", "nspacl", "n"),
    ("pg_class", "relowner", "relacl", "CASE relkind WHEN 'S' THEN 's' ELSE 'r' END"),
    ("pg_proc", "proowner", "proacl", "f"),
    ("pg_type", "typowner", "typacl", "T"),
    ("pg_foreign_server", "srvowner", "srvacl", "S"),
    ("pg_foreign_data_wrapper", "fdwowner", "fdwacl", "F"),
    ("pg_language", "lanowner", "lanacl", "l"),
)


def _owned(catalogue: str, owner: str, acl: str, kind: str) -> str:
    kind = f'({kind})::"char"' if kind.startswith("CASE") else f"'{kind}'"
    own_rows = {
        "pg_class": "AND o.relkind NOT IN ('i', 'I', 't') AND o.relpersistence <> 't'",
        "pg_type": "AND o.typelem = 0 AND (o.typrelid = 0 OR o.typtype <> 'c')",
    }
    return f"""SELECT '{catalogue}', (pg_catalog.pg_identify_object(o.tableoid, o.oid, 0)).identity,
      pg_catalog.concat_ws(' ', pg_catalog.pg_get_userbyid(o.{owner}), (
        SELECT pg_catalog.string_agg(pg_catalog.concat_ws(':', CASE grantee WHEN 0 THEN 'public'
            ELSE pg_catalog.pg_get_userbyid(grantee) END, privilege_type, is_grantable), ',' ORDER BY grantee = 0,
            pg_catalog.pg_get_userbyid(grantee)::text COLLATE "C", privilege_type COLLATE "C")
        FROM pg_catalog.aclexplode(coalesce(o.{acl}, pg_catalog.acldefault(({kind})::"char", o.{owner})))))
    FROM pg_catalog.{catalogue} o WHERE o.oid >= 16384 {own_rows.get(catalogue, "")}
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend m
        WHERE m.deptype IN ('e', 'i') AND m.classid = o.tableoid AND m.objid = o.oid)"""


_OWNERSHIP = (
    "\nUNION ALL ".join(_owned(*item) for item in _OWNED)
    + """
    UNION ALL SELECT 'column', pg_catalog.format('%s.%I', a.attrelid::regclass, a.attname),
      (SELECT pg_catalog.string_agg(pg_catalog.concat_ws(':', CASE grantee WHEN 0 THEN 'public'
            ELSE pg_catalog.pg_get_userbyid(grantee) END, privilege_type, is_grantable), ',' ORDER BY grantee = 0,
            pg_catalog.pg_get_userbyid(grantee)::text COLLATE "C", privilege_type COLLATE "C")
        FROM pg_catalog.aclexplode(a.attacl))
    FROM pg_catalog.pg_attribute a WHERE a.attacl IS NOT NULL AND a.attrelid >= 16384 AND NOT a.attisdropped
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend m WHERE m.deptype = 'e'
        AND m.classid = 'pg_catalog.pg_class'::regclass AND m.objid = a.attrelid)
    UNION ALL SELECT 'default', pg_catalog.concat_ws(' ', pg_catalog.pg_get_userbyid(defaclrole),
        (SELECT nspname FROM pg_catalog.pg_namespace n WHERE n.oid = defaclnamespace), defaclobjtype),
      (SELECT pg_catalog.string_agg(x::text, ',' ORDER BY x::text COLLATE "C") FROM pg_catalog.unnest(defaclacl) x)
    FROM pg_catalog.pg_default_acl"""
)
_CAST = re.compile(
    r"::(?:\"[^\"]+\"|[a-z_][\w.]*)(?: (?:varying|precision|with(?:out)? time zone))?(?:\(\d+(?:,\d+)?\))?"
)


def lines(connection: Connection) -> list[str]:
    """The canonical text of the schema, a line for each property of each object. Run it inside a transaction."""
    return _sorted(connection, _TEXT)


def unusable_indexes(connection: Connection) -> list[str]:
    """In words, each index that no archive holds, because the server does not use it either."""
    return [
        f"index {index} of {table} is invalid (its CREATE INDEX CONCURRENTLY failed or is at work): not in the archive"
        for index, table in rows(connection, _UNUSABLE)
    ]


def ownership(connection: Connection) -> list[str]:
    """Owners and privileges in the same form. They are compared with a restored copy, not part of the fingerprint."""
    return _sorted(connection, _OWNERSHIP)


def _sorted(connection: Connection, query: str) -> list[str]:
    # The text depends on these, and a caller's connection may have had others set.
    for name, value in PINNED.items():
        connection.execute("SELECT pg_catalog.set_config(%s, %s, true)", (name, value))
    return sorted("\t".join(str(part) for part in found) for found in rows(connection, query))


def digest(text: list[str]) -> str:
    """SHA-256 in hex of lines."""
    return hashlib.sha256("\n".join(text).encode()).hexdigest()


def fingerprint(connection: Connection) -> str:
    """The schema's fingerprint (SHA-256 in hex), as the connection's transaction sees it."""
    return digest(lines(connection))


def as_if(text: list[str], extensions: list[dict[str, str]]) -> list[str]:
    """Lines as they were with extensions of these versions: an archive names none, a restore takes the installed."""
    versions = {item["name"]: f"{item['version']} {item['schema']}" for item in extensions}
    parts = [line.split("\t") for line in text]
    return sorted(
        "\t".join((*part[:2], versions.get(part[1], part[2])) if part[0] == "extension" else part) for part in parts
    )


def normal(text: list[str]) -> list[str]:
    """Lines without casts and brackets.

    ``x IN ('a', 'b')`` on a varchar is printed as ``(ARRAY['a'::character varying])::text[]`` at first and as
    ``ARRAY[('a'::character varying)::text]`` after a restore: the same condition in another form.
    """
    return sorted(re.sub(r"[()\[\]]", "", _CAST.sub("", line.replace("[]", ""))) for line in text)


def difference(source: list[str], copy: list[str]) -> list[str]:
    """How a copy differs from its source: lines with ``-`` are the source's alone, with ``+`` the copy's alone."""
    missing, added = sorted(set(source) - set(copy)), sorted(set(copy) - set(source))
    if normal(missing) == normal(added):
        return []
    return [f"-{line}" for line in missing] + [f"+{line}" for line in added]
