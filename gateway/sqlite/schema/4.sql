-- The job of an asynchronous execution that has ended without success: another
-- try is made of it.
ALTER TABLE executions ADD COLUMN job TEXT;

-- state: 0 waits until "at", 1 stands in line by the rank "at", 2 is claimed until
-- "at", 3 is dead. Times are milliseconds since 1970, UTC.
CREATE TABLE jobs (
  id        TEXT    NOT NULL PRIMARY KEY,
  lane      TEXT    NOT NULL, -- action|key, so that it begins with the pack
  start     INTEGER NOT NULL, -- by how much earlier it counts as due
  state     INTEGER NOT NULL,
  at        INTEGER NOT NULL,
  attempt   INTEGER NOT NULL DEFAULT 0,
  turn      INTEGER NOT NULL DEFAULT 0, -- claims so far
  owner     TEXT    NOT NULL DEFAULT '',
  ended     INTEGER NOT NULL DEFAULT 0,
  cancelled INTEGER NOT NULL DEFAULT 0,
  letter    TEXT, -- record of the execution of a dead one
  entry     TEXT    NOT NULL
) STRICT;
CREATE INDEX jobs_at ON jobs (state, at);
CREATE INDEX jobs_lane ON jobs (state, lane, at, id);

-- When a pack had its last turn.
CREATE TABLE turns (
  pack TEXT    NOT NULL PRIMARY KEY,
  turn INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- How many jobs aren't dead: to count them takes long when there are many.
CREATE TABLE backlog (jobs INTEGER NOT NULL) STRICT;
INSERT INTO backlog VALUES (0);
CREATE TRIGGER job_added AFTER INSERT ON jobs BEGIN
  UPDATE backlog SET jobs = jobs + 1;
END;
CREATE TRIGGER job_removed AFTER DELETE ON jobs WHEN OLD.state <> 3 BEGIN
  UPDATE backlog SET jobs = jobs - 1;
END;
CREATE TRIGGER job_died AFTER UPDATE OF state ON jobs WHEN OLD.state <> 3 AND NEW.state = 3 BEGIN
  UPDATE backlog SET jobs = jobs - 1;
END;
