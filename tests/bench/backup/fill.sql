-- SPDX-License-Identifier: GPL-3.0-or-later
-- A database as applications have them, of about :thousandths MB: wide facts, documents, texts, files that cannot be
-- compressed, partitions, many small tables, indexes of every kind, foreign keys.
\set ON_ERROR_STOP on
SET synchronous_commit = off;
SET maintenance_work_mem = '256MB';
SELECT setseed(0.5) \g /dev/null

CREATE TABLE accounts (id bigint PRIMARY KEY, email text NOT NULL UNIQUE, at timestamptz NOT NULL, CHECK (id > 0));
INSERT INTO accounts SELECT n, md5(n::text) || '@example.org', timestamptz '2026-01-01' + n * interval '1 second'
  FROM generate_series(1, :thousandths * 100) AS n;

CREATE TABLE facts (
  id bigint GENERATED ALWAYS AS IDENTITY, account bigint NOT NULL, branch integer NOT NULL, amount numeric(12, 2) NOT NULL,
  at timestamptz NOT NULL, kind text NOT NULL, filler char(84) NOT NULL DEFAULT '');
INSERT INTO facts (account, branch, amount, at, kind, filler)
  SELECT 1 + (random() * (:thousandths * 100 - 1))::bigint, n % 100, random() * 10000, timestamptz '2026-01-01' + n * interval '1 s',
    (ARRAY['order', 'refund', 'fee', 'gift'])[1 + n % 4], md5(n::text) FROM generate_series(1, :thousandths * 1500) AS n;
ALTER TABLE facts ADD PRIMARY KEY (id), ADD FOREIGN KEY (account) REFERENCES accounts;
CREATE INDEX ON facts (account);
CREATE INDEX ON facts (at, kind);

CREATE TABLE documents (id bigint PRIMARY KEY, account bigint NOT NULL REFERENCES accounts, body jsonb NOT NULL);
INSERT INTO documents SELECT n, 1 + n % (:thousandths * 100), jsonb_build_object('id', n, 'title', md5(n::text),
    'tags', jsonb_build_array('t' || n % 7, 't' || n % 31, 't' || n % 101), 'price', round((random() * 1000)::numeric, 2),
    'address', jsonb_build_object('street', md5((n * 3)::text), 'city', 'city ' || n % 500, 'zip', n % 99999))
  FROM generate_series(1, :thousandths * 350) AS n;
CREATE INDEX ON documents USING gin (body jsonb_path_ops);

CREATE TABLE texts (id bigint PRIMARY KEY, title text NOT NULL, body text NOT NULL,
  words tsvector GENERATED ALWAYS AS (to_tsvector('english', title || ' ' || body)) STORED);
INSERT INTO texts (id, title, body) SELECT n, 'text ' || n, (SELECT string_agg('word' || (random() * 5000)::integer, ' ')
    FROM generate_series(1, 60 + n % 60)) FROM generate_series(1, :thousandths * 60) AS n;
CREATE INDEX ON texts USING gin (words);

CREATE TABLE files (id bigint PRIMARY KEY, name text NOT NULL, content bytea NOT NULL);
ALTER TABLE files ALTER content SET STORAGE EXTERNAL;
INSERT INTO files SELECT n, 'file ' || n, (SELECT string_agg(uuid_send(gen_random_uuid()), '')
    FROM generate_series(1, 512 + n % 2)) FROM generate_series(1, :thousandths * 20) AS n;

CREATE TABLE events (id bigint NOT NULL, at timestamptz NOT NULL, account bigint NOT NULL REFERENCES accounts,
  data text NOT NULL, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
SELECT format('CREATE TABLE events_%s PARTITION OF events FOR VALUES FROM (%L) TO (%L)', m,
    date '2026-01-01' + (m - 1) * 30, date '2026-01-01' + m * 30) FROM generate_series(1, 12) AS m \gexec
INSERT INTO events SELECT n, timestamptz '2026-01-01 12:00' + (n % 355) * interval '1 day', 1 + n % (:thousandths * 100),
    md5(n::text) FROM generate_series(1, :thousandths * 600) AS n;
CREATE INDEX ON events (account);

SELECT format('CREATE TABLE small_%1$s (id integer PRIMARY KEY, account bigint REFERENCES accounts, name text UNIQUE)', m)
  FROM generate_series(1, 150) AS m \gexec
SELECT format('INSERT INTO small_%1$s SELECT n, n, md5(n::text) FROM generate_series(1, 50) AS n', m)
  FROM generate_series(1, 150) AS m \gexec
CREATE VIEW spent AS SELECT account, sum(amount) AS amount FROM facts GROUP BY account;
VACUUM (ANALYZE);
