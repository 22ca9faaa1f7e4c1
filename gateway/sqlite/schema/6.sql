-- What stands under the Idempotency-Key of a call; id and fingerprint are hashes.
-- Times are milliseconds since 1970, UTC.
CREATE TABLE idempotency (
  id          TEXT    NOT NULL PRIMARY KEY,
  fingerprint TEXT    NOT NULL,
  execution   TEXT    NOT NULL,
  lapses_at   INTEGER NOT NULL, -- when the claim does
  expires_at  INTEGER NOT NULL, -- when the key is free again
  answer      TEXT,             -- JSON; NULL: the call has not ended
  body        BLOB
) STRICT;

CREATE INDEX idempotency_by_expiry ON idempotency (expires_at);

-- Results on their way to the URLs that callers named. Times are milliseconds since
-- 1970, UTC.
CREATE TABLE callbacks (
  id         TEXT    NOT NULL PRIMARY KEY, -- of the execution
  due_at     INTEGER NOT NULL,
  attempts   INTEGER NOT NULL, -- how often it was taken
  created_at INTEGER NOT NULL,
  url        TEXT    NOT NULL,
  body       BLOB    NOT NULL
) STRICT;

CREATE INDEX callbacks_by_time ON callbacks (due_at);
