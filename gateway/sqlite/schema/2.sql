-- box is encrypted; version is when it was written, in nanoseconds since 1970, UTC.
CREATE TABLE secrets (
  pack    TEXT    NOT NULL,
  name    TEXT    NOT NULL,
  version INTEGER NOT NULL,
  key     TEXT    NOT NULL, -- ID of the key
  box     BLOB    NOT NULL,
  PRIMARY KEY (pack, name)
) STRICT, WITHOUT ROWID;
