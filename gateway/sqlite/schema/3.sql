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
