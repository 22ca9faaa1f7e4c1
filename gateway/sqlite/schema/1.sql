-- record is the execution as JSON without stdout, stderr and result. These come
-- last, so that a listing never reads the pages that hold them.
CREATE TABLE executions (
  id         TEXT    NOT NULL PRIMARY KEY,
  created_at INTEGER NOT NULL, -- nanoseconds since 1970, UTC
  action     TEXT    NOT NULL,
  status     TEXT    NOT NULL,
  record     TEXT    NOT NULL,
  stdout     BLOB    NOT NULL, -- whatever bytes a program wrote
  stderr     BLOB    NOT NULL,
  result     TEXT              -- JSON, byte by byte; NULL: none
) STRICT;

-- One for each combination of filters, so that a page of a rare status costs as
-- little as any other.
CREATE INDEX executions_by_time ON executions (created_at, id);
CREATE INDEX executions_by_action ON executions (action, created_at, id);
CREATE INDEX executions_by_status ON executions (status, created_at, id);
CREATE INDEX executions_by_action_status ON executions (action, status, created_at, id);
