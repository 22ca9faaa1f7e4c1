-- record is the key as JSON, with the hash of its secret.
CREATE TABLE api_keys (
  id     TEXT NOT NULL PRIMARY KEY,
  record TEXT NOT NULL
) STRICT, WITHOUT ROWID;
