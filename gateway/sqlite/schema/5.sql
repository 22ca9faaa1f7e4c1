-- definition is a schedule that came by the API, as JSON.
CREATE TABLE schedules (
  ref        TEXT NOT NULL PRIMARY KEY,
  definition TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- state is how far a schedule has come, whether its pack's or a stored one, as JSON.
CREATE TABLE schedule_states (
  ref     TEXT    NOT NULL PRIMARY KEY,
  version INTEGER NOT NULL, -- counts the writes
  state   TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
