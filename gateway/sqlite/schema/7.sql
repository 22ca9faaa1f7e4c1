-- Times are milliseconds since 1970, UTC.
CREATE TABLE hook_addresses (
  hook           TEXT    NOT NULL PRIMARY KEY,
  key            TEXT    NOT NULL UNIQUE,
  created_at     INTEGER NOT NULL,
  previous       TEXT    UNIQUE, -- the key before
  previous_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE hook_marks (
  hook      TEXT    NOT NULL,
  id        TEXT    NOT NULL, -- the sender's
  digest    TEXT    NOT NULL, -- of the body
  execution TEXT    NOT NULL,
  owner     TEXT    NOT NULL,
  pending   INTEGER NOT NULL,
  done      INTEGER NOT NULL,
  expires   INTEGER NOT NULL,
  PRIMARY KEY (hook, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX hook_marks_by_end ON hook_marks (expires);

-- record is the entry as JSON without its body.
CREATE TABLE hook_entries (
  hook   TEXT NOT NULL,
  id     TEXT NOT NULL, -- ULID: sorts by time
  record TEXT NOT NULL,
  body   BLOB,
  PRIMARY KEY (hook, id)
) STRICT;
CREATE INDEX hook_entries_by_time ON hook_entries (id);
