package envcache

// Point is a place between two steps of a build. After each of them a gateway
// may die, and whoever comes next repairs what it left.
type Point string

// Points in the order in which a build passes them.
const (
	PointDigest    Point = "digest"    // the digest is known, nothing was touched
	PointLeased    Point = "leased"    // both leases are held
	PointSource    Point = "source"    // a generation to copy is held
	PointAttempt   Point = "attempt"   // the attempt's directory exists
	PointCreated   Point = "created"   // the builder exists
	PointStarted   Point = "started"   // the builder runs
	PointExited    Point = "exited"    // the builder has stopped
	PointClaimed   Point = "claimed"   // the attempt was taken for verification
	PointCopied    Point = "copied"    // the attempt is a whole copy and marked
	PointVerified  Point = "verified"  // the attempt is whole and marked
	PointPublished Point = "published" // the generation is visible
	PointCleaned   Point = "cleaned"   // the builder and its attempt are gone
	PointSealed    Point = "sealed"    // the generation can't be written
	PointPointed   Point = "pointed"   // the pointer leads to it
	PointRecorded  Point = "recorded"  // a failure is on the volume, its builder not yet removed
	PointReleased  Point = "released"  // the leases were given back
)

// Points lists those of a build.
var Points = []Point{
	PointDigest, PointLeased, PointAttempt, PointCreated, PointStarted, PointExited, PointClaimed,
	PointVerified, PointPublished, PointCleaned, PointSealed, PointPointed, PointRecorded, PointReleased,
}

// CopyPoints lists those of a build that finds another pack's to copy.
var CopyPoints = []Point{
	PointDigest, PointLeased, PointSource, PointAttempt, PointCopied, PointPublished, PointSealed, PointPointed, PointReleased,
}
